"""Sampled training and sampled evaluation of cells in supernets (Liao 2023, 3.3).

Shape legend: ``S`` supernets, ``T`` tasks, ``U`` individuals at once, ``B`` images,
``D`` features, ``L`` outputs of the widest task, ``E = 10`` edges a cell, ``n`` cells
in a stack.

A *system* is what all tasks have: ``supernets``, trees of ``CellSupernet`` stacked over
``S``, and ``decoder``, the classifiers, stacked over ``T``. Weights, momentum and, but
for the decoder, running statistics are such systems. A step takes out of it what one
genome uses, trains that, and puts it back: idle weights neither decay nor drift.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.architectures.wiring import EDGES, Wiring
from evojax_mtl.evaluation.cell_batches import Minibatch
from evojax_mtl.evaluation.classification import correct, cross_entropy
from evojax_mtl.genomes import cells
from evojax_mtl.networks.cell_supernet import (
    STACKS,
    CellSupernet,
    restore,
    run_network,
    select,
)
from evojax_mtl.pytrees import Pytree

Tree = dict[str, Any]
DATA = ("data",)
UNITS = ("population",)
MOVING = 0.1
"""Share of a batch's statistics in the running ones, PyTorch's."""


class System(Pytree):
    """All weights, their momentum, and the running statistics of batch norms."""

    params: Tree
    momentum: Tree
    statistics: Tree


class Rates(NamedTuple):
    """Of one training step."""

    learning_rate: Float[Array, ""]
    momentum: Float[Array, ""]
    weight_decay: Float[Array, ""]
    dropout: Float[Array, ""]
    drop_path: Float[Array, ""]


def wirings(cell_pair: Int[Array, "2 5 4"], repeats: int) -> list[Wiring]:
    """A genome's stacks of cells."""
    normal = (cells.NORMAL,) * repeats
    later = (cells.REDUCTION, *normal)
    return [cells.decode(cell_pair, later if i else normal) for i in range(STACKS)]


def initial_system(
    key: Array, network: CellSupernet, images: Array, supernets: int, tasks: int
) -> System:
    """Random weights, no momentum, statistics of mean 0 and variance 1."""
    wiring = wirings(jnp.zeros((2, 5, 4), jnp.int32), network.repeats)

    def init(key):
        variables = network.init(key, images, wiring, running=True)
        return variables["params"], variables["batch_stats"]

    count = max(supernets, tasks)
    params, statistics = jax.vmap(init)(jax.random.split(key, count))
    decoder = jax.tree.map(lambda x: x[:tasks], params.pop("decoder"))
    stacked = jax.tree.map(lambda x: x[:supernets], (params, statistics))
    whole = {"supernets": stacked[0], "decoder": decoder}
    return System(
        params=whole,
        momentum=jax.tree.map(jnp.zeros_like, whole),
        statistics={"supernets": stacked[1]},
    )


def take(
    tree: Tree, wiring: Sequence[Wiring], supernet: Array | int, task: Array
) -> Tree:
    """What a genome uses of a system's part."""
    chosen = select(tree["supernets"], wiring, supernet)
    if "decoder" in tree:
        chosen["decoder"] = jax.tree.map(lambda x: x[task], tree["decoder"])
    return chosen


def put(
    tree: Tree,
    chosen: Tree,
    wiring: Sequence[Wiring],
    supernet: Array | int,
    task: Array,
) -> Tree:
    """``tree`` with what ``take`` took replaced."""
    changed = {"supernets": restore(tree["supernets"], chosen, wiring, supernet)}
    if "decoder" in tree:
        changed["decoder"] = jax.tree.map(
            lambda x, value: x.at[task].set(value), tree["decoder"], chosen["decoder"]
        )
    return changed


def used(chosen: Tree, wiring: Sequence[Wiring]) -> Tree:
    """Which selected weights are in use; a closed block's 1x1 convolution is not."""
    found = jax.tree.map(lambda x: jnp.ones((), bool), chosen)
    for i, stack in enumerate(wiring):
        found[f"stack_{i}"]["kernel"] = stack.loose[:, :, None, None]
    return found


