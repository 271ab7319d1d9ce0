"""What the towers learn to see: documents of the text corpora with a picture in the place of the words that tell the same.

The documents are those whose prompt holds the thing to be seen, so the model can read a picture wherever it could read the words, and
never sees the task as a whole; and, of streets, short ones that only say what is seen. Cards come in all styles and both colours of suits, streets from many cities (and none of the study's).
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Callable, Iterator, NamedTuple

import numpy as np

from posttrain.environments import cities, navigation, prompts
from posttrain.environments.navigation import NOTHING
from posttrain.environments.routes import BEARINGS
from posttrain.foundation import corpus, directions
from posttrain.foundation.corpus import Mixture, chat
from posttrain.rendering import Picture, cards, streets
from posttrain.verifiers.navigation import FIELDS


class Document(NamedTuple):
    """A text document whose prompt shows a picture: its parts before and behind it."""

    before: str
    picture: Picture
    behind: str
    completion: str


class Corpus(NamedTuple):
    """Documents without end from a generator, and the makers of their texts with their shares."""

    documents: Callable[
        ..., Iterator[Document]
    ]  # (generator, reading): the first `reading` documents are `short` ones alone
    mixture: Mixture
    short: Callable


# --- cards ------------------------------------------------------------------------------------------------------------

CARDS: Mixture = {corpus.chat_read: 0.7, corpus.chat_points: 0.15, corpus.chat_add: 0.15}


def hands(rng: np.random.Generator, reading: int = 0) -> Iterator[Document]:
    """Documents of `corpus` whose list of cards is a picture: black, red and mixed hands in equal shares, all styles."""
    styles = [cards.Style.of(seed) for seed in range(cards.STYLES)]
    for text in itertools.chain(
        itertools.islice(corpus.documents(rng, {corpus.chat_read: 1.0}), reading),
        corpus.documents(rng, CARDS),
    ):
        before, mark, rest = text.prompt.partition(prompts.CARDS[0])
        ranks, _, behind = rest.partition(prompts.CARDS[1])
        suits = (cards.SUITS, cards.BLACK, cards.RED)[int(rng.integers(3))]
        drawn = [suits[i] for i in rng.integers(0, len(suits), 4)]
        yield Document(
            before + mark,
            Picture(
                cards.draw,
                (
                    tuple(ranks.split(", ")),
                    tuple(drawn),
                    cards.POCKET,
                    styles[int(rng.integers(len(styles)))],
                ),
            ),
            prompts.CARDS[1] + behind,
            text.completion,
        )


# --- streets ----------------------------------------------------------------------------------------------------------

CITIES = 64  # cities of the corpus
RUN = 64  # documents of one kind in a row: a batch of them is hardly padded
_SAY = f"{FIELDS[0]}: "


@lru_cache(maxsize=CITIES + 1)
def _crossings(name: str) -> list[tuple[float, ...]]:
    """The directions of the streets at each crossing of a city."""
    city = cities.City(name)
    return [
        streets.around(city, point).streets
        for node, point in city.points.items()
        if len(city.streets[node]) > 1
    ]


def seen(
    rng: np.random.Generator, observation: str, turned: bool = False, city: str | None = None
) -> Picture:
    """A picture of what `observation` tells, somewhere in a `city` (else one of the corpus); `turned`: one does not look along the street."""
    told, _, crossing = observation.partition("; ")
    city = city or f"sights {int(rng.integers(CITIES))}"
    crossings = _crossings(city)
    ways = crossings[int(rng.integers(len(crossings)))]
    along = (ways[int(rng.integers(len(ways)))] + 180) % 360
    heading = float(rng.integers(360)) if turned else along
    name, _, bearing = told.partition(" is on your ") if told != NOTHING else (None, "", "")
    towards = (
        (heading + 45 * BEARINGS.index(bearing) + float(rng.uniform(-22.5, 22.5))) % 360 if name else 0.0
    )
    scene = streets.Scene(
        city,
        ways if crossing else (along, (along + 180) % 360),
        name,
        towards,
        int(rng.integers(2**31)),
        bool(crossing),
    )
    return Picture(streets.draw, (scene, heading, streets.POCKET))


def say(rng: np.random.Generator) -> Document:
    """A picture -> JSON of what is observed there."""
    made = directions.walk(rng, directions.convention(rng), 2)
    # Every second observation holds a landmark; the start looks anywhere.
    named = [i for i, (told, _, _) in enumerate(made.points) if not told.startswith(NOTHING)]
    at = int(rng.choice(named)) if rng.random() < 0.6 else int(rng.integers(len(made.points)))
    told = made.points[at][0]
    return Document(_SAY, seen(rng, told, at == 0), "; \n", navigation.fields({FIELDS[0]: told}))


def find(rng: np.random.Generator) -> Document:
    """`directions.chat_find` whose last observation is a picture."""
    made = directions.walk(rng, directions.convention(rng))
    at = int(rng.integers(len(made.points)))
    told = made.points[at][0]
    before, _, behind = chat([directions.find_prompt(made, at)]).rpartition(f": {told}\n")
    return Document(
        f"{before}: ", seen(rng, told, at == 0), f"; \n{behind}", directions.find_answer(made, at)
    )


def act(rng: np.random.Generator) -> Document:
    """`directions.chat_act` whose observation is a picture."""
    known = directions.convention(rng)
    made = directions.walk(rng, known, int(rng.integers(1, 3)))
    at = int(rng.integers(len(made.points))) if rng.random() < 0.5 else 0
    told, index, action = made.points[at]
    before, _, behind = chat([directions.act_prompt(made.sentences[index], "\0", known.words)]).partition(
        "\0"
    )
    return Document(before, seen(rng, told, at == 0), f"; {behind}", directions.act_answer(action))


STREETS: Mixture = {say: 0.5, find: 0.35, act: 0.15}


def places(rng: np.random.Generator, reading: int = 0) -> Iterator[Document]:
    """Documents of `directions` whose newest observation is a picture, RUN of a kind in a row."""
    yield from (say(rng) for _ in range(reading))
    makers, shares = list(STREETS), list(STREETS.values())
    while True:
        make = makers[int(rng.choice(len(makers), p=shares))]
        yield from (make(rng) for _ in range(RUN))


CORPORA = {"cards": Corpus(hands, CARDS, corpus.chat_read), "streets": Corpus(places, STREETS, say)}


def corpus_of(name: str) -> Corpus:
    """The corpus `name`; ValueError if there is none."""
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}: choose one of {', '.join(CORPORA)}")
    return CORPORA[name]
