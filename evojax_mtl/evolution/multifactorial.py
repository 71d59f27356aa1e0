"""Multifactorial evolution of cells: one population, a skill factor each (Liao 2023).

Shape legend: ``T`` tasks, ``N`` individuals a task, ``M = T * N`` individuals in all.

One generation (3.3, 3.4):

1. Pairs of parents are drawn from the whole population by roulette, fitness normalised
   within each task, until every task has ``N`` children.
2. Parents of one task: crossover, mutation, both children belong to that task. Of two
   tasks: with the random mating probability crossover and mutation, and the two tasks
   go to the children by a fair coin; else each child is a mutated copy of its parent
   and keeps the parent's task.
3. A child's fitness is that measured, drawn towards its parent's (Eq. 2).
4. The best ``N`` of parents and children survive, task by task.

Where the paper leaves room, as the authors' code: a pair whose children find no room in
their tasks is passed over; the parent in Eq. 2 is, for a child of one task, parent
``k`` for child ``k``, and for a child of two the parent of the child's own task; equal
genomes count once, with the fitness measured last. Their code gives the children of two
tasks a task by coin even where only mutated; the paper, followed here, does not.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evojax_mtl.genomes import cells as genomes

PAIRS_PER_INDIVIDUAL = 100


class Mating(NamedTuple):
    """Where the children of a generation come from.

    Attributes:
      pair: number of each child's pair.
      child: which of the pair's two children it is.
      parents: both parents of each child, positions in the flattened population.
      crossed: whether its genes are of both.
      mapped: the parent whose fitness Eq. 2 takes.
    """

    pair: Int[Array, "T N"]
    child: Int[Array, "T N"]
    parents: Int[Array, "T N 2"]
    crossed: Bool[Array, "T N"]
    mapped: Int[Array, "T N"]


def roulette(fitness: Float[Array, "T N"]) -> Float[Array, "M"]:
    """Probability of each individual: its share of its task's fitness, over ``T``.

    Fitness below 0 counts as 0; a task without any gives all its individuals the same.
    """
    positive = jnp.maximum(fitness, 0)
    total = positive.sum(1, keepdims=True)
    even = jnp.full_like(fitness, 1 / fitness.shape[1])
    share = jnp.where(total > 0, positive / jnp.where(total > 0, total, 1), even)
    return (share / fitness.shape[0]).ravel()


def mate(
    key: Array, fitness: Float[Array, "T N"], random_mating: Float[Array, ""] | float
) -> Mating:
    """Draws pairs until each task has as many children as individuals.

    What room is left after ``100 M`` pairs goes to children of parents of the same task
    (it happens where ``T N`` is odd, or a task has nearly all the fitness).
    """
    tasks, count = fitness.shape
    size = fitness.size
    draws = PAIRS_PER_INDIVIDUAL * size
    keys = jax.random.split(key, 4)
    chance = roulette(fitness)
    bounds = jnp.cumsum(chance)
    uniform = jax.random.uniform(keys[0], (2 * draws,)) * bounds[-1]
    drawn = jnp.minimum(jnp.searchsorted(bounds, uniform, side="right"), size - 1)
    parents = drawn.reshape(draws, 2).astype(jnp.int32)
    crossing = jax.random.uniform(keys[1], (draws,)) < random_mating
    swapped = jax.random.bernoulli(keys[2], 0.5, (draws,))
    own = parents // count
    same = own[:, 0] == own[:, 1]
    crossed = same | crossing
    swap = ~same & crossing & swapped
    task = jnp.where(swap[:, None], own[:, ::-1], own)
    start = Mating(
        pair=jnp.full((tasks, count), -1, jnp.int32),
        child=jnp.zeros((tasks, count), jnp.int32),
        parents=jnp.zeros((tasks, count, 2), jnp.int32),
        crossed=jnp.zeros((tasks, count), bool),
        mapped=jnp.zeros((tasks, count), jnp.int32),
    )

    def place(state, q, k, to, parent):
        """Child ``k`` of pair ``q`` in the next place of task ``to``."""
        mating, filled = state
        n = filled[to]
        values = Mating(q, k, parents[q], crossed[q], parent)
        mating = jax.tree.map(lambda a, v: a.at[to, n].set(v), mating, Mating(*values))
        return mating, filled.at[to].add(1)

    def unfinished(state):
        q, _, filled = state
        return (q < draws) & (filled < count).any()

    def consider(state):
        q, mating, filled = state
        needed = jnp.zeros_like(filled).at[task[q]].add(1)
        fits = (filled + needed <= count).all()

        def take(state):
            for k in (0, 1):
                parent = jnp.where(swap[q], parents[q, 1 - k], parents[q, k])
                state = place(state, q, jnp.int32(k), task[q, k], parent)
            return state

        mating, filled = jax.lax.cond(fits, take, lambda s: s, (mating, filled))
        return q + 1, mating, filled

    state = (jnp.int32(0), start, jnp.zeros(tasks, jnp.int32))
    _, mating, _ = jax.lax.while_loop(unfinished, consider, state)
    spare = _within_tasks(keys[3], chance.reshape(tasks, count))
    empty = mating.pair < 0
    fill = Mating(
        pair=draws + jnp.arange(size, dtype=jnp.int32).reshape(tasks, count),
        child=jnp.zeros_like(mating.child),
        parents=jnp.stack([spare, spare], -1),
        crossed=jnp.zeros_like(empty),
        mapped=spare,
    )

    def choose(new, old):
        return jnp.where(empty.reshape(*empty.shape, *[1] * (old.ndim - 2)), new, old)

    return jax.tree.map(choose, fill, mating)


def mate_within(key: Array, fitness: Float[Array, "T N"]) -> Mating:
    """``mate`` for each task alone: single-tasking."""
    tasks, count = fitness.shape
    keys = jax.random.split(key, tasks)
    alone = jax.vmap(lambda key, own: mate(key, own[None], 0.0))(keys, fitness)
    alone = jax.tree.map(lambda x: x[:, 0], alone)
    number = jnp.arange(tasks, dtype=jnp.int32)[:, None]
    # a pair's number tells which blocks its children swap: no two pairs share one
    pairs = (PAIRS_PER_INDIVIDUAL + 1) * count
    return alone._replace(
        pair=alone.pair + pairs * number,
        parents=alone.parents + count * number[..., None],
        mapped=alone.mapped + count * number,
    )


def _within_tasks(key: Array, chance: Float[Array, "T N"]) -> Int[Array, "T N"]:
    """One parent of the same task for each place, by roulette."""
    tasks, count = chance.shape
    logits = jnp.log(chance)[:, None, :]
    drawn = jax.random.categorical(key, logits, axis=-1, shape=(tasks, count))
    return (drawn + count * jnp.arange(tasks)[:, None]).astype(jnp.int32)


def breed(
    key: Array,
    population: Int[Array, "T W 2 5 4"],
    mating: Mating,
    crossover_probability: Float[Array, ""] | float,
    mutation_probability: Float[Array, ""] | float,
    *,
    step: bool = False,
) -> Int[Array, "T N 2 5 4"]:
    """The children's genomes.

    Args:
      key: randomness.
      population: those who may be parents, ``W`` a task.
      mating: which of them.
      crossover_probability: CP, that a pair which may cross does.
      mutation_probability: MP, of each integer.
      step: see ``genomes.cells.mutate``.
    """
    flat = population.reshape(-1, *population.shape[2:])
    cross_key, mutate_key = jax.random.split(key)

    def child(pair, which, parents, crossed):
        # both children of a pair fold in the same number and so are complementary
        chance_key, block_key = jax.random.split(jax.random.fold_in(cross_key, pair))
        a, b = flat[parents[0]], flat[parents[1]]
        first, second = genomes.crossover(block_key, a, b)
        crosses = crossed & jax.random.bernoulli(chance_key, crossover_probability)
        mixed = jnp.where(which == 0, first, second)
        return jnp.where(crosses, mixed, jnp.where(which == 0, a, b))

    whole = [x.reshape(-1, *x.shape[2:]) for x in mating[:4]]
    shape = (*mating.pair.shape, *population.shape[2:])
    children = jax.vmap(child)(*whole).reshape(shape)
    return genomes.mutate(mutate_key, children, mutation_probability, step=step)


def reevaluate(
    measured: Float[Array, "*n"],
    parent: Float[Array, "*n"],
    generation: Int[Array, ""] | int,
    generations: int,
) -> Float[Array, "*n"]:
    """Fitness re-evaluation, Eq. 2: ``Fp + (Fo - Fp) log_T(t)``.

    Args:
      measured: fitness ``Fo`` of children.
      parent: fitness ``Fp`` of their parents, re-evaluated itself.
      generation: ``t``, from 2 for the first children to ``T``.
      generations: ``T``; of fewer than 2 the logarithm does not exist, and ``Fo`` is
        returned.
    """
    if generations < 2:
        return measured
    weight = jnp.log(jnp.asarray(generation, jnp.float32)) / jnp.log(float(generations))
    return parent + (measured - parent) * jnp.minimum(weight, 1)


def order(
    genomes: Int[Array, "W 2 5 4"],
    fitness: Float[Array, "W"],
    there: Bool[Array, "W"] | None = None,
) -> Int[Array, "W"]:
    """Who comes first among individuals of one task (3.3, environmental selection).

    The fittest do, of equal fitness the earlier. Of equal genomes the last counts; the
    others come after all that differ.

    Args:
      genomes: of all.
      fitness: likewise.
      there: who is; the others come last. None for all.
    """
    there = jnp.ones(len(fitness), bool) if there is None else there
    codes = genomes.reshape(len(genomes), -1)
    equal = (codes[:, None] == codes[None]).all(-1) & there
    later = jnp.triu(equal, 1).any(1)
    return jnp.lexsort((-fitness, later, ~there))


def survive(
    parents: Int[Array, "N 2 5 4"],
    parent_fitness: Float[Array, "N"],
    children: Int[Array, "K 2 5 4"],
    child_fitness: Float[Array, "K"],
) -> tuple[Int[Array, "N 2 5 4"], Float[Array, "N"]]:
    """The best ``N`` of one task by ``order``, parents before children."""
    everyone = jnp.concatenate([parents, children])
    fitness = jnp.concatenate([parent_fitness, child_fitness])
    best = order(everyone, fitness)[: len(parents)]
    return everyone[best], fitness[best]
