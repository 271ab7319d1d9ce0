"""Pictures of what an environment shows, drawn with Pillow."""
from __future__ import annotations

from typing import Any, Callable, NamedTuple

from PIL import Image


class Picture(NamedTuple):
    """A picture that is drawn when it is called: kept as what it shows, not as pixels."""

    draw: Callable[..., Image.Image]
    arguments: tuple[Any, ...]

    def __call__(self) -> Image.Image:
        return self.draw(*self.arguments)
