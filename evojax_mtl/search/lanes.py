"""Networks side by side, a device each: what the devices tell each other.

Inside ``jax.shard_map``; on one device, without a mesh, every function returns what it
was given. Sums and choices are equal on all devices. No branch that one device takes
and another does not may hold any of this.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from evojax_mtl.compiling import ALONE, Options

AXIS = "population"


@dataclass(frozen=True)
class Lanes:
    """The devices.

    Attributes:
      mesh: with an axis ``population``; None for one device.
    """

    mesh: Mesh | None = None

    @property
    def count(self) -> int:
        """Networks side by side."""
        return 1 if self.mesh is None else self.mesh.shape[AXIS]

    @property
    def index(self) -> Any:
        """This device's."""
        return 0 if self.mesh is None else jax.lax.axis_index(AXIS)

    def compiled(self, options: Options) -> Options:
        """Options of XLA on CPU, where each device is a core."""
        return options if self.mesh is None else options | ALONE

    def spread(self, function: Callable[..., Any], inputs: Any, outputs: Any) -> Any:
        """``function`` on every device.

        Args:
          function: pure.
          inputs: a tree of partition specs.
          outputs: likewise.
        """
        assert self.mesh is not None
        # replicated results are equal because of the sums below, which no check can see
        return jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=inputs,
            out_specs=outputs,
            check_vma=False,
        )

    def total(self, x: Array) -> Array:
        """The sum over the devices."""
        return x if self.mesh is None else jax.lax.psum(x, AXIS)

    def most(self, x: Array) -> Array:
        """The largest of the devices'."""
        return x if self.mesh is None else jax.lax.pmax(x, AXIS)

    def gathered(self, tree: Any) -> Any:
        """All devices' trees, one after the other along a first axis."""
        if self.mesh is None:
            return jax.tree.map(lambda x: jnp.asarray(x)[None], tree)
        return jax.lax.all_gather(tree, AXIS)

    def of(self, tree: Any, lane: Array) -> Any:
        """The tree of one device, on all."""
        if self.mesh is None:
            return tree
        mine = lane == self.index

        def sent(x):
            kind = jnp.int32 if x.dtype == bool else x.dtype
            own = jnp.where(mine, x, jnp.zeros_like(x)).astype(kind)
            return jax.lax.psum(own, AXIS).astype(x.dtype)

        return jax.tree.map(sent, tree)

    def stacked(self, tree: Any) -> Any:
        """A copy for each device, along a first axis; the tree where there is one."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (self.count, *x.shape)), tree)


def specs(state: Any, own: frozenset[str]) -> Any:
    """A state's partition specs: fields of these names are each device's own."""

    def one(path, _):
        return PartitionSpec(AXIS) if path[0].name in own else PartitionSpec()

    return jax.tree_util.tree_map_with_path(one, state)
