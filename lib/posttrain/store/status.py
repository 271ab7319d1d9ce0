"""What is there, what is not, what was superseded by what, and what was edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from posttrain import numerics, store
from posttrain.config import ROOT, Profile, Run
from posttrain.store import CARD, RECORD, StoreError, edits, read_record, shown


class Status(NamedTuple):
    """`word`: current, superseded or missing; `why`: what was superseded by what; `minutes` of one core:
    measured or, where a run is to be made, expected from the stored ones of its arm (None: nothing to tell
    by)."""

    word: str
    why: str
    minutes: float | None


def status(profile: Profile, run: Run) -> Status:
    """Whether a run is there."""
    if folder := store.find(profile, run):
        return Status("current", "", _field(folder, "seconds", 0) / 60)
    place = store.home(profile, run)
    try:
        why = differences(read_record(place / RECORD), run.record())
    except StoreError:
        return Status("missing", "", _expected(run))
    return Status("superseded", why, _expected(run))


def _field(folder: Path, name: str, default: Any) -> Any:
    try:
        return json.loads((folder / RECORD).read_bytes()).get(name, default)
    except (OSError, ValueError, AttributeError):
        return default


def _expected(run: Run) -> float | None:
    """Minutes of the published runs of the same study and arm, a change of budget or steps counted in; None
    for a real model, of which they tell nothing."""
    minutes, now = [], run.resolved()
    for folder in sorted(ROOT.glob(f"data/results/{run.study}/{run.arm}/[!.]*")) if run.foundation else ():
        before = _field(folder, "settings", {})
        size = next((name for name in ("budget_gflop", "steps") if before.get(name) and now.get(name)), None)
        minutes.append(_field(folder, "seconds", 0) / 60 * (now[size] / before[size] if size else 1))
    return sum(minutes) / len(minutes) if minutes else None


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """In what two records differ as far as the identity goes: "version of ppo 1 -> 2, ppo.gamma 0.9 ->
    0.8"."""
    told = [
        f"version of {part} {a} -> {b}" for part, a, b in _changed(before.get("versions"), now["versions"])
    ]
    told += [f"{name} {a} -> {b}" for name, a, b in _changed(before.get("settings"), now["settings"])]
    return ", ".join(
        [*told, *(f"another {part}" for part in ("model", "parent") if before.get(part) != now[part])]
    )


def _changed(before: Any, now: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(path, before, now) of every leaf that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        return [
            row
            for key in keys
            for row in _changed(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        ]
    return (
        [(path, *("nothing" if value is None else value for value in (before, now)))] if before != now else []
    )


def verify(profile: Profile) -> list[str]:
    """What is missing, superseded, edited or astray among the results and foundations of a profile; empty
    when all is well."""
    runs = profile.runs()
    states = [(run, status(profile, run)) for run in runs]
    problems = [
        f"{run.name}: {s.word}{f' ({s.why})' if s.why else ''}" for run, s in states if s.word != "current"
    ]
    homes = {store.home(profile, run) for run in runs}
    there = {
        path for path in profile.results.glob("*/*/*") if path.is_dir() and not path.name.startswith(".")
    }
    for folder in sorted(homes & there):
        problems += edits(folder, RECORD) or _misplaced(folder)
    problems += [f"{shown(folder)}: no run of this profile; remove it" for folder in sorted(there - homes)]
    seeds = {*profile.seeds, *(seed for study in profile.studies.values() for seed in study.seeds or ())}
    wanted = {profile.models / f"{name}-{seed}" for name in profile.foundations for seed in seeds}
    for folder in sorted(path for path in profile.models.glob("[!.]*") if path.is_dir()):
        problems += edits(folder, CARD) or _wrong_card(folder)
        problems += [] if folder in wanted else [f"{shown(folder)}: no foundation of this profile; remove it"]
    for name, seed, identity in profile.foundation_list():
        if store.find_foundation(profile, name, seed, weights=False) is None:
            problems.append(f"{name}-{seed}: no foundation of identity {identity}")
    return problems


def _misplaced(folder: Path) -> list[str]:
    """A run whose record agrees neither with itself nor with where it lies."""
    record = read_record(folder / RECORD)
    decisive = {key: record[key] for key in ("settings", "seed", "model", "parent", "versions")}
    if numerics.run_identity(**decisive) != record["identity"]:
        return [f"{shown(folder / RECORD)}: its identity is not that of its settings"]
    if [record["study"], record["arm"], str(record["seed"])] != list(folder.parts[-3:]):
        name = f"{record['study']}/{record['arm']}/{record['seed']}"
        return [f"{shown(folder / RECORD)}: it is the record of {name}"]
    return []


def _wrong_card(folder: Path) -> list[str]:
    card = read_record(folder / CARD)
    identity = numerics.foundation_identity(card["settings"], card["text"], card["versions"])
    return (
        []
        if identity == card["identity"]
        else [f"{shown(folder / CARD)}: its identity is not that of its settings"]
    )


def obstacles(profile: Profile, remake: bool = False) -> list[str]:
    """Why a book must not be built from what is stored, one line each: edits and, unless they are to be made
    again (`remake`), superseded results in the published place."""
    edited, superseded = [], []
    for run in profile.runs():
        if folder := store.find(profile, run):
            edited += edits(folder, RECORD)
        elif profile.published and not remake and (state := status(profile, run)).word == "superseded":
            superseded.append(f"{run.name} is superseded: {state.why}")
    for name, seed, _ in profile.foundation_list():
        if folder := store.find_foundation(profile, name, seed, weights=False):
            edited += edits(folder, CARD)
    if superseded:
        superseded.append(
            "`make runs` makes superseded runs anew (`posttrain plan` tells how long that takes)"
        )
    problems = edited + superseded
    return [*problems, "`make book STALE=show` shows results as they are, and marks them"] if problems else []


def there(profile: Profile, run: Run, stale: bool = False) -> bool:
    """Whether a book can be built with a run as it is; with `stale` also with what was superseded."""
    superseded = (place / RECORD for place in store.homes(profile, run)) if stale else ()
    return bool(store.find(profile, run)) or any(record.is_file() for record in superseded)


def digest(profile: Profile) -> str:
    """One value for everything that a profile's book reads from the store: other results, another value."""
    runs = profile.runs()
    return numerics.digest(
        [_field(store.find(profile, run) or store.home(profile, run), "seal", "") for run in runs]
    )
