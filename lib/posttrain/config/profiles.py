"""Profiles: which foundations are made, and which arms of which studies are run with which seeds.

An arm's settings may stand in the arm or, for all its arms, in the study; the arm's come first. Paper: section 5 (two arms from one
Init, compute measured in GFLOP).
"""

from __future__ import annotations

import json
import re
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from posttrain.config.foundations import LANGUAGES, FoundationConfig, VisionConfig
from posttrain.config.settings import Count, Problem, Seeds, Settings, choose
from posttrain.config.tasks import TASKS, CensusConfig, GeneralPointsConfig, NavigationConfig
from posttrain.config.training import LoraSettings, PPOConfig, SFTConfig

ROOT = Path(__file__).parents[3]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)]


class ConfigError(ValueError):
    """A profile that cannot be carried out: one line with the path of the setting and what is allowed."""


def _kind(value: Any) -> str:
    """The tag of a model in a union; in angle brackets, so that it is known in an error's path."""
    if not isinstance(value, dict):
        return f"<{type(value).__name__}>"
    if "task" in value:
        return f"<{'Navigation' if value['task'].startswith('navigation') else 'GeneralPoints'}Config>"
    return f"<{'Vision' if 'language' in value or value.get('corpus') in LANGUAGES else 'Foundation'}Config>"


def _either(*models: type[Settings]):
    union = (
        Annotated[models[0], Tag(f"<{models[0].__name__}>")]
        | Annotated[models[1], Tag(f"<{models[1].__name__}>")]
    )
    return Annotated[union, Discriminator(_kind)]


Environment = _either(GeneralPointsConfig, NavigationConfig)
Foundation = _either(FoundationConfig, VisionConfig)