def _factors(
    key: Array, wiring: Sequence[Wiring], drop: Float[Array, ""]
) -> list[Float[Array, "_ E"]]:
    """Drop-path: 0, or 1 over the share that is kept."""
    sizes = [stack.source.shape[0] for stack in wiring]
    kept = jax.random.uniform(key, (sum(sizes) * EDGES,)) >= drop
    flat = kept / (1 - drop)
    parts = jnp.split(
        flat, [EDGES * sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    )
    return [part.reshape(-1, EDGES) for part in parts]


def _unbiased(found: Tree, images: Array) -> Tree:
    """Statistics as PyTorch keeps them: the variance over one example less."""
    batch, height, width = images.shape[:3]

    def scale(halvings, moments):
        count = batch * (height >> halvings) * (width >> halvings)
        return moments * jnp.array([1, count / max(count - 1, 1)])[:, None]

    def visit(path, moments):
        kind, _, number = path[0].key.partition("_")
        halvings = int(number) + (kind == "halving") if number else 0
        return scale(halvings, moments)

    return jax.tree_util.tree_map_with_path(visit, found)


def data_axis(mesh: Mesh | None) -> str | None:
    """The axis of devices that share a batch, if there is one."""
    return "data" if mesh is not None and "data" in mesh.axis_names else None


def _spread(
    function: Callable[..., Any],
    mesh: Mesh | None,
    parts: Sequence[tuple[str, ...]],
    results: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """``function`` on the devices of ``mesh``; itself where there is none.

    Args:
      function: its results are equal on all devices that ``results`` does not name.
      mesh: devices, of axes ``population`` and ``data`` or one of them.
      parts: axes that each argument's leading axes are divided over, where the mesh
        has them.
      results: likewise of every result.
    """
    if mesh is None:
        return function

    there = mesh.axis_names

    def spec(axes):
        return PartitionSpec(*(axis if axis in there else None for axis in axes))

    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=tuple(spec(axes) for axes in parts),
        out_specs=spec(results),
        # the sums over devices make results equal, which the check cannot see
        check_vma=False,
    )


def train_batch(
    system: System,
    genome: Int[Array, "2 5 4"],
    supernet: Int[Array, ""],
    task: Int[Array, ""],
    batch: Minibatch,
    key: Array,
    rates: Rates,
    *,
    repeats: int,
    mesh: Mesh | None = None,
) -> tuple[System, Float[Array, ""], Bool[Array, ""]]:
    """One step of SGD with Nesterov momentum on what a genome uses.

    Args:
      system: changed in its ``supernet`` and the decoder of ``task``.
      genome: two cells.
      supernet: which supernet.
      task: which decoder.
      batch: images and labels.
      key: dropout's and drop-path's.
      rates: learning rate and so on.
      repeats: normal cells in a row.
      mesh: devices, those of an axis ``data`` share the batch; None for one device.

    Returns:
      The system, the loss (nats), and whether the step was taken: one whose loss or
      gradients are not finite changes nothing.
    """
    wiring = wirings(genome, repeats)
    weights = take(system.params, wiring, supernet, task)
    moments = take(system.statistics, wiring, supernet, task)
    speed = take(system.momentum, wiring, supernet, task)
    found = batch_gradients(weights, moments, wiring, batch, key, rates, mesh)
    moving = jax.tree.map(lambda flag: flag & found.finite, used(weights, wiring))
    weights, faster = nesterov(weights, found.slopes, speed, moving, rates)
    system = System(
        params=put(system.params, weights, wiring, supernet, task),
        momentum=put(system.momentum, faster, wiring, supernet, task),
        statistics=put(system.statistics, found.statistics, wiring, supernet, task),
    )
    return system, jnp.where(found.finite, found.loss, 0.0), found.finite


class BatchGradients(NamedTuple):
    """Of what a genome uses, on a mini-batch.

    Attributes:
      loss: nats.
      slopes: of the weights.
      statistics: running ones that have seen the batch; as before if not ``finite``.
      finite: whether loss and slopes are.
    """

    loss: Float[Array, ""]
    slopes: Tree
    statistics: Tree
    finite: Bool[Array, ""]


def batch_gradients(
    weights: Tree,
    moments: Tree,
    wiring: Sequence[Wiring],
    batch: Minibatch,
    key: Array,
    rates: Rates,
    mesh: Mesh | None = None,
) -> BatchGradients:
    """Loss and gradients of a mini-batch.

    Args:
      weights: that the genome uses, as ``take`` gives them.
      moments: running statistics, likewise.
      wiring: of each stack.
      batch: images and labels.
      key: dropout's and drop-path's.
      rates: of the step.
      mesh: devices, those of an axis ``data`` share the batch; None for one device.
    """
    path_key, drop_key = jax.random.split(key)
    size, features = len(batch.images), weights["decoder"]["kernel"].shape[0]
    flat = jax.random.uniform(drop_key, (size * features,)) >= rates.dropout
    keep = flat.reshape(size, features) / (1 - rates.dropout)
    factors = _factors(path_key, wiring, rates.drop_path)
    axis = data_axis(mesh)

    def add(tree):
        return tree if axis is None else jax.lax.psum(tree, axis)

    def differentiate(weights, moments, wiring, factors, batch, keep):
        counted = jnp.maximum(add(batch.mask.sum()), 1)

        def loss(weights):
            logits, found = run_network(
                weights,
                moments,
                wiring,
                batch.images,
                running=False,
                factors=factors,
                keep=keep,
                axis=axis,
            )
            labels, mask = batch.labels[None], batch.mask[None]
            own = batch.targets.take(np.zeros(1, int))
            value = cross_entropy(logits[None], labels, mask, own)
            wrong = (~jnp.isfinite(logits)).sum()
            return value[0] * mask.sum() / counted, (found, wrong)

        out, slopes = jax.value_and_grad(loss, has_aux=True)(weights)
        (value, (found, wrong)) = out
        value, wrong, slopes = add((value, wrong, slopes))
        return value, found, wrong, slopes

    spread = _spread(differentiate, mesh, [(), (), (), (), DATA, DATA])
    value, found, wrong, slopes = spread(weights, moments, wiring, factors, batch, keep)
    finite = wrong == 0
    for leaf in jax.tree.leaves(slopes):
        finite &= jnp.isfinite(jnp.sum(leaf))
    noted = jax.tree.map(
        lambda old, new: jnp.where(finite, old + MOVING * (new - old), old),
        moments,
        _unbiased(found, batch.images),
    )
    return BatchGradients(value, slopes, noted, finite)


def nesterov(
    weights: Tree, slopes: Tree, speed: Tree, moving: Tree, rates: Rates
) -> tuple[Tree, Tree]:
    """Weights and momentum after a step of SGD; those not ``moving`` stay."""
    slopes = jax.tree.map(lambda g, w: g + rates.weight_decay * w, slopes, weights)
    faster = jax.tree.map(
        lambda m, g, moves: jnp.where(moves, rates.momentum * m + g, m),
        speed,
        slopes,
        moving,
    )

    def step(weight, slope, m, moves):
        ahead = slope + rates.momentum * m
        return jnp.where(moves, weight - rates.learning_rate * ahead, weight)

    return jax.tree.map(step, weights, slopes, faster, moving), faster


def score(
    system: System,
    genomes: Int[Array, "U 2 5 4"],
    supernets: Int[Array, "U"],
    tasks: Int[Array, "U"],
    batches: Minibatch,
    *,
    running: bool,
    repeats: int,
    mesh: Mesh | None = None,
) -> tuple[Int[Array, "U"], Int[Array, "U"], Bool[Array, "U"]]:
    """Decisions that are right, how many there are, whether all logits are finite.

    See ``classification.correct``.

    Args:
      system: the weights.
      genomes: one for each of the ``U`` devices of the mesh's axis ``population``; one
        alone without it.
      supernets: which supernet, of each genome.
      tasks: which decoder, likewise.
      batches: images and labels, likewise.
      running: whether batch norms use the running statistics, or those of the batch.
      repeats: normal cells in a row.
      mesh: devices, those of an axis ``data`` share each batch; None for one device.
    """
    axis = data_axis(mesh)

    def count(params, statistics, *one):
        genome, supernet, task, batch = jax.tree.map(lambda x: x[0], one)
        wiring = wirings(genome, repeats)
        logits, _ = run_network(
            take(params, wiring, supernet, task),
            take(statistics, wiring, supernet, task),
            wiring,
            batch.images,
            running=running,
            axis=axis,
        )
        labels, mask = batch.labels[None], batch.mask[None]
        own = batch.targets.take(np.zeros(1, int))
        (right,), (seen,) = correct(logits[None], labels, mask, own)
        found = right, seen, (~jnp.isfinite(logits)).sum()
        found = found if axis is None else jax.lax.psum(found, axis)
        return jax.tree.map(lambda x: x[None], found)

    parts = [(), (), UNITS, UNITS, UNITS, UNITS + DATA]
    spread = _spread(count, mesh, parts, UNITS)
    right, seen, wrong = spread(
        system.params, system.statistics, genomes, supernets, tasks, batches
    )
    return right, seen, wrong == 0
