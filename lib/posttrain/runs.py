"""Runs: what identifies one, where its tables lie, how a killed one goes on.

A run is a study's arm with one seed: settings from a profile (a file of notebooks/profiles). Its identity is the hash of those
settings, of the model it starts from and of the library code that decides its numbers; comments and docstrings do not count.
A foundation's identity is the hash of its settings, of the corpus it reads and of the code that trains it. This module
imports no torch, so Snakemake can plan in a fraction of a second.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable

import pandas as pd

from posttrain import config

LIBRARY = Path(__file__).parent
ROOT = LIBRARY.parent.parent
ALGORITHMS = ("init", "sft", "ppo")
# Settings an arm may hold; anything else in a profile is an error, never silently ignored.
ARM_SETTINGS = {
    "task",
    "algorithm",
    "start",
    "steps",
    "budget_gflop",
    "checkpoints",
    "environment",
    "sft",
    "ppo",
    "lora",
    "census",
    "bf16",
}
# The tasks, and the modules that one's numbers do not depend on although the study imports them.
_NAVIGATION = {
    "posttrain.environments.navigation",
    "posttrain.verifiers.navigation",
    "posttrain.environments.cities",
    "posttrain.environments.routes",
}
_CARDS, _STREETS = {"posttrain.rendering.cards"}, {"posttrain.rendering.cards", "posttrain.rendering.streets"}
OTHER_TASKS = {
    "general-points": _NAVIGATION | _STREETS,
    "general-points-vision": _NAVIGATION | _STREETS - _CARDS,
    "navigation": _STREETS,
    "navigation-vision": set(),
}


def digest(thing: Any, length: int = 10) -> str:
    return hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).hexdigest()[:length]


# --- identity of code ---------------------------------------------------------------------------------------------


def _kept(name: str, make: Callable[[], str]) -> str:
    """What `make` gives, kept under build/: `name` says all that it depends on."""
    path = ROOT / "build" / name
    if not path.is_file():
        write(path, make())
    return path.read_text()


# The code that made the stored runs, by task and trainer; versions take the place of this (posttrain.numerics).
CODE = {
    "general-points/init": "8313e9552e",
    "general-points/ppo": "cc195f8690",
    "general-points-vision/init": "e584d48e38",
    "general-points-vision/ppo": "af9bd7ecce",
    "navigation/init": "422922675f",
    "navigation/ppo": "99469feaac",
    "navigation-vision/init": "66ef7f38fa",
    "navigation-vision/ppo": "fad1477559",
}
FOUNDATION_CODE = {"tokenizer": "bf39f3b1b8", "pretraining": "225438b25a", "vision": "4e283822c6"}


@lru_cache(maxsize=None)
def _shown(corpus: str) -> str:
    """Hash of documents of a corpus of pictures, pixels and all: some from far apart, so that each kind is among them. Drawing them takes
    seconds, so the hash is kept under build/ as long as no code that it depends on changes."""

    def draw() -> str:
        import numpy as np

        from posttrain.foundation import sights

        found = itertools.islice(sights.corpus_of(corpus).documents(np.random.default_rng(0)), 0, 3072, 24)
        return digest(
            [
                [d.before, d.behind, d.completion, hashlib.sha256(d.picture().tobytes()).hexdigest()]
                for d in found
            ]
        )

    return _kept(f"shown/{corpus}-0.6", draw)


@lru_cache(maxsize=None)
def _said(corpus: str) -> list[list]:
    """The first documents of a corpus of texts: what it says."""
    import numpy as np

    from posttrain.foundation import source
    from posttrain.foundation.documents import documents

    return [
        list(itertools.islice(documents(np.random.default_rng(0), mixture), 256))
        for mixture in (source(corpus).READING, source(corpus).MIXTURE)
    ]


@lru_cache(maxsize=None)
def foundation_identity(settings: str) -> str:
    """Identity of a pocket foundation; `settings` is FoundationConfig's fields as JSON, or VisionConfig's with the text foundation's in "text".

    The corpus enters by what it says and shows (some documents), so that tidying code elsewhere keeps the foundations.
    """
    from posttrain.foundation import source

    if "text" in (own := json.loads(settings)):
        text = foundation_identity(json.dumps(own.pop("text"), sort_keys=True))
        return digest([own, text, _shown(own["corpus"]), FOUNDATION_CODE["vision"]])
    corpus = source(own.get("corpus", "numbers"))
    return digest(
        [
            own,
            _said(own.get("corpus", "numbers")),
            corpus.vocabulary(),
            *(FOUNDATION_CODE[name] for name in ("tokenizer", "pretraining")),
        ]
    )


# --- what a profile asks for --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One arm of one study with one seed. `settings` are the arm's, completed by the study's."""

    profile: str
    study: str
    arm: str
    seed: int
    model: str
    model_identity: str
    settings: dict[str, Any] = field(hash=False)
    parent: "Run | None" = None

    @property
    def algorithm(self) -> str:
        return self.settings["algorithm"]

    @property
    def task(self) -> str:
        return self.settings.get("task", "general-points")

    @property
    def name(self) -> str:
        """The run's name within its profile: study/arm/seed."""
        return f"{self.study}/{self.arm}/{self.seed}"

    @property
    def identity(self) -> str:
        code = CODE[f"{self.task}/{'ppo' if self.algorithm == 'ppo' else 'init'}"]
        return digest(
            [
                self.study,
                self.algorithm,
                self.seed,
                self.model_identity,
                self.settings,
                code,
                self.parent.identity if self.parent else None,
            ]
        )

    @property
    def id(self) -> str:
        return f"{self.study}-{self.arm}-s{self.seed}-{self.identity}"


