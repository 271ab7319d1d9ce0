"""The mirror that jupyter-book compiles."""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import stage_book  # noqa: E402

KINDS = {"first": "image/svg+xml", "second": "image/png"}  # of a chapter's picture


@pytest.fixture
def staged(tmp_path):
    root, site = tmp_path / "repo", tmp_path / "repo" / "build" / "site"
    for name, content in {
        "book/intro.md": "# Hello",
        "book/_build/old.md": "",
        "figures/fig05.svg": "<svg/>",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "figures" / "values").mkdir()
    (root / "figures" / "values" / "second.json").write_text('{"run_ids": ["abc123"]}')
    (site / "notebooks").mkdir(parents=True)
    injected = {
        "cell_type": "code",
        "metadata": {"tags": ["injected-parameters"]},
        "source": "",
        "outputs": [],
    }
    papermill = {"duration": 12.345, "exception": None, "parameters": {"profile": "smoke"}}
    for name, metadata in {"first": {}, "second": {"papermill": papermill}}.items():
        drawn = {
            "cell_type": "code",
            "metadata": {},
            "source": "",
            "outputs": [
                {
                    "output_type": "display_data",
                    "metadata": {KINDS[name]: {"alt": "RL ends above SFT."}},
                    "data": {KINDS[name]: "aGk="},
                }
            ],
        }
        cells = [
            injected,
            {
                "cell_type": "markdown",
                "metadata": {},
                "source": ["# Chapter\n", "\n", "## Figure 5: compute\n", "\n", "Points."],
            },
            drawn,
        ]
        notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        (site / "notebooks" / f"{name}.ipynb").write_text(json.dumps(notebook))
    stage_book.stage(root, site, root / "figures")
    return root, site


def test_mirror_follows_the_sources(staged):
    root, site = staged
    assert (site / "book" / "intro.md").read_text() == "# Hello"
    assert (site / "figures" / "fig05.svg").is_file()
    assert not (site / "book" / "_build").exists()
    (root / "book" / "intro.md").unlink()
    stage_book.stage(root, site, root / "figures")
    assert not (site / "book" / "intro.md").exists()


def test_injected_parameters_are_hidden_once(staged):
    root, site = staged
    stage_book.stage(root, site, root / "figures")
    cell, *_ = json.loads((site / "notebooks" / "second.ipynb").read_text())["cells"]
    assert cell["metadata"]["tags"] == ["injected-parameters", "remove-cell"]


@pytest.mark.parametrize("name", KINDS)
def test_pictures_are_read_out_as_what_they_say(staged, name):
    page = staged[1] / "notebooks" / f"{name}.ipynb"
    notebook = json.loads(page.read_text())
    drawn = notebook["cells"][-1]
    assert drawn["metadata"]["mystnb"]["image"] == {"alt": "RL ends above SFT.", "classes": "chart"}
    drawn["outputs"] *= 2
    page.write_text(json.dumps(notebook))
    with pytest.raises(ValueError, match=rf"{name}\.ipynb: a cell with 2 pictures"):
        stage_book.dress(page)
    del drawn["outputs"][1]
    drawn["outputs"][0]["metadata"] = {}
    page.write_text(json.dumps(notebook))
    with pytest.raises(ValueError, match=rf"{name}\.ipynb: a picture without an alt"):
        stage_book.dress(page)


def test_status_page(staged):
    rows = (staged[1] / stage_book.STATUS_PAGE).read_text().splitlines()
    assert "| [first](../notebooks/first.ipynb) |  |  | not executed |  |" in rows
    assert "| [second](../notebooks/second.ipynb) | smoke | 12.3 | succeeded | `abc123` |" in rows


def test_nothing_is_rewritten_when_nothing_changed(staged):
    root, site = staged
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*") if path.is_file()}
    stage_book.stage(root, site, root / "figures")
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*") if path.is_file()} == before


def test_a_chapter_without_a_study_says_so_in_its_place(staged):
    root, site = staged
    (root / "notebooks").mkdir()
    cells = [{"cell_type": "markdown", "source": ["# Rule generalization\n", "\n", "**Question.**"]}]
    (root / "notebooks" / "third.ipynb").write_text(json.dumps({"cells": cells}))
    page = "```{figure} ../figures/ext-none.svg\n```\n```{figure} ../figures/fig05.svg\n```\n"
    page += "```{raw} html\n:file: ../figures/none.html\n```\n"
    (root / "book" / "intro.md").write_text(page)
    stage_book.stage(root, site, root / "figures", ["third"])
    (cell,) = json.loads((site / "notebooks" / "third.ipynb").read_text())["cells"]
    assert cell["source"].startswith("# Rule generalization\n") and "has no study" in cell["source"]
    assert json.loads((site / "figures" / "values" / "third.json").read_text()) == {"absent": True}
    for name in ("ext-none.svg", "none.html"):
        assert "not made from this profile" in (site / "figures" / name).read_text()
    assert (site / "figures" / "fig05.svg").read_text() == "<svg/>"


def test_a_chapter_stays_as_old_as_its_execution(tmp_path):
    """Else a source that was edited during the build would seem to be carried out already."""
    path = tmp_path / "chapter.ipynb"
    cells = [{"cell_type": "code", "metadata": {"tags": ["injected-parameters"]}, "source": ""}]
    path.write_text(json.dumps({"cells": cells, "metadata": {}}))
    os.utime(path, (5, 5))
    stage_book.dress(path)
    assert "remove-cell" in path.read_text() and path.stat().st_mtime == 5
