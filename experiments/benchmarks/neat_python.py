"""neat-python, set up to do what ours does: the peer of the benchmark ``neat``."""

import random
import tempfile
from pathlib import Path
from typing import Any

from experiments.benchmarks.harness import need

GENES = "bias", "response"
CHOICES = {"activation": ("relu", "sigmoid", "tanh"), "aggregation": ("sum", "max")}
_NUMBER = """
{0}_init_mean = 0.5
{0}_init_stdev = 0.3
{0}_init_type = gaussian
{0}_replace_rate = 0.0
{0}_mutate_rate = {mutate}
{0}_mutate_power = {deviation}
{0}_max_value = 1.0
{0}_min_value = 0.0
"""
_CHOICE = """
{0}_default = random
{0}_mutate_rate = {mutate}
{0}_options = {options}
"""
_CONFIG = """
[NEAT]
pop_size = {population}
fitness_criterion = max
fitness_threshold = 1e9
reset_on_extinction = False
no_fitness_termination = True

[DefaultGenome]
num_inputs = 1
num_outputs = 1
num_hidden = 0
feed_forward = True
initial_connection = full_direct
compatibility_disjoint_coefficient = 1.0
compatibility_weight_coefficient = 1.0
conn_add_prob = {add_connection}
conn_delete_prob = 0.0
node_add_prob = {add_node}
node_delete_prob = 0.0
enabled_default = True
enabled_mutate_rate = 0.0
weight_init_mean = 1.0
weight_init_stdev = 0.0
weight_init_type = gaussian
weight_replace_rate = 0.0
weight_mutate_rate = 0.0
weight_mutate_power = 0.0
weight_max_value = 1.0
weight_min_value = 1.0
{genes}

[DefaultSpeciesSet]
compatibility_threshold = {threshold}

[DefaultStagnation]
species_fitness_func = max
max_stagnation = 1000
species_elitism = 2

[DefaultReproduction]
elitism = 2
survival_threshold = 0.5
min_species_size = 2
"""


def configure(
    population: int,
    *,
    add_node: float = 0.1,
    add_connection: float = 0.1,
    mutate: float = 0.2,
    deviation: float = 0.2,
    threshold: float = 1.0,
) -> Any:
    """A configuration of graphs from one input to one output, initially joined."""
    neat = need("neat")
    numbers = [_NUMBER.format(g, mutate=mutate, deviation=deviation) for g in GENES]
    choices = [
        _CHOICE.format(name, mutate=mutate, options=" ".join(options))
        for name, options in CHOICES.items()
    ]
    text = _CONFIG.format(
        population=population,
        add_connection=add_connection,
        add_node=add_node,
        threshold=threshold,
        genes="".join([*numbers, *choices]),
    )
    parts = (neat.DefaultGenome, neat.DefaultReproduction, neat.DefaultSpeciesSet)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config"
        path.write_text(text)
        return neat.Config(*parts, neat.DefaultStagnation, str(path))


class Peer:
    """A population whose fitness is drawn at random, generation after generation."""

    def __init__(self, config: Any, seed: int = 0) -> None:
        reporting = need("neat.reporting")
        random.seed(seed)
        self.config = config
        reporters = reporting.ReporterSet()
        stagnation = config.stagnation_type(config.stagnation_config, reporters)
        self.reproduction = config.reproduction_type(
            config.reproduction_config, reporters, stagnation
        )
        self.generation = 0
        self.individuals = self.reproduction.create_new(
            config.genome_type, config.genome_config, config.pop_size
        )
        self.species = config.species_set_type(config.species_set_config, reporters)
        self.species.speciate(config, self.individuals, 0)
        self.rate()

    def rate(self) -> None:
        """Gives every individual a fitness."""
        for one in self.individuals.values():
            one.fitness = random.random()

    def evolve(self) -> None:
        """One generation of reproduction and speciation."""
        self.individuals = self.reproduction.reproduce(
            self.config, self.species, self.config.pop_size, self.generation
        )
        self.generation += 1
        self.species.speciate(self.config, self.individuals, self.generation)
        self.rate()

    def size(self) -> tuple[float, float]:
        """Mean nodes, those without genes included, and mean edges."""
        all_of = self.individuals.values()
        nodes = sum(len(one.nodes) + 1 for one in all_of) / len(all_of)
        return nodes, sum(len(one.connections) for one in all_of) / len(all_of)
