"""Profiles: which foundations are made, and which arms of which studies are run with which seeds."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from posttrain import numerics
from posttrain.config import messages
from posttrain.config.foundations import LANGUAGES, FoundationConfig, VisionConfig
from posttrain.config.settings import (
    ConfigError,
    Count,
    Name,
    Problem,
    Seeds,
    Settings,
    brief,
    choose,
    either,
    setting,
)
from posttrain.config.studies import Arm, StudySettings
from posttrain.config.tasks import TASKS, CensusConfig, GeneralPointsConfig, NavigationConfig
from posttrain.config.training import LoraSettings, PPOConfig, SFTConfig

ROOT = Path(__file__).parents[3]
Device = Annotated[str, Field(pattern="^(cpu|mps|cuda(:[0-9]+)?)$")]
FOLDERS = (".", "~", "/", "data/", "build/")  # how a model that is a folder begins
RESERVED = ("models", "results")  # folders of data/ that are the published profile's


def _sees(said: dict) -> bool:
    return "language" in said or str(said.get("corpus")) in LANGUAGES


class Profile(Settings):
    """What a file of notebooks/profiles says, and where its models, results and states lie."""

    given: ClassVar = ("name", "fresh", "root")
    name: Name = setting(..., "The file's name.")
    fresh: bool = setting(False, "Whether stored results are left aside.")
    root: Path = setting(..., "The folder that data/ and build/ lie in.")
    extends: str | None = setting(
        None, "A profile that holds where this one is silent; null takes a key away."
    )
    kept: Name | None = setting(
        None, "Its name, so that data/ keeps its foundations and results; left out, they lie under build/."
    )
    seeds: Seeds = setting(..., "Seeds of foundations and runs, such as [0, 1, 2].")
    device: Device = setting("cpu", "Where runs are trained.")
    model: str | None = setting(
        None, "A real model in place of the foundations: a folder (./…) or its name (owner/model)."
    )
    watch: Literal["none", "tensorboard"] = setting(
        "none", "Whether runs write their curves as they train, to build/watch, for TensorBoard."
    )
    gate_hands: Count = setting(512, "Cases in each test that a new foundation must pass.")
    foundations: dict[Name, either(FoundationConfig, VisionConfig, _sees)] = setting(
        {}, "Foundations by name."
    )
    studies: dict[Name, StudySettings] = setting(..., "Studies by name.", min_length=1)

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
        if self.watch == "tensorboard" and find_spec("tensorboard") is None:
            text = "needs the package tensorboard: `pip install -e '.[watch]'`, or leave watch out"
            raise Problem(text, "watch")
        for name, tower in self.foundations.items():
            if isinstance(tower, VisionConfig):
                self._check_corpus(tower.language, LANGUAGES[tower.corpus], "foundations", name, "language")
        if self.kept in RESERVED:
            raise Problem(f"must be another name: data/{self.kept} is the published profile's", "kept")
        if self.model is not None:
            self._check_model()
        for name, study in self.studies.items():
            for label, arm in study.arms.items():
                self._check_foundation(
                    study.foundation, TASKS[arm.task].corpus, "studies", name, "foundation"
                )
                if arm.lora.parts != "language" and not TASKS[arm.task].shown:
                    path = ("studies", name, "arms", label, "lora", "parts")
                    raise Problem("must be language: a text model has no other parts", *path)
        return self

    def _check_foundation(self, name: str, corpus: str, *path: str) -> None:
        if self.model is None:
            return self._check_corpus(name, corpus, *path)
        if name not in (*self.foundations, StudySettings.model_fields["foundation"].default):
            raise Problem(f"must be left out where model is given, not {brief(name)}", *path)

    def _check_corpus(self, name: str, corpus: str, *path: str) -> None:
        there = [other for other, foundation in self.foundations.items() if foundation.corpus == corpus]
        if name not in there:
            raise Problem(
                f"must be a foundation of the corpus {corpus}, not {brief(name)}; {choose(name, there)}",
                *path,
            )

    def _check_model(self) -> None:
        if self.model.startswith(FOLDERS):
            try:
                said = json.loads((Path(_expanded(self.model)) / "config.json").read_text())
            except (OSError, ValueError, RuntimeError, RecursionError):  # RuntimeError: of nobody's home
                said = None
            if not isinstance(said, dict):
                made = "`make book PROFILE=smollm` makes build/models/smollm2-135m"
                raise Problem(
                    f"must be a folder with a config.json, not {brief(self.model)} ({made})", "model"
                )
            tasks = {arm.task for study in self.studies.values() for arm in study.arms.values()}
            if any(TASKS[task].shown for task in tasks) and "vision_config" not in said:
                raise Problem(
                    f"must read pictures, as a study shows them; {brief(self.model)} is a text model", "model"
                )
        elif not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", self.model, re.ASCII):
            text = f"must be a folder (./…) or a name (owner/model), not {brief(self.model)}"
            raise Problem(text, "model")

    @property
    def published(self) -> bool:
        """Whether results and foundations lie in data/, in git."""
        return not self.fresh and (self.root == ROOT or self.kept is not None)

    @property
    def data(self) -> Path:
        """The folder of foundations and results."""
        return ROOT / "data" / self.kept if self.published and self.kept else self.root / "data"

    @property
    def guard(self) -> Path:
        """The root whose build/locks guard what it makes: profiles that keep it in one place have one."""
        return ROOT if self.published else self.root

    @property
    def models(self) -> Path:
        return self.data / "models"

    @property
    def results(self) -> Path:
        return self.data / "results"

    @property
    def state(self) -> Path:
        return self.root / "build" / "state"

    def foundation(self, name: str, seed: int) -> FoundationConfig | VisionConfig:
        """A foundation with its seed, a tower with its text foundation. ConfigError lists the names,
        or says which seeds there may be."""
        if name not in self.foundations:
            raise ConfigError(
                f"profile {self.name}: no foundation {brief(name)}; {choose(name, self.foundations)}"
            )
        config = self.foundations[name]
        text = {"text": self.foundation(config.language, seed)} if isinstance(config, VisionConfig) else {}
        try:
            return config.model_copy(update={"seed": seed, **text})
        except ValidationError as error:
            raise ConfigError(f"profile {self.name}: foundation {name}: {messages.line(error, {})}") from None

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
    """A hub's name as it is, and a folder where it lies: below the repository's, unless it says another."""
    return str(ROOT / Path(model).expanduser()) if model.startswith(FOLDERS) else model


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

    @property
    def ancestors(self) -> list[Run]:
        """The runs whose adapters it starts with, the first of them first."""
        return [*self.parent.ancestors, self.parent] if self.parent else []

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
        "studies.*.": (StudySettings,),
        arm: (Arm,),
        f"{arm}environment.": (GeneralPointsConfig, NavigationConfig),
        f"{arm}lora.": (LoraSettings,),
        f"{arm}sft.": (SFTConfig,),
        f"{arm}ppo.": (PPOConfig,),
        f"{arm}census.": (CensusConfig,),
    }
    listed = [messages.rows(path, group) for path, groups_ in groups.items() for group in groups_]
    return list(dict.fromkeys(row for part in listed for row in part))
