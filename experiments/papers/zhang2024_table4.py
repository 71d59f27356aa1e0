"""Zhang 2024, Table IV: KTNAS on CIFAR-10 and CIFAR-100, with supernets.

    python -m experiments.papers.zhang2024_table4 --tasks cifar10,medmnist:organa

Single-tasking, EMT-NAS, MTNAS, KTNAS without transfer rank and KTNAS, and what they
found trained from scratch in DARTS' network (at ``paper`` of 48 channels on CIFAR-10
and 42 on CIFAR-100, as the authors' code).

The paper (five runs, trained from scratch, CIFAR-10 / CIFAR-100, GPU days):
single-tasking 96.64 / 80.82, 0.46; EMT-NAS 97.04 / 82.60, 0.42; MTNAS 97.25 / 82.55,
0.50; KTNAS without transfer rank 96.63 / 80.79, 0.62; KTNAS 97.12 / 82.93, 0.48.

Hardware: 2 CPU cores; ``smoke`` some minutes a row, mostly to compile; ``laptop`` about
ten minutes a search.
"""

from experiments.papers.cell_searches import (
    EMT_NAS,
    KTNAS,
    MTNAS,
    SINGLE,
    CellTable,
    main,
)

TABLE = CellTable(
    name="zhang2024_table4",
    rows=SINGLE | EMT_NAS | MTNAS | KTNAS,
    tasks="cifar10+cifar100",
    paper={},
    scratch={"network": "darts"},
    own={"cifar10": {"channels": 48}, "cifar100": {"channels": 42}},
)

if __name__ == "__main__":
    main(TABLE, __doc__.splitlines()[0])
