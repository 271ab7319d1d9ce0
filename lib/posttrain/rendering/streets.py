"""What one sees at a place of a city: four views, to the front, right, back and left, in one picture.

Paper: appendix B and Figure 13 (V-IRL-VL): a 2 x 2 grid of views with a black cross between them. Made cities
(`posttrain.environments.cities`) are drawn: sky, streets where there are streets, houses elsewhere, the landmark's sign in its direction. Every
city has its own look, drawn from its name, so another city is a visual shift. A landmark's first word decides the colour of its
sign's upper half and its second word that of the lower half, so it can be told apart where letters no longer can; large pictures
show the name too. Streets that meet have zebra crossings. A reader who has the released panoramas cuts them with `cut` instead.

Trap: the released code's grid is turned by 135 degrees against what its prompt says (no view looks to the front); `protocol="as_released"` does the same.

    draw(around(city("Calvero"), point), heading=90, size=1200)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageDraw

from posttrain.environments.cities import FIRST, SECOND, STEPS, City
from posttrain.environments.routes import Point, direction, metres
from posttrain.rendering.cards import _font

# Degrees clockwise from the front, in the grid's order: upper left, upper right, lower left, lower right.
ORDERS = {"clean": (0, 90, 180, 270), "as_released": (-135, -45, 45, 135)}
POCKET = 40  # pixels of a view
REACH = 20.0  # metres: so near, a crossing is where one stands

_FACADE = 30  # degrees of a house front
_OPEN = 13  # degrees to either side of a street's middle without houses

Colour = tuple[int, int, int]


class Scene(NamedTuple):
    """A place: the directions of its streets and of its landmark (degrees clockwise from north), and whose city it is."""

    city: str
    streets: tuple[float, ...]
    landmark: str | None = None
    towards: float = 0.0
    seed: int = 0  # which houses stand here
    crossing: bool = False  # streets meet here


@dataclass(frozen=True)
class Look:
    """How a city looks."""

    sky: tuple[Colour, Colour]  # above, at the horizon
    ground: Colour
    road: Colour
    houses: tuple[Colour, ...]
    windows: Colour
    floors: int  # rows of windows; 0 for none
    haze: float  # share of the horizon's colour mixed into houses
    rain: bool
    round_signs: bool

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, city: str) -> "Look":
        rng = np.random.default_rng(np.random.SeedSequence([*city.encode(), 2]))
        pick = lambda low, high: tuple(int(v) for v in rng.integers(low, high, 3))
        light = int(rng.integers(150, 235))
        horizon = tuple(int(np.clip(light + v, 0, 255)) for v in rng.integers(-25, 26, 3))
        above = tuple(int(v * rng.uniform(0.45, 0.85)) for v in horizon[:2]) + (
            int(np.clip(horizon[2] * rng.uniform(0.8, 1.15), 0, 255)),
        )
        tone, grey = pick(70, 200), int(rng.integers(50, 110))
        houses = tuple(
            tuple(int(np.clip(t + d, 20, 240)) for t, d in zip(tone, rng.integers(-45, 46, 3)))
            for _ in range(6)
        )
        return cls(
            (above, horizon),
            pick(80, 170),
            (grey, grey, grey + int(rng.integers(0, 15))),
            houses,
            pick(30, 90) if rng.random() < 0.5 else pick(190, 250),
            int(rng.integers(0, 5)),
            float(rng.uniform(0, 0.35)),
            bool(rng.random() < 0.3),
            bool(rng.random() < 0.5),
        )


def around(city: City, point: Point) -> Scene:
    """The scene at `point` of a made city: of the crossing within REACH, else of the nearest street."""
    near = min(city.points, key=lambda node: metres(point, city.points[node]))
    seed = (round((point[0] + 90) * 1e5) * 36_000_007 + round((point[1] + 180) * 1e5)) % 2**31
    if metres(point, city.points[near]) <= REACH:
        ways = tuple(
            direction(city.points[near], city.points[near[0] + STEPS[way][0], near[1] + STEPS[way][1]])
            for way in sorted(city.streets[near])
        )
        name, place = city.landmarks.get(near, (None, None))
        return Scene(city.name, ways, name, direction(point, place) if name else 0.0, seed, True)
    scale = math.cos(math.radians(point[0]))
    best = (math.inf, 0.0)
    for node, ways in city.streets.items():
        for way in ways:
            if way < 4:  # each street once
                a, b = city.points[node], city.points[node[0] + STEPS[way][0], node[1] + STEPS[way][1]]
                ab, ap = (
                    ((b[0] - a[0]), (b[1] - a[1]) * scale),
                    ((point[0] - a[0]), (point[1] - a[1]) * scale),
                )
                along = max(0.0, min(1.0, (ab[0] * ap[0] + ab[1] * ap[1]) / (ab[0] ** 2 + ab[1] ** 2)))
                best = min(best, (math.hypot(ap[0] - along * ab[0], ap[1] - along * ab[1]), direction(a, b)))
    return Scene(city.name, (best[1], (best[1] + 180) % 360), None, 0.0, seed)


def draw(scene: Scene, heading: float, size: int = POCKET, protocol: str = "clean") -> Image.Image:
    """The grid of views for somebody who looks in direction `heading`; `size`: pixels of a view. ValueError for an unknown protocol."""
    return grid([view(scene, heading + turn, size) for turn in _order(protocol)])


def _order(protocol: str) -> tuple[int, ...]:
    if protocol not in ORDERS:
        raise ValueError(f"unknown protocol {protocol!r}: use one of {', '.join(ORDERS)}")
    return ORDERS[protocol]


def side(size: int) -> int:
    """Pixels of a grid whose views have `size`."""
    return 2 * size + round(size * 5 / 1200)


def grid(views: Sequence[Image.Image]) -> Image.Image:
    """Four square views in one picture, a black cross between them (5 pixels wide at the paper's 1200, none below 120)."""
    size = views[0].width
    if len(views) != 4 or any(v.size != (size, size) for v in views):
        raise ValueError(f"a grid has four square views of one size, not {[v.size for v in views]}")
    line = side(size) - 2 * size
    picture = Image.new("RGB", (side(size), side(size)))
    for place, one in enumerate(views):
        picture.paste(one, ((place % 2) * (size + line), (place // 2) * (size + line)))
    return picture


def _offset(angle: float) -> float:
    """-180 to 180 degrees."""
    return (angle + 180) % 360 - 180


@lru_cache(maxsize=256)
def _sky(city: str, size: int) -> Image.Image:
    """Sky and ground of a city."""
    look, middle = Look.of(city), size // 2
    share = np.linspace(0, 1, middle)[:, None]
    rows = np.concatenate(
        [
            np.array(look.sky[0]) * (1 - share) + np.array(look.sky[1]) * share,
            np.broadcast_to(look.ground, (size - middle, 3)),
        ]
    )
    return Image.fromarray(np.repeat(rows[:, None].astype(np.uint8), size, 1))


def view(scene: Scene, towards: float, size: int = POCKET) -> Image.Image:
    """What is seen in direction `towards`, 90 degrees wide."""
    look, picture, half = Look.of(scene.city), _sky(scene.city, size).copy(), size / 2
    pen = ImageDraw.Draw(picture)
    rng = np.random.default_rng(np.random.SeedSequence([scene.seed, *scene.city.encode()[:8]]))
    heights, tones = (
        rng.uniform(0.25, 0.85, 12).tolist(),
        rng.integers(len(look.houses), size=12).tolist(),
    )  # of the house fronts, once around
    across = lambda angle: half * (1 + math.tan(math.radians(max(-60.0, min(60.0, angle)))))
    up = lambda angle, rise: half * (1 - rise / math.cos(math.radians(max(-60.0, min(60.0, angle)))))

    for street in scene.streets:
        middle = _offset(street - towards)
        if abs(middle) < 75:  # its road runs from the horizon to where one stands
            x, wide = across(middle), half * 0.9
            foot = half + (x - half) * 0.2
            pen.polygon([(x, half), (foot - wide, size), (foot + wide, size)], fill=look.road)
            if scene.crossing:
                for stripe in np.arange(-0.75, 1, 0.5) * wide:
                    near, far = 0.75, 0.4
                    a, b = x + (foot + stripe - x) * far, x + (foot + stripe - x) * near
                    pen.polygon(
                        [
                            (a - wide * 0.13 * far, half + half * far),
                            (a + wide * 0.13 * far, half + half * far),
                            (b + wide * 0.13 * near, half + half * near),
                            (b - wide * 0.13 * near, half + half * near),
                        ],
                        fill=(235, 235, 225),
                    )
            for near in () if scene.crossing else (0.15, 0.45, 0.8):
                pen.line(
                    [
                        (x + (foot - x) * near, half + half * near),
                        (x + (foot - x) * (near + 0.14), half + half * (near + 0.14)),
                    ],
                    fill=(235, 235, 225),
                    width=max(1, round(size * near / 40)),
                )
    for number in range(360 // _FACADE):
        # A front reaches from one edge to the next, cut where a street opens.
        for low, high in _closed(number * _FACADE, (number + 1) * _FACADE, scene.streets):
            a, b = (
                _offset((low + high) / 2 - towards) - (high - low) / 2,
                _offset((low + high) / 2 - towards) + (high - low) / 2,
            )
            if b < -46 or a > 46:
                continue
            a, b = max(a, -58.0), min(b, 58.0)
            tone = tuple(
                round(c * (1 - look.haze) + s * look.haze)
                for c, s in zip(look.houses[tones[number]], look.sky[1])
            )
            rise, base = heights[number], -0.14
            pen.polygon(
                [
                    (across(a), up(a, rise)),
                    (across(b), up(b, rise)),
                    (across(b), up(b, base)),
                    (across(a), up(a, base)),
                ],
                fill=tone,
            )
            for floor in range(look.floors):
                y = rise - (floor + 0.6) * (rise - base) / (look.floors + 0.6)
                pen.line(
                    [(across(a), up(a, y)), (across(b), up(b, y))],
                    fill=look.windows,
                    width=max(1, size // 40),
                )
    if scene.landmark:
        middle = _offset(scene.towards - towards)
        if abs(middle) <= 56:
            _sign(pen, scene.landmark, across(middle), half, size * 0.24, look.round_signs, size)
    if look.rain:
        for x, y in (rng.random((size // 2, 2)) * size).tolist():
            pen.line([(x, y), (x - size * 0.02, y + size * 0.07)], fill=look.sky[1])
    return picture


def _closed(low: float, high: float, streets: Sequence[float]) -> list[tuple[float, float]]:
    """[low, high] without what lies within _OPEN degrees of a street."""
    parts = [(low, high)]
    for street in streets:
        for middle in (street - 360, street, street + 360):
            a, b = middle - _OPEN, middle + _OPEN
            parts = (
                [
                    piece
                    for x, y in parts
                    for piece in ((x, min(y, a)), (max(x, b), y))
                    if piece[1] - piece[0] > 0.5
                ]
                if any(x < b and a < y for x, y in parts)
                else parts
            )
    return parts


# --- signs ---------------------------------------------------------------------------------------------------------

# Told apart at a dozen pixels.
_COLOURS = tuple(
    tuple(round(255 * c) for c in rgb)
    for rgb in (
        (0.85, 0.1, 0.1),
        (0.1, 0.3, 0.85),
        (0.1, 0.6, 0.2),
        (0.95, 0.75, 0.1),
        (0.55, 0.15, 0.65),
        (0.1, 0.65, 0.7),
        (0.95, 0.5, 0.1),
        (0.9, 0.3, 0.6),
        (1, 1, 0.35),
        (0.1, 0.1, 0.1),
        (0.95, 0.95, 0.95),
        (0.5, 0.5, 0.5),
        (0.6, 0, 0.2),
        (0, 0.15, 0.45),
        (0.55, 0.8, 0.2),
        (1, 0.9, 0.6),
        (0.75, 0.6, 0.9),
        (0.6, 0.9, 0.85),
        (1, 0.7, 0.6),
        (0.35, 0.45, 0),
        (0.25, 0, 0.3),
        (0, 0.35, 0.3),
        (0.5, 0.7, 1),
        (0.75, 0.45, 0.3),
    )
)


def _sign(
    pen: ImageDraw.ImageDraw, name: str, x: float, y: float, half: float, round_: bool, size: int
) -> None:
    """A landmark's sign: its upper half in its first word's colour, its lower half in its second word's; the name beneath where there is room."""
    first = next((f for f in FIRST if name.startswith(f + " ")), name.partition(" ")[0])
    second = name.removeprefix(first + " ")
    colour = lambda word, known: _COLOURS[
        known.index(word) if word in known else sum(word.encode()) % len(known)
    ]
    above, ground = colour(first, FIRST), colour(second, SECOND)
    ink = (255, 255, 255) if sum(ground) < 380 else (0, 0, 0)
    box = (x - half, y - half, x + half, y + half)
    if round_:
        pen.pieslice(box, 180, 360, fill=above)
        pen.pieslice(box, 0, 180, fill=ground)
    else:
        pen.rectangle((*box[:3], y), fill=above)
        pen.rectangle((box[0], y, *box[2:]), fill=ground)
    if size >= 200:
        face = _font("DejaVuSans-Bold", size // 22)
        left, top, right, bottom = face.getbbox(name)
        pen.rectangle(
            (x - (right - left) / 2 - 4, y + half, x + (right - left) / 2 + 4, y + half + bottom + 6),
            fill=ground,
        )
        pen.text((x - (right - left) / 2, y + half + 2), name, fill=ink, font=face)


# --- the released panoramas ------------------------------------------------------------------------------------------


def cut(
    panorama: Image.Image, rotation: float, heading: float, size: int = 1200, protocol: str = "clean"
) -> Image.Image:
    """The grid of views cut from an equirectangular panorama whose middle column looks in direction `rotation` (degrees)."""
    if panorama.width != 2 * panorama.height:
        raise ValueError(
            f"an equirectangular panorama is twice as wide as high, not {panorama.width} x {panorama.height}"
        )
    pixels = np.asarray(panorama.convert("RGB"))
    return grid(
        [Image.fromarray(_perspective(pixels, heading + turn - rotation, size)) for turn in _order(protocol)]
    )


def _perspective(pixels: np.ndarray, towards: float, size: int) -> np.ndarray:
    """A view 90 degrees wide and high in direction `towards` (degrees right of the panorama's middle), nearest pixels."""
    span = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(span, span)
    longitude = np.degrees(np.arctan(x)) + towards
    latitude = np.degrees(np.arctan(y / np.hypot(1, x)))
    height, width = pixels.shape[:2]
    column = np.floor((longitude / 360 + 0.5) * width).astype(int) % width
    row = np.clip(np.floor((latitude / 180 + 0.5) * height).astype(int), 0, height - 1)
    return pixels[row, column]
