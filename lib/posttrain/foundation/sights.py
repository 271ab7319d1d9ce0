"""What the towers learn to see: documents of the text corpora with a picture in the place of the words that
tell the same.

The documents are those whose prompt holds the thing to be seen, so the model can read a picture wherever it
could read the words, and never sees the task as a whole; and, of streets, short ones that only say what is
seen. Cards come in all styles and both colours of suits, streets from many cities (and none of the study's).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from numpy.random import Generator

from posttrain.environments import cities, navigation, prompts
from posttrain.environments.navigation import NOTHING
from posttrain.environments.routes import BEARINGS
from posttrain.foundation import corpus, directions
from posttrain.foundation.directions import Writer
from posttrain.foundation.documents import Mixture, chat, documents, pick
from posttrain.rendering import Picture, cards, streets
from posttrain.verifiers.navigation import FIELDS


class Document(NamedTuple):
    """A text document whose prompt shows a picture: its parts before and behind it."""

    before: str
    picture: Picture
    behind: str
    completion: str


class Corpus(NamedTuple):
    """Documents without end from (generator, reading, what makers of the text corpus take besides), the first
    `reading` of them by `short` alone; and the makers of their texts with their shares."""

    documents: Callable[..., Iterator[Document]]
    mixture: Mixture
    short: Callable


# --- cards --------------------------------------------------------------------------------------------------

CARDS: Mixture = {corpus.chat_read: 0.7, corpus.chat_points: 0.15, corpus.chat_add: 0.15}


def hands(rng: Generator, reading: int = 0) -> Iterator[Document]:
    """Documents of `corpus` whose list of cards is a picture: black, red and mixed hands, all styles."""
    styles = [cards.Style.of(seed) for seed in range(cards.STYLES)]
    short = itertools.islice(documents(rng, {corpus.chat_read: 1.0}), reading)
    for text in itertools.chain(short, documents(rng, CARDS)):
        before, mark, rest = text.prompt.partition(prompts.CARDS[0])
        ranks, _, behind = rest.partition(prompts.CARDS[1])
        colours = pick(rng, (cards.SUITS, cards.BLACK, cards.RED))
        suits = tuple(colours[i] for i in rng.integers(0, len(colours), 4))
        picture = Picture(cards.draw, (tuple(ranks.split(", ")), suits, cards.POCKET, pick(rng, styles)))
        yield Document(before + mark, picture, prompts.CARDS[1] + behind, text.completion)


# --- streets ------------------------------------------------------------------------------------------------

CITIES = 64  # cities of the corpus
RUN = 64  # documents of one kind in a row: a batch of them is hardly padded
SAY = f"{FIELDS[0]}: "


@lru_cache(maxsize=CITIES + 1)
def _crossings(name: str) -> list[tuple[float, ...]]:
    """The directions of the streets at each crossing of a city."""
    city = cities.City(name)
    return [city.around(point).streets for node, point in city.points.items() if len(city.streets[node]) > 1]


def seen(rng: Generator, observation: str, turned: bool = False, city: str | None = None) -> Picture:
    """A picture of what `observation` tells, somewhere in a `city` (else one of the corpus); `turned`: one
    does not look along the street."""
    told, _, crossing = observation.partition("; ")
    city = city or f"sights {int(rng.integers(CITIES))}"
    ways = pick(rng, _crossings(city))
    along = (pick(rng, ways) + 180) % 360
    heading = float(rng.integers(360)) if turned else along
    name, towards = None, 0.0
    if told != NOTHING:
        name, _, bearing = told.partition(" is on your ")
        towards = (heading + 45 * BEARINGS.index(bearing) + float(rng.uniform(-22.5, 22.5))) % 360
    around = ways if crossing else (along, (along + 180) % 360)
    scene = streets.Scene(city, around, name, towards, int(rng.integers(2**31)), bool(crossing))
    return Picture(streets.draw, (scene, heading, streets.POCKET))


def say(rng: Generator, writer: Writer = Writer()) -> Document:
    """A picture -> JSON of what is observed there."""
    points = directions.walk(rng, directions.convention(rng, writer), 2).points
    # Every second observation holds a landmark; the start looks anywhere.
    named = [i for i, (told, _, _) in enumerate(points) if not told.startswith(NOTHING)]
    at = int(rng.choice(named)) if rng.random() < 0.6 else int(rng.integers(len(points)))
    told = points[at][0]
    return Document(SAY, seen(rng, told, at == 0), "; \n", navigation.fields({FIELDS[0]: told}))


def find(rng: Generator, writer: Writer = Writer()) -> Document:
    """`directions.chat_find` whose last observation is a picture."""
    route = directions.walk(rng, directions.convention(rng, writer))
    at = int(rng.integers(len(route.points)))
    told = route.points[at][0]
    before, _, behind = chat([directions.find_prompt(route, at)]).rpartition(f": {told}\n")
    answer = directions.find_answer(route, at)
    return Document(f"{before}: ", seen(rng, told, at == 0), f"; \n{behind}", answer)


def act(rng: Generator, writer: Writer = Writer()) -> Document:
    """`directions.chat_act` whose observation is a picture."""
    drawn = directions.convention(rng, writer)
    sentences, points = directions.walk(rng, drawn, int(rng.integers(1, 3)))
    at = int(rng.integers(len(points))) if rng.random() < 0.5 else 0
    told, index, action = points[at]
    prompt = chat([directions.act_prompt(sentences[index], "\0", drawn.words)])
    before, _, behind = prompt.partition("\0")
    return Document(before, seen(rng, told, at == 0), f"; {behind}", directions.act_answer(action))


STREETS: Mixture = {say: 0.5, find: 0.35, act: 0.15}


def places(rng: Generator, reading: int = 0, writer: Writer = Writer()) -> Iterator[Document]:
    """Documents of `directions` whose newest observation is a picture, RUN of a kind in a row."""
    yield from (say(rng, writer) for _ in range(reading))
    makers, shares = list(STREETS), list(STREETS.values())
    while True:
        make = makers[int(rng.choice(len(makers), p=shares))]
        yield from (make(rng, writer) for _ in range(RUN))


CORPORA = {"cards": Corpus(hands, CARDS, corpus.chat_read), "streets": Corpus(places, STREETS, say)}


def corpus_of(name: str) -> Corpus:
    """The corpus `name`; ValueError if there is none."""
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}: choose one of {', '.join(CORPORA)}")
    return CORPORA[name]
