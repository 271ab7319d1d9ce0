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


def status(profile: Profile, run: Run, listed: dict[str, Path] | None = None) -> Status:
    """Whether a run is there; `listed` (`store.listed`) spares looking through all of them for each of many
    runs."""
    if folder := store.find(profile, run, listed):
        return Status("current", "", _field(folder / RECORD, "seconds", 0) / 60)
    place = store.home(profile, run)
    try:
        why = differences(read_record(place / RECORD), run.record())
    except StoreError as error:
        return Status("missing", str(error) if place.is_dir() else "", _expected(run))
    return Status("superseded", why, _expected(run))


def every(profile: Profile) -> list[tuple[Run, Status]]:
    """Every run of a profile, and whether it is there."""
    listed = store.listed(profile)
    return [(run, status(profile, run, listed)) for run in profile.runs()]


def _field(record: Path, name: str, default: Any) -> Any:
    try:
        return json.loads(record.read_bytes()).get(name, default)
    except (OSError, ValueError, AttributeError):
        return default


def _expected(run: Run) -> float | None:
    """Minutes of the published runs of the same study and arm, a change of budget or steps counted in; None
    for a real model, of which they tell nothing."""
    minutes, now = [], run.resolved()
    for folder in sorted(ROOT.glob(f"data/results/{run.study}/{run.arm}/[!.]*")) if run.foundation else ():
        before = _field(folder / RECORD, "settings", {})
        size = next((name for name in ("budget_gflop", "steps") if before.get(name) and now.get(name)), None)
        minutes.append(_field(folder / RECORD, "seconds", 0) / 60 * (now[size] / before[size] if size else 1))
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
    states = every(profile)
    problems = [
        f"{run.name}: {s.word}{f' ({s.why})' if s.word == 'superseded' else ''}"
        for run, s in states
        if s.word != "current"
    ]
    homes = {store.home(profile, run) for run, _ in states}
    there = _folders(profile.data)
    problems += _damage(*sorted(homes & there))
    problems += [f"{shown(folder)}: no run of this profile; remove it" for folder in sorted(there - homes)]
    problems += _strays(profile.results)
    seeds = {*profile.seeds, *(seed for study in profile.studies.values() for seed in study.seeds or ())}
    wanted = {profile.models / f"{name}-{seed}" for name in profile.foundations for seed in seeds}
    for folder in _models(profile.data):
        problems += _damage(folder)
        problems += [] if folder in wanted else [f"{shown(folder)}: no foundation of this profile; remove it"]
    for name, seed, identity in profile.foundation_list():
        if store.find_foundation(profile, name, seed, weights=False) is None:
            problems.append(f"{name}-{seed}: no foundation of identity {identity}")
    return problems + _beside(profile)


def _folders(data: Path) -> set[Path]:
    """The folders of runs below one of data's."""
    return {path for path in data.glob("results/*/*/[!.]*") if path.is_dir()}


def _models(data: Path) -> list[Path]:
    return sorted(path for path in data.glob("models/[!.]*") if path.is_dir())


def _strays(results: Path) -> list[str]:
    """What lies among the folders of runs and is none."""
    found = sorted(path for depth in ("", "*/", "*/*/") for path in results.glob(f"{depth}[!.]*"))
    return [f"{shown(path)}: no folder of a run; remove it" for path in found if not path.is_dir()]


def _beside(profile: Profile) -> list[str]:
    """Edits in what other profiles keep beside the published results: the book reads some of it too."""
    if not profile.published or profile.kept:
        return []
    folders = [
        shelf for shelf in sorted((ROOT / "data").iterdir()) if shelf not in (profile.models, profile.results)
    ]
    kept = (folder for shelf in folders for folder in (*sorted(_folders(shelf)), *_models(shelf)))
    return _damage(*kept)


def _damage(*folders: Path) -> list[str]:
    """What is wrong with folders of runs and foundations, by their own records; what is no folder is left
    out."""
    problems = []
    for folder in filter(Path.is_dir, folders):
        record, wrong = (CARD, _wrong_card) if folder.parent.name == "models" else (RECORD, _misplaced)
        try:
            problems += edits(folder, record) or wrong(folder)
        except KeyError as error:
            problems.append(f"{shown(folder / record)}: it says no {error.args[0]}")
    return problems


def damage(profile: Profile, run: Run) -> list[str]:
    """What is wrong with folders that lie in the place of a run that was not found: an edit may hide it."""
    return _damage(*store.homes(profile, run))


def foundation_damage(profile: Profile, name: str, seed: int) -> list[str]:
    """The same of a foundation."""
    return _damage(*(shelf / "models" / f"{name}-{seed}" for shelf in store.shelves(profile)))


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
    if numerics.foundation_identity(card["settings"], card["text"], card["versions"]) == card["identity"]:
        return []
    return [f"{shown(folder / CARD)}: its identity is not that of its settings"]


def obstacles(profile: Profile, remake: bool = False) -> list[str]:
    """Why a book must not be built from what is stored, one line each: edits and, unless they are to be made
    again (`remake`), superseded results in the published place."""
    edited, superseded, listed = [], [], store.listed(profile)
    for run in profile.runs():
        if folder := store.find(profile, run, listed):
            edited += edits(folder, RECORD)
        elif hidden := damage(profile, run):
            edited += hidden
        elif (
            profile.published and not remake and (state := status(profile, run, listed)).word == "superseded"
        ):
            superseded.append(f"{run.name} is superseded: {state.why}")
    for name, seed, _ in profile.foundation_list():
        folder = store.find_foundation(profile, name, seed, weights=False)
        edited += edits(folder, CARD) if folder else foundation_damage(profile, name, seed)
    edited = list(dict.fromkeys([*edited, *_beside(profile)]))
    if superseded:
        superseded.append(
            "`make runs` makes superseded runs anew (`posttrain plan` tells how long that takes)"
        )
    problems = edited + superseded
    return [*problems, "`make book STALE=show` shows results as they are, and marks them"] if problems else []


def there(profile: Profile, run: Run, stale: bool = False) -> bool:
    """Whether a book can be built with a run as it is; with `stale` also with what was superseded."""
    return bool(store.find(profile, run)) or stale and any(p.is_dir() for p in store.homes(profile, run))


def digest(profile: Profile) -> str:
    """One value for everything that a profile's book reads from the store, what other profiles keep there
    too: other results, another value."""
    shelves = dict.fromkeys([profile.data, ROOT / "data", *sorted((ROOT / "data").iterdir())])
    runs = [folder / RECORD for shelf in shelves for folder in sorted(_folders(shelf))]
    cards = [folder / CARD for shelf in shelves for folder in _models(shelf)]
    return numerics.digest([_field(path, "seal", "") for path in runs + cards])
