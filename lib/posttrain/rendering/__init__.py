"""Pictures of what an environment shows, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from PIL import Image


class Picture(NamedTuple):
    """A picture that is drawn when it is called: kept as what it shows, not as pixels. Not to be changed: the
    last ones are shared."""

    draw: Callable[..., Image.Image]
    arguments: tuple[Any, ...]

    def __call__(self) -> Image.Image:
        return _drawn(self.draw, self.arguments)


@lru_cache(maxsize=64)  # an observation shows it, then the model is shown it
def _drawn(draw: Callable[..., Image.Image], arguments: tuple[Any, ...]) -> Image.Image:
    return draw(*arguments)
