"""Profiles: which foundations are made, and which arms of which studies are run with which seeds.

An arm's settings may stand in the arm or, for all its arms, in the study; the arm's come first. Paper:
section 5 (two arms from one Init, compute measured in GFLOP).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from posttrain import numerics
from posttrain.config import messages
from posttrain.config.foundations import LANGUAGES, FoundationConfig, VisionConfig
from posttrain.config.settings import ConfigError, Count, Problem, Seeds, Settings, brief, choose, setting
from posttrain.config.tasks import TASKS, CensusConfig, GeneralPointsConfig, NavigationConfig
from posttrain.config.training import LoraSettings, PPOConfig, SFTConfig

ALGORITHMS = ("init", "sft", "ppo")  # in the order that seeds count on
ROOT = Path(__file__).parents[3]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)]
Device = Annotated[str, Field(pattern="^(cpu|mps|cuda(:[0-9]+)?)$")]
Gflop = Annotated[float, Field(gt=0, le=1e15)]
_FOLDERS = (".", "~", "/", "data/", "build/")  # how a model that is a folder begins


def _either(first: type[Settings], second: type[Settings], is_second) -> Any:
    """One of two groups of settings; tags in angle brackets, which no path of an error shows."""

    def tag(value: Any) -> str:
        return f"<{is_second(value) if isinstance(value, dict) else isinstance(value, second)}>"

    return Annotated[Annotated[first, Tag("<False>")] | Annotated[second, Tag("<True>")], Discriminator(tag)]


def _navigates(said: dict) -> bool:
    return str(said.get("task")).startswith("navigation")


def _sees(said: dict) -> bool:
    return "language" in said or str(said.get("corpus")) in LANGUAGES


class Arm(Settings):
    """One arm of a study: what is trained, for how long, and how it is judged."""

    algorithm: Literal[ALGORITHMS] = setting(..., "init (supervised, where other arms start), sft or ppo.")
    task: Literal[tuple(TASKS)] = setting("general-points", "What is posed, in text or with pictures.")
    start: str | None = setting(
        None, "The init arm, listed before, that it starts from; the model if left out."
    )
    steps: Count | None = setting(
        None, "Optimizer steps of init and sft, in place of a budget.", json_schema_extra={"neutral": None}
    )
    budget_gflop: Gflop | None = setting(
        None,
        "Compute in GFLOP: 6N for a trained token, 2N for a token of the rollouts.",
        json_schema_extra={"neutral": None},
    )
    checkpoints: Count = setting(8, "How often it is judged, at equal distances; the start comes on top.")
    bf16: bool = setting(False, "Whether products are computed in bfloat16.")
    environment: _either(GeneralPointsConfig, NavigationConfig, _navigates) = setting(
        ..., "What is trained on."
    )
    lora: LoraSettings = LoraSettings()
    sft: SFTConfig = SFTConfig()
    ppo: PPOConfig = PPOConfig()
    census: CensusConfig = setting(..., "What is judged.")

    @classmethod
    def complete(cls, data: dict) -> dict:
        task = data.get("task", "general-points")
        if str(task) not in TASKS:
            raise Problem(f"unknown {brief(task)}; {choose(task, TASKS)}", "task")
        parts = {part: data.get(part, {}) for part in ("environment", "census")}
        for part, said in parts.items():
            if isinstance(said, dict):
                if "task" in said:
                    raise Problem("unknown; the task stands beside it", part, "task")
                parts[part] = {**said, "task": task}
        return {**data, **parts}

    @model_validator(mode="after")
    def _check(self) -> Arm:
        if self.algorithm == "ppo" and self.steps is not None:
            raise Problem("must be left out: ppo is given budget_gflop", "steps")
        if self.steps is not None and self.budget_gflop is not None:
            raise Problem("must be left out where budget_gflop is given", "steps")
        if self.steps is None and self.budget_gflop is None:
            or_steps = "" if self.algorithm == "ppo" else ", or give steps"
            raise Problem(f"is missing: a number of GFLOP above 0{or_steps}", "budget_gflop")
        if self.environment.pixels != self.census.pixels:
            text = f"must be {self.environment.pixels}, as in environment, not {self.census.pixels}"
            raise Problem(text, "census", "pixels")
        return self

    def resolved(self) -> dict[str, Any]:
        """What decides an arm's numbers: not what it starts from, and only the trainer that it uses."""
        unused = ("start", "sft" if self.algorithm == "ppo" else "ppo")
        return {name: value for name, value in super().resolved().items() if name not in unused}


