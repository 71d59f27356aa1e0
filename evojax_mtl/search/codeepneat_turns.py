"""Whose turn it is: the networks of a generation, several side by side on devices.

Shape legend: ``J`` networks of a generation, ``H`` finalists, ``D`` *lanes*, networks
that are trained side by side, each on a device of its own.

A generation has as many *rounds* as it takes. In the search lane ``l`` trains network
``D r + l`` in round ``r``. In final training the finalists take their turns, ``D`` of
them side by side, each for as many rounds as with one lane it would have turns: as many
as the final generations' networks are for each, the last one what is left over. Lanes
without a network have nothing to do, which takes no time.

What a network is trained on and measured by does not depend on ``D``: a turn is
numbered as with one lane.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array


class Turn(NamedTuple):
    """Of one lane, or of several as arrays.

    Attributes:
      active: whether there is a network for it.
      final: whether it is final training.
      place: among the generation's networks, in final training of the turn; where that
        is the number of networks or more, its fitness is not told.
      who: the finalist.
      before: turns that it had before.
      generation: whose random numbers the turn gets.
      number: which of that generation's.
    """

    active: Array
    final: Array
    place: Array
    who: Array
    before: Array
    generation: Array
    number: Array


@dataclass(frozen=True)
class Turns:
    """The order of turns.

    Attributes:
      networks: of a generation, ``J``.
      finals: generations of final training.
      finalists: networks that are trained in them, ``H``.
      lanes: networks side by side, ``D``.
    """

    networks: int
    finals: int
    finalists: int
    lanes: int = 1

    @property
    def each(self) -> int:
        """Turns of a finalist."""
        return max(1, self.finals * self.networks // self.finalists)

    @property
    def last(self) -> int:
        """Turns of the last finalist: what the others leave over."""
        return max(1, self.finals * self.networks - self.each * (self.finalists - 1))

    @property
    def waves(self) -> int:
        """How often the lanes take new finalists."""
        return -(-self.finalists // self.lanes)

    @property
    def rounds(self) -> int:
        """Of a generation: enough for its networks, and for final training."""
        searching = -(-self.networks // self.lanes)
        if not self.finals:
            return searching
        final = self.each * (self.waves - 1) + self.last
        return max(searching, -(-final // self.finals))

    def at(
        self, generation: Array, first: Array, turn: Array, lane: Array | int
    ) -> Turn:
        """The turn of a lane.

        Args:
          generation: counted from 0.
          first: generation in which final training begins.
          turn: the round, counted from 0 in each generation.
          lane: which one.
        """
        final = generation >= first
        # lanes that no finalist is left for leave no gaps
        width = jnp.where(final, min(self.lanes, self.finalists), self.lanes)
        place = turn * width + lane
        past = (generation - first) * self.rounds + turn
        wave = jnp.clip(past // self.each, 0, self.waves - 1)
        who, before = wave * self.lanes + lane, past - wave * self.each
        longest = jnp.where(who == self.finalists - 1, self.last, self.each)
        there = (who < self.finalists) & (before < longest)
        number = who * self.each + before
        return Turn(
            active=jnp.where(final, there, place < self.networks),
            final=final,
            place=place,
            who=jnp.minimum(who, self.finalists - 1),
            before=before,
            generation=jnp.where(final, first + number // self.networks, generation),
            number=jnp.where(final, number % self.networks, place),
        )

    def all(self, generation: Array, first: Array) -> Turn:
        """Those of a generation."""
        count = jnp.arange(self.rounds * self.lanes)
        return self.at(generation, first, count // self.lanes, count % self.lanes)
