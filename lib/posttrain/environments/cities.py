"""Made cities: street graphs with named landmarks, and routes through them.

Paper: section 3 and appendix B.1 (a thousand routes in New York for training, two in each of nine cities as a
benchmark). The panoramas and places of the paper belong to a map service; these cities are drawn from a seed,
so everybody has the same ones in a second and nothing is downloaded. All names are invented. A city is an
uneven grid with diagonal streets and missing blocks; a landmark stands at a corner of most crossings. Left
out on purpose: one-way streets, traffic, heights.

    routes("Alderby", "train")[0]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from posttrain.environments.routes import Leg, Point, Route, bearing, compass, direction, metres, phrase
from posttrain.rendering.streets import FIRST, SECOND, Scene

TRAINING_CITY = "Alderby"
OTHER_CITIES = (
    *("Brennick", "Calvero", "Dunmarsh", "Eskerville", "Farholt", "Greyport", "Hallowmere", "Istrava"),
    "Juniper Bay",
)
CALIBRATION_CITY = "Kelwick"  # of gates and calibrations, never of an experiment
# How many routes each split has; the splits of a city have no route in common.
SPLITS = {
    TRAINING_CITY: {"train": 1000, "held_out": 250},
    **{city: {"benchmark": 2, "wide": 48} for city in OTHER_CITIES},
    CALIBRATION_CITY: {"calibration": 100},
}

SIDE = 12  # crossings on each side of a city
BLOCK = 100.0  # metres
DEGREE = 111_195.0  # metres of a degree of latitude
REACH = 20.0  # metres: so near, a crossing is where one stands
STEPS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))  # (north, east), clockwise

Node = tuple[int, int]


class City:
    """A street graph, drawn from its name.

    `points[i, j]`: a crossing's coordinates; `streets[i, j]`: the directions (0 to 7) that lead on from it;
    `landmarks`: by crossing (name, coordinates).
    """

    def __init__(self, name: str):
        if not name:
            raise ValueError("a city needs a name: it is what the city is drawn from")
        self.name = name
        rng = np.random.default_rng(np.random.SeedSequence(list(name.encode())))
        self.origin = (float(rng.uniform(-50, 55)), float(rng.uniform(-120, 140)))
        turn, stretch = rng.uniform(0, 2 * math.pi), rng.uniform(0.92, 1.08)
        rows, columns = (np.arange(SIDE) + rng.uniform(-0.15, 0.15, SIDE) for _ in range(2))
        self.points: dict[Node, Point] = {}
        for i in range(SIDE):
            for j in range(SIDE):
                north, east = rows[i] * BLOCK * stretch, columns[j] * BLOCK / stretch
                self.points[i, j] = self._coordinates(
                    north * math.cos(turn) - east * math.sin(turn),
                    north * math.sin(turn) + east * math.cos(turn),
                )
        self.streets: dict[Node, set[int]] = {node: set() for node in self.points}
        for node in self.points:
            for way in range(4):  # each street once: the other four directions lead back
                end = _next(node, way)
                if end in self.points and rng.random() < (0.25 if way % 2 else 0.9):
                    self.streets[node].add(way)
                    self.streets[end].add(way + 4)
        names = [f"{first} {second}" for first in FIRST for second in SECOND]
        names = iter([names[k] for k in rng.permutation(len(names))])
        self.landmarks: dict[Node, tuple[str, Point]] = {}
        for node, (lat, lng) in self.points.items():
            if rng.random() < 0.7:
                angle = rng.uniform(0, 2 * math.pi)
                north, east = 15 * math.cos(angle), 15 * math.sin(angle)
                corner = lat + north / DEGREE, lng + east / (DEGREE * math.cos(math.radians(lat)))
                self.landmarks[node] = next(names), corner

    def edges(self) -> list[tuple[Node, Node]]:
        """Every street between two crossings, once."""
        return [(node, _next(node, way)) for node, ways in self.streets.items() for way in ways if way < 4]

    def _coordinates(self, north: float, east: float) -> Point:
        lat, lng = self.origin
        lng += east / (DEGREE * math.cos(math.radians(lat)))
        return round(float(lat + north / DEGREE), 7), round(float(lng), 7)

    def route(self, rng: np.random.Generator, legs: int | None = None) -> Route:
        """A random route of 2 to 5 (or `legs`) legs that meets no crossing twice and ends at a landmark.

        ValueError where none is found.
        """
        if legs is not None and legs < 1:
            raise ValueError(f"a route has at least one leg, not {legs}")
        for _ in range(10_000):
            if route := self._walk(rng, int(rng.integers(2, 6)) if legs is None else legs):
                return route
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
            way, begin = sorted(ways)[int(rng.integers(len(ways)))], self.points[node]
            for _ in range(int(rng.integers(1, 4))):
                if way not in self.streets[node]:
                    break
                node = _next(node, way)
                if node in visited:
                    return None
                visited.add(node)
            end = self.points[node]
            heading = round(direction(begin, end)) % 360
            name, corner = self.landmarks.get(node, (None, end))
            legs.append(Leg(heading, end, name, bearing(heading, direction(end, corner)) if name else None))
        return Route(start, tuple(legs), None, self.name) if legs[-1].landmark else None

    def around(self, point: Point) -> Scene:
        """What stands around `point`: around the crossing within REACH, else along the nearest street."""
        near = min(self.points, key=lambda node: metres(point, self.points[node]))
        seed = (round((point[0] + 90) * 1e5) * 36_000_007 + round((point[1] + 180) * 1e5)) % 2**31
        if metres(point, self.points[near]) <= REACH:
            ways = sorted(self.streets[near])
            ends = [self.points[_next(near, way)] for way in ways]
            name, corner = self.landmarks.get(near, (None, None))
            towards = direction(point, corner) if name else 0.0
            streets = tuple(direction(self.points[near], end) for end in ends)
            return Scene(self.name, streets, name, towards, seed, crossing=True)
        _, ahead = min(_beside(point, self.points[a], self.points[b]) for a, b in self.edges())
        return Scene(self.name, (ahead, (ahead + 180) % 360), seed=seed)


def plane(origin: Point) -> Callable[[Point], tuple[float, float]]:
    """What turns points near `origin` into metres east and north of it."""
    north, east = DEGREE, DEGREE * math.cos(math.radians(origin[0]))
    return lambda point: ((point[1] - origin[1]) * east, (point[0] - origin[0]) * north)


def _next(node: Node, way: int) -> Node:
    """The crossing, one block on in direction `way`."""
    return node[0] + STEPS[way][0], node[1] + STEPS[way][1]


def _beside(point: Point, a: Point, b: Point) -> tuple[float, float]:
    """How far `point` is from the street `a` to `b` (degrees of latitude), and the street's direction."""
    scale = math.cos(math.radians(point[0]))
    street = (b[0] - a[0]), (b[1] - a[1]) * scale
    away = (point[0] - a[0]), (point[1] - a[1]) * scale
    along = (street[0] * away[0] + street[1] * away[1]) / (street[0] ** 2 + street[1] ** 2)
    along = max(0.0, min(1.0, along))
    return math.hypot(away[0] - along * street[0], away[1] - along * street[1]), direction(a, b)


