"""Made cities: street graphs with named landmarks, and routes through them in the released schema.

Paper: section 3 and appendix B.1 (a thousand routes in New York for training, two in each of nine cities as a benchmark). The
panoramas and places of the paper belong to a map service; these cities are drawn from a seed, so everybody has the same ones in a
second and nothing is downloaded. All names are invented. A city is an uneven grid with diagonal streets and missing blocks; a
landmark stands at a corner of most crossings. Left out on purpose: one-way streets, traffic, heights.

    routes("Alderby", "train")[0]
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from posttrain.environments.routes import Leg, Point, Route, bearing, compass, direction, phrase

TRAINING_CITY = "Alderby"
OTHER_CITIES = (
    "Brennick",
    "Calvero",
    "Dunmarsh",
    "Eskerville",
    "Farholt",
    "Greyport",
    "Hallowmere",
    "Istrava",
    "Juniper Bay",
)
# How many routes each split has; the splits of a city have no route in common.
SPLITS = {
    TRAINING_CITY: {"train": 1000, "held_out": 250},
    **{city: {"benchmark": 2, "wide": 48} for city in OTHER_CITIES},
}

FIRST = (
    "Amber",
    "Blue",
    "Copper",
    "Daisy",
    "Elm",
    "Falcon",
    "Golden",
    "Harbor",
    "Ivory",
    "Jade",
    "Kestrel",
    "Lantern",
    "Maple",
    "North Star",
    "Olive",
    "Pearl",
    "Quill",
    "River",
    "Silver",
    "Thistle",
    "Umber",
    "Velvet",
    "Willow",
    "Yellow",
)
SECOND = (
    "Bakery",
    "Bank",
    "Barber",
    "Bookshop",
    "Cafe",
    "Chapel",
    "Cinema",
    "Clinic",
    "Deli",
    "Florist",
    "Gallery",
    "Garage",
    "Hotel",
    "Library",
    "Market",
    "Museum",
    "Pharmacy",
    "School",
)

SIDE = 12  # crossings on each side of a city
BLOCK = 100.0  # metres
DEGREE = 111_195.0  # metres of a degree of latitude
STEPS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))  # (north, east), clockwise


class City:
    """A street graph: `points[i, j]` are its crossings, `streets[i, j]` the directions (0 to 7) that lead on from one, `landmarks`
    maps crossings to (name, place). Everything follows from the name."""

    def __init__(self, name: str):
        if not name:
            raise ValueError("a city needs a name: it is what the city is drawn from")
        self.name = name
        rng = np.random.default_rng(np.random.SeedSequence(list(name.encode())))
        self.origin = (float(rng.uniform(-50, 55)), float(rng.uniform(-120, 140)))
        turn, stretch = rng.uniform(0, 2 * math.pi), rng.uniform(0.92, 1.08)
        rows, columns = (np.arange(SIDE) + rng.uniform(-0.15, 0.15, SIDE) for _ in range(2))
        self.points: dict[tuple[int, int], Point] = {}
        for i in range(SIDE):
            for j in range(SIDE):
                north, east = rows[i] * BLOCK * stretch, columns[j] * BLOCK / stretch
                self.points[i, j] = self._place(
                    north * math.cos(turn) - east * math.sin(turn),
                    north * math.sin(turn) + east * math.cos(turn),
                )
        self.streets: dict[tuple[int, int], set[int]] = {node: set() for node in self.points}
        for i, j in self.points:
            for way in range(4):  # each street once: the other four directions lead back
                there = i + STEPS[way][0], j + STEPS[way][1]
                if there in self.points and rng.random() < (0.25 if way % 2 else 0.9):
                    self.streets[i, j].add(way)
                    self.streets[there].add(way + 4)
        names = [f"{a} {b}" for a in FIRST for b in SECOND]
        names = iter([names[k] for k in rng.permutation(len(names))])
        self.landmarks = {}
        for node, (lat, lng) in self.points.items():
            if rng.random() < 0.7:
                angle = rng.uniform(0, 2 * math.pi)
                place = (
                    lat + 15 * math.cos(angle) / DEGREE,
                    lng + 15 * math.sin(angle) / (DEGREE * math.cos(math.radians(lat))),
                )
                self.landmarks[node] = next(names), place

    def _place(self, north: float, east: float) -> Point:
        lat, lng = self.origin
        return round(float(lat + north / DEGREE), 7), round(
            float(lng + east / (DEGREE * math.cos(math.radians(lat)))), 7
        )

    def route(self, rng: np.random.Generator, legs: int | None = None) -> Route:
        """A random route of 2 to 5 (or `legs`) legs that meets no crossing twice and ends at a landmark. ValueError where none is found."""
        if legs is not None and legs < 1:
            raise ValueError(f"a route has at least one leg, not {legs}")
        for _ in range(10_000):
            found = self._walk(rng, int(rng.integers(2, 6)) if legs is None else legs)
            if found:
                return found
        raise ValueError(
            f"{self.name} has no route of {legs} legs that was found in 10,000 tries: ask for fewer"
        )

    def _walk(self, rng: np.random.Generator, count: int) -> Route | None:
        node, way = divmod(int(rng.integers(SIDE * SIDE)), SIDE), None
        start, visited, legs = self.points[node], {node}, []
        while len(legs) < count:
            # A leg ends with a turn: neither straight on nor back.
            ways = [w for w in self.streets[node] if way is None or w not in (way, (way + 4) % 8)]
            if not ways:
                return None
            way, here = sorted(ways)[int(rng.integers(len(ways)))], self.points[node]
            for _ in range(int(rng.integers(1, 4))):
                if way not in self.streets[node]:
                    break
                node = node[0] + STEPS[way][0], node[1] + STEPS[way][1]
                if node in visited:
                    return None
                visited.add(node)
            end = self.points[node]
            heading = round(direction(here, end)) % 360
            name, place = self.landmarks.get(node, (None, end))
            legs.append(Leg(heading, end, name, bearing(heading, direction(end, place)) if name else None))
        return Route(start, tuple(legs), None, self.name) if legs[-1].landmark else None


@lru_cache(maxsize=None)
def city(name: str) -> City:
    return City(name)


@lru_cache(maxsize=None)
def _drawn(name: str) -> tuple[Route, ...]:
    """All routes of a city; the splits are consecutive parts. No two read the same, wherever they are: a text task could not tell
    them apart, and a held-out route would be a training route."""
    rng = np.random.default_rng(np.random.SeedSequence([*name.encode(), 1]))
    found: dict[tuple, Route] = {}
    while len(found) < sum(SPLITS[name].values()):
        route = city(name).route(rng)
        found.setdefault(reading(route), route)
    return tuple(found.values())


def reading(route: Route) -> tuple[tuple[str, str], ...]:
    """What a text says of a route: each leg's compass word and what is seen at its end."""
    return tuple((compass(leg.heading), phrase(leg)) for leg in route.legs)


def routes(name: str = TRAINING_CITY, split: str = "train") -> tuple[Route, ...]:
    """The routes of a split of a city. Splits: train, held_out (the training city), benchmark, wide (the nine others)."""
    if name not in SPLITS:
        raise ValueError(f"unknown city {name!r}: choose one of {', '.join(SPLITS)}")
    if split not in SPLITS[name]:
        raise ValueError(f"unknown split {split!r} of {name}: choose one of {', '.join(SPLITS[name])}")
    sizes = list(SPLITS[name].items())
    before = sum(size for other, size in sizes[: [other for other, _ in sizes].index(split)])
    return _drawn(name)[before : before + SPLITS[name][split]]
