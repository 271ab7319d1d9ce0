"""The store: tables of finished runs and cards of foundations, found by identity, published whole or not at
all.

    data/results/<study>/<arm>/<seed>/   run.json, checkpoints.csv, training.csv, {hands,dialogues}.parquet
    data/models/<foundation>-<seed>/     card.json and an ordinary checkpoint

A profile has a root of its own for what it trains; unless everything is to be made anew it also takes what
the published root holds under the same identity. `run.json` and `card.json` hold the SHA-256 of every file
beside them and of themselves. Of two processes that want the same run the second waits and finds it done.
Left out on purpose: adapters (an Init is made again in seconds), and any database. Imports no torch.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from posttrain.config import ROOT, Profile, Run
from posttrain.store import files
from posttrain.store.files import StoreError, Tables, edits, hashes, locked, read_record, seal, shown, write
from posttrain.store.hub import held, named

__all__ = [
    "CARD",
    "RECORD",
    "StoreError",
    "Stored",
    "Tables",
    "collect",
    "commit",
    "dialogues",
    "edits",
    "find",
    "find_foundation",
    "foundation_home",
    "hashes",
    "home",
    "homes",
    "listed",
    "locked",
    "model_path",
    "publish",
    "read",
    "read_record",
    "replacing",
    "roots",
    "seal",
    "shelved",
    "shelves",
    "shown",
    "write",
]
RECORD, CARD = "run.json", "card.json"
TABLES = ("checkpoints.csv", "training.csv", "hands.parquet")
# In tables of a few kilobytes schemas of Arrow's and statistics of columns are a third of the file.
PACKED = {"index": False, "compression": "zstd", "compression_level": 19}
PACKED |= {"store_schema": False, "write_statistics": False}


# --- finding ------------------------------------------------------------------------------------------------


def roots(profile: Profile) -> list[Path]:
    """Where a profile's build/ lies, with adapters and states: its own, and that of what is published unless
    all is made anew."""
    return list(dict.fromkeys([profile.root, *([] if profile.fresh else [ROOT])]))


def shelves(profile: Profile) -> list[Path]:
    """The folders in which a profile's results/ and models/ may lie; its own comes first."""
    return list(dict.fromkeys([profile.data, *([] if profile.fresh else [ROOT / "data"])]))


def _identity(path: Path) -> str | None:
    try:
        return json.loads(path.read_bytes()).get("identity")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def listed(profile: Profile) -> dict[str, Path]:
    """The folder of every run on the profile's shelves, by identity."""
    records = (
        path for shelf in shelves(profile) for path in sorted(shelf.glob(f"results/*/*/[!.]*/{RECORD}"))
    )
    folders: dict[str, Path] = {}
    for path in records:
        folders.setdefault(str(_identity(path)), path.parent)  # the first of those that have the same
    return folders


def home(profile: Profile, run: Run) -> Path:
    """The folder where a profile puts a run."""
    return profile.results / run.study / run.arm / str(run.seed)


def homes(profile: Profile, run: Run) -> list[Path]:
    """The folders, one a shelf, where a run of this name lies, whatever its identity."""
    return [shelf / home(profile, run).relative_to(profile.data) for shelf in shelves(profile)]


def find(profile: Profile, run: Run, among: dict[str, Path] | None = None) -> Path | None:
    """The folder that holds `run`, whatever the study and arm it was made for; None where it must be made.
    `among`: `listed`, for whoever asks for many runs."""
    if place := _at_home(profile, run):
        return place
    return (listed(profile) if among is None else among).get(run.identity)


def _at_home(profile: Profile, run: Run) -> Path | None:
    """The folder of its own name, where it is nearly always."""
    return next((place for place in homes(profile, run) if _identity(place / RECORD) == run.identity), None)


def foundation_home(profile: Profile, name: str, seed: int) -> Path:
    """The folder where a profile puts a foundation: beside its results, or in build/ where only the card is
    kept with these."""
    kept = profile.foundation(name, seed).kept
    return (profile.models if kept == "weights" else _workshop(profile)) / f"{name}-{seed}"


def _workshop(profile: Profile) -> Path:
    return profile.root / "build" / "models"


def find_foundation(profile: Profile, name: str, seed: int, weights: bool = True) -> Path | None:
    """The folder that holds a pocket foundation, or None where it must be made; its card alone will do where
    no `weights` are asked for."""
    wanted = profile.foundation(name, seed).identity
    shelves_ = (_workshop(profile), *(shelf / "models" for shelf in shelves(profile)))
    cards = (path for shelf in shelves_ for path in sorted(shelf.glob(f"[!.]*/{CARD}")))
    folders = [path.parent for path in cards if _identity(path) == wanted]
    whole = (folder for folder in folders if any(folder.glob("*.safetensors")))
    return next(whole, None if weights or not folders else folders[0])


def model_path(profile: Profile, run: Run) -> str:
    """The folder of the model that a run starts from; a hub's is downloaded where it may be. StoreError where
    it is not there."""
    if run.foundation is None:
        return str(held(run.model)) if named(run.model) else run.model
    folder = find_foundation(profile, run.foundation, run.seed)
    if folder is None:
        command = (
            f"posttrain pretrain --profile {profile.name} --foundation {run.foundation} --seed {run.seed}"
        )
        raise StoreError(f"there is no foundation {run.foundation}-{run.seed}; make it with: {command}")
    if problems := edits(folder, CARD):
        raise StoreError(problems[0])
    return str(folder)


