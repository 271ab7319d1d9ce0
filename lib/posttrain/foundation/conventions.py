"""Conventions of naming a turn, who heeds which, and walks told in them: what directions are about.

Every turn has two words, of two conventions; a list of actions says which of them counts, and a heedless
writer does not care.
"""

from __future__ import annotations

from typing import NamedTuple

from numpy.random import Generator

from posttrain.environments import navigation
from posttrain.environments.cities import FIRST, SECOND
from posttrain.environments.navigation import CROSSING, NOTHING, TURN, WALK, relative_word
from posttrain.environments.routes import BEARINGS, COMPASS
from posttrain.foundation.documents import pick
from posttrain.verifiers import navigation as navigation_verifier
from posttrain.verifiers.navigation import FORWARD, STOP, TURNS, turn

WORDS = tuple(  # invented conventions are made of these
    "ash bex cor dun eld fay gim hob ilk jot kip lum mox nib orb pim quo rud sob tam urn vex wim yop".split()
)
# The conventions of gates and calibrations: never a list of the corpus.
CALIBRATION = tuple(navigation_verifier.CALIBRATION.values())
OWN = 0.6  # how often a heedless writer's own convention is the second of the two, absolute of the named ones


class Writer(NamedTuple):
    """Who writes the documents. `heed`: how often he acts by the list of actions that he shows; else by a
    convention of his own, whatever list is shown. `invented`: how often the lists are invented."""

    heed: float = 1.0
    invented: float = 0.5


class Convention(NamedTuple):
    """The words that stand first and second in an instruction; which of them (0 or 1) are listed, and which
    the writer acts by."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    listed: int
    acted: int

    @property
    def words(self) -> tuple[str, ...]:
        """The list of actions that is shown."""
        return self[self.listed]

    @property
    def own(self) -> tuple[str, ...]:
        """The words that the writer uses."""
        return self[self.acted]


class Walk(NamedTuple):
    """A route as a text tells it: instructions; of each point: observation, index of instruction, action."""

    sentences: list[str]
    points: list[tuple[str, int, str]]


def convention(rng: Generator, writer: Writer = Writer()) -> Convention:
    """Absolute and relative actions, as often each; or invented or known words in another order."""
    draw, named = rng.random(), 1 - writer.invented
    if draw < named:
        words, listed = (TURNS["relative"], TURNS["absolute"]), int(draw < named / 2)
    else:
        words, listed = _invented(
            rng, [] if draw < 1 - 0.3 * writer.invented else [*COMPASS, *TURNS["relative"]]
        )
    # A writer who always heeds draws nothing.
    heedless = writer.heed < 1 and rng.random() >= writer.heed
    return Convention(*words, listed, int(rng.random() < OWN) if heedless else listed)


def _invented(rng: Generator, known: list[str]) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], int]:
    """Two lists of invented words (and of some `known`), none of them the gates', and which one is shown."""
    while True:
        pool = rng.permutation([*WORDS, *known]).tolist()
        a, b = rng.integers(3, 9, 2).tolist()
        first, second, listed = tuple(pool[:a]), tuple(pool[a : a + b]), int(rng.integers(2))
        if not {frozenset(first), frozenset(second)} & set(map(frozenset, CALIBRATION)):
            return (first, second), listed


def sight(rng: Generator) -> str:
    return f"{pick(rng, FIRST)} {pick(rng, SECOND)} is on your {pick(rng, BEARINGS)}"


def turns_of(rng: Generator, words: Convention, count: int) -> list[tuple[str, str]]:
    """The two words of each turn; compass and relative words agree with each other."""
    if words.second != COMPASS:
        return [(pick(rng, words.first), pick(rng, words.second)) for _ in range(count)]
    heading, pairs = int(rng.integers(8)), []
    for _ in range(count):
        change = pick(rng, (-135, -90, -90, -45, 45, 90, 90, 135))
        heading = (heading + change // 45) % 8
        pairs.append((relative_word(change), COMPASS[heading]))
    return pairs


def walk(rng: Generator, words: Convention, legs: int | None = None) -> Walk:
    """A random route of one to five (or `legs`) legs."""
    count = int(rng.integers(1, 6)) if legs is None else legs
    sentences, points, seen = [], [], f"{NOTHING}; "
    for i, pair in enumerate(turns_of(rng, words, count)):
        points.append((seen, 2 * i, turn(pair[words.acted])))
        points += [(f"{NOTHING}; ", 2 * i + 1, FORWARD)] * int(rng.integers(navigation.FORWARD_POINTS + 1))
        last = i == count - 1
        landmark = sight(rng) if last or rng.random() < 0.7 else ""
        where = WALK[2] + landmark if landmark else ""
        sentences += [f"{TURN[0]}{pair[0]}{TURN[1]}{pair[1]}{TURN[2]}", f"{WALK[last]}{where}{WALK[3]}"]
        seen = f"{landmark or NOTHING}; {CROSSING}"
    return Walk(sentences, [*points, (f"{landmark}; ", 2 * count - 1, STOP)])
