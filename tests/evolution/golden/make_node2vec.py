"""Transition probabilities of the package node2vec 0.5.0, for the tests.

    pip install --no-deps node2vec==0.5.0; pip install gensim networkx joblib tqdm
    python -m tests.evolution.golden.make_node2vec

Writes ``node2vec.json``: a weighted graph, and for several p and q the probability of
going from ``t`` over ``v`` to ``x``.
"""

import json
from pathlib import Path

EDGES = [(0, 1, 1.0), (0, 2, 2.0), (1, 2, 0.5), (2, 3, 3.0), (3, 4, 1.0), (1, 4, 1.5)]
RATES = [(1.0, 1.0), (0.25, 4.0), (4.0, 0.5)]


def main() -> None:
    import networkx
    from node2vec import Node2Vec

    graph = networkx.Graph()
    graph.add_weighted_edges_from(EDGES)
    cases = []
    for p, q in RATES:
        walker = Node2Vec(graph, walk_length=2, num_walks=1, p=p, q=q, quiet=True)
        rows = []
        for v, told in walker.d_graph.items():
            for t, probabilities in told["probabilities"].items():
                for x, chance in zip(told["neighbors"], probabilities, strict=True):
                    rows.append([int(t), int(v), int(x), float(chance)])
        cases.append({"p": p, "q": q, "probabilities": sorted(rows)})
    record = {"made by": "node2vec 0.5.0", "edges": EDGES, "cases": cases}
    path = Path(__file__).with_name("node2vec.json")
    path.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
