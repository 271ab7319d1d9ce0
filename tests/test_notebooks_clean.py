"""Notebook sources carry no outputs, and the table of contents and the files agree."""

import json
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GENERATED = {"book/execution-status"}


def table_of_contents():
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    return [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_source_has_no_outputs(path):
    notebook = json.loads(path.read_text())
    assert "papermill" not in notebook["metadata"], f"run: nbstripout {path.name}"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None, f"run: nbstripout {path.name}"
            assert "injected-parameters" not in cell["metadata"].get("tags", [])


@pytest.mark.parametrize("entry", table_of_contents())
def test_entry_of_the_contents_resolves(entry):
    suffix = ".ipynb" if entry.startswith("notebooks/") else ".md"
    assert entry in GENERATED or (ROOT / (entry + suffix)).is_file()


def test_every_page_is_in_the_contents():
    pages = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")}
    assert pages <= set(table_of_contents())
