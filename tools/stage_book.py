r"""Assemble build/site, the source that jupyter-book compiles, as a mirror of the repository.

    python tools/stage_book.py [SITE FIGURES [ABSENT CHAPTERS]]
    jupyter-book build build/site --config book/_config.yml --toc book/_toc.yml --path-output book \
        -W -n --keep-going

build/site/notebooks holds the executed notebooks before this starts. The mirror keeps every page at the path
of its source, so links to edit or launch it work. A file is written only when its content changed, so Sphinx
rebuilds only what it must. Behind a build that failed or was killed begin anew (`rm -rf book/_build`): Sphinx
caches a page that caused a warning and would not warn of it again, and it cannot go on with half an index.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"
PICTURES = ("image/svg+xml", "image/png")
STATUS_PAGE = Path("book/execution-status.md")


def write(path: Path, content: bytes) -> None:
    """Write `content` unless it is there already."""
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def mirror(source: Path, target: Path, keep: tuple[Path, ...] = ()) -> None:
    """Make `target` hold what `source` holds, except caches, and nothing else but `keep`."""
    skipped = {"_build", "__pycache__"}
    files = [p.relative_to(source) for p in source.rglob("*") if p.is_file()] if source.is_dir() else []
    files = [p for p in files if not skipped & set(p.parts)]
    for path in files:
        write(target / path, (source / path).read_bytes())
    for path in [p for p in target.rglob("*") if p.is_file()] if target.is_dir() else []:
        if path.relative_to(target) not in files and path not in keep:
            path.unlink()


def dress(path: Path) -> dict:
    """Mark papermill's own cell of one executed notebook as hidden, let pictures be read out as their text,
    and mark drawings, whose light and dark change places on a dark page; returns the notebook. ValueError if
    a picture has no text, or a cell two of them: MyST would read out the first one's text for both."""
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        if "injected-parameters" in tags and "remove-cell" not in tags:
            tags.append("remove-cell")
        outputs = cell.get("outputs", ())
        drawn = [(out, kind) for out in outputs for kind in PICTURES if kind in out.get("data", ())]
        if len(drawn) > 1:
            raise ValueError(f"{path.name}: a cell with {len(drawn)} pictures; give each a cell of its own")
        if drawn:
            out, kind = drawn[0]
            said = out["metadata"].get(kind, {}).get("alt")
            if not said:
                raise ValueError(
                    f"{path.name}: a picture without an alt, what it says for those who do not see it"
                )
            image = cell["metadata"].setdefault("mystnb", {})["image"] = {"alt": said}
            if "picture(" not in "".join(cell["source"]):  # cards and streets keep their colours in the dark
                image["classes"] = "chart"
    executed = path.stat()
    write(path, (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode())
    os.utime(path, ns=(executed.st_atime_ns, executed.st_mtime_ns))  # a source edited since then is newer
    return notebook


def run_ids(values: Path) -> list[str]:
    """Runs that a notebook read: `run_ids` among its values."""
    return json.loads(values.read_text()).get("run_ids", []) if values.is_file() else []


def status_row(name: str, notebook: dict, runs: list[str]) -> str:
    """One line of the table, from what papermill noted in the executed notebook."""
    record = notebook["metadata"].get("papermill", {})
    seconds = record.get("duration")
    status = "not executed" if seconds is None else "succeeded"
    profile = record.get("parameters", {}).get("profile", "")
    shown = "" if seconds is None else f"{seconds:.1f}"
    link = f"[{name}](../notebooks/{name}.ipynb)"
    return f"| {link} | {profile} | {shown} | {status} | {' '.join(f'`{run}`' for run in runs)} |"


def status_page(site: Path) -> str:
    """The page that says how each executed notebook in the table of contents came about."""
    lines = ["# Execution status", "", "How each chapter of this copy of the book was computed.", ""]
    lines += ["| notebook | profile | seconds | status | runs |", "|---|---|---:|---|---|"]
    for path in sorted((site / "notebooks").glob("*.ipynb")):
        notebook = dress(path)
        runs = run_ids(site / "figures" / "values" / f"{path.stem}.json")
        lines.append(status_row(path.stem, notebook, runs))
    return "\n".join(lines) + "\n"


def stub(site: Path, name: str, title: str) -> None:
    """A page in the place of a chapter for which this copy's profile has no study, or none that judges
    enough, and of its numbers."""
    said = "This copy of the book was made from a profile that has no study for this chapter, or one that "
    said += "judges fewer sets of cases."
    cell = {"cell_type": "markdown", "id": "absent", "metadata": {}, "source": f"{title}\n\n{said}"}
    page = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    write(site / "notebooks" / f"{name}.ipynb", json.dumps(page).encode())
    write(site / "figures" / "values" / f"{name}.json", b'{"absent": true}')


def undrawn(site: Path) -> None:
    """A remark in the place of what a page of this copy shows, and no chapter has made."""
    said = "not made from this profile"
    drawing = "<svg xmlns='http://www.w3.org/2000/svg' width='300' height='50'>{}</svg>"
    kinds = {".svg": drawing.format(f"<text x='10' y='30'>{said}</text>"), ".html": f"<p>{said}</p>"}
    for page in (site / "book").glob("*.md"):
        for name in re.findall(r"\.\./(figures/\S+\.(?:svg|html))", page.read_text()):
            if not (site / name).is_file():
                write(site / name, kinds[Path(name).suffix].encode())


def stage(root: Path, site: Path, figures: Path, absent: Sequence[str] = ()) -> None:
    """absent: chapters for which the profile has no study."""
    mirror(root / "book", site / "book", keep=(site / STATUS_PAGE,))
    mirror(figures, site / "figures")
    for name in absent:
        source = json.loads((root / "notebooks" / f"{name}.ipynb").read_text())["cells"][0]["source"]
        stub(site, name, "".join(source).splitlines()[0])
    undrawn(site)
    write(site / STATUS_PAGE, status_page(site).encode())


if __name__ == "__main__":
    # Profiles other than the published one have a site and figures of their own.
    site, figures = map(Path, sys.argv[1:3]) if len(sys.argv) > 2 else (SITE, ROOT / "figures")
    stage(ROOT, site, figures, sys.argv[3:])
