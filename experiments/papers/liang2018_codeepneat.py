"""Liang 2018, Table 1: all six methods, those with CoDeepNEAT among them.

Paper (10 runs, 20 Omniglot alphabets at 105 x 105, 30,000 iterations of one image a
task): test accuracy 60.81 single task, 66.59 soft ordering, 81.33 CM, 83.82 CMSR, 82.36
CTR, 87.82 CMTR.

    python -m experiments.papers.liang2018_codeepneat --scale laptop --seeds 3

CM, CMSR and CMTR search as their presets say, then train the best sets or networks from
scratch. Single task, soft ordering and CTR, which search nothing before, train on as
many examples a task as CMTR's best sets do; the record tells every method's
(``examples``). Nothing is tuned: ``liang2018_omniglot`` tunes those three.

Runs that are there already are not repeated, those cut off go on. ``--methods`` runs
some; the record keeps the rows of the others, and methods without a row are named.

Found at ``study`` (20 alphabets at 28 x 28, two seeds; 50 networks or sets of 100
iterations are searched, then the best is trained from scratch for 3,000 of four images
a task): 69.1 +- 1.7 % CM, 69.3 +- 3.0 CMSR, 75.4 +- 0.6 CMTR. With as much training and
tuned rates ``liang2018_omniglot`` found 72.6 % single task, 70.0 soft ordering and 80.8
CTR. So of the three CMTR is best, as in the paper; CM and CMSR are level with soft
ordering and CMTR is behind CTR, unlike it: a search of five generations with a
thirtieth of the paper's training finds little. No difference between the three is
significant with two seeds (p = 0.13 and more). Single task, soft ordering and CTR have
not been run untuned at this scale.

Hardware: 2 CPU cores; ``smoke`` (embedded alphabets) a minute a method and seed,
``laptop`` up to ten, ``study`` up to an hour, CMTR three. Of ``smoke`` only CMTR has
been run: it tells that the card works and nothing about the order of the methods.
"""

import json
from pathlib import Path
from typing import Any

from evojax_mtl.codeepneat_configs import CMTRConfig, CoDeepNEATConfig
from evojax_mtl.methods import find_method
from evojax_mtl.runs.summary import mean_and_error
from experiments.papers import cards
from experiments.papers.cards import RESULTS, command, compare, run, write

PAPER = {
    "single-task": 60.81,
    "soft-ordering": 66.59,
    "cm": 81.33,
    "cmsr": 83.82,
    "ctr": 82.36,
    "cmtr": 87.82,
}
SCALES = ("smoke", "laptop", "study", "paper")


def examples(config: Any) -> int:
    """Examples of each task that the network reported is trained on, at most."""
    each = config.iterations * config.batch
    if not isinstance(config, CoDeepNEATConfig):
        return config.generations * each
    turns = max(1, config.finals * config.networks // config.finalists)
    bouts = config.meta_iterations if isinstance(config, CMTRConfig) else 1
    return turns * bouts * each


def options_of(method: str, scale: str) -> dict[str, object]:
    """What differs from a method's preset: how long those without a search train."""
    config = find_method(method).configure(scale)
    if isinstance(config, CoDeepNEATConfig):
        return {}
    wanted = examples(find_method("cmtr").configure(scale))
    each = examples(config) / config.generations
    return {"generations": max(1, round(wanted / each))}


def row_of(out: Path, method: str, common: dict[str, object], seeds: int) -> dict:
    """The runs of one method."""
    own = options_of(method, str(common["scale"]))
    runs = [
        run(out / method / str(seed), method, common | own | {"seed": seed})
        for seed in range(1, seeds + 1)
    ]
    config = find_method(method).configure(str(common["scale"]))
    total = examples(type(config)(**{**vars(config), **own}))
    return {
        "examples": total,
        "options": own,
        "parameters": [summary["parameters"] for summary in runs],
        "validation": [summary["mean_validation"] for summary in runs],
        "test": [summary["mean_test"] for summary in runs],
        "wall_seconds": [summary["wall_seconds"] for summary in runs],
    }


def main() -> None:
    """Runs, and writes ``results/liang2018_codeepneat_SCALE.json``."""
    parser = cards.parser(
        "liang2018_codeepneat",
        __doc__,
        "glyphs at smoke, else omniglot",
        1,
        scales=SCALES,
    )
    parser.add_argument("--methods", nargs="+", choices=PAPER, default=list(PAPER))
    chosen = parser.parse_args()
    tasks = chosen.tasks or ("glyphs" if chosen.scale == "smoke" else "omniglot")
    common: dict[str, object] = {"tasks": tasks, "scale": chosen.scale}
    out, name = chosen.out / chosen.scale, f"liang2018_codeepneat_{chosen.scale}"
    path = RESULTS / f"{name}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    setting = {"scale": chosen.scale, "tasks": tasks, "seeds": chosen.seeds}
    same = all(known.get(key) == value for key, value in setting.items())
    rows = known["results"] if same else {}
    for method in chosen.methods:
        rows[method] = row_of(out, method, common, chosen.seeds)
        mean, error = mean_and_error([100 * test for test in rows[method]["test"]])
        print(f"{method:14} test {mean:.2f} +- {error:.2f} %, paper {PAPER[method]} %")
        found = {other: rows[other] for other in PAPER if other in rows}
        record = setting | {
            "paper_test_percent": PAPER,
            "missing": [other for other in PAPER if other not in rows],
            "results": found,
            "comparisons": compare(found) if chosen.seeds > 1 else [],
        }
        write(name, record)
    folders = [
        str(out / method / str(seed))
        for method in chosen.methods
        for seed in range(1, chosen.seeds + 1)
    ]
    command(["report", *folders, "--out", str(out / "report.html")])
    print(f"{path}; {out / 'report.html'}")


if __name__ == "__main__":
    main()
