"""A figure as a small file, the same bytes for the same figure on one machine.

save(fig, "fig05-success", "figures")
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from posttrain import store

PAPER = "#ffffff"
NAME = re.compile(r"(fig\d\d|ext)-[a-z0-9-]+")
POINTS = re.compile(r'^(?: *<path [^>]*?d="| *)[MLCQ] [-\d. ]+', re.MULTILINE)  # of an SVG's paths
PIXELS = re.compile(r'(?<=data:image/png;base64,)[^"]*')  # of its pictures


def save(fig: Figure, name: str, folder: str | Path = "figures", png: bool = False) -> list[Path]:
    """Write `<folder>/<name>.svg` and, if asked for, `.png` (150 dpi), each whole or not at all; returns
    the paths.

    `name` starts with the paper's figure ("fig05-rule-gp-l") or "ext-"; `ValueError` if it does not. The
    layout, which costs as much as drawing, is made once and stays; the figure is not laid out again.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f'a figure is called "fig05-some-words" or "ext-some-words", not {name!r}')
    folder = Path(folder)
    for left in folder.glob(f".{name}.*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    fig.set_dpi(150)
    if engine := fig.get_layout_engine():
        engine.execute(fig)
    options = {"bbox_inches": fig.get_tightbbox().padded(0.08), "facecolor": PAPER, "dpi": 150}
    # With any layout engine, also a "none" one, every file is drawn twice; and saving puts the style's back.
    still = {"figure.constrained_layout.use": False, "figure.autolayout": False}
    with mpl.rc_context(still | {"svg.fonttype": "none", "svg.hashsalt": "posttrain"}):
        fig.set_layout_engine(None)
        drawn = io.StringIO()
        fig.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None}, **options)
        # A hundredth of a point is enough.
        text = POINTS.sub(lambda line: re.sub(r"(\.\d\d)\d+", r"\1", line[0]), drawn.getvalue())
        text = PIXELS.sub(lambda found: base64.b64encode(_few(base64.b64decode(found[0]))).decode(), text)
        contents = {"svg": re.sub(r"\n +(?=<)", "\n", text).encode()}
        if png:
            dots = io.BytesIO()
            quick = {"compress_level": 1}  # packed again
            fig.savefig(dots, format="png", metadata={"Software": None}, pil_kwargs=quick, **options)
            contents["png"] = _few(dots.getvalue())
    paths = [folder / f"{name}.{kind}" for kind in contents]
    for path, content in zip(paths, contents.values()):
        store.write(path, content)
    return paths


def _few(png: bytes) -> bytes:
    """A picture in 256 colours: a third of the size, and enough for a plot."""
    packed = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        if image.convert("RGBA").getextrema()[3] != (255, 255):  # what one sees through it would be lost
            return png
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(packed, format="png", compress_level=8)  # 9 takes twice the time for one percent
    return packed.getvalue()
