"""Any balancing method in any training step.

Shape legend: ``T`` tasks, ``K`` groups of weights.

``Balancer.update`` takes a function from weights to the losses of the tasks and returns
an update for ``optax``, as a gradient would be. ``Balancer.update_through`` does so for
a network that is an encoder and heads, with gradients of the representation in between.

Rules, the same for all methods:

* Weights that are not ``shared`` (heads) follow the plain gradient of the sum of the
  losses, unless the method weighs losses.
* A task that is masked, whose loss or gradient is not finite, or whose loss is not
  above 0 where it must be, is left out of the step: ``left_out`` counts them.
* A step in which no task is left, or whose update is not finite, is ``skipped``: its
  update is 0 and the method's state stays.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.checks import check_losses, check_names, check_use
from evojax_mtl.balancing.gradients import (
    Passes,
    all_finite,
    gramian_of,
    only,
    per_task,
    weighted,
)
from evojax_mtl.balancing.groups import Grouping, Path, Split, split
from evojax_mtl.balancing.protocol import GramianWeighting, LossBalancer, Tasks
from evojax_mtl.pytrees import Pytree, static


class Balanced(NamedTuple):
    """What a step gives.

    Attributes:
      update: a pytree like the weights, to be used as their gradient.
      state: the method's.
      metrics: ``losses`` ``(T,)``, ``left_out`` (tasks), ``skipped``; ``weights`` of
        the tasks where the method has them, ``(T,)``, or ``(K, T)`` for several groups;
        ``conflicts``, pairs of tasks whose gradients oppose each other, where inner
        products are known.
    """

    update: Any
    state: Any
    metrics: dict[str, Array]


class Balancer(Pytree):
    """A method, and how it is used.

    Attributes:
      method: what balances; its rates are leaves of this pytree.
      names: of the tasks.
      passes: how the tasks' gradients come about; see ``Passes``.
      grouping: which weights are weighed together; see ``Grouping``. None for the
        method's own.
      shared: tells from the keys that lead to a leaf whether the tasks share it; all do
        where None.
      kind: class of ``method``, found by itself. JAX takes two classes with equal
        fields for one structure, and could run one method's program for the other.
    """

    method: Any
    names: tuple[str, ...] = static()
    passes: Passes = static(default="vmap")
    grouping: Grouping | None = static(default=None)
    shared: Callable[[Path], bool] | None = static(default=None)
    kind: str = static(default="")

    def __post_init__(self) -> None:
        """Notes the method's class, but where JAX rebuilds what has it already."""
        if not self.kind:
            object.__setattr__(self, "kind", type(self.method).__qualname__)

    @property
    def tasks(self) -> int:
        """``T``."""
        return len(self.names)

    def init(self, params: Any) -> Any:
        """The method's state before the first step.

        Args:
          params: weights, or their shapes.

        Raises:
          UserError: if names repeat, or the method cannot be used so.
        """
        check_names(self.names)
        parts = self._split(params)
        check_use(
            self.method.traits, self.passes, len(parts.groups), representation=False
        )
        kind = self.method.traits.kind
        if kind == "losses":
            return _strong(self.method.init(self.tasks))
        if kind == "gramian":
            return _stacked(self.method.init(self.tasks), len(parts.groups))
        leaves = [
            jax.ShapeDtypeStruct((self.tasks, *leaf.shape), jnp.float32)
            for leaf in parts.shared(params)
        ]
        groups = tuple(self.method.init(group) for group in parts.take(leaves))
        return _strong(groups)

    def update(
        self,
        losses: Callable[[Any], Float[Array, "T"]],
        params: Any,
        state: Any,
        *,
        key: Array,
        present: Bool[Array, "T"] | None = None,
    ) -> Balanced:
        """One step's update.

        Args:
          losses: from weights to the losses of the batch.
          params: weights.
          state: as ``init`` or the last step gave it.
          key: randomness of this step.
          present: tasks that have labels in the batch; all where None.

        Raises:
          UserError: if there is not one loss a task; outside of compiled programs also
            if one is not finite or has the wrong sign, or no task is present.
        """
        values, pull = jax.vjp(losses, params)
        tasks = self._given(values, key, present)
        kind = self.method.traits.kind
        if kind == "losses":
            weights, new = _weights_of_losses(self.method, state, tasks)
            (update,) = pull(weights.astype(values.dtype))
            return _finish(update, state, new, tasks, {"weights": weights})
        parts = self._split(params)

        def shared(weights: Array) -> list[Array]:
            return parts.shared(pull(weights)[0])

        each = per_task(shared, values, loop=self.passes == "loop")
        gramians = jnp.stack([gramian_of(group) for group in parts.take(each)])
        tasks, gramians = _leave_out(tasks, gramians)
        extra = {"conflicts": _conflicts(jnp.sum(gramians, 0))}
        if kind == "gramian":
            weights, new = _weigh(self.method, state, gramians, tasks)
            extra["weights"] = weights[0] if len(weights) == 1 else weights
            if self.passes == "recomputed":
                update = shared(weights[0].astype(values.dtype))
            else:
                update = parts.put(
                    [
                        [weighted(one, leaf) for leaf in group]
                        for one, group in zip(weights, parts.take(each), strict=True)
                    ]
                )
        else:
            each = [only(tasks.present, leaf.astype(jnp.float32)) for leaf in each]
            pairs = [
                self.method.aggregate(one, group, tasks)
                for one, group in zip(state, parts.take(each), strict=True)
            ]
            update = parts.put([update for update, _ in pairs])
            new = tuple(new for _, new in pairs)
        own = pull(tasks.present.astype(values.dtype))[0] if parts.owned else params
        return _finish(parts.merge(update, own), state, new, tasks, extra)

    def init_through(self, representation: Any) -> Any:
        """The state for ``update_through``.

        Args:
          representation: of a batch, or its shape.
        """
        check_names(self.names)
        check_use(self.method.traits, self.passes, 1, representation=True)
        if self.method.traits.kind == "gramian":
            return _stacked(self.method.init(self.tasks), 1)
        shape = (self.tasks, *representation.shape)
        return _strong(self.method.init(jax.ShapeDtypeStruct(shape, jnp.float32)))

    def update_through(
        self,
        encode: Callable[[Any], Array],
        heads: Callable[[Any, Array], Float[Array, "T"]],
        params: tuple[Any, Any],
        state: Any,
        *,
        key: Array,
        present: Bool[Array, "T"] | None = None,
    ) -> Balanced:
        """One step's update by gradients of a shared representation.

        The encoder is passed backward once, however many tasks there are.

        Args:
          encode: from the encoder's weights to the representation ``(B, ...)``.
          heads: from the heads' weights and each task's view of the representation,
            ``(T, B, ...)``, to the losses; task ``t`` must look at view ``t`` alone.
          params: the encoder's weights and the heads'; these follow their own losses.
          state: as ``init_through`` or the last step gave it.
          key: randomness of this step.
          present: tasks that have labels in the batch; all where None.

        Returns:
          As ``update``; the update is a pair like ``params``.
        """
        encoder, own = params
        representation, pull_encoder = jax.vjp(encode, encoder)
        if hasattr(self.method, "features"):
            views = self.method.features(state, representation)
        else:
            shape = (self.tasks, *representation.shape)
            views = jnp.broadcast_to(representation, shape)
        values, pull = jax.vjp(heads, own, views)
        tasks = self._given(values, key, present)
        own_update, each = pull(tasks.present.astype(values.dtype))
        tasks, gramians = _leave_out(tasks, gramian_of([each])[None])
        tasks = tasks.replace(representation=representation)
        extra = {"conflicts": _conflicts(gramians[0])}
        if self.method.traits.kind == "gramian":
            weights, new = _weigh(self.method, state, gramians, tasks)
            extra["weights"] = weights[0]
            combined = weighted(weights[0], each)
        else:
            each = only(tasks.present, each.astype(jnp.float32))
            combined, new = self.method.aggregate(state, each, tasks)
        (update,) = pull_encoder(combined.astype(representation.dtype))
        return _finish((update, own_update), state, new, tasks, extra)

    def observe(self, state: Any, losses: Float[Array, "T"]) -> Any:
        """The state after the method has seen the losses that the update led to.

        Methods that do not look return ``state`` (``method.traits.observes`` tells).
        """
        if not self.method.traits.observes:
            return state
        return self.method.observe(state, losses.astype(jnp.float32))

    def _split(self, params: Any) -> Split:
        grouping = self.grouping or self.method.traits.grouping
        return split(params, grouping, self.shared)

    def _given(
        self, losses: Array, key: Array, present: Bool[Array, "T"] | None
    ) -> Tasks:
        check_losses(self.method.traits, self.names, losses, present)
        values = losses.astype(jnp.float32)
        good = jnp.isfinite(values)
        if present is not None:
            good &= present
        if self.method.traits.positive:
            good &= values > 0
        return Tasks(losses=jnp.where(good, values, 0), present=good, key=key)


