"""Crossover aligned by historical markings (Stanley 2002, 3.2; Liang 2019, 3.1).

The child has the structure of the fitter parent, whose disjoint and excess genes it
inherits; a node that both parents have comes whole from either of them by a fair coin,
and each hyperparameter of the graph likewise. Of two edges with one marking one may be
disabled: the child's is the fitter parent's, so that its paths stay whole.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from evojax_mtl.genomes import graphs
from evojax_mtl.genomes.graphs import Graph


def crossover(key: Array, fitter: Graph, other: Graph) -> Graph:
    """A child of two graphs."""
    node_key, whole_key = jax.random.split(key)
    at, shared = graphs.find(other.node, fitter.node)
    coin = jax.random.bernoulli(node_key, 0.5, shared.shape)
    genes = jnp.where((shared & coin)[:, None], other.genes[at], fitter.genes)
    coin = jax.random.bernoulli(whole_key, 0.5, fitter.whole.shape)
    return fitter.replace(genes=genes, whole=jnp.where(coin, other.whole, fitter.whole))
