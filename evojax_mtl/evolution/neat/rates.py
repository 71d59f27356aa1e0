"""NEAT's static choices and its rates."""

from dataclasses import dataclass

from jaxtyping import Array

from evojax_mtl.errors import UserError
from evojax_mtl.genomes.hyperparameters import NO_GENES, Space
from evojax_mtl.pytrees import Pytree

Scalar = Array | float | int


@dataclass(frozen=True)
class NEAT:
    """What is static.

    Attributes:
      space: hyperparameters of a node.
      whole: hyperparameters of a graph.
      nodes: node capacity, the input and the output included.
      edges: edge capacity, disabled ones included.
      initial: nodes of the initial graphs between input and output.
      target: species to have.
      species: species there is room for.
      elites: best individuals of a species that survive as they are.
      keep: whether all that truncation leaves of a species survive, not the elites
        alone (Liang 2019, Algorithm 2).
      species_elites: best species that stagnation spares.
      tries: how often a generation is divided into species, at most, until there are
        ``target`` of them; 1 is NEAT, whose threshold moves a step a generation.
      lanes: graphs that draw a connection at once; bounds memory alone.

    Raises:
      UserError: if there is no room for the species wanted.
    """

    space: Space
    whole: Space = NO_GENES
    nodes: int = 32
    edges: int = 64
    initial: int = 1
    target: int = 4
    species: int = 8
    elites: int = 2
    keep: bool = False
    species_elites: int = 2
    tries: int = 1
    lanes: int = 64

    def __post_init__(self) -> None:
        """Checks the species."""
        if not 1 <= self.target <= self.species:
            raise UserError(
                f"species: found a target of {self.target} and room for {self.species},"
                " must be at least 1 and at most the room"
            )


class Rates(Pytree):
    """What may be swept, traced.

    Attributes:
      add_node: probability that a child gains a node.
      add_connection: probability that a child gains an edge.
      mutate: probability that a hyperparameter of a child changes.
      deviation: of the Gaussian (parts of a hyperparameter's range).
      crossover: probability that a child has two parents.
      truncation: F_l, the worst of each species that have no children (fraction).
      disjoint: weight of genes that only one of two graphs has, in distances.
      difference: weight of differences between aligned genes, in distances.
      step: by how much the threshold moves (fraction).
      stagnation: generations without progress after which a species dies out.
    """

    add_node: Scalar = 0.05
    add_connection: Scalar = 0.05
    mutate: Scalar = 0.2
    deviation: Scalar = 0.2
    crossover: Scalar = 0.5
    truncation: Scalar = 0.5
    disjoint: Scalar = 1.0
    difference: Scalar = 1.0
    step: Scalar = 0.1
    stagnation: Scalar = 15