@dataclass(frozen=True)
class Profile:
    """A profile's content, and where its models, results and states lie."""

    name: str
    settings: dict[str, Any] = field(hash=False)
    root: Path = ROOT

    @property
    def results(self) -> Path:
        return self.root / "data" / "results"

    @property
    def state(self) -> Path:
        return self.root / "build" / "state"

    def foundation(self, name: str, seed: int) -> dict[str, Any]:
        """The settings of one of the profile's foundations."""
        known = self.settings.get("foundations", {})
        if name not in known:
            raise ValueError(
                f"profile {self.name} has no foundation {name!r}: choose one of {', '.join(known)}"
            )
        text = {"text": self.foundation(known[name]["language"], seed)} if "language" in known[name] else {}
        return {**known[name], "seed": seed, **text}

    def model(self, name: str, seed: int) -> tuple[str, str]:
        """Path (or hub name) of the model that runs of this foundation and seed start from, and its identity."""
        real = self.settings.get("model")
        if real:
            return real, real
        return str(self.models / f"{name}-{seed}"), foundation_identity(
            json.dumps(self.foundation(name, seed), sort_keys=True)
        )

    @property
    def models(self) -> Path:
        return self.root / "data" / "models"

    def runs(self) -> list[Run]:
        """Every run of the profile, parents first."""
        found: list[Run] = []
        for study, content in self.settings["studies"].items():
            shared = {k: v for k, v in content.items() if k not in ("arms", "seeds", "foundation")}
            for seed in content.get("seeds", self.settings["seeds"]):
                model, identity = self.model(content.get("foundation", "pocket-text"), seed)
                inits: dict[str, Run] = {}
                for arm, own in content["arms"].items():
                    settings = _merge(shared, own or {})
                    unknown = set(settings) - ARM_SETTINGS
                    if unknown or settings.get("algorithm") not in ALGORITHMS:
                        raise ValueError(
                            f"profile {self.name}, {study}/{arm}: unknown {', '.join(sorted(unknown)) or 'algorithm'}; "
                            f"settings are {', '.join(sorted(ARM_SETTINGS))}, algorithms {', '.join(ALGORITHMS)}"
                        )
                    if settings.get("task", "general-points") not in OTHER_TASKS:
                        raise ValueError(
                            f"profile {self.name}, {study}/{arm}: unknown task {settings['task']!r}; tasks are {', '.join(OTHER_TASKS)}"
                        )
                    sizes = [settings.get(part, {}).get("pixels") for part in ("environment", "census")]
                    if settings.get("task", "").endswith("-vision") and sizes[0] != sizes[1]:
                        raise ValueError(
                            f"profile {self.name}, {study}/{arm}: it trains on pictures of {sizes[0] or 'the default'} pixels and is judged on "
                            f"{sizes[1] or 'the default'}; set pixels in environment and in census alike"
                        )
                    if "budget_gflop" in settings:  # as the stored runs have it
                        settings["budget"] = settings.pop("budget_gflop")
                    start = settings.get("start", "base")
                    if start != "base" and start not in inits:
                        raise ValueError(
                            f"profile {self.name}, {study}/{arm}: it starts from {start!r}, which is no init arm listed before it"
                        )
                    run = Run(self.name, study, arm, seed, model, identity, settings, inits.get(start))
                    if run.algorithm == "init":
                        inits[arm] = run
                    found.append(run)
        return found

    def run(self, name: str) -> Run:
        """The run called study/arm/seed."""
        known = {run.name: run for run in self.runs()}
        if name not in known:
            raise ValueError(f"profile {self.name} has no run {name!r}: choose one of {', '.join(known)}")
        return known[name]


def _merge(shared: dict, own: dict) -> dict:
    return {
        key: {**shared[key], **own[key]}
        if isinstance(shared.get(key), dict) and isinstance(own.get(key), dict)
        else own.get(key, shared.get(key))
        for key in {**shared, **own}
    }


