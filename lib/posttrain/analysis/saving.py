"""A figure as two small files, the same bytes for the same figure on one machine.

save(fig, "fig05-success", "figures")
"""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

PAPER = "#ffffff"
NAME = re.compile(r"(fig\d\d|ext)-[a-z0-9-]+")
POINTS = re.compile(r'^(?: *<path [^>]*?d="| *)[MLCQ] [-\d. ]+', re.MULTILINE)  # of an SVG's paths
PIXELS = re.compile(r'(?<=data:image/png;base64,)[^"]*')  # of its pictures


def save(fig: Figure, name: str, folder: str | Path = "figures") -> tuple[Path, Path]:
    """Write `<folder>/<name>.svg` and `.png` (150 dpi), each whole or not at all; returns both paths.

    `name` starts with the paper's figure ("fig05-rule-gp-l") or "ext-"; `ValueError` if it does not. The
    layout, which costs as much as drawing, is made once for both and stays; the figure is not laid out again.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f'a figure is called "fig05-some-words" or "ext-some-words", not {name!r}')
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    for left in folder.glob(f".{name}.*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    fig.set_dpi(150)
    fig.draw_without_rendering()
    options = {"dpi": 150, "bbox_inches": fig.get_tightbbox().padded(0.08), "facecolor": PAPER}
    drafts = [path.with_name(f".{path.name}.{os.getpid()}") for path in (svg, png)]
    # With any layout engine, also a "none" one, every file is drawn twice; and saving puts the style's back.
    still = {"figure.constrained_layout.use": False, "figure.autolayout": False}
    try:
        with mpl.rc_context(still | {"svg.fonttype": "none", "svg.hashsalt": "posttrain"}):
            fig.set_layout_engine(None)
            fig.savefig(drafts[0], format="svg", metadata={"Date": None, "Creator": None}, **options)
            options["pil_kwargs"] = {"compress_level": 1}  # packed again below
            fig.savefig(drafts[1], format="png", metadata={"Software": None}, **options)
        # A hundredth of a point is enough.
        drawn = POINTS.sub(lambda line: re.sub(r"(\.\d\d)\d+", r"\1", line[0]), drafts[0].read_text())
        drawn = PIXELS.sub(lambda found: base64.b64encode(_few(base64.b64decode(found[0]))).decode(), drawn)
        drafts[0].write_text(re.sub(r"\n +(?=<)", "\n", drawn))
        drafts[1].write_bytes(_few(drafts[1].read_bytes()))
        for draft, path in zip(drafts, (svg, png)):
            os.replace(draft, path)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    return svg, png


def _few(png: bytes) -> bytes:
    """A picture in 256 colours: a third of the size, and enough for a plot."""
    packed = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        if image.convert("RGBA").getextrema()[3] != (255, 255):  # what one sees through it would be lost
            return png
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(packed, format="png", compress_level=8)  # 9 takes twice the time for one percent
    return packed.getvalue()
