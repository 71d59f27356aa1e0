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
        # proxies are percentiles: less than a place apart are equals alone
        chance = jax.random.uniform(key, (shape[0] * shape[1],)).reshape(shape)
        mixed = data.proxy + chance / (2 * shape[1])
        _, order = jax.lax.top_k(mixed, shape[1])
        end = jnp.full((self.tasks, self.config.batch), NOTHING, jnp.int32)
        return jnp.concatenate([order, end], axis=1)
