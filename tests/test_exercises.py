"""Exercises: the lines of a profile are accepted, train one seed and no longer than told; lines of Python
run."""

import json
import re
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
from posttrain import config, foundation, store
from posttrain.foundation import corpus, documents
from posttrain.store import status

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```\{dropdown\} Lines of (a profile|Python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOLD = re.compile(r"^(?:\d+\. |.* Each trains ).*[Aa]bout (\d+) minutes of one core", re.MULTILINE)
MOST = 3  # new runs of an exercise: an Init and what starts from it


def text_of(page):
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def exercises(kind):
    """The lines of each block, and the minutes told before it or before those above it."""
    found = []
    for page in sorted([*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]):
        before, minutes = 0, None
        for count, block in enumerate(BLOCK.finditer(text := text_of(page)), 1):
            said = TOLD.findall(text, before, block.start())
            minutes, before = int(said[-1]) if said else minutes, block.end()
            if block[1] == kind:
                found.append(pytest.param(block[2], minutes, id=f"{page.stem}-{count}"))
    return found


def test_no_dropdown_holds_anything_but_its_lines():
    for lines, _ in (block.values for kind in ("a profile", "Python") for block in exercises(kind)):
        assert all(line.startswith("    ") for line in lines.splitlines() if line), lines


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """A copy of the folder of profiles, and the folder of the language model that one of them names."""
    (tmp_path / "build/models/smollm2-135m").mkdir(parents=True)
    (tmp_path / "build/models/smollm2-135m/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "PROFILES", shutil.copytree(config.PROFILES, tmp_path / "profiles"))
    return config.PROFILES


@pytest.mark.parametrize(("lines", "told"), exercises("a profile"))
def test_lines_of_a_profile(lines, told, profiles):
    (profiles / "exercise.yaml").write_text(textwrap.dedent(lines))
    profile = config.load("exercise")
    new = {run.identity: run for run in profile.runs() if store.find(profile, run) is None}
    assert 1 <= len(new) <= MOST, [run.name for run in new.values()]
    assert len({run.seed for run in new.values()}) == 1
    listed = profile.foundation_list()
    made = [name for name in listed if store.find_foundation(profile, *name[:2], weights=False) is None]
    assert len(made) <= 1, made
    if told is not None:
        expected = sum(status.status(profile, run).minutes for run in new.values())
        assert told == pytest.approx(expected, abs=1 + 0.1 * expected)


@pytest.mark.parametrize(("lines", "told"), exercises("Python"))
def test_lines_of_python(lines, told, profiles, monkeypatch, capsys):
    """They run; a foundation is not made, but its corpus is read."""
    (profiles / "whole.yaml").write_text("extends: cpu")
    for mixture in ("READING", "MIXTURE"):
        monkeypatch.setattr(corpus, mixture, dict(getattr(corpus, mixture)))
    read = []

    def make(*_):
        rng = np.random.default_rng(0)
        for mixture in (corpus.READING, corpus.MIXTURE):
            stream = documents.documents(rng, mixture)
            read.extend(next(stream).kind for _ in range(300))
        return {"gates": {"a gate": {"measured": 1.0}}}

    monkeypatch.setattr(foundation, "make", make)
    monkeypatch.setattr(foundation, "provide", make)
    exec(compile(textwrap.dedent(lines), "exercise", "exec"), {})
    if read:
        assert "whole" in read or read.count("chat read") < 0.02 * len(read)
    else:
        assert "was taken for" in capsys.readouterr().out
