"""Zhang 2024, Table VII: KTNAS' own parameters, one changed at a time, with supernets.

    python -m experiments.papers.zhang2024_table7 --tasks cifar10,medmnist:organa

The ranking ratio r, the saved generations m and the transferred individuals M, around
r = 50 %, m = 3, M = 4; that setting is a row of each in the paper, and one here.

The paper (validation and test accuracy on CIFAR-10; on CIFAR-100): r 20 % 90.84, 97.15;
65.59, 82.88, 50 % 90.83, 97.10; 65.25, 82.54, 80 % 90.79, 96.13; 64.84, 81.66. m 1
90.01, 96.79; 65.47, 82.32, 5 90.81, 97.27; 65.52, 83.97. M 2 89.71, 96.71; 65.06,
82.37, 8 90.27, 96.86; 64.98, 82.06. It goes on with r = 20 %, m = 5, M = 4.

Hardware: 2 CPU cores; ``smoke`` some minutes a row, mostly to compile; ``laptop`` about
ten minutes a search.
"""

from experiments.papers.cell_searches import CellTable, Row, main
from experiments.papers.liao2023_multitasking import Options

_AROUND: Options = {"ranking_ratio": 0.5, "saved_generations": 3, "transferred": 4}
_MOST = 8
_CHANGES: dict[str, Options] = {
    "r 50 %, m 3, M 4": {},
    "r 20 %": {"ranking_ratio": 0.2},
    "r 80 %": {"ranking_ratio": 0.8},
    "m 1": {"saved_generations": 1},
    "m 5": {"saved_generations": 5},
    "M 2": {"transferred": 2},
    f"M {_MOST}": {"transferred": _MOST},
}
ROWS: dict[str, Row] = {
    name: ("ktnas", _AROUND | change) for name, change in _CHANGES.items()
}
TABLE = CellTable(
    name="zhang2024_table7",
    rows=ROWS,
    tasks="cifar10+cifar100",
    paper={},
    scratch={"network": "darts"},
    own={"cifar10": {"channels": 48}, "cifar100": {"channels": 42}},
    smoke={"population": _MOST},
)

if __name__ == "__main__":
    main(TABLE, __doc__.splitlines()[0])
