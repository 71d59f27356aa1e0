"""Liao 2023, Table 4: the genotypes found on CIFAR-10 and CIFAR-100, on ImageNet.

    python -m experiments.papers.liao2023_imagenet --scale paper --data-dir DIR

Trains each published genotype (``emt-c10``, ``emt-c100``) from scratch with DARTS' stem
and recipe, with stacks of 2 and of 3 normal cells; below ``paper`` of 1 and of 2; at
``smoke`` on the embedded digits, whose colours do not vary. Told of each: top-1 and, of
more than five classes, top-5 test accuracy, parameters and multiply-adds.

Paper (two stacks, then three; top-1 / top-5 %, parameters): C-10 73.83 / 91.63, 2.38 M
and 75.11 / 92.39, 3.13 M; C-100 74.25 / 91.80, 2.49 M and 75.44 / 92.55, 3.25 M.

The parameters are the paper's within 2 % (see ``networks.cell_network``). The
accuracies have not been reproduced: ImageNet at 224 pixels for 250 epochs was never
run. At ``smoke`` the card shows that all of it works, and no more.

Hardware: ``smoke`` some minutes on 2 CPU cores; ``paper`` days on one GPU.
"""

import argparse
from pathlib import Path

from experiments.papers.cards import retrain, write

GENOTYPES = ("emt-c10", "emt-c100")
STACKS = (2, 3)
TOLD = ("test", "test_top5", "parameters", "multiply_adds", "classes")


def stacks(scale: str) -> tuple[int, ...]:
    """Normal cells a stage of the networks that a scale trains."""
    return STACKS if scale == "paper" else tuple(stack - 1 for stack in STACKS)


def main() -> None:
    """Trains what is not there yet, and writes ``results/liao2023_imagenet...``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="smoke")
    parser.add_argument("--tasks", help="digits at smoke, else imagenet")
    parser.add_argument("--data-dir", help="where ImageNet is")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/liao2023_imagenet"))
    chosen = parser.parse_args()
    options: dict[str, object] = {
        "tasks": chosen.tasks or ("digits" if chosen.scale == "smoke" else "imagenet"),
        "recipe": "imagenet",
        "scale": chosen.scale,
        "seed": chosen.seed,
    }
    if options["tasks"] == "digits":
        options |= {"jitter": 0, "hue": 0}
    if chosen.data_dir:
        options["data-dir"] = chosen.data_dir
    results = {}
    for genotype in GENOTYPES:
        for stack in stacks(chosen.scale):
            name = f"{genotype}, stack {stack}"
            folder = chosen.out / chosen.scale / name.replace(", stack ", "-")
            summary = retrain(folder, genotype, options | {"stack": stack})
            results[name] = {
                task["name"]: {key: task[key] for key in TOLD}
                for task in summary["tasks"]
            }
            print(name, results[name])
    record = {key: value for key, value in options.items() if key != "data-dir"}
    name = f"liao2023_imagenet_{chosen.scale}"
    print(write(name, record | {"results": results}))


if __name__ == "__main__":
    main()
