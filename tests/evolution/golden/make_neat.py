"""Distances, crossover and markings of neat-python 2.0.0, for the tests.

    pip install neat-python==2.0.0
    python -m tests.evolution.golden.make_neat

Writes ``neat.json``: genomes of one lineage, the distance of each pair for several
coefficients, which genes the children of each pair have, and the numbers that its
innovation tracker gives to mutations of two generations. Nodes and edges are told by
our markings: the input 0, the output 1, hidden nodes from 2.
"""

import json
import random
from importlib.metadata import version
from pathlib import Path

from neat.innovation import InnovationTracker

from experiments.benchmarks.neat_python import CHOICES, Peer, configure

COEFFICIENTS = [(1.0, 1.0), (1.0, 0.5), (0.3, 2.0)]
SPLITS = [(4, 7), (1, 2), (4, 7), (2, 9), (1, 2), (4, 7)]
JOINS = [(0, 5), (3, 5), (0, 5), (3, 6), (3, 5)]


def marking(key: int) -> int:
    """Ours of a node of theirs: inputs are below 0, the output is 0."""
    return 0 if key < 0 else key + 1


def genome(one) -> dict:
    """A genome, sorted by marking."""
    nodes = []
    for key, gene in sorted(one.nodes.items()):
        options = [CHOICES[name].index(getattr(gene, name)) for name in CHOICES]
        nodes.append([marking(key), gene.bias, gene.response, *options])
    edges = [
        [gene.innovation, *map(marking, gene.key), gene.enabled]
        for gene in sorted(one.connections.values(), key=lambda g: g.innovation)
    ]
    return {"nodes": nodes, "edges": edges}


def lineage() -> tuple:
    """Some genomes of one population that has grown, and their configuration."""
    config = configure(60, add_node=0.4, add_connection=0.6, threshold=3.0)
    peer = Peer(config, seed=4)
    for _ in range(9):
        peer.evolve()
    every = sorted(peer.individuals)
    chosen = [peer.individuals[key] for key in random.sample(every, 8)]
    return chosen, config


def kept(fitter, other, config) -> dict:
    """Markings of a child's nodes and edges."""
    fitter.fitness, other.fitness = 2.0, 1.0
    child = config.genome_type(0)
    child.configure_crossover(fitter, other, config.genome_config)
    edges = sorted(gene.innovation for gene in child.connections.values())
    return {"nodes": sorted(map(marking, child.nodes)), "edges": edges}


def main() -> None:
    genomes, config = lineage()
    distances = []
    for disjoint, difference in COEFFICIENTS:
        own = config.genome_config
        own.compatibility_disjoint_coefficient = disjoint
        own.compatibility_weight_coefficient = difference
        table = [[a.distance(b, own) for b in genomes] for a in genomes]
        distances.append({"disjoint": disjoint, "difference": difference, "d": table})
    children = [[kept(a, b, config) for b in genomes] for a in genomes]
    tracker = InnovationTracker()
    numbers = []
    for _ in range(2):
        split = [
            [tracker.get_innovation_number(*pair, f"add_node_{way}") for pair in SPLITS]
            for way in ("in", "out")
        ]
        joined = [tracker.get_innovation_number(*pair) for pair in JOINS]
        numbers.append({"splits": split, "joins": joined})
        tracker.reset_generation()
    record = {
        "made by": f"neat-python {version('neat-python')}",
        "genomes": [genome(one) for one in genomes],
        "distances": distances,
        "children": children,
        "split": SPLITS,
        "join": JOINS,
        "numbers": numbers,
    }
    path = Path(__file__).with_name("neat.json")
    path.write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
