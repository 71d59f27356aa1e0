"""Zhang 2024, Table VI: KTNAS on four sets of MedMNIST, with supernets.

    python -m experiments.papers.zhang2024_table6 --tasks medmnist:organa+blood

Single-tasking, EMT-NAS, KTNAS without transfer rank and KTNAS. As in the authors' code
the supernet's own weights are tested; channels and generations are those of Liao 2023,
Table 1.

The paper (five runs, Path / Organ A / Organ C / Organ S, GPU days beside
single-tasking): single-tasking 88.36 / 93.64 / 91.18 / 80.42; EMT-NAS 88.60 / 94.32 /
91.40 / 80.72, -9.55 %; KTNAS without transfer rank 90.04 / 94.22 / 91.50 / 80.57,
+11.27 %; KTNAS 90.54 / 94.38 / 91.57 / 80.80, -7.93 %.

Hardware: 2 CPU cores; ``smoke`` some minutes a row, mostly to compile; ``laptop`` about
ten minutes a search.
"""

from experiments.papers.cell_searches import EMT_NAS, KTNAS, SINGLE, CellTable, main

TABLE = CellTable(
    name="zhang2024_table6",
    rows=SINGLE | EMT_NAS | KTNAS,
    tasks="medmnist:path+organa+organc+organs",
    paper={"channels": 48, "generations": 100},
)

if __name__ == "__main__":
    main(TABLE, __doc__.splitlines()[0])
