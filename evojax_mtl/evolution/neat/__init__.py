"""NEAT on pytrees: neuroevolution of augmenting topologies (Stanley 2002).

Graphs (``genomes.graphs``) evolve by ``init`` and ``evolve``; the parts are pure
functions that serve alone::

    config = NEAT(space=Space((Real("rate", 1e-4, 1e-1, "log"), Flag("shared"))))
    population = neat.init(key, config, Rates(), 100)
    population, report = neat.evolve(key, config, Rates(), population, fitness)
"""

from evojax_mtl.evolution.neat.crossover import crossover
from evojax_mtl.evolution.neat.distance import distance
from evojax_mtl.evolution.neat.mutation import mutate
from evojax_mtl.evolution.neat.population import Population, Report, evolve, init
from evojax_mtl.evolution.neat.rates import NEAT, Rates
from evojax_mtl.evolution.neat.speciation import divide

__all__ = [
    "NEAT",
    "Population",
    "Rates",
    "Report",
    "crossover",
    "distance",
    "divide",
    "evolve",
    "init",
    "mutate",
]