def profile(name: str, fresh: bool = False) -> Profile:
    """The profile `name` of notebooks/profiles. With `fresh` everything is trained anew, under build/reproduce."""
    checked = config.load(name, fresh)
    return Profile(name, config.read(name), checked.root)


# --- tables -------------------------------------------------------------------------------------------------------


def write(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


class Tables:
    """Tables that grow by parts, one a step; writing a step again replaces it, so a resumed run ends with the same tables."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def put(self, name: str, step: int, rows: pd.DataFrame) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path, partial = self.folder / f"{name}-{step:08d}.parquet", self.folder / f".{name}-{step:08d}"
        rows.assign(step=step).to_parquet(partial, index=False)
        os.replace(partial, path)

    def steps(self, name: str) -> list[int]:
        return sorted(int(path.stem.rpartition("-")[2]) for path in self.folder.glob(f"{name}-*.parquet"))

    def get(self, name: str, until: int | None = None) -> pd.DataFrame:
        steps = [step for step in self.steps(name) if until is None or step <= until]
        parts = [pd.read_parquet(self.folder / f"{name}-{step:08d}.parquet") for step in steps]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def publish(
    run: Run, results: Path, tables: Tables, provenance: dict[str, Any], adapter: Path | None = None
) -> Path:
    """Put a finished run's tables, configuration and provenance under `results`, all at once; returns the folder."""
    folder, partial = Path(results) / run.id, Path(results) / f".{run.id}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tables.get("checkpoints").to_csv(partial / "checkpoints.csv", index=False, float_format="%.6g")
    tables.get("training").drop(columns="step", errors="ignore").to_csv(
        partial / "training.csv", index=False, float_format="%.5g"
    )
    tables.get("hands").to_parquet(partial / "hands.parquet", index=False, compression="zstd")
    if adapter is not None:
        shutil.copytree(adapter, partial / "adapter", ignore=shutil.ignore_patterns("README.md"))
        config = json.loads((partial / "adapter" / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = Path(
            run.model
        ).name  # peft notes where the model lay on this machine
        (partial / "adapter" / "adapter_config.json").write_text(
            json.dumps(config, indent=1, sort_keys=True) + "\n"
        )
    record = {k: v for k, v in asdict(run).items() if k not in ("parent", "model")}
    record |= {
        "id": run.id,
        "identity": run.identity,
        "parent": run.parent.id if run.parent else None,
        **provenance,
    }
    (partial / "run.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return folder


def read(run: Run, results: Path) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """A finished run: record, checkpoints, training, hands. FileNotFoundError says how to carry it out."""
    folder = Path(results) / run.id
    if not (folder / "run.json").is_file():
        raise FileNotFoundError(
            f"run {run.id} has no results; carry it out with: posttrain train --profile {run.profile} --run {run.name}"
        )
    return (
        json.loads((folder / "run.json").read_text()),
        pd.read_csv(folder / "checkpoints.csv"),
        pd.read_csv(folder / "training.csv"),
        pd.read_parquet(folder / "hands.parquet"),
    )


def collect(profile: Profile, study: str) -> tuple[list[dict], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """All finished runs of a study as tidy tables with the columns arm, seed, run: records, checkpoints, training, hands."""
    parts: list[list] = [[], [], [], []]
    for run in (run for run in profile.runs() if run.study == study):
        record, *tables = read(run, profile.results)
        parts[0].append(record)
        for part, table in zip(parts[1:], tables):
            part.append(table.assign(arm=run.arm, seed=run.seed, run=run.id))
    if not parts[0]:
        raise ValueError(f"profile {profile.name} has no study {study!r}")
    return parts[0], *(pd.concat(part, ignore_index=True) for part in parts[1:])


def verify(profile: Profile) -> list[str]:
    """What is missing or stale among the stored results and foundations; empty when all belong to this code."""
    problems, expected = [], {run.id for run in profile.runs()}
    stored = {path.parent.name for path in profile.results.glob("[!.]*/run.json")}
    problems += [f"missing: {name}" for name in sorted(expected - stored)]
    problems += [f"stale (made by other code or settings): {name}" for name in sorted(stored - expected)]
    for path in sorted(profile.models.glob("[!.]*/card.json")):
        card = json.loads(path.read_text())
        if foundation_identity(json.dumps(card["config"], sort_keys=True)) != card["identity"]:
            problems.append(f"stale foundation: {path.parent.name}")
        if text := card["config"].get(
            "text"
        ):  # a tower stands before the text foundation that it was trained with, and no other
            beside = path.parent.parent / f"{card['config']['language']}-{text['seed']}" / "card.json"
            if not beside.is_file() or json.loads(beside.read_text())["config"] != text:
                problems.append(
                    f"stale foundation: {path.parent.name} was trained before another {beside.parent.name}"
                )
    return problems
