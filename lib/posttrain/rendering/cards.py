"""A hand of cards as a picture.

Paper: appendix A.1 and Figure 11 (GP-VL): four cards side by side, 270 x 378 pixels each, on a green square
of 1200 x 1200, in the middle of its height. The drawing is our own (no foreign card art); the letters are
fonts that matplotlib ships. The pocket layout is the same square with 56 pixels a side, where a card is one
large rank above one large suit. Left out on purpose: court portraits (a framed letter stands for them) and
overlapping cards.

    draw(("A", "10", "J", "K"), ("S", "C", "S", "C")).save("hand.png")
    draw(ranks, suits, POCKET, style=Style.of(7))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")
BLACK, RED = ("S", "C"), ("H", "D")
SUITS = (*BLACK, *RED)  # the colour is the suit's: black in training, red for the visual shift
GREEN = (53, 101, 77)
FONTS = (
    *("DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold", "DejaVuSans", "DejaVuSerif"),
    "STIXGeneralBol",
)
_INK = {"S": (16, 16, 20), "C": (16, 16, 20), "H": (200, 30, 36), "D": (200, 30, 36)}
_SCALE = 4  # cards are drawn so many times larger and reduced, which smooths their edges
_SMALL = 100  # pixels: a narrower card is one large rank above one large suit, all that it can show

Colour = tuple[int, int, int]


class Layout(NamedTuple):
    """Sizes in pixels: the picture, a card, the first card's left edge, the distance from card to card."""

    width: int
    height: int
    card: tuple[int, int]
    left: int
    step: int

    @classmethod
    def square(cls, size: int) -> Layout:
        """The paper's layout on a square of `size` pixels (the paper: 1200)."""
        if size < 40:
            raise ValueError(
                f"a square of {size} pixels is too small for four cards: use 40 or more, or the layout POCKET"
            )
        card = round(size * 270 / 1200), round(size * 378 / 1200)
        return cls(size, size, card, round(size * 5 / 1200), round(size * 297 / 1200))


PAPER = Layout.square(1200)
POCKET = Layout.square(56)
STYLES = 64  # seeds of styles that models see; each card of each is drawn once


