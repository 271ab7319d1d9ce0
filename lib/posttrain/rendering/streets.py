"""What one sees at a point of a city: four views, to the front, right, back and left, in one picture.

Paper: appendix B and Figure 13 (V-IRL-VL): a 2 x 2 grid of views with a black cross between them. What is
drawn is a `Scene` (`posttrain.environments.cities` knows those of made cities): sky, streets where there are
streets, houses elsewhere, the landmark's sign in its direction. Every city has its own look, drawn from its
name, so another city is a visual shift. A landmark's first word decides the colour of its sign's upper half
and its second word that of the lower half, so it can be told apart where letters no longer can; large
pictures show the name too. Streets that meet have zebra crossings. A reader who has the released panoramas
cuts them with `cut` instead.

Trap: the released code's grid is turned by 135 degrees against what its prompt says (no view looks to the
front); `protocol="as_released"` does the same.

    draw(city("Calvero").around(point), heading=90, size=1200)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from posttrain.rendering.cards import typeface

# Degrees clockwise from the front, in the grid's order: upper left, upper right, lower left, lower right.
ORDERS = {"clean": (0, 90, 180, 270), "as_released": (-135, -45, 45, 135)}
POCKET = 40  # pixels of a view

# The two words of a made landmark's name; a word's place in its list decides its colour.
FIRST = tuple(
    "Amber,Blue,Copper,Daisy,Elm,Falcon,Golden,Harbor,Ivory,Jade,Kestrel,Lantern,Maple,North Star,Olive,"
    "Pearl,Quill,River,Silver,Thistle,Umber,Velvet,Willow,Yellow".split(",")
)
SECOND = tuple(
    "Bakery,Bank,Barber,Bookshop,Cafe,Chapel,Cinema,Clinic,Deli,Florist,Gallery,Garage,Hotel,Library,Market,"
    "Museum,Pharmacy,School".split(",")
)
# Told apart at a dozen pixels.
_COLOURS = tuple(
    tuple(bytes.fromhex(colour))
    for colour in (
        "d91a1a 1a4cd9 1a9933 f2bf1a 8c26a6 1aa6b2 f2801a e64c99 ffff59 1a1a1a f2f2f2 808080 "
        "990033 002673 8ccc33 ffe699 bf99e6 99e6d9 ffb299 597300 40004c 00594c 80b2ff bf734c"
    ).split()
)

_FRONT = 30  # degrees of a house front
_OPEN = 13  # degrees to either side of a street's middle without houses
_PAINT = (235, 235, 225)  # on the road

Colour = tuple[int, int, int]


class Scene(NamedTuple):
    """What stands around a point: directions are degrees clockwise from north."""

    city: str
    streets: tuple[float, ...]
    landmark: str | None = None
    towards: float = 0.0  # where the landmark is
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
    def of(cls, city: str) -> Look:
        rng = np.random.default_rng(np.random.SeedSequence([*city.encode(), 2]))

        def pick(low: int, high: int) -> Colour:
            return tuple(int(v) for v in rng.integers(low, high, 3))

        def shade(colour: Colour) -> Colour:
            return tuple(int(np.clip(c + d, 20, 240)) for c, d in zip(colour, rng.integers(-45, 46, 3)))

        light = int(rng.integers(150, 235))
        horizon = tuple(int(np.clip(light + v, 0, 255)) for v in rng.integers(-25, 26, 3))
        above = tuple(int(v * rng.uniform(0.45, 0.85)) for v in horizon[:2]) + (
            int(np.clip(horizon[2] * rng.uniform(0.8, 1.15), 0, 255)),
        )
        tone, grey = pick(70, 200), int(rng.integers(50, 110))
        return cls(  # arguments are evaluated from left to right, and so are the draws
            sky=(above, horizon),
            houses=tuple(shade(tone) for _ in range(6)),
            ground=pick(80, 170),
            road=(grey, grey, grey + int(rng.integers(0, 15))),
            windows=pick(30, 90) if rng.random() < 0.5 else pick(190, 250),
            floors=int(rng.integers(0, 5)),
            haze=float(rng.uniform(0, 0.35)),
            rain=bool(rng.random() < 0.3),
            round_signs=bool(rng.random() < 0.5),
        )


# --- the grid -----------------------------------------------------------------------------------------------


def draw(scene: Scene, heading: float, size: int = POCKET, protocol: str = "clean") -> Image.Image:
    """The grid of views for somebody who looks in direction `heading`; `size`: pixels of a view.

    ValueError for an unknown protocol.
    """
    return grid([view(scene, heading + turn, size) for turn in _order(protocol)])


def _order(protocol: str) -> tuple[int, ...]:
    if protocol not in ORDERS:
        raise ValueError(f"unknown protocol {protocol!r}: use one of {', '.join(ORDERS)}")
    return ORDERS[protocol]


def side(size: int) -> int:
    """Pixels of a grid whose views have `size`."""
    return 2 * size + round(size * 5 / 1200)


def grid(views: Sequence[Image.Image]) -> Image.Image:
    """Four square views in one picture, a black cross between them (5 pixels at the paper's 1200, none below
    120)."""
    size = views[0].width
    if len(views) != 4 or any(v.size != (size, size) for v in views):
        raise ValueError(f"a grid has four square views of one size, not {[v.size for v in views]}")
    far = side(size) - size
    picture = Image.new("RGB", (side(size), side(size)))
    for corner, one in zip(((0, 0), (far, 0), (0, far), (far, far)), views):
        picture.paste(one, corner)
    return picture


# --- a view -------------------------------------------------------------------------------------------------


def _offset(angle: float) -> float:
    """-180 to 180 degrees."""
    return (angle + 180) % 360 - 180


@lru_cache(maxsize=256)
def _sky(city: str, size: int) -> Image.Image:
    """Sky and ground of a city."""
    look, middle = Look.of(city), size // 2
    share = np.linspace(0, 1, middle)[:, None]
    sky = np.array(look.sky[0]) * (1 - share) + np.array(look.sky[1]) * share
    rows = np.concatenate([sky, np.broadcast_to(look.ground, (size - middle, 3))])
    return Image.fromarray(np.repeat(rows[:, None].astype(np.uint8), size, 1))


def view(scene: Scene, towards: float, size: int = POCKET) -> Image.Image:
    """What is seen in direction `towards`, 90 degrees wide."""
    look, picture, half = Look.of(scene.city), _sky(scene.city, size).copy(), size / 2
    pen = ImageDraw.Draw(picture)
    rng = np.random.default_rng(np.random.SeedSequence([scene.seed, *scene.city.encode()[:8]]))
    # Of the house fronts, once around.
    heights, tones = rng.uniform(0.25, 0.85, 12).tolist(), rng.integers(len(look.houses), size=12).tolist()

    def across(angle: float) -> float:
        return half * (1 + math.tan(math.radians(max(-60.0, min(60.0, angle)))))

    def edge(left: float, right: float, rise: float) -> list[tuple[float, float]]:
        """The ends of a level line on a front."""
        turned = ((angle, math.radians(max(-60.0, min(60.0, angle)))) for angle in (left, right))
        return [(across(angle), half * (1 - rise / math.cos(turn))) for angle, turn in turned]

    for street in scene.streets:
        middle = _offset(street - towards)
        if abs(middle) < 75:  # its road runs from the horizon to where one stands
            _road(pen, across(middle), half, size, look.road, scene.crossing)
    for number, (rise, tone) in enumerate(zip(heights, tones)):
        # A front reaches from one edge to the next, cut where a street opens.
        for low, high in _closed(number * _FRONT, (number + 1) * _FRONT, scene.streets):
            middle = _offset((low + high) / 2 - towards)
            left, right = middle - (high - low) / 2, middle + (high - low) / 2
            if right < -46 or left > 46:
                continue
            left, right, base = max(left, -58.0), min(right, 58.0), -0.14
            wall = zip(look.houses[tone], look.sky[1])
            paint = tuple(round(c * (1 - look.haze) + s * look.haze) for c, s in wall)
            pen.polygon([*edge(left, right, rise), *reversed(edge(left, right, base))], fill=paint)
            for floor in range(look.floors):
                y = rise - (floor + 0.6) * (rise - base) / (look.floors + 0.6)
                pen.line(edge(left, right, y), fill=look.windows, width=max(1, size // 40))
    if scene.landmark:
        middle = _offset(scene.towards - towards)
        if abs(middle) <= 56:
            _sign(pen, scene.landmark, across(middle), half, size * 0.24, look.round_signs, size)
    if look.rain:
        for x, y in (rng.random((size // 2, 2)) * size).tolist():
            pen.line([(x, y), (x - size * 0.02, y + size * 0.07)], fill=look.sky[1])
    return picture


def _road(pen: ImageDraw.ImageDraw, x: float, half: float, size: int, colour: Colour, crossing: bool) -> None:
    """A street that meets the horizon at `x`: zebra stripes where streets meet, else a broken line."""
    wide = half * 0.9
    foot = half + (x - half) * 0.2
    pen.polygon([(x, half), (foot - wide, size), (foot + wide, size)], fill=colour)
    if crossing:
        near, far = 0.75, 0.4
        for stripe in np.arange(-0.75, 1, 0.5) * wide:
            a, b = x + (foot + stripe - x) * far, x + (foot + stripe - x) * near
            corners = [
                (a - wide * 0.13 * far, half + half * far),
                (a + wide * 0.13 * far, half + half * far),
                (b + wide * 0.13 * near, half + half * near),
                (b - wide * 0.13 * near, half + half * near),
            ]
            pen.polygon(corners, fill=_PAINT)
        return
    for near in (0.15, 0.45, 0.8):
        ends = [(x + (foot - x) * share, half + half * share) for share in (near, near + 0.14)]
        pen.line(ends, fill=_PAINT, width=max(1, round(size * near / 40)))


def _closed(low: float, high: float, streets: Sequence[float]) -> list[tuple[float, float]]:
    """[low, high] without what lies within _OPEN degrees of a street."""
    walls = [(low, high)]
    for street in streets:
        for middle in (street - 360, street, street + 360):
            a, b = middle - _OPEN, middle + _OPEN
            if any(x < b and a < y for x, y in walls):
                cut = [piece for x, y in walls for piece in ((x, min(y, a)), (max(x, b), y))]
                walls = [(x, y) for x, y in cut if y - x > 0.5]
    return walls


def _colour(word: str, words: tuple[str, ...]) -> Colour:
    return _COLOURS[words.index(word) if word in words else sum(word.encode()) % len(words)]


def _sign(
    pen: ImageDraw.ImageDraw, name: str, x: float, y: float, half: float, round_: bool, size: int
) -> None:
    """A landmark's sign: its halves in the colours of its two words; the name beneath where there is room."""
    first = next((f for f in FIRST if name.startswith(f + " ")), name.partition(" ")[0])
    second = name.removeprefix(first + " ")
    above, below = _colour(first, FIRST), _colour(second, SECOND)
    box = (x - half, y - half, x + half, y + half)
    if round_:
        pen.pieslice(box, 180, 360, fill=above)
        pen.pieslice(box, 0, 180, fill=below)
    else:
        pen.rectangle((*box[:3], y), fill=above)
        pen.rectangle((box[0], y, *box[2:]), fill=below)
    if size >= 200:
        face = typeface("DejaVuSans-Bold", size // 22)
        left, _, right, bottom = face.getbbox(name)
        start, end = x - (right - left) / 2, x + (right - left) / 2
        pen.rectangle((start - 4, y + half, end + 4, y + half + bottom + 6), fill=below)
        ink = (255, 255, 255) if sum(below) < 380 else (0, 0, 0)
        pen.text((start, y + half + 2), name, fill=ink, font=face)


# --- the released panoramas ---------------------------------------------------------------------------------


def cut(
    panorama: Image.Image, rotation: float, heading: float, size: int = 1200, protocol: str = "clean"
) -> Image.Image:
    """The grid of views of an equirectangular panorama; the middle is direction `rotation` (degrees)."""
    if panorama.width != 2 * panorama.height:
        raise ValueError(
            f"an equirectangular panorama is twice as wide as high, not {panorama.width} x {panorama.height}"
        )
    pixels = np.asarray(panorama.convert("RGB"))
    turns = [heading + turn - rotation for turn in _order(protocol)]
    return grid([Image.fromarray(_perspective(pixels, turn, size)) for turn in turns])


def _perspective(pixels: np.ndarray, towards: float, size: int) -> np.ndarray:
    """A view 90 degrees wide and high in direction `towards` (degrees right of the middle)."""
    span = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(span, span)
    longitude = np.degrees(np.arctan(x)) + towards
    latitude = np.degrees(np.arctan(y / np.hypot(1, x)))
    height, width = pixels.shape[:2]
    column = np.floor((longitude / 360 + 0.5) * width).astype(int) % width
    row = np.clip(np.floor((latitude / 180 + 0.5) * height).astype(int), 0, height - 1)
    return pixels[row, column]
