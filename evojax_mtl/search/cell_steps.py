"""One tick of training of a search of cells: a mini-batch of one task, or of all.

Shape legend: ``N`` individuals of a population and ``C`` candidates of a generation.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from evojax_mtl.evaluation.cell_batches import Minibatch, epoch_rows, minibatch
from evojax_mtl.evaluation.cell_training import Rates, train_batch
from evojax_mtl.evaluation.joint_training import train_together
from evojax_mtl.search.cell_state import CellState
from evojax_mtl.tasks.dataset import TRAIN, Dataset


def train_tick(
    search: Any, key: Array, data: Dataset, rates: Rates, tick: Array, state: CellState
) -> CellState:
    """One mini-batch of one task; of every task where ``search`` balances them."""
    tasks, indices = (jnp.asarray(part) for part in search.turns)
    task, index = tasks[tick - 1], indices[tick - 1]
    keep = {"repeats": search.config.repeats, "mesh": search.mesh}
    draw = partial(_draw, search, key, data, state, index)
    tick_key = jax.random.fold_in(key, tick)
    if search.balancer and state.balance is not None:
        system, balance, loss, taken = train_together(
            state.system,
            lambda task: draw(jax.random.fold_in(tick_key, task), task),
            rates,
            search.balancer,
            state.balance,
            tick_key,
            **keep,
        )
        state = state.replace(balance=balance)
    else:
        genome, batch, step_key = draw(tick_key, task)
        supernet = jnp.asarray(search.supernet)[task]
        system, loss, taken = train_batch(
            state.system, genome, supernet, task, batch, step_key, rates, **keep
        )
    tally = state.tally
    tally = tally.replace(loss=tally.loss + loss, skipped=tally.skipped + ~taken)
    return state.replace(system=system, tally=tally)


def _draw(
    search: Any,
    key: Array,
    data: Dataset,
    state: CellState,
    index: Array,
    tick_key: Array,
    task: Array,
) -> tuple[Int[Array, "2 5 4"], Minibatch, Array]:
    """A genome of a task, its mini-batch ``index``, and the step's key."""
    draw_key, image_key, step_key = jax.random.split(tick_key, 3)
    both = jnp.asarray(search.population)[task]
    everyone = jnp.concatenate([state.parents[both], state.candidates[both]])
    # the first candidates are the parents
    begin = jnp.where(state.generation == 0, search.config.population, 0)
    genome = everyone[jax.random.randint(draw_key, (), begin, len(everyone))]
    # one key a task and epoch: its mini-batches do not overlap
    size, batch = data.sizes[TRAIN, task], search.config.batch
    count = -(-size // batch)
    epoch_key = jax.random.fold_in(jax.random.fold_in(key, task), index // count)
    rows, _ = epoch_rows(epoch_key, data, TRAIN, task, index % count, batch)
    drawn = minibatch(data, task, rows)
    augmented = search.pipeline.augmented(image_key, drawn.images, task)
    return genome, drawn._replace(images=augmented), step_key