@dataclass(frozen=True)
class Style:
    """How a hand looks. jitter: pixels per hundred of a card's width that a card is moved by at most; noise:
    its standard deviation, 0-255."""

    font: str = FONTS[0]
    table: Colour = GREEN
    paper: Colour = (252, 252, 248)
    jitter: float = 0.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if self.font not in FONTS:
            raise ValueError(f"unknown font {self.font!r}: use one of {', '.join(FONTS)}")

    @classmethod
    def of(cls, seed: int) -> Style:
        """A style drawn from `seed`: everything but the colours of the suits, which never change."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, 52]))
        table = tuple(int(v) for v in np.clip(np.array(GREEN) + rng.integers(-40, 41, 3), 0, 255))
        shade = int(rng.integers(225, 256))
        font = FONTS[int(rng.integers(len(FONTS)))]
        paper = (shade, shade, int(np.clip(shade - rng.integers(0, 20), 0, 255)))
        return cls(font, table, paper, float(rng.uniform(0, 4)), float(rng.uniform(0, 48)), seed)


def draw(
    ranks: Sequence[str], suits: Sequence[str], layout: Layout = PAPER, style: Style = Style()
) -> Image.Image:
    """An RGB picture of the hand; the same arguments give the same pixels.

    ValueError for no cards, too many, or unknown ones.
    """
    if not 1 <= len(ranks) <= 4 or len(ranks) != len(suits):
        raise ValueError(f"a hand is one to four cards with a suit each, not {list(ranks)} and {list(suits)}")
    if unknown := [r for r in ranks if r not in RANKS] + [s for s in suits if s not in SUITS]:
        raise ValueError(
            f"unknown {', '.join(map(repr, unknown))}: ranks are {', '.join(RANKS)}; suits {', '.join(SUITS)}"
        )
    picture = Image.new("RGB", (layout.width, layout.height), style.table)
    seed = [style.seed, *map(RANKS.index, ranks), *map(SUITS.index, suits)]
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    reach = style.jitter * layout.card[0] / 100
    moves = np.rint(rng.uniform(-reach, reach, (len(ranks), 2))).astype(int).tolist()
    card = _small if layout.card[0] < _SMALL else _large
    top = (layout.height - layout.card[1]) // 2
    for index, (rank, suit, (dx, dy)) in enumerate(zip(ranks, suits, moves)):
        face, shape = card(rank, suit, layout.card, style.font, style.paper)
        picture.paste(face, (layout.left + layout.step * index + dx, top + dy), shape)
    if style.noise:
        noise = rng.standard_normal((layout.height, layout.width, 1), np.float32) * style.noise
        pixels = np.asarray(picture, np.float32) + noise
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return picture


# --- one card -----------------------------------------------------------------------------------------------


def _card(
    rank: str, suit: str, size: tuple[int, int], font: str, paper: Colour
) -> tuple[Image.Image, Image.Image]:
    """A card's face and its shape (rounded corners)."""
    width, height = size[0] * _SCALE, size[1] * _SCALE
    edge = (0, 0, width - 1, height - 1)
    face, shape = Image.new("RGB", (width, height), paper), Image.new("L", (width, height), 0)
    ImageDraw.Draw(shape).rounded_rectangle(edge, width // 12, fill=255)
    pen, ink = ImageDraw.Draw(face), _INK[suit]
    pen.rounded_rectangle(edge, width // 12, outline=(120, 120, 120), width=max(1, width // 120))
    if size[0] < _SMALL:
        _text(pen, rank, (width / 2, height * 0.3), 0.62 * width, font, ink)
        _suit(pen, suit, width / 2, height * 0.76, 0.26 * width, ink)
        return face.resize(size, Image.LANCZOS), shape.resize(size, Image.LANCZOS)
    corner = Image.new("RGB", (width // 4, round(height * 0.26)), paper)
    corner_pen, letter = ImageDraw.Draw(corner), (0.17 if rank == "10" else 0.2) * width
    _text(corner_pen, rank, (corner.width / 2, corner.height * 0.34), letter, font, ink)
    _suit(corner_pen, suit, corner.width / 2, corner.height * 0.8, 0.065 * width, ink)
    inset = width // 40
    face.paste(corner, (inset, inset * 2))
    face.paste(corner.rotate(180), (width - corner.width - inset, height - corner.height - inset * 2))
    if rank in "JQK":
        frame = (width * 0.27, height * 0.14, width * 0.73, height * 0.86)
        pen.rectangle(frame, outline=ink, width=max(1, width // 90))
        _text(pen, rank, (width / 2, height * 0.42), 0.4 * width, font, ink)
        _suit(pen, suit, width / 2, height * 0.7, 0.1 * width, ink)
    else:
        pip = (0.17 if rank == "A" else 0.085) * width
        for x, y in _PIPS[rank]:
            _suit(pen, suit, width * x, height * y, pip, ink, y > 0.5)
    return face.resize(size, Image.LANCZOS), shape.resize(size, Image.LANCZOS)


_small = lru_cache(maxsize=4096)(_card)
_large = lru_cache(maxsize=104)(_card)  # a card of the paper's size takes 400 kB


def _sides(*heights: float) -> list[tuple[float, float]]:
    """A column of suits to the left and one to the right."""
    return [(x, y) for x in (0.33, 0.67) for y in heights]


_PIPS = {  # where the suits of a number stand, in shares of the card
    "A": [(0.5, 0.5)],
    "2": [(0.5, 0.2), (0.5, 0.8)],
    "3": [(0.5, 0.2), (0.5, 0.5), (0.5, 0.8)],
    "4": _sides(0.2, 0.8),
    "5": [*_sides(0.2, 0.8), (0.5, 0.5)],
    "6": _sides(0.2, 0.5, 0.8),
    "7": [*_sides(0.2, 0.5, 0.8), (0.5, 0.35)],
    "8": [*_sides(0.2, 0.5, 0.8), (0.5, 0.35), (0.5, 0.65)],
    "9": [*_sides(0.17, 0.39, 0.61, 0.83), (0.5, 0.5)],
    "10": [*_sides(0.17, 0.39, 0.61, 0.83), (0.5, 0.28), (0.5, 0.72)],
}


@lru_cache(maxsize=64)
def typeface(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that matplotlib ships, `size` pixels high."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


def _text(
    pen: ImageDraw.ImageDraw, text: str, centre: tuple[float, float], size: float, font: str, ink: Colour
) -> None:
    """`text` centred on its drawn extent; two letters are set narrower."""
    face = typeface(font, max(4, round(size * (0.8 if len(text) > 1 else 1))))
    left, top, right, bottom = face.getbbox(text)
    pen.text((centre[0] - (left + right) / 2, centre[1] - (top + bottom) / 2), text, fill=ink, font=face)


def _suit(
    pen: ImageDraw.ImageDraw, suit: str, x: float, y: float, size: float, ink: Colour, down: bool = False
) -> None:
    """A suit of half-height `size` around (x, y); `down` turns it on its head."""
    sign = -1 if down else 1

    def polygon(*points: tuple[float, float]) -> None:
        pen.polygon([(x + a * size, y + b * size * sign) for a, b in points], fill=ink)

    def disc(a: float, b: float, radius: float) -> None:
        middle, reach = y + b * size * sign, radius * size
        pen.ellipse(
            (x + (a - radius) * size, middle - reach, x + (a + radius) * size, middle + reach), fill=ink
        )

    if suit == "D":
        polygon((0, -1), (0.75, 0), (0, 1), (-0.75, 0))
        return
    if suit == "C":
        for spot in ((0, -0.5, 0.45), (-0.48, 0.15, 0.45), (0.48, 0.15, 0.45), (0, -0.05, 0.25)):
            disc(*spot)
    else:
        point, up = (1, 0) if suit == "H" else (-0.86, -0.14)  # a spade is a heart on its head, with a stem
        wide = abs(point)
        for left in (-1, 1):
            disc(0.44 * left * wide, -0.42 * point + up, 0.5 * wide)
        polygon((-0.9 * wide, -0.22 * point + up), (0.9 * wide, -0.22 * point + up), (0, point + up))
        neck = ((-0.44, -0.42), (0.44, -0.42), (0.3, 0.1), (-0.3, 0.1))
        polygon(*((a * wide, b * point + up) for a, b in neck))
    if suit != "H":
        polygon((0, 0), (0.36, 1), (-0.36, 1))
