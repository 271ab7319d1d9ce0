"""What a reader of screens is told: mends names and roles that the theme and Sphinx give to the pages.

An accessible name must hold the text that is seen, a list must hold items, and no title says itself twice.
Pictures get a box in which they scroll where the window is narrower than what can be read (style.css,
scroll.js). tests/pages looks for findings with axe-core.
"""

import re
from pathlib import Path

MODES = "Color mode: Light, Dark, System Settings"  # the titles of its three pictures
MENDED = (
    (r'(<button[^>]*search-button-field[^>]*) aria-label="Search"', r"\1"),  # its text says "Search" too
    (r'(<button[^>]*theme-switch-button[^>]*) aria-label="Color mode"', rf'\1 aria-label="{MODES}"'),
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    (r'<div role="list" class="citation-list">', '<div class="citation-list">'),
    (r' role="doc-biblioentry"', ""),
    (r"<title>(.+) &#8212; \1</title>", r"<title>\1</title>"),  # of the first page
    (r'(?<!<span class="wide">)(<img [^>]*src="[^"]*_images/[^>]*>)', r'<span class="wide">\1</span>'),
)


def mend(text: str) -> str:
    for pattern, better in MENDED:
        text = re.sub(pattern, better, text)
    return text


def finish(app, exception) -> None:
    if exception is None and app.builder.format == "html":
        for path in Path(app.outdir).rglob("*.html"):
            text = path.read_text(encoding="utf-8")
            if (better := mend(text)) != text:
                path.write_text(better, encoding="utf-8")


def setup(app):
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