def _stacked(state: Any, count: int) -> Any:
    """``count`` copies of a state, one a group."""
    return _strong(jax.tree.map(lambda x: jnp.stack([x] * count), state))


def _strong(state: Any) -> Any:
    """Without weak types, which would compile the second step anew."""
    return jax.tree.map(lambda x: jnp.asarray(x, x.dtype), state)


def _weights_of_losses(
    method: LossBalancer, state: Any, tasks: Tasks
) -> tuple[Float[Array, "T"], Any]:
    """The scalar's derivative in each loss, and the new state."""

    def scalar(losses):
        return method.combine(state, tasks.replace(losses=losses))

    weights, new = jax.grad(scalar, has_aux=True)(tasks.losses)
    return jnp.where(tasks.present, weights, 0), new


def _weigh(
    method: GramianWeighting, state: Any, gramians: Float[Array, "K T T"], tasks: Tasks
) -> tuple[Float[Array, "K T"], Any]:
    """The weights of each group."""

    def one(state, gramian, key):
        weights, new = method.weigh(state, gramian, tasks.replace(key=key))
        return jnp.where(tasks.present, weights, 0), new

    return jax.vmap(one)(state, gramians, jax.random.split(tasks.key, len(gramians)))


def _leave_out(
    tasks: Tasks, gramians: Float[Array, "K T T"]
) -> tuple[Tasks, Float[Array, "K T T"]]:
    """Without the tasks whose gradient is not finite."""
    norms = jnp.sum(jnp.diagonal(gramians, axis1=1, axis2=2), 0)
    good = tasks.present & jnp.isfinite(norms)
    tasks = tasks.replace(present=good, losses=jnp.where(good, tasks.losses, 0))
    return tasks, jnp.where(good[:, None] & good[None, :], gramians, 0)


def _conflicts(gramian: Float[Array, "T T"]) -> Array:
    """Pairs of tasks with a negative inner product."""
    return jnp.sum(jnp.triu(gramian < 0, 1))


def _finish(
    update: Any, old: Any, new: Any, tasks: Tasks, extra: dict[str, Array]
) -> Balanced:
    """Applies the rule for steps that come to nothing."""
    taken = jnp.any(tasks.present) & all_finite(update)
    metrics = {
        "losses": tasks.losses,
        "left_out": jnp.sum(~tasks.present),
        "skipped": ~taken,
    }
    return Balanced(
        jax.tree.map(lambda x: jnp.where(taken, x, jnp.zeros_like(x)), update),
        jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old),
        metrics | extra,
    )
