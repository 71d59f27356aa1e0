"""Zhang 2024, Table V: KTNAS on MNIST and Fashion-MNIST, with supernets.

    python -m experiments.papers.zhang2024_table5 --scale laptop

Single-tasking, EMT-NAS, KTNAS without transfer rank and KTNAS. As in the authors' code
the supernet's own weights are tested, and the search takes 100 generations.

The paper (five runs, MNIST / Fashion-MNIST, GPU days beside single-tasking):
single-tasking 99.40 / 93.70; EMT-NAS 99.40 / 93.86, +2.65 %; KTNAS without transfer
rank 99.56 / 93.30, +4.47 %; KTNAS 99.62 / 94.36, -10.28 %.

Hardware: 2 CPU cores; ``smoke`` some minutes a row, mostly to compile; ``laptop`` about
ten minutes a search.
"""

from experiments.papers.cell_searches import EMT_NAS, KTNAS, SINGLE, CellTable, main

TABLE = CellTable(
    name="zhang2024_table5",
    rows=SINGLE | EMT_NAS | KTNAS,
    tasks="mnist+fashion_mnist",
    paper={"generations": 100},
)

if __name__ == "__main__":
    main(TABLE, __doc__.splitlines()[0])