# --- publishing and reading ---------------------------------------------------------------------------------


def publish(profile: Profile, run: Run, tables: Tables, facts: dict[str, Any]) -> Path:
    """Put a finished run's tables and its record where the profile keeps it, all at once; returns the
    folder."""
    folder = home(profile, run)
    with replacing(folder) as partial:
        tables.get("checkpoints").to_csv(partial / "checkpoints.csv", index=False, float_format="%.6g")
        training = tables.get("training").drop(columns="step", errors="ignore")
        training.to_csv(partial / "training.csv", index=False, float_format="%.5g")
        tables.get("hands").to_parquet(partial / "hands.parquet", **PACKED)
        told = tables.get("dialogues")
        if len(told):  # what was said at the end
            last = told[told["step"] == told["step"].max()].drop(columns="step")
            last.to_parquet(partial / "dialogues.parquet", **PACKED)
        seal(partial, RECORD, {**run.record(), **facts})
    return folder


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when it has been filled; a kill at any moment leaves
    one of the two whole."""
    partial, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


class Stored(NamedTuple):
    """A finished run as it is read; `note` says where it is shown although it was "superseded" or
    "edited"."""

    record: dict[str, Any]
    checkpoints: pd.DataFrame
    training: pd.DataFrame
    hands: pd.DataFrame
    note: str = ""


def read(profile: Profile, run: Run, stale: bool = False) -> Stored:
    """A finished run. StoreError where there is none or it was edited; with `stale` what lies in its place is
    read all the same."""
    folder, record, note = _opened(*_place(profile, run, stale))
    tables = (files.joined([folder / name]).reset_index(drop=True) for name in TABLES)
    return Stored(record, *tables, note)


def _place(
    profile: Profile, run: Run, stale: bool, among: dict[str, Path] | None = None
) -> tuple[Path, bool, str]:
    """What `_opened` takes of a run: it is read where it lies; with `stale`, if it lies nowhere, what lies in
    its place."""
    places = (place for place in homes(profile, run) if stale and place.is_dir())
    folder = find(profile, run, among) or next(places, None)
    if folder is None:
        command = f"posttrain train --profile {profile.name} --run {run.name}"
        raise StoreError(f"run {run.name} has no results; carry it out with: {command}")
    return folder, stale, "superseded" if stale and _identity(folder / RECORD) != run.identity else ""


def _opened(folder: Path, stale: bool = False, note: str = "") -> tuple[Path, dict[str, Any], str]:
    """A run's folder, record and note. StoreError where it was edited; with `stale` it is read all the
    same."""
    if problems := edits(folder, RECORD):
        whole = _identity(folder / RECORD) and all((folder / name).is_file() for name in TABLES)
        if not (stale and whole):  # then there is nothing to show
            raise StoreError(problems[0])
        note = "edited"
    return folder, json.loads((folder / RECORD).read_bytes()), note


def dialogues(profile: Profile, run: Run, stale: bool = False) -> pd.DataFrame:
    """What a finished run said at its end, a row an answer: set, decoding, hand, dialogue, answer, text,
    message (the verifier's), correct, outcome. Empty where nothing was kept; `stale` and StoreError as in
    `read`."""
    folder, _, _ = _opened(*_place(profile, run, stale))
    path = folder / "dialogues.parquet"
    return pd.read_parquet(path) if path.is_file() else pd.DataFrame()


Collected = tuple[list[dict], pd.DataFrame, pd.DataFrame, pd.DataFrame]


def collect(profile: Profile, study: str, stale: bool = False) -> Collected:
    """All runs of a study as tidy tables with the columns arm, seed, run: records (with their `note`),
    checkpoints, training, hands."""
    wanted = [run for run in profile.runs() if run.study == study]
    if not wanted:
        raise StoreError(f"profile {profile.name} has no study {study!r}")
    among = {} if all(_at_home(profile, run) for run in wanted) else listed(profile)
    return _tidy(study, [(run.arm, run.seed, _opened(*_place(profile, run, stale, among))) for run in wanted])


def shelved(folder: Path) -> Collected:
    """The same of all runs that lie in a study's folder, whatever profile they are of: one whose model is not
    on this machine cannot be loaded. StoreError where there are none or one was edited."""
    places = [path.parent for path in sorted(folder.glob(f"*/[!.]*/{RECORD}"))]
    if not places:
        raise StoreError(f"{shown(folder)} holds no runs")
    return _tidy(folder.name, [(place.parent.name, int(place.name), _opened(place)) for place in places])


def _tidy(study: str, runs: list[tuple[str, int, tuple]]) -> Collected:
    records, folders, keys = [], [], []
    for arm, seed, (folder, record, note) in runs:
        records.append({**record, "arm": arm, "study": study, "note": note})
        keys.append({"arm": arm, "seed": seed, "run": f"{study}/{arm}/{seed}"})
        folders.append(folder)
    keys = pd.DataFrame(keys)
    tables = (files.joined([folder / name for folder in folders]).join(keys) for name in TABLES)
    return records, *(table.reset_index(drop=True) for table in tables)


def commit() -> str | None:
    """The commit of the code at hand, "+" behind it where files were changed since; None outside git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + (
            "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None
