"""KTNAS on tables in NumPy, the peer of ``tabular``: vectorised over the population.

The same algorithm as ``evojax_mtl.search.ktnas`` with its defaults, written for one
search at a time as one would without JAX: arrays over individuals, children and
remembered individuals; a loop over generations and tasks.
"""

from dataclasses import dataclass

import numpy as np

from evojax_mtl.search.ktnas import ANEW


@dataclass(frozen=True)
class Tables:
    """What a search reads; as ``TableData``, in NumPy.

    Attributes:
      validation: ``(T, A)``.
      proxy: ``(T, A)``.
      vectors: ``(A, D)``, of length 1.
      neighbours: ``(A, K)``.
    """

    validation: np.ndarray
    proxy: np.ndarray
    vectors: np.ndarray
    neighbours: np.ndarray


class Task:
    """The state of one task."""

    def __init__(self, rows, transferred, architectures, saved):
        """A population to be evaluated, and who is transferred first."""
        self.rows = rows
        self.fitness = np.empty(0)
        self.transferred = transferred
        self.seen = np.zeros(architectures, bool)
        self.history: list[tuple[np.ndarray, np.ndarray]] = []
        self.saved = saved

    def remember(self, positive):
        """Algorithm 1."""
        labels = np.where(positive, 1, -1)
        past = [(rows[own < 0], own[own < 0]) for rows, own in self.history]
        self.history = [(self.transferred, labels), *past][: self.saved]


def survive(task, candidates, parents, fitness, config):
    """The best of population and candidates; labels of those transferred."""
    rows = np.concatenate([task.rows[: len(task.fitness)], candidates])
    values = np.concatenate([task.fitness, fitness])
    order = np.argsort(-values, kind="stable")
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    top = max(1, int(np.ceil(config.ranking_ratio * config.population - 1e-4)))
    good = parents[place[-len(candidates) :] < top]
    positive = np.isin(np.arange(config.transferred), good)
    task.remember(positive)
    kept = order[: config.population]
    task.rows, task.fitness = rows[kept], values[kept]


def transfer(task, candidates, vectors, config, rng):
    """Algorithms 2 and 3."""
    remembered = np.concatenate([rows for rows, _ in task.history])
    labels = np.concatenate([own for _, own in task.history])
    distance = 1 - vectors[remembered] @ vectors[candidates].T
    rank = np.bincount(distance.argmin(1), labels, len(candidates))
    order = np.lexsort((rng.random(len(candidates)), -rank))
    return candidates[order[: config.transferred]]


def breed(task, proxy, neighbours, config, rng):
    """Screened children of those transferred, and mutants of the population."""
    count, tasks = config.population, config.transferred
    near = np.concatenate(
        [task.transferred[:, None], neighbours[task.transferred]], axis=1
    )
    free = ~task.seen[near]
    score = np.where(free, proxy[near], -np.inf)
    found, parents = [], []
    for number in range(tasks):
        own = score[number]
        own = np.where(np.isin(near[number], found), -np.inf, own)
        best = own.max()
        if best > -np.inf:
            found.append(near[number, rng.choice(np.flatnonzero(own == best))])
            parents.append(number)
    drawn = rng.random((config.offspring, count)).argsort(1)[:, : config.tournament]
    mothers = task.rows[drawn[np.arange(len(drawn)), task.fitness[drawn].argmax(1)]]
    options = neighbours[mothers]
    chance = rng.random(options.shape) + ~task.seen[options]
    mutants = options[np.arange(len(options)), chance.argmax(1)]
    if not found and task.seen[mutants].all():
        if rng.random() < 1 / ANEW:
            mutants = rng.integers(0, len(task.seen), len(mutants) + tasks)
            task.fitness = np.full(count, -np.inf)
        else:
            near = neighbours[mutants[0]]
            stranger = rng.integers(len(task.seen))
            mutants[0] = rng.choice([stranger, rng.choice(near)])
    return (
        np.concatenate([np.array(found, int), mutants]),
        np.concatenate([np.array(parents, int), np.full(len(mutants), tasks)]),
    )


def search(tables, config, seed):
    """One search; the best validation of each task."""
    rng = np.random.default_rng(seed)
    number, architectures = tables.validation.shape
    first = rng.integers(0, architectures, (number, config.population))
    tasks = []
    for t in range(number):
        others = np.delete(first, t, axis=0).ravel()
        chosen = rng.choice(others, config.transferred, replace=False)
        tasks.append(Task(first[t], chosen, architectures, config.saved_generations))
    for t, task in enumerate(tasks):
        candidates = np.concatenate([task.rows, task.transferred])
        parents = np.arange(len(candidates)) - config.population
        task.seen[candidates] = True
        survive(task, candidates, parents, tables.validation[t, candidates], config)
    for _ in range(config.generations - 1):
        populations = [task.rows for task in tasks]
        for t, task in enumerate(tasks):
            others = np.concatenate(populations[:t] + populations[t + 1 :])
            task.transferred = transfer(task, others, tables.vectors, config, rng)
            candidates, parents = breed(
                task, tables.proxy[t], tables.neighbours, config, rng
            )
            task.seen[candidates] = True
            fitness = tables.validation[t, candidates]
            survive(task, candidates, parents, fitness, config)
    return np.array([task.fitness.max() for task in tasks])
