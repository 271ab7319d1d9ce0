"""Carry out the exercises of the chapters and keep what came of them in data/exercises.csv.

    python tools/exercises.py [NAME ...]

An exercise is a block of a chapter, "Lines of a profile"; its name is the chapter's with the block's number
(rule-generalization-1). Without names all are carried out that are not kept as their lines stand. The runs
that the lines ask for and that the book has not are trained, one after the other, and lie under
build/profiles/exercise-NAME. `make exercises` calls this.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from posttrain import config, store
from posttrain.analysis import exercises
from posttrain.config import ROOT, Profile, Run, files
from posttrain.trainers import arm

BLOCK = re.compile(r"^```\{dropdown\} Lines of (a profile|Python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Exercise(NamedTuple):
    """A block of a chapter, as it stands there: `kind` is "a profile" or "Python", `before` the words between
    it and the last one."""

    name: str
    kind: str
    block: str
    before: str

    @property
    def lines(self) -> str:
        return textwrap.dedent(self.block)


def text_of(page: Path) -> str:
    """What a page says, without its code."""
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def listed() -> Iterator[Exercise]:
    """All exercises that have lines, in the order of the pages' names."""
    for page in sorted([*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]):
        end, text = 0, text_of(page)
        for count, block in enumerate(BLOCK.finditer(text), 1):
            name, before = f"{page.stem}-{count}", text[end : block.start()]
            yield Exercise(name, block[1], block[2], before)
            end = block.end()


def profile_of(exercise: Exercise) -> Profile:
    """The profile that says an exercise's lines; ConfigError is one line."""
    path = ROOT / "build" / "exercises" / f"{exercise.name}.yaml"
    store.write(path, exercise.lines)
    said = files.read(path)
    below = config.read(said["extends"])
    return config.check(f"exercise-{exercise.name}", config.merged(below, said))


@cache
def _published(name: str) -> set[str]:
    """Identities of the runs that a profile has, looked for once."""
    return set(store.listed(config.load(name)))


def new_runs(profile: Profile) -> list[Run]:
    """The runs of an exercise that the book has not, each once."""
    there = _published(profile.extends)
    return list({run.identity: run for run in profile.runs() if run.identity not in there}.values())


def main(names: list[str]) -> int:
    every = {one.name: one for one in listed() if one.kind == "a profile"}
    if unknown := [name for name in names if name not in every]:
        print(f"no exercise {unknown[0]}; there are {', '.join(every)}", file=sys.stderr)
        return 2
    for name in names or every:
        try:
            profile = profile_of(every[name])
        except config.ConfigError as error:  # its model is not on this machine
            print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
            continue
        runs, kept = new_runs(profile), exercises.kept()
        if set(kept.loc[kept["exercise"] == name, "identity"]) == {run.identity for run in runs}:
            continue
        for run in runs:
            if store.find(profile, run) is None:
                arm.check(profile, run)
                arm.carry_out(profile, run)
        rows = [exercises.compared(name, profile, run) for run in runs]
        with store.locked(ROOT, "exercises", "data/exercises.csv"):  # another process may have written since
            kept = exercises.kept()
            kept = pd.concat([kept[kept["exercise"] != name], *rows], ignore_index=True)
            kept = kept.sort_values(["exercise", "arm"], kind="stable").reset_index(drop=True)
            store.write(exercises.FILE, kept.to_csv(index=False, float_format="%.5g"))
        print(f"{name}: {', '.join(run.name for run in runs)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
