"""Goldens: what the code does, recorded; read, written and compared.

A golden is a JSON file in goldens/. It holds values of four kinds:

exact   integers and texts, the same on every machine; long lists as a hash
floats  series of numbers, compared by largest and by mean drift
here    what depends on the last bit of a float (sampled ids, outcomes of a trained policy): compared
exactly where the make of
        processor and torch are the recorded ones, elsewhere not at all
after   series of numbers that follow from `here`: compared where `here` came out as recorded

A number's drift is its distance from the recorded one, divided by the recorded size plus the series' mean
size; on other machines than the recorded one less what is rounding in single precision.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

KINDS = ("exact", "floats", "here", "after")
NOISE = 1e-7  # an `approx_kl` of a policy that has not moved is nothing but this
HERE = 1e-4, 1e-5  # drift allowed, at most and in the mean, where processor and torch are the recorded ones
FOLDER = Path(__file__).parent / "goldens"
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Golden:
    """parts: those of numerics.VERSIONS that it guards; largest, mean: the drift allowed on another machine
    (measured: README.md); on the recorded one it is HERE."""

    parts: tuple[str, ...]
    compute: Callable[[], dict[str, dict[str, Any]]]
    largest: float = 1e-2
    mean: float = 2e-3


def sha(things: Any) -> str:
    """A short hash of a list and its length, in one text."""
    if isinstance(things, np.ndarray):
        return f"{things.shape} {hashlib.sha256(things.tobytes()).hexdigest()[:16]}"
    if not isinstance(things, list | tuple):
        things = list(things)
    return f"{len(things)}: {hashlib.sha256(repr(things).encode()).hexdigest()[:16]}"


def numbers(series) -> list[float]:
    return [float(f"{float(value):.7g}") for value in series]


def processor() -> str:
    """Make and model, and the vector instructions that torch uses: what sampled ids are exact on."""
    kind = platform.machine()
    if Path("/proc/cpuinfo").is_file():
        rows = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
        told = {key.strip(): value.strip() for key, _, value in rows}
        kind = " ".join(told.get(key, "") for key in ("model name", "cpu family", "model"))
    return f"{kind}, {torch.backends.cpu.get_cpu_capability()}"


def machine() -> dict[str, str]:
    return {"processor": processor(), "torch": torch.__version__}


def read(name: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def write(name: str, parts, values: dict[str, Any], versions: dict[str, int], folder: Path = FOLDER) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    about = {"versions": {part: versions[part] for part in parts}, "commit": commit, **machine()}
    folder.mkdir(parents=True, exist_ok=True)
    lines = json.dumps({**about, **values}, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(_short(lines) + "\n")


def _short(text: str) -> str:
    """Lists of numbers on one line."""
    import re

    return re.sub(r"\[(?:[\s\d,.eE+-]|NaN|Infinity)*\]", lambda m: re.sub(r"\s+", "", m[0]), text)


def drift(recorded: list[float], got: list[float], noise: float = 0) -> tuple[float, float]:
    """Largest and mean drift; infinite where a value is missing or not finite on one side only."""
    a, b = np.array(recorded, float), np.array(got, float)
    if a.shape != b.shape or (np.isnan(a) != np.isnan(b)).any():
        return float("inf"), float("inf")
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if not len(a) or (a == b).all():
        return 0.0, 0.0
    apart = (np.abs(a - b) - noise).clip(0) / (np.abs(a) + np.abs(a).mean() + 1e-12)
    return float(apart.max()), float(apart.mean())


def _apart(recorded: Any, got: Any, where: str) -> list[str]:
    if isinstance(recorded, dict) and isinstance(got, dict):
        keys = dict.fromkeys([*recorded, *got])
        return [d for k in keys for d in _apart(recorded.get(k), got.get(k), f"{where}/{k}" if where else k)]
    return [] if recorded == got else [f"{where}: {_cut(got)} instead of {_cut(recorded)}"]


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 90 else f"{text[:87]}..."


def moved(
    golden: Golden, recorded: dict, got: dict, strict: bool | None = None, partly: bool = False
) -> list[str]:
    """What moved, a line each; empty where nothing did. `strict`: whether this machine is the recorded one
    (None: look); `partly`: only what was computed is compared."""
    got = json.loads(json.dumps(got))  # tuples as lists, as they are stored
    if strict is None:
        strict = all(recorded[k] == v for k, v in machine().items())
    if partly:
        values = {k: {n: v for n, v in recorded[k].items() if n in got[k]} for k in got}
        recorded = {**recorded, **{kind: {} for kind in KINDS}, **values}
    lines = _apart(recorded.get("exact", {}), got.get("exact", {}), "")
    here = _apart(recorded.get("here", {}), got.get("here", {}), "")
    lines += here if strict else []
    for kind in ("floats", "after") if not here else ("floats",):
        series = recorded.get(kind, {}), got.get(kind, {})
        for name in dict.fromkeys([*series[0], *series[1]]):
            largest, mean = drift(*(s.get(name, []) for s in series), 0 if strict else NOISE)
            allowed = HERE if strict else (golden.largest, golden.mean)
            if largest > allowed[0] or mean > allowed[1]:
                lines.append(
                    f"{name}: drift {largest:.1e} at most and {mean:.1e} in the mean; "
                    f"allowed {allowed[0]:.0e} and {allowed[1]:.0e}"
                )
    return lines


def skipped(recorded: dict, got: dict) -> bool:
    """Whether this is another machine, and sampled ids came out otherwise, so that what follows from them
    was not compared.
    """
    return bool(_apart(recorded.get("here", {}), json.loads(json.dumps(got.get("here", {}))), ""))