class Arm(Settings):
    """One arm of a study: what is trained, for how long, and how it is judged."""

    algorithm: Literal["init", "sft", "ppo"] = Field(
        description="init (supervised, the start of other arms), sft or ppo."
    )
    task: Literal[tuple(TASKS)] = Field(
        "general-points", description="What is posed, in text or with pictures."
    )
    start: str | None = Field(
        None,
        description="The init arm, listed before, whose adapter it starts from; the model itself if left out.",
    )
    steps: Count | None = Field(
        None,
        json_schema_extra={"neutral": None},
        description="Optimizer steps, of init and sft; or a budget.",
    )
    budget_gflop: Annotated[float, Field(gt=0, le=1e15)] | None = Field(
        None,
        json_schema_extra={"neutral": None},
        description="Compute in GFLOP: 6N for a trained token, 2N for a token of the rollouts.",
    )
    checkpoints: Count = Field(
        8, description="How often it is judged, at equal distances; the start comes on top."
    )
    bf16: bool = Field(False, description="Whether products are computed in bfloat16.")
    environment: Environment
    lora: LoraSettings = LoraSettings()
    sft: SFTConfig = SFTConfig()
    ppo: PPOConfig = PPOConfig()
    census: CensusConfig

    @classmethod
    def complete(cls, data: dict) -> dict:
        task = data.get("task", "general-points")
        if task not in TASKS:
            raise Problem(f"unknown {task!r}; {choose(task, TASKS)}", "task")
        data = {**data}
        for part in ("environment", "census"):
            content = data.setdefault(part, {})
            if isinstance(content, dict):
                if "task" in content:
                    raise Problem("unknown; the task is named beside it", part, "task")
                data[part] = {**content, "task": task}
        return data

    @model_validator(mode="after")
    def _check(self) -> Arm:
        if self.algorithm == "ppo" and self.steps is not None:
            raise Problem("PPO has no steps; give budget_gflop", "steps")
        if self.steps is None and self.budget_gflop is None:
            raise Problem(
                f"is missing; give a number above 0{'' if self.algorithm == 'ppo' else ', or steps'}",
                "budget_gflop",
            )
        if self.steps is not None and self.budget_gflop is not None:
            raise Problem("either steps or budget_gflop, not both", "steps")
        if self.environment.pixels != self.census.pixels:
            raise Problem(
                f"must be the environment's {self.environment.pixels}, not {self.census.pixels}: pictures are judged as trained",
                *("census", "pixels"),
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """What decides an arm's numbers: not its start, and only the trainer that it uses."""
        unused = ("start", "sft" if self.algorithm == "ppo" else "ppo")
        return {name: value for name, value in super().resolved().items() if name not in unused}


class Study(Settings):
    """Arms that are compared. Every setting of an arm may stand here too, for all arms that do not set it themselves."""

    foundation: str = Field(
        "pocket-text", description="Which of the profile's foundations all arms start from."
    )
    seeds: Seeds | None = Field(None, description="Seeds of its runs; the profile's if left out.")
    arms: dict[Name, Arm] = Field(
        min_length=1, description="Arms by name; an Init before what starts from it."
    )

    @classmethod
    def complete(cls, data: dict) -> dict:
        shared = {name: value for name, value in data.items() if name not in cls.model_fields}
        if name := next((name for name in shared if name not in Arm.model_fields), None):
            raise Problem(f"unknown; {choose(name, [*cls.names(), *Arm.names()])}", name)
        if not isinstance(arms := data.get("arms"), dict):
            return {name: value for name, value in data.items() if name in cls.model_fields}
        for name, arm in arms.items():
            unused = {"init": "ppo", "sft": "ppo", "ppo": "sft"}
            if isinstance(arm, dict) and (part := unused.get(str(arm.get("algorithm")))) in arm:
                raise Problem(f"the algorithm {arm['algorithm']} has no {part} settings", "arms", name, part)
        merged_arms = {
            name: merged(shared, arm) if isinstance(arm, dict) else arm for name, arm in arms.items()
        }
        return {
            **{name: value for name, value in data.items() if name in cls.model_fields},
            "arms": merged_arms,
        }

    @model_validator(mode="after")
    def _check(self) -> Study:
        inits: dict[str, Arm] = {}
        for name, arm in self.arms.items():
            if arm.start is not None and arm.start not in inits:
                there = f"choose one of {', '.join(inits)}, or leave it out" if inits else "there is none"
                raise Problem(
                    f"no init arm {arm.start!r} is listed before it; {there}", "arms", name, "start"
                )
            if arm.start is not None and inits[arm.start].task != arm.task:
                raise Problem(
                    f"{arm.start} learns another task, {inits[arm.start].task}", "arms", name, "start"
                )
            if arm.algorithm == "init":
                inits[name] = arm
        return self


class Profile(Settings):
    """What a file of notebooks/profiles says, and where its models, results and states lie."""

    name: Name = Field(exclude=True, description="The file's name.")
    fresh: bool = Field(False, exclude=True, description="Whether stored results are left aside.")
    root: Path = Field(exclude=True, description="The folder that data/ and build/ lie in.")
    extends: str | None = Field(
        None,
        description="The profile that holds where this one says nothing; null takes a setting of it away.",
    )
    seeds: Seeds = Field(description="Seeds of foundations and runs: different whole numbers from 0.")
    device: Annotated[str, Field(pattern="^(cpu|mps|cuda(:[0-9]+)?)$")] = Field(
        "cpu", description="Where runs are trained: cpu, cuda, cuda:1, … or mps."
    )
    model: str | None = Field(
        None,
        description="A real model in place of all foundations: a folder (./…), or its name at Hugging Face.",
    )
    gate_hands: Count = Field(512, description="Cases in each test that a new foundation must pass.")
    foundations: dict[Name, Foundation] = Field({}, description="Pocket foundation models by name.")
    studies: dict[Name, Study] = Field(min_length=1, description="Studies by name.")

    @classmethod
    def complete(cls, data: dict) -> dict:
        own = data.get("name") == "cpu" and not data.get("fresh")
        foundations = data.get("foundations")
        for name, content in foundations.items() if isinstance(foundations, dict) else ():
            if isinstance(content, dict) and (given := {"seed", "text", "task"} & content.keys()):
                raise Problem("unknown; seeds and languages are the profile's", "foundations", name, *given)
        return {"root": ROOT if own else ROOT / "build" / "reproduce" / str(data.get("name")), **data}

    @model_validator(mode="after")
    def _check(self) -> Profile:
        for name, tower in self.foundations.items():
            if isinstance(tower, VisionConfig):
                wanted = LANGUAGES[tower.corpus]
                texts = [n for n, text in self.foundations.items() if text.corpus == wanted]
                if tower.language not in texts:
                    there = choose(tower.language, texts) if texts else "there is none"
                    text = f"no text foundation {tower.language!r} of the corpus {wanted}; {there}"
                    raise Problem(text, "foundations", name, "language")
        tasks = {arm.task for study in self.studies.values() for arm in study.arms.values()}
        if self.model is not None:
            self._check_model(any(TASKS[task].shown for task in tasks))
        for name, study in self.studies.items() if self.model is None else ():
            for arm in study.arms.values():
                wanted = TASKS[arm.task].corpus
                there = [n for n, foundation in self.foundations.items() if foundation.corpus == wanted]
                if study.foundation not in there:
                    text = f"{study.foundation!r} is no foundation of the corpus {wanted}, which {arm.task} needs; "
                    text += choose(study.foundation, there) if there else "there is none"
                    raise Problem(text, "studies", name, "foundation")
        return self

    def _check_model(self, seeing: bool) -> None:
        if not _is_path(self.model):
            if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", self.model, re.ASCII):
                raise Problem(f"must be a folder (./…) or a name (owner/model), not {self.model!r}", "model")
            return
        settings = Path(self.model).expanduser() / "config.json"
        try:
            content = json.loads(settings.read_text())
        except (OSError, ValueError):
            raise Problem(
                f"no checkpoint in {self.model!r}: a folder with a readable config.json", "model"
            ) from None
        if seeing and "vision_config" not in content:
            raise Problem(f"{self.model!r} is a text model, and a study shows pictures", "model")

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
        """One of the foundations with its seed; a tower's with its text foundation's. ConfigError lists the names."""
        if name not in self.foundations:
            there = choose(name, self.foundations) if self.foundations else "it has none"
            raise ConfigError(f"profile {self.name}: no foundation {name!r}; {there}")
        config = self.foundations[name]
        text = {"text": self.foundation(config.language, seed)} if isinstance(config, VisionConfig) else {}
        return config.model_copy(update={"seed": seed, **text})

    def runs(self) -> list[Run]:
        """Every run, an Init before what starts from it."""
        listed = []
        for study_name, study in self.studies.items():
            for seed in study.seeds or self.seeds:
                by_arm: dict[str | None, Run | None] = {None: None}
                foundation = study.foundation if self.model is None else None
                path = str(self.models / f"{foundation}-{seed}") if foundation else self.model
                path = str(Path(path).expanduser()) if _is_path(path) else path
                for name, arm in study.arms.items():
                    by_arm[name] = Run(
                        self.name, study_name, name, seed, arm, foundation, path, by_arm[arm.start]
                    )
                listed += [run for run in by_arm.values() if run]
        return listed

    def run(self, name: str) -> Run:
        """The run called study/arm/seed; ConfigError lists the names."""
        runs = {run.name: run for run in self.runs()}
        if name not in runs:
            raise ConfigError(f"profile {self.name}: no run {name!r}; {choose(name, runs)}")
        return runs[name]


def _is_path(model: str) -> bool:
    return model.startswith((".", "~", "/", "data/", "build/"))


@dataclass(frozen=True)
class Run:
    """One arm of one study with one seed; `foundation`: None with a real model; `model_path`: a folder, or a hub name."""

    profile: str
    study: str
    arm: str
    seed: int
    settings: Arm
    foundation: str | None
    model_path: str
    parent: Run | None = None

    @property
    def algorithm(self) -> str:
        return self.settings.algorithm

    @property
    def task(self) -> str:
        return self.settings.task

    @property
    def name(self) -> str:
        """study/arm/seed"""
        return f"{self.study}/{self.arm}/{self.seed}"

    def resolved(self) -> dict[str, Any]:
        """Every setting that decides the run's numbers, defaults filled in, as JSON has it; no names of study and arm."""
        return self.settings.resolved()


def merged(below: dict, above: dict) -> dict:
    """Two mappings as one, at every depth; `above` goes first, and its None takes a key of `below` away."""
    result = {**below}
    for key, value in above.items():
        if value is None and key in below:
            del result[key]
        else:
            both = isinstance(value, dict) and isinstance(below.get(key), dict)
            result[key] = merged(below[key], value) if both else value
    return result


def check(name: str, settings: dict[str, Any], fresh: bool = False, **where: Path) -> Profile:
    """The profile that `settings` describe, with `root=` below another folder; ConfigError is one line."""
    try:
        if given := next((key for key in settings if key in ("name", "fresh", "root")), None):
            raise ConfigError(f"profile {name}: {given}: unknown; {choose(given, Profile.names())}")
        return Profile.model_validate({**settings, "name": name, "fresh": fresh, **where})
    except ValidationError as error:
        lines = dict.fromkeys(_line(problem, settings) for problem in error.errors())
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise ConfigError(f"profile {name}: {next(iter(lines))}{more}") from None


_MUST = {
    "greater_than": "above {gt:,}",
    "greater_than_equal": "at least {ge:,}",
    "less_than": "below {lt:,}",
    "less_than_equal": "at most {le:,}",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_pattern_mismatch": "like {pattern}",
    "literal_error": "{expected}",
    "tuple_type": "a list, such as [a, b]",
    "too_short": "of at least {min_length}",
    "dict_type": "a mapping of names to settings",
    "model_type": "a mapping of settings",
}


def _line(problem: dict[str, Any], settings: dict) -> str:
    """One line for one of pydantic's errors: the path of the setting, and what is allowed."""
    path = [part for part in problem["loc"] if not re.fullmatch(r"<\w+>|\[key\]", str(part))]
    error, value = problem.get("ctx", {}).get("error"), reprlib.repr(problem["input"])
    value = {"True": "true", "False": "false", "None": "null"}.get(value, value)
    if isinstance(error, Problem):
        path += error.path
    text = getattr(error, "text", None) or (str(error) if error else None)
    if not text and problem["loc"][-1] == "[key]":
        text = "a name has only a-z, 0-9 and -, and at most 60 characters"
    if not text:
        must = _MUST.get(problem["type"], problem["msg"].removeprefix("Input should be "))
        text = f"must be {must.format(**problem.get('ctx', {}))}, not {value}"
    # A setting that stands in the study was checked in each of its arms.
    if path[::2][:2] == ["studies", "arms"] and not _stands(settings, path):
        if _stands(settings, path[:2] + path[4:]):
            path = path[:2] + path[4:]
    shown = "".join(
        f"[{p}]" if isinstance(p, int) else "." + (p if re.fullmatch(r"[\w-]+", p) else reprlib.repr(p))
        for p in map(_plain, path)
    )
    return f"{shown.removeprefix('.')}: {text}"


def _plain(part: Any) -> int | str:
    return part if type(part) is int else str(part)


def _stands(data: Any, path: list) -> bool:
    for part in path:
        if isinstance(data, list):
            return True
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True