@cache
def city(name: str) -> City:
    return City(name)


@cache  # routes lead to the same places again and again
def around(name: str, point: Point) -> Scene:
    """What stands around a point of a city."""
    return city(name).around(point)


@cache
def _drawn(name: str) -> tuple[Route, ...]:
    """All routes of a city; the splits are consecutive parts. No two read the same, wherever they are: a text
    task could not tell them apart, and a held-out route would be a training route."""
    rng = np.random.default_rng(np.random.SeedSequence([*name.encode(), 1]))
    drawn: dict[tuple, Route] = {}
    while len(drawn) < sum(SPLITS[name].values()):
        route = city(name).route(rng)
        drawn.setdefault(reading(route), route)
    return tuple(drawn.values())


def reading(route: Route) -> tuple[tuple[str, str], ...]:
    """What a text says of a route: each leg's compass word and what is seen at its end."""
    return tuple((compass(leg.heading), phrase(leg)) for leg in route.legs)


def routes(name: str = TRAINING_CITY, split: str = "train") -> tuple[Route, ...]:
    """The routes of a split: train, held_out (of the training city), benchmark, wide (of the nine others)."""
    if name not in SPLITS:
        raise ValueError(f"unknown city {name!r}: choose one of {', '.join(SPLITS)}")
    if split not in SPLITS[name]:
        raise ValueError(f"unknown split {split!r} of {name}: choose one of {', '.join(SPLITS[name])}")
    names = list(SPLITS[name])
    before = sum(SPLITS[name][other] for other in names[: names.index(split)])
    return _drawn(name)[before : before + SPLITS[name][split]]
