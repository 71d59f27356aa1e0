"""``remarks``: short opinions written by procedure, and questions about them.

Made up from a few hundred words; no one wrote them. Each remark has one or two clauses
about food, films, journeys or the weather, some letters of it transposed or doubled, so
that words turn up which no other remark has. The tasks ask what it comes to:

* ``praise``: whether the verdict is good. ``not`` turns a clause round; of two clauses
  joined by ``but`` the second counts, by ``although`` the first;
* ``food``: whether it is about food;
* ``question``: whether it asks, which the order of words tells and at times a sign;
* ``past``: whether it speaks of the past.

A remark depends on ``(seed, number)`` alone. Of each five remarks three train, one
validates and one tests. The words' vectors are drawn, see ``subwords.drawn``.
"""

import numpy as np

from evojax_mtl.errors import UserError
from evojax_mtl.tasks.request import Request
from evojax_mtl.tasks.subwords import drawn
from evojax_mtl.tasks.task import SPLITS
from evojax_mtl.tasks.texts import TextTask, build_corpus, tokenise

REMARKS, LEAST, MOST = 2000, 20, 200_000
LENGTH = 32
DIMENSIONS = 32
QUESTIONS = ("praise", "food", "question", "past")
_SHARES = (3, 1, 1)
_FOOD = "soup bread curry salad cake coffee pasta cheese pudding dumpling omelette stew"
_OTHER = (
    "film plot ending soundtrack actor dialogue train ferry airport luggage timetable "
    "hostel museum sunshine drizzle breeze thunder winter morning forecast"
)
_GOOD = (
    "lovely delightful splendid pleasant charming brilliant wonderful excellent "
    "marvellous superb fine refreshing"
)
_BAD = (
    "dreadful horrid tedious miserable awful disappointing terrible unpleasant "
    "shoddy appalling dull lousy"
)
_DEGREES = "really rather quite truly so fairly utterly"
_OPENINGS = (
    "honestly ,|well ,|to be fair ,|as my neighbour said ,|if you ask me ,|"
    "after a long day ,|between you and me ,"
)
_CLOSINGS = "as always|this time|for once|i think|on the whole|by any measure"
_TYPOS = 0.04
_SHORT = 5


class _Writer:
    """Draws the parts of one remark."""

    def __init__(self, seed: int, number: int):
        self.rng = np.random.default_rng([seed, number])

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def one(self, words: str, separator: str | None = None) -> list[str]:
        options = words.split(separator)
        return options[self.rng.integers(len(options))].split()

    def clause(self, nouns: str, good: bool, verb: str, asked: bool) -> list[str]:
        """A clause whose verdict is ``good``, said outright or by ``not``."""
        turned = self.chance(0.35)
        degree = self.one(_DEGREES) if self.chance(0.4) else []
        negation = ["not"] if turned else []
        adjective = self.one(_GOOD if good != turned else _BAD)
        subject = ["the", *self.one(nouns)]
        head = [verb, *subject] if asked else [*subject, verb]
        return [*head, *negation, *degree, *adjective]

    def misspelt(self, word: str) -> str:
        """The word, or one with two letters transposed or a letter doubled."""
        if len(word) < _SHORT or not self.chance(_TYPOS):
            return word
        at = int(self.rng.integers(1, len(word) - 2))
        if self.chance(0.5):
            return word[:at] + word[at] + word[at:]
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def remark(seed: int, number: int) -> tuple[str, dict[str, int]]:
    """One remark, and the answer to each of ``QUESTIONS``."""
    writer = _Writer(seed, number)
    labels = {name: int(writer.chance(0.5)) for name in QUESTIONS}
    good, asked = bool(labels["praise"]), bool(labels["question"])
    nouns = _FOOD if labels["food"] else _OTHER
    verb = "was" if labels["past"] else "is"
    words = writer.one(_OPENINGS, "|") if writer.chance(0.3) else []
    form = writer.rng.integers(3)
    if form == 1:
        words += [*writer.clause(nouns, not good, verb, asked), ",", "but"]
    words += writer.clause(nouns, good, verb, asked)
    if form == 2:
        words += ["although", *writer.clause(nouns, not good, verb, False)]
    if writer.chance(0.3):
        words += writer.one(_CLOSINGS, "|")
    if writer.chance(0.5):
        words += ["?"] if asked else ["."]
    return " ".join(writer.misspelt(word) for word in words), labels


def load(argument: str | None, request: Request) -> list[TextTask]:
    """The tasks of the first remarks; ``argument`` says how many (2,000 by default).

    Raises:
      UserError: a wrong number of remarks, or a wrong seed.
    """
    count = REMARKS
    if argument is not None:
        count = int(argument) if argument.isdecimal() else 0
        if not LEAST <= count <= MOST:
            raise UserError(
                f"tasks 'remarks:{argument}': found {argument!r}; allowed: a number of "
                f"remarks, {LEAST} to {MOST}"
            )
    if request.seed < 0:
        raise UserError(f"data seed: found {request.seed}; allowed: 0 and up")
    written = [remark(request.seed, number) for number in range(count)]
    names = np.repeat(SPLITS, _SHARES)[np.arange(count) % sum(_SHARES)]
    corpus = build_corpus(
        "remarks",
        [tokenise(text) for text, _ in written],
        {name: np.array([own[name] for _, own in written]) for name in QUESTIONS},
        {split: np.flatnonzero(names == split) for split in SPLITS},
        request.text_length or LENGTH,
        lambda words, _: drawn(words, DIMENSIONS),
    )
    wanted = QUESTIONS[: request.first(len(QUESTIONS))]
    return [TextTask(f"remarks-{name}", corpus, name) for name in wanted]
