"""Zero-cost search on tables: architectures in the order of a proxy, the best first.

Nothing is learned on the way; equals by the proxy come in random order. This is the row
'Zero' of KTNAS's Table II (Abdelfattah et al. 2021, Zero-Cost Proxies for Lightweight
NAS, arXiv:2101.08134).
"""

import jax
import jax.numpy as jnp

from evojax_mtl.evaluation.tabular import NOTHING
from evojax_mtl.search.random_search import RandomSearch


class ZeroCost(RandomSearch):
    """The search protocol for a proxy's order; ``own`` is as that of random search."""

    method = "zero-cost"

    def begin(self, key, hyperparameters, data):
        """Each task's order, by the proxy."""
        shape = data.proxy.shape
        # whole numbers: proxies are percentiles, and the order of floats with a little
        # chance in them would hang on how they are rounded
        chance = jax.random.bits(key, (shape[0] * shape[1],), jnp.uint16)
        place = jnp.round(data.proxy * shape[1]).astype(jnp.uint32)
        mixed = place * 2**16 + chance.reshape(shape)
        _, order = jax.lax.top_k(mixed, shape[1])
        end = jnp.full((self.tasks, self.config.batch), NOTHING, jnp.int32)
        return jnp.concatenate([order, end], axis=1)
