"""Zhang 2024, Table VIII: KTNAS with node2vec, arch2vec and CATE.

    python -m experiments.papers.zhang2024_table8 --seeds 500

Table II's protocol and table (see ``zhang2024_table2``) with other embeddings. The
paper: arch2vec 196.0 evaluations in all, CATE 193.8, node2vec 188.5. ``one-hot`` is no
embedding: distances are then the number of operations that differ. The time of an
embedding is that of training it and of embedding all 15,625 cells, compiled anew.

Hardware: 2 CPU cores; two minutes.
"""

import argparse
import time
from typing import Any

import jax

from evojax_mtl.evaluation.table_embeddings import embed
from evojax_mtl.methods import find_method
from evojax_mtl.tasks.sources import load_tables
from experiments.papers.cards import write
from experiments.papers.zhang2024_table2 import measure

EMBEDDINGS = ("arch2vec", "cate", "node2vec", "one-hot")
PUBLISHED = {"arch2vec": 196.0, "cate": 193.8, "node2vec": 188.5}


def main() -> None:
    """Runs the rows and writes ``results/zhang2024_table8.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=500)
    chosen = parser.parse_args()
    spec = "nasbench201:val_200"
    rows: dict[str, dict[str, Any]] = {}
    for name in EMBEDDINGS:
        options: dict[str, Any] = {"embedding": name, "generations": 10000}
        row = rows[name] = measure("ktnas", options, spec, chosen.seeds)
        if name != "one-hot":
            jax.clear_caches()
            begin = time.perf_counter()
            embed(name, load_tables(spec), find_method("ktnas").config(**options))
            row["embedding_seconds"] = time.perf_counter() - begin
        print(
            f"{name:10} {row['mean']:7.1f} +- {row['standard_error']:.1f}", flush=True
        )
        write("zhang2024_table8", {"published": PUBLISHED, "rows": rows})


if __name__ == "__main__":
    main()
