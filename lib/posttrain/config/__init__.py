"""Profiles and every hyperparameter, typed and bounded: what a profile may say, checked before anything runs.

One field is one setting: its type, default, bounds and sentence are `posttrain settings` and the tables of
the book. A profile is a file of notebooks/profiles; with `extends: cpu` it says only what it changes. Left
out on purpose: what changes no number (threads, progress bars), and torch, so that planning takes a moment.

    config.load("cpu").run("gp-l/ppo/0").resolved()
"""

from __future__ import annotations

import re
from typing import Any

from posttrain.config import files
from posttrain.config.foundations import FoundationConfig, VisionConfig
from posttrain.config.profiles import FOLDERS, RESERVED, ROOT, Profile, Run, check, table
from posttrain.config.settings import NAME, ConfigError, Settings, brief, choose, merged
from posttrain.config.studies import ALGORITHMS, Arm, StudySettings
from posttrain.config.tasks import TASKS, CensusConfig, GeneralPointsConfig, NavigationConfig
from posttrain.config.training import LoraSettings, PPOConfig, SFTConfig

__all__ = [
    "ALGORITHMS",
    "FOLDERS",
    "PROFILES",
    "ROOT",
    "TASKS",
    "Arm",
    "CensusConfig",
    "ConfigError",
    "FoundationConfig",
    "GeneralPointsConfig",
    "LoraSettings",
    "NavigationConfig",
    "PPOConfig",
    "Profile",
    "Run",
    "SFTConfig",
    "Settings",
    "StudySettings",
    "VisionConfig",
    "check",
    "load",
    "merged",
    "read",
    "table",
]
PROFILES = ROOT / "notebooks" / "profiles"


def load(name: str, fresh: bool = False) -> Profile:
    """The profile `name`, checked; `fresh`: made anew under build/reproduce. ConfigError is one line."""
    return check(name, read(name), fresh)


def read(name: str, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the profile's file says, laid over the profile that it extends; but for `kept`, which would put
    its results in that one's place."""
    at = f"profile {extending[-1]}: extends: " if extending else ""
    path = PROFILES / f"{name}.yaml"
    if not re.fullmatch(NAME, str(name)) or not path.is_file():
        there = choose(name, sorted(path.stem for path in PROFILES.glob("*.yaml")))
        raise ConfigError(f"{at}unknown profile {brief(name)}; {there}")
    if name in extending:
        raise ConfigError(f"{at}goes round in circles: {' -> '.join((*extending, name))}")
    try:
        said = files.read(path)
    except ValueError as error:
        raise ConfigError(f"profile {name}: {error}") from None
    below = {} if said.get("extends") is None else read(said["extends"], (*extending, name))
    kept = str(said.get("kept") or name)
    if kept not in (name, below.get("kept"), *RESERVED) and re.fullmatch(NAME, kept):
        must = f"must be {name}, its own name, or that of a profile that it extends, not {brief(kept)}"
        raise ConfigError(f"profile {name}: kept: {must}: results of two profiles would lie in one folder")
    if not extending:
        below.pop("kept", None)
    return merged(below, said)
