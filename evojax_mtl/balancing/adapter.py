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
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from evojax_mtl.balancing.checks import check_losses, check_names, check_use
from evojax_mtl.balancing.gradients import (
    Passes,
    gramian_of,
    only,
    per_task,
    weighted,
)
from evojax_mtl.balancing.groups import Grouping, Path, Split, split
from evojax_mtl.balancing.protocol import Tasks
from evojax_mtl.balancing.steps import (
    Balanced,
    conflicts,
    finish,
    leave_out,
    stacked,
    strong,
    weigh,
    weights_of_losses,
)
from evojax_mtl.pytrees import Pytree, static


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
    """

    method: Any
    names: tuple[str, ...] = static()
    passes: Passes = static(default="vmap")
    grouping: Grouping | None = static(default=None)
    shared: Callable[[Path], bool] | None = static(default=None)

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
            return strong(self.method.init(self.tasks))
        if kind == "gramian":
            return stacked(self.method.init(self.tasks), len(parts.groups))
        leaves = [
            jax.ShapeDtypeStruct((self.tasks, *leaf.shape), jnp.float32)
            for leaf in parts.shared(params)
        ]
        groups = tuple(self.method.init(group) for group in parts.take(leaves))
        return strong(groups)

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
            weights, new = weights_of_losses(self.method, state, tasks)
            (update,) = pull(weights.astype(values.dtype))
            return finish(update, state, new, tasks, {"weights": weights})
        parts = self._split(params)

        def shared(weights: Array) -> list[Array]:
            return parts.shared(pull(weights)[0])

        again = shared if self.passes == "recomputed" else None
        each = per_task(shared, values, loop=self.passes == "loop")
        update, new, tasks, extra = self._combine(parts, each, state, tasks, again)
        own = pull(tasks.present.astype(values.dtype))[0] if parts.owned else params
        return finish(parts.merge(update, own), state, new, tasks, extra)

    def update_with_heads(
        self,
        encode: Callable[[Any], tuple[Any, Any]],
        heads: Callable[[Any, Any], tuple[Float[Array, "T"], Any]],
        params: tuple[Any, Any],
        state: Any,
        *,
        key: Array,
        present: Bool[Array, "T"] | None = None,
        plain: Bool[Array, ""] | bool = False,
        inspect: Callable[[Any], Any] | None = None,
    ) -> tuple[Balanced, tuple[Any, Any, Any]]:
        """One step's update of a network that is an encoder and heads.

        As ``update`` with the encoder's weights shared, but each head is passed
        backward once, however many tasks there are. ``init`` takes the encoder's
        weights.

        Args:
          encode: from the encoder's weights to a representation, a pytree, and what
            else is wanted of it, as batch statistics.
          heads: from the heads' weights and each task's view of the representation,
            leaves ``(T, ...)``, to the losses and what else is wanted of them; task
            ``t`` must look at view ``t`` alone.
          params: the encoder's weights and the heads'; these follow their own losses.
          state: as ``init`` or the last step gave it.
          key: randomness of this step.
          present: tasks that have labels in the batch; all where None.
          plain: whether this step is the plain sum of the losses, whatever the method,
            whose state then stays.
          inspect: looks at the tasks' gradients of the encoder's weights, leaves
            ``(T, ...)``, those of a method on losses times the losses' weights.

        Returns:
          As ``update``, where the update is a pair like ``params``; and what else
          ``encode``, ``heads`` and ``inspect`` gave.
        """
        encoder, own = params
        method, loop = self.method, self.passes == "loop"
        representation, pull_encoder, first = jax.vjp(encode, encoder, has_aux=True)
        views = jax.tree.map(
            lambda x: jnp.broadcast_to(x, (self.tasks, *x.shape)), representation
        )
        values, pull, second = jax.vjp(heads, own, views, has_aux=True)
        tasks = self._given(values, key, present)
        parts = split(encoder, self.grouping or method.traits.grouping, None)
        extra: dict[str, Array] = {}
        new = state
        weights = tasks.present.astype(jnp.float32)
        on_losses = method.traits.kind == "losses"
        if on_losses:
            found, new = weights_of_losses(method, state, tasks)
            weights = extra["weights"] = jnp.where(plain, weights, found)
        own_update, each_view = pull(weights.astype(values.dtype))

        def shared(view: Any) -> list[Array]:
            return parts.shared(pull_encoder(view)[0])

        def again(weights: Array) -> list[Array]:
            def combine(x):
                return weighted(weights, x).astype(x.dtype)

            return shared(jax.tree.map(combine, each_view))

        each: list[Array] = []
        if not on_losses or inspect is not None:
            each = (
                jax.lax.map(shared, each_view) if loop else jax.vmap(shared)(each_view)
            )
        if on_losses:
            update = again(tasks.present.astype(jnp.float32))
        else:
            recomputed = again if self.passes == "recomputed" else None
            update, new, tasks, extra = self._combine(
                parts, each, state, tasks, recomputed, plain
            )
        new = jax.tree.map(lambda a, b: jnp.where(plain, a, b), state, new)
        seen = None
        if inspect is not None:
            seen = inspect(jax.tree.unflatten(jax.tree.structure(encoder), each))
        pair = (parts.merge(update, encoder), own_update)
        return finish(pair, state, new, tasks, extra), (first, second, seen)

    def _combine(
        self,
        parts: Split,
        each: Any,
        state: Any,
        tasks: Tasks,
        again: Callable[[Array], list[Array]] | None = None,
        plain: Bool[Array, ""] | bool = False,
    ) -> tuple[list[Array], Any, Tasks, dict[str, Array]]:
        """The shared leaves' update from all tasks' gradients of them.

        Args:
          parts: which leaves are weighed together.
          each: the shared leaves' gradients, ``(T, ...)``.
          state: the method's.
          tasks: of the step.
          again: from weights of the tasks to the weighted sum of their gradients, to
            spare ``each``.
          plain: whether the plain sum is wanted, whatever the method says.

        Returns:
          The update, the method's new state, the tasks that are in it, and metrics.
        """
        gramians = jnp.stack([gramian_of(group) for group in parts.take(each)])
        tasks, gramians = leave_out(tasks, gramians)
        extra = {"conflicts": conflicts(jnp.sum(gramians, 0))}
        ones = tasks.present.astype(jnp.float32)
        if self.method.traits.kind == "gramian":
            weights, new = weigh(self.method, state, gramians, tasks)
            weights = jnp.where(plain, ones, weights)
            extra["weights"] = weights[0] if len(weights) == 1 else weights
            if again is not None:
                return again(weights[0]), new, tasks, extra
            rows = zip(weights, parts.take(each), strict=True)
            update = [[weighted(one, leaf) for leaf in group] for one, group in rows]
            return parts.put(update), new, tasks, extra
        each = [only(tasks.present, leaf.astype(jnp.float32)) for leaf in each]
        pairs = [
            self.method.aggregate(one, group, tasks)
            for one, group in zip(state, parts.take(each), strict=True)
        ]
        update = parts.put([update for update, _ in pairs])
        update = [
            jnp.where(plain, weighted(ones, all_tasks), leaf)
            for all_tasks, leaf in zip(each, update, strict=True)
        ]
        return update, tuple(new for _, new in pairs), tasks, extra

    def init_through(self, representation: Any) -> Any:
        """The state for ``update_through``.

        Args:
          representation: of a batch, or its shape.
        """
        check_names(self.names)
        check_use(self.method.traits, self.passes, 1, representation=True)
        if self.method.traits.kind == "gramian":
            return stacked(self.method.init(self.tasks), 1)
        shape = (self.tasks, *representation.shape)
        return strong(self.method.init(jax.ShapeDtypeStruct(shape, jnp.float32)))

    def update_through(
        self,
        encode: Callable[[Any], Any],
        heads: Callable[[Any, Array], Any],
        params: tuple[Any, Any],
        state: Any,
        *,
        key: Array,
        present: Bool[Array, "T"] | None = None,
        has_aux: bool = False,
    ) -> Any:
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
          has_aux: whether ``encode`` and ``heads`` return pairs, whose second parts are
            what else is wanted of them.

        Returns:
          As ``update``; the update is a pair like ``params``. With ``has_aux`` also the
          pair of what else they gave.
        """
        encoder, own = params
        if not has_aux:
            plain_encode, plain_heads = encode, heads
            encode = lambda weights: (plain_encode(weights), None)  # noqa: E731
            heads = lambda *arguments: (plain_heads(*arguments), None)  # noqa: E731
        representation, pull_encoder, first = jax.vjp(encode, encoder, has_aux=True)
        if hasattr(self.method, "features"):
            views = self.method.features(state, representation)
        else:
            shape = (self.tasks, *representation.shape)
            views = jnp.broadcast_to(representation, shape)
        values, pull, second = jax.vjp(heads, own, views, has_aux=True)
        tasks = self._given(values, key, present)
        own_update, each = pull(tasks.present.astype(values.dtype))
        tasks, gramians = leave_out(tasks, gramian_of([each])[None])
        tasks = tasks.replace(representation=representation)
        extra = {"conflicts": conflicts(gramians[0])}
        if self.method.traits.kind == "gramian":
            weights, new = weigh(self.method, state, gramians, tasks)
            extra["weights"] = weights[0]
            combined = weighted(weights[0], each)
        else:
            each = only(tasks.present, each.astype(jnp.float32))
            combined, new = self.method.aggregate(state, each, tasks)
        (update,) = pull_encoder(combined.astype(representation.dtype))
        balanced = finish((update, own_update), state, new, tasks, extra)
        return (balanced, (first, second)) if has_aux else balanced

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