class Study(Settings):
    """Arms that are compared. Whatever an arm may set may stand here too, for all arms that do not set it."""

    foundation: str = setting("pocket-text", "The profile's foundation that all arms start from.")
    seeds: Seeds | None = setting(None, "Seeds of its runs; the profile's if left out.")
    arms: dict[Name, Arm] = setting(..., "Arms by name, an init before what starts from it.", min_length=1)

    @classmethod
    def complete(cls, data: dict) -> dict:
        shared = {name: value for name, value in data.items() if name not in cls.model_fields}
        if unknown := [name for name in shared if name not in Arm.model_fields]:
            raise Problem(f"unknown; {choose(unknown[0], [*cls.names(), *Arm.names()])}", unknown[0])
        own = {name: value for name, value in data.items() if name in cls.model_fields}
        if isinstance(arms := data.get("arms"), dict):
            for name, arm in arms.items():
                unused = {"init": "ppo", "sft": "ppo", "ppo": "sft"}
                if isinstance(arm, dict) and (part := unused.get(str(arm.get("algorithm")))) in arm:
                    raise Problem(f"must be left out: {arm['algorithm']} does not use it", "arms", name, part)
            own["arms"] = {
                n: merged(shared, arm) if isinstance(arm, dict) else arm for n, arm in arms.items()
            }
        return own

    @model_validator(mode="after")
    def _check(self) -> Study:
        inits: dict[str, str] = {}
        for name, arm in self.arms.items():
            if arm.start is not None and inits.get(arm.start) != arm.task:
                there = choose(arm.start, [init for init, task in inits.items() if task == arm.task])
                text = f"must be an init arm of the same task, listed before, not {brief(arm.start)}; {there}"
                raise Problem(text, "arms", name, "start")
            if arm.algorithm == "init":
                inits[name] = arm.task
        return self


class Profile(Settings):
    """What a file of notebooks/profiles says, and where its models, results and states lie."""

    given: ClassVar = ("name", "fresh", "root")
    name: Name = setting(..., "The file's name.")
    fresh: bool = setting(False, "Whether stored results are left aside.")
    root: Path = setting(..., "The folder that data/ and build/ lie in.")
    extends: str | None = setting(
        None, "A profile that holds where this one is silent; null takes a key away."
    )
    seeds: Seeds = setting(..., "Seeds of foundations and runs, such as [0, 1, 2].")
    device: Device = setting("cpu", "Where runs are trained.")
    model: str | None = setting(
        None, "A real model in place of the foundations: a folder (./…) or its name (owner/model)."
    )
    gate_hands: Count = setting(512, "Cases in each test that a new foundation must pass.")
    foundations: dict[Name, _either(FoundationConfig, VisionConfig, _sees)] = setting(
        {}, "Foundations by name."
    )
    studies: dict[Name, Study] = setting(..., "Studies by name.", min_length=1)

    @classmethod
    def complete(cls, data: dict) -> dict:
        foundations = data.get("foundations")
        for name, said in foundations.items() if isinstance(foundations, dict) else ():
            if isinstance(said, dict) and (given := [key for key in VisionConfig.given if key in said]):
                raise Problem("unknown; it comes from the profile's seeds", "foundations", name, given[0])
        published = data.get("name") == "cpu" and not data.get("fresh")
        place = ROOT / "build" / ("reproduce" if data.get("fresh") else "profiles") / str(data.get("name"))
        return {"root": ROOT if published else place, **data}

    @model_validator(mode="after")
    def _check(self) -> Profile:
        for name, tower in self.foundations.items():
            if isinstance(tower, VisionConfig):
                self._check_corpus(tower.language, LANGUAGES[tower.corpus], "foundations", name, "language")
        if self.model is not None:
            self._check_model()
            return self
        for name, study in self.studies.items():
            for label, arm in study.arms.items():
                self._check_corpus(study.foundation, TASKS[arm.task].corpus, "studies", name, "foundation")
                if arm.lora.parts != "language" and not TASKS[arm.task].shown:
                    path = ("studies", name, "arms", label, "lora", "parts")
                    raise Problem("must be language: a text model has no other parts", *path)
        return self

    def _check_corpus(self, name: str, corpus: str, *path: str) -> None:
        there = [other for other, foundation in self.foundations.items() if foundation.corpus == corpus]
        if name not in there:
            raise Problem(
                f"must be a foundation of the corpus {corpus}, not {brief(name)}; {choose(name, there)}",
                *path,
            )

    def _check_model(self) -> None:
        if self.model.startswith(_FOLDERS):
            try:
                said = json.loads((Path(self.model).expanduser() / "config.json").read_text())
            except (OSError, ValueError):
                raise Problem(
                    f"must be a folder with a config.json, not {brief(self.model)}", "model"
                ) from None
            tasks = {arm.task for study in self.studies.values() for arm in study.arms.values()}
            if any(TASKS[task].shown for task in tasks) and "vision_config" not in said:
                raise Problem(
                    f"must read pictures, as a study shows them; {brief(self.model)} is a text model", "model"
                )
        elif not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", self.model, re.ASCII):
            raise Problem(f"must be a folder (./…) or a name (owner/model), not {brief(self.model)}", "model")

    @property
    def models(self) -> Path:
        return self.root / "data" / "models"

    @property
    def results(self) -> Path:
        return self.root / "data" / "results"

    @property
    def state(self) -> Path:
        return self.root / "build" / "state"

    def foundation(self, name: str, seed: int) -> FoundationConfig | VisionConfig:
        """A foundation with its seed, a tower with its text foundation. ConfigError lists the names."""
        if name not in self.foundations:
            raise ConfigError(
                f"profile {self.name}: no foundation {brief(name)}; {choose(name, self.foundations)}"
            )
        config = self.foundations[name]
        text = {"text": self.foundation(config.language, seed)} if isinstance(config, VisionConfig) else {}
        return config.model_copy(update={"seed": seed, **text})

    def foundation_list(self) -> list[tuple[str, int, str]]:
        """(name, seed, identity) of every foundation that runs start from, text before towers."""
        towers = {name for name, config in self.foundations.items() if isinstance(config, VisionConfig)}
        used = dict.fromkeys((run.foundation, run.seed) for run in self.runs() if run.foundation)
        below = {(self.foundations[name].language, seed) for name, seed in used if name in towers}
        ordered = sorted({*used, *below}, key=lambda pair: (pair[0] in towers, *pair))
        return [(name, seed, self.foundation(name, seed).identity) for name, seed in ordered]

    def runs(self) -> list[Run]:
        """Every run, an Init before what starts from it."""
        listed = []
        for study_name, study in self.studies.items():
            for seed in study.seeds or self.seeds:
                foundation = None if self.model else study.foundation
                model = self.foundation(foundation, seed) if foundation else _expanded(self.model)
                runs: dict[str, Run] = {}
                for name, arm in study.arms.items():
                    parent = runs[arm.start] if arm.start else None
                    runs[name] = Run(self.name, study_name, name, seed, arm, foundation, model, parent)
                listed += runs.values()
        return listed

    def run(self, name: str) -> Run:
        """The run called study/arm/seed; ConfigError lists the names."""
        runs = {run.name: run for run in self.runs()}
        if name not in runs:
            raise ConfigError(f"profile {self.name}: no run {brief(name)}; {choose(name, runs)}")
        return runs[name]


