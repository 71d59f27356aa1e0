"""NEAT against neat-python: a generation of reproduction and speciation.

    python -m experiments.benchmarks neat [--json]

Both have a population of 1,000 acyclic graphs whose nodes carry numbers and choices,
grown from one edge by the same rates for the same generations; each call is one more
generation, with a fitness drawn at random. neat-python's threshold is fixed where it
keeps about as many species as ours has for its target.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from evojax_mtl.evolution import neat
from evojax_mtl.evolution.neat import NEAT, Rates
from evojax_mtl.genomes import graphs
from evojax_mtl.genomes.hyperparameters import Choice, Real, Space
from experiments.benchmarks.harness import Benchmark, BenchmarkError, Case, compare
from experiments.benchmarks.neat_python import CHOICES, GENES, Peer, configure

POPULATION = 1_000
GENERATIONS = 30
SPECIES = 10
GOAL = 20.0
SPACE = Space(
    (
        *(Real(name, 0.0, 1.0) for name in GENES),
        *(Choice(name, options) for name, options in CHOICES.items()),
    )
)
CONFIG = NEAT(SPACE, initial=0, target=SPECIES, species=2 * SPECIES, nodes=16, edges=32)
RATES = Rates(add_node=0.1, add_connection=0.1, crossover=1.0, stagnation=1000)
THRESHOLD = 2.5
"""neat-python's, at which it keeps about ten species."""


class Ours:
    """The same as ``Peer``, one compiled program a generation."""

    def __init__(self, config: NEAT, rates: Rates, population: int) -> None:
        self.count, self.rates = population, rates
        self.key = jax.random.key(0)
        start = jax.jit(partial(neat.init, config=config, individuals=population))
        self.population: Any = start(self.key, rates=rates)
        self.report: Any = None
        self.exhausted = 0
        self._evolve = jax.jit(partial(self._generation, config), donate_argnums=2)

    def _generation(self, config, key, population, rates):
        fitness_key, key = jax.random.split(
            jax.random.fold_in(key, population.generation)
        )
        fitness = jax.random.uniform(fitness_key, (self.count,))
        return neat.evolve(key, config, rates, population, fitness)

    def evolve(self) -> None:
        """One generation of reproduction and speciation."""
        out = self._evolve(self.key, self.population, self.rates)
        self.population, self.report = jax.block_until_ready(out)
        self.exhausted += int(self.report.exhausted)

    def size(self) -> tuple[float, float]:
        """Mean nodes and mean edges."""
        grown = self.population.graphs
        means = graphs.nodes(grown).mean(), graphs.edges(grown).mean()
        return float(means[0]), float(means[1])


def run(
    tell: Callable[[str], None],
    population: int = POPULATION,
    generations: int = GENERATIONS,
    budget: float = 0.0,
) -> tuple[list[Case], list[Case]]:
    """Grows both populations, then times generations in turns."""
    peer = Peer(configure(population, threshold=THRESHOLD))
    ours = Ours(CONFIG, RATES, population)
    for _ in range(generations):
        peer.evolve()
        ours.evolve()
    sizes = ours.size(), peer.size()
    species = int(ours.report.species), len(peer.species.species)
    told = ", ".join(
        f"{name}: {nodes:.1f} nodes, {edges:.1f} edges, {kept} species"
        for name, (nodes, edges), kept in zip(
            ("ours", "peer"), sizes, species, strict=True
        )
    )
    tell(told)
    if ours.exhausted:
        raise BenchmarkError(f"neat: capacity was exhausted {ours.exhausted} times")
    if sizes[0][0] < 0.8 * sizes[1][0]:
        raise BenchmarkError(f"neat: found {told}; ours must not be the smaller graphs")
    case = compare(
        f"a generation of {population:,}; {told}",
        ours.evolve,
        {"neat-python": peer.evolve},
        goal=GOAL,
        rounds=10,
        budget=budget,
    )
    return [case], []


BENCHMARK = Benchmark(
    name="neat",
    work=(
        f"A generation of NEAT at population {POPULATION:,}, the {GENERATIONS}th and "
        "later: fitness sharing, elites, crossover aligned by markings, mutation of "
        "structure and hyperparameters with markings that agree across the generation, "
        "speciation. Add node 0.1, add connection 0.1. One compiled program against "
        "neat-python in the same process, 2 cores."
    ),
    run=run,
    packages=("jax", "neat-python"),
)
