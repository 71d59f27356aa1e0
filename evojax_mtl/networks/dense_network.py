"""What networks for dense tasks have in common: an encoder, and a decoder a task.

Shape legend: ``T`` tasks, ``B`` images, ``H`` x ``W`` pixels, ``O`` channels that a
task predicts at each pixel.

``encode`` takes the weights whose gradients are balanced between the tasks, ``decode``
those that are a task's own. What ``encode`` returns, the representation, reaches
``decode`` once a task (``balancing`` puts gradients in between), with a leading axis.

The weights of a stage or a head are one vector, its ``Layout`` tells what is where:
whatever treats all weights alike, from gradients' inner products to the optimiser, is
then a few long operations, which compile and run in less time than many short ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from evojax_mtl.networks.backbone import STAGES, Backbone
from evojax_mtl.pytrees import Pytree

Images = Float[Array, "B H W c"]
Predictions = dict[str, Array]
"""By task, ``(B, H, W, O)``."""
Vector = Float[Array, "_"]
Shape = tuple[int, ...]


class Weights(Pytree):
    """Everything that training changes in a network.

    Attributes:
      encoder: weights that ``encode`` takes.
      own: by task, weights that ``decode`` takes.
      statistics: of batch norms, under ``encoder`` and ``own``.
    """

    encoder: Any
    own: dict[str, Any]
    statistics: dict[str, Any]


@runtime_checkable
class DenseNetwork(Protocol):
    """A network for dense tasks; ``architecture`` is a pytree, and data."""

    outputs: dict[str, int]

    def init(self, key: Array) -> Weights:
        """Random weights."""
        ...

    def encode(
        self,
        encoder: Any,
        statistics: Any,
        images: Images,
        architecture: Any,
        *,
        train: bool,
    ) -> tuple[Any, Any]:
        """The representation, and the encoder's new statistics."""
        ...

    def decode(
        self,
        own: dict[str, Any],
        statistics: Any,
        views: Any,
        architecture: Any,
        size: tuple[int, int],
        *,
        key: Array,
        train: bool,
    ) -> tuple[Predictions, Any]:
        """Predictions, NaN where a task's own weights are not finite; statistics.

        ``views`` are representations, one a task; each task looks at its own alone.
        """
        ...


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a tree are in one vector.

    Attributes:
      structure: of the tree.
      shapes: of its leaves.
    """

    structure: Any
    shapes: tuple[Shape, ...]

    @property
    def paths(self) -> list[tuple[str, ...]]:
        """The keys that lead to each leaf."""
        tree = jax.tree.unflatten(self.structure, range(len(self.shapes)))
        found, _ = jax.tree_util.tree_flatten_with_path(tree)
        return [tuple(key.key for key in keys) for keys, _ in found]

    @property
    def size(self) -> int:
        """Numbers in the vector."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def ravel(self, tree: Any) -> Vector:
        """The vector of a tree."""
        leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)]
        return jnp.concatenate([jnp.zeros((0,), jnp.float32), *leaves])

    def unravel(self, vector: Vector) -> Any:
        """The tree of a vector."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        parts = jnp.split(vector, ends[:-1]) if self.shapes else []
        pairs = zip(parts, self.shapes, strict=True)
        leaves = [part.reshape(shape) for part, shape in pairs]
        return jax.tree.unflatten(self.structure, leaves)


def _layout(tree: Any) -> Layout:
    leaves, structure = jax.tree.flatten(tree)
    return Layout(structure, tuple(leaf.shape for leaf in leaves))


@dataclass(frozen=True)
class Part:
    """A stage or a head, for maps of one shape.

    Attributes:
      module: its Flax module.
      shape: of the map that it reads, without ``B``.
      rest: further arguments of the module when it is set up.
    """

    module: nn.Module
    shape: Shape
    rest: tuple[Any, ...] = ()

    @property
    def weights(self) -> Layout:
        """Of the weights."""
        return _layouts(self.module, self.shape, self.rest)[0]

    @property
    def statistics(self) -> Layout:
        """Of the statistics of batch norms."""
        return _layouts(self.module, self.shape, self.rest)[1]

    @property
    def output(self) -> Shape:
        """Of the map that it gives, without ``B``."""
        return _layouts(self.module, self.shape, self.rest)[2]

    def init(self, key: Array) -> tuple[Vector, Vector]:
        """Random weights, and statistics."""
        x = jnp.zeros((1, *self.shape))
        found = self.module.init(key, x, *self.rest, train=False)
        statistics = found.get("batch_stats", {})
        return self.weights.ravel(found["params"]), self.statistics.ravel(statistics)

    def apply(
        self,
        weights: Vector,
        statistics: Vector,
        *arguments: Any,
        train: bool,
        key: Array | None = None,
    ) -> tuple[Any, Vector]:
        """The output, and the statistics: new ones in training.

        The output of a stage whose backbone has ``positions`` is a pair.
        """
        variables = {
            "params": self.weights.unravel(weights),
            "batch_stats": self.statistics.unravel(statistics),
        }
        if not train:
            output = self.module.apply(variables, *arguments, train=False)
            return output, statistics
        keys = {} if key is None else {"dropout": key}
        output, changed = self.module.apply(
            variables, *arguments, train=True, rngs=keys, mutable=["batch_stats"]
        )
        return output, self.statistics.ravel(changed.get("batch_stats", {}))

    def step(
        self, weights: Vector, statistics: Vector, x: Array, *, train: bool
    ) -> tuple[Array, tuple[Array, ...], Vector]:
        """Of a stage: the next map, its positions if it has any, and statistics."""
        output, new = self.apply(weights, statistics, x, train=train)
        if isinstance(output, tuple):
            return output[0], output[1:], new
        return output, (), new


@lru_cache
def _layouts(
    module: nn.Module, shape: Shape, rest: tuple[Any, ...]
) -> tuple[Layout, Layout, Shape]:
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    def start(key, x):
        return module.init_with_output(key, x, *rest, train=False)

    output, variables = jax.eval_shape(start, jax.random.key(0), x)
    if isinstance(output, tuple):
        output = output[0]
    statistics = variables.get("batch_stats", {})
    return _layout(variables["params"]), _layout(statistics), output.shape[1:]


def stage_parts(
    backbone: Backbone, image_shape: Shape, *, doubled: bool = False
) -> tuple[Part, ...]:
    """The stages of a backbone over images of one shape.

    Args:
      backbone: whose stages.
      image_shape: without ``B``.
      doubled: whether all stages but the stem read maps of twice the channels.
    """
    parts, shape = [], image_shape
    for i, stage in enumerate(backbone.stages):
        *place, channels = shape
        wide = (*place, 2 * channels) if doubled and i else shape
        parts.append(Part(stage, wide))
        shape = parts[-1].output
    return tuple(parts)


def init_parts(
    parts: tuple[Part, ...], key: Array
) -> tuple[dict[str, Vector], dict[str, Vector]]:
    """Weights and statistics of all stages, by name."""
    found = [part.init(jax.random.fold_in(key, i)) for i, part in enumerate(parts)]
    weights, statistics = zip(*found, strict=True)
    return (
        dict(zip(STAGES, weights, strict=True)),
        dict(zip(STAGES, statistics, strict=True)),
    )


def run_stages(
    stages: Sequence[Part],
    weights: dict[str, Vector],
    statistics: dict[str, Vector],
    images: Images,
    *,
    train: bool,
) -> tuple[Array, tuple[Array, ...], dict[str, Vector]]:
    """The last map of all stages, their positions, and new statistics."""
    x, positions, new = images, (), {}
    for name, stage in zip(STAGES, stages, strict=True):
        x, found, new[name] = stage.step(
            weights[name], statistics[name], x, train=train
        )
        positions += found
    return x, positions, new


def stream(
    maps: Sequence[Array],
    weights: dict[str, Vector],
    statistics: dict[str, Vector],
    begun: Bool[Array, "L"],
    run: Callable[[int, Array, Vector, Vector], tuple[Array, Vector]],
) -> tuple[Array, dict[str, Vector]]:
    """A further way through the stages, from the one where it begins on.

    A stage before that is a true conditional: it costs no operations.

    Args:
      maps: the images, and what the stages make of them elsewhere.
      weights: of each stage.
      statistics: likewise.
      begun: whether a stage is on the way.
      run: from number of a stage, last map, the stage's weights and statistics to the
        next map and new statistics.

    Returns:
      The last map, 0 where the way does not begin, and statistics.
    """
    z, new = jnp.zeros_like(maps[0]), {}
    for i, name in enumerate(STAGES):

        def skip(z, weights, own, i=i):
            return jnp.zeros_like(maps[i + 1]), own

        z, new[name] = jax.lax.cond(
            begun[i], partial(run, i), skip, z, weights[name], statistics[name]
        )
    return z, new


@dataclass(frozen=True)
class Heads:
    """The decoders of all tasks.

    Attributes:
      backbone: tells what a head is.
      outputs: ``O`` of each task.
      shape: of the map that a head reads, without ``B``.
    """

    backbone: Backbone
    outputs: dict[str, int]
    shape: Shape

    @cached_property
    def parts(self) -> dict[str, Part]:
        """By task."""
        heads = {name: self.backbone.head(o) for name, o in self.outputs.items()}
        return {name: Part(head, self.shape, ((1, 1),)) for name, head in heads.items()}

    def init(self, key: Array) -> tuple[dict[str, Vector], dict[str, Vector]]:
        """Weights and statistics, by task."""
        weights, statistics = {}, {}
        for i, (name, part) in enumerate(self.parts.items()):
            weights[name], statistics[name] = part.init(jax.random.fold_in(key, i))
        return weights, statistics

    def apply(
        self,
        weights: dict[str, Vector],
        statistics: dict[str, Vector],
        features: Sequence[Array],
        positions: Sequence[tuple[Array, ...]],
        size: tuple[int, int],
        *,
        sound: dict[str, Bool[Array, ""]],
        key: Array,
        train: bool,
    ) -> tuple[Predictions, dict[str, Vector]]:
        """Predictions of all tasks, and new statistics.

        ``features`` and ``positions`` are what each task reads; the latter are those of
        the stages, empty where the backbone has none.

        Where a task's own weights are not ``sound`` its predictions are NaN and pass no
        gradient on.
        """
        found, new = {}, {}
        for t, (name, part) in enumerate(self.parts.items()):
            predictions, new[name] = part.apply(
                weights[name],
                statistics[name],
                features[t],
                size,
                *((positions[t],) if positions[t] else ()),
                train=train,
                key=jax.random.fold_in(key, t),
            )
            found[name] = jnp.where(sound[name], predictions, jnp.nan)
        return found, new


@dataclass(frozen=True)
class OnBackbone:
    """What networks are made of whose tasks read all stages of one kind of backbone.

    Attributes:
      backbone: of the tasks, shared or not.
      outputs: channels that each task predicts at a pixel.
      image_shape: ``(H, W, c)``.
    """

    backbone: Backbone
    outputs: dict[str, int]
    image_shape: Shape

    @cached_property
    def stages(self) -> tuple[Part, ...]:
        """The stages of the backbone."""
        return stage_parts(self.backbone, self.image_shape)

    @cached_property
    def heads(self) -> Heads:
        """The tasks' decoders."""
        return Heads(self.backbone, self.outputs, self.stages[-1].output)

    def begin(self, key: Array) -> Weights:
        """Random weights of one backbone and of the heads."""
        stage_key, head_key = jax.random.split(key)
        stages, statistics = init_parts(self.stages, stage_key)
        heads, head_statistics = self.heads.init(head_key)
        own = {name: {"head": part} for name, part in head_statistics.items()}
        return Weights(
            {"stages": stages},
            {name: {"head": head} for name, head in heads.items()},
            {"encoder": {"stages": statistics}, "own": own},
        )


def stacked(trees: Sequence[Any]) -> Any:
    """One tree whose leaves lead with the number of the tree."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def part_of(trees: dict[str, Any], part: str) -> dict[str, Any]:
    """One part of each task's tree, by task."""
    return {name: tree[part] for name, tree in trees.items()}


def of_each(tree: Any, count: int) -> list[Any]:
    """The trees that ``stacked`` made one of."""
    return [jax.tree.map(lambda leaf, t=t: leaf[t], tree) for t in range(count)]


def isolate(own: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each task's weights, 0 where any is not finite, and whether all are finite."""
    pairs = {name: _isolate(weights) for name, weights in own.items()}
    return (
        {name: weights for name, (weights, _) in pairs.items()},
        {name: sound for name, (_, sound) in pairs.items()},
    )


def _isolate(weights: Any) -> tuple[Any, Bool[Array, ""]]:
    sound = jnp.array(True)
    for leaf in jax.tree.leaves(weights):
        sound &= jnp.isfinite(leaf).all()
    return jax.tree.map(lambda x: jnp.where(sound, x, 0), weights), sound
