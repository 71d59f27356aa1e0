"""What Liang 2019, Fig. 3, compares LEAF with, as far as it can be run.

Both train the fixed network of ``leaf --search hyperparameters`` by its own compiled
program. ``fixed`` is the network that a user begins with, of hyperparameters chosen by
hand, trained once. ``bayesian`` chooses them by Optuna's tree-structured Parzen
estimator, which stands for MOE: as many networks as LEAF trains, a generation of them
at a time. Differs from MOE, which models the fitness by a Gaussian process.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from evojax_mtl.commands import run
from evojax_mtl.genomes.hyperparameters import Choice, Integer, Real, Space
from evojax_mtl.methods import find_method
from evojax_mtl.networks.preprocessing import EVOLVED
from evojax_mtl.runs import launch
from evojax_mtl.runs.program import Program
from evojax_mtl.search.leaf_hyperparameters import DECAY
from evojax_mtl.tasks.dataset import TEST
from evojax_mtl.tasks.extras import import_extra
from experiments.papers.cards import words

Table = dict[str, Any]


def once(
    folder: Path,
    baseline: Callable[[Program, int], tuple[Any, list[float]]],
    options: dict[str, object],
) -> dict:
    """The row of a baseline, from its folder if it is there.

    Args:
      folder: of its results.
      baseline: ``fixed`` or ``bayesian``.
      options: flags of the run that it is compared with.
    """
    path = folder / "result.json"
    if path.exists():
        return json.loads(path.read_text())
    began = time.monotonic()
    asked = options | {"search": "hyperparameters"}
    settings, _ = run.read(find_method("leaf"), words(asked))
    config, kind = settings.config, settings.form.data
    tasks = launch.load(settings.tasks, settings.data_dir, config, kind)
    program = launch.build(settings, tasks)
    state, best = baseline(program, settings.seed)
    row = {
        "validation": best[-1],
        "test": float(np.mean(program.score(state, TEST))),
        "parameters": program.search.describe(state)["parameters"],
        "wall_seconds": time.monotonic() - began,
        "best": best,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row))
    return row


def by_hand(config: Any) -> Table:
    """Common choices: the widest layers, Adam at the middle learning rate, words as
    they are."""
    asked = config.preprocessing
    return {
        "learning_rate_factor": 1.0,
        "optimizer": "adam",
        "width": config.units,
        "activation": "relu",
        "dropout": min(0.2, config.most_dropout),
        "decay": DECAY[0],
        "initializer": "glorot",
        "preprocessing": "none" if asked == EVOLVED else asked,
    }


def fixed(program: Program, seed: int) -> tuple[Any, list[float]]:
    """The state whose best network is the fixed one, and its validation accuracy."""
    config = program.search.config
    tables = [by_hand(config)] * config.population
    # training and evaluation of the first individual alone
    _, end = program.phases[1]
    state = _trained(program, program.init(), tables, end)
    return state, [float(np.mean(state.best.scores))]


def bayesian(program: Program, seed: int) -> tuple[Any, list[float]]:
    """The state with the best network, and the best accuracy by generation."""
    optuna = import_extra("optuna", "papers", "Bayesian optimisation")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    search: Any = program.search
    state, best = program.init(), []
    for _ in range(search.config.generations):
        trials = [study.ask() for _ in range(search.config.population)]
        tables = [suggested(trial, search.space) for trial in trials]
        state = _trained(program, state, tables, program.ticks)
        scores = np.where(state.failed, 0, np.mean(state.scores, 1))
        for trial, score in zip(trials, scores, strict=True):
            study.tell(trial, float(score))
        best.append(float(np.mean(state.best.scores)))
    return state, best


def suggested(trial: Any, space: Space) -> Table:
    """What Optuna's trial suggests for each gene."""
    found: Table = {}
    for gene in space.genes:
        if isinstance(gene, Choice):
            found[gene.name] = trial.suggest_categorical(gene.name, gene.options)
            continue
        assert isinstance(gene, Real | Integer)
        draw = trial.suggest_int if isinstance(gene, Integer) else trial.suggest_float
        log = gene.scale == "log"
        found[gene.name] = draw(gene.name, gene.low, gene.high, log=log)
    return found


def _trained(program: Program, state: Any, tables: list[Table], stop: int) -> Any:
    """The state after networks of these tables were trained up to tick ``stop``."""
    search: Any = program.search
    values = np.stack([search.space.encode(table) for table in tables])
    state = state.replace(values=jnp.asarray(values, jnp.float32))
    return program.advance(state, 0, stop)[0]