def _expanded(model: str) -> str:
    return str(Path(model).expanduser()) if model.startswith(_FOLDERS) else model


@dataclass(frozen=True)
class Run:
    """One arm of a study with one seed. foundation: its name, None with a real model; model: the
    foundation's settings, or a folder or hub name."""

    profile: str
    study: str
    arm: str
    seed: int
    settings: Arm
    foundation: str | None
    model: FoundationConfig | VisionConfig | str
    parent: Run | None = None

    @property
    def algorithm(self) -> str:
        return self.settings.algorithm

    @property
    def task(self) -> str:
        return self.settings.task

    @property
    def name(self) -> str:
        return f"{self.study}/{self.arm}/{self.seed}"

    def resolved(self) -> dict[str, Any]:
        """Every setting that decides the numbers, defaults filled in, as JSON has it; not the names."""
        return self.settings.resolved()

    @property
    def model_identity(self) -> str:
        return numerics.model_identity(self.model) if isinstance(self.model, str) else self.model.identity

    @cached_property
    def identity(self) -> str:
        """What tells the run from all others (posttrain.numerics)."""
        return numerics.run_identity(**self._decisive())

    def _decisive(self) -> dict[str, Any]:
        return {
            "settings": self.resolved(),
            "seed": self.seed,
            "model": self.model_identity,
            "parent": self.parent.identity if self.parent else None,
            "versions": numerics.run_versions(self.task, self.algorithm),
        }

    def record(self) -> dict[str, Any]:
        """What run.json says before anything was measured: the identity, all that decides it, the names."""
        names = {name: getattr(self, name) for name in ("profile", "study", "arm", "foundation")}
        return {"identity": self.identity, **names, **self._decisive()}


def merged(below: dict, above: dict) -> dict:
    """Two mappings as one, at every depth; `above` comes first, and its None takes a key of `below` away."""
    result = {**below, **above}
    for key in below.keys() & above.keys():
        if above[key] is None:
            del result[key]
        elif isinstance(above[key], dict) and isinstance(below[key], dict):
            result[key] = merged(below[key], above[key])
    return result


def check(name: str, said: dict[str, Any], fresh: bool = False, **root: Path) -> Profile:
    """The profile that says `said`, with `root=` below another folder; ConfigError is one line."""
    if given := [key for key in said if key in Profile.given]:
        raise ConfigError(f"profile {name}: {given[0]}: unknown; {choose(given[0], Profile.names())}")
    try:
        return Profile.model_validate({**said, "name": name, "fresh": fresh, **root})
    except ValidationError as error:
        raise ConfigError(f"profile {name}: {messages.line(error, said)}") from None


def table() -> list[messages.Row]:
    """Every setting of a profile. What stands under an arm may stand in its study, for all arms."""
    arm = "studies.*.arms.*."
    groups = {
        "": (Profile,),
        "foundations.TEXT.": (FoundationConfig,),
        "foundations.TOWER.": (VisionConfig,),
        "studies.*.": (Study,),
        arm: (Arm,),
        f"{arm}environment.": (GeneralPointsConfig, NavigationConfig),
        f"{arm}lora.": (LoraSettings,),
        f"{arm}sft.": (SFTConfig,),
        f"{arm}ppo.": (PPOConfig,),
        f"{arm}census.": (CensusConfig,),
    }
    listed = [messages.rows(path, group) for path, groups_ in groups.items() for group in groups_]
    return list(dict.fromkeys(row for part in listed for row in part))
