"""Profiles and every hyperparameter, typed and bounded: what a profile may say is checked here before anything runs.

One field is one setting: its type, default, bounds and sentence are `posttrain settings` and the tables of the book. A profile is a
file of notebooks/profiles; `extends: cpu` lets it say only what it changes. Left out on purpose: whatever changes no number (threads
of a run, progress bars), and torch, so that planning takes a fraction of a second.

    config.load("cpu").run("gp-l/ppo/0").resolved()
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from posttrain.config import files
from posttrain.config.foundations import FoundationConfig, VisionConfig
from posttrain.config.profiles import ROOT, Arm, ConfigError, Profile, Run, Study, check, merged
from posttrain.config.settings import Settings, choose
from posttrain.config.tasks import TASKS, CensusConfig, GeneralPointsConfig, NavigationConfig
from posttrain.config.training import LoraSettings, PPOConfig, SFTConfig

__all__ = [
    "PROFILES",
    "ROOT",
    *(
        "ConfigError",
        "Profile",
        "Study",
        "Arm",
        "Run",
        "load",
        "check",
        "merged",
        "read",
        "Settings",
        "TASKS",
    ),
    *("CensusConfig", "GeneralPointsConfig", "NavigationConfig", "FoundationConfig", "VisionConfig"),
    *("LoraSettings", "PPOConfig", "SFTConfig"),
]
PROFILES = ROOT / "notebooks" / "profiles"


def load(name: str, fresh: bool = False) -> Profile:
    """The profile `name`, checked; with `fresh` everything is trained anew, under build/reproduce. ConfigError is one line."""
    return check(name, read(name), fresh)


def read(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the profile's file says, laid over the profile that it extends."""
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,59}", name)
        or not _path(name).is_file()
    ):
        at = f"profile {above[-1]}: extends: " if above else ""
        there = choose(name, sorted(path.stem for path in PROFILES.glob("*.yaml")))
        raise ConfigError(f"{at}unknown profile {name!r}; {there}")
    if name in above:
        raise ConfigError(f"profile {above[0]}: extends: {' -> '.join([*above, name])} goes round in circles")
    try:
        settings = files.read(_path(name))
    except ValueError as error:
        raise ConfigError(f"profile {name}: {error}") from None
    if settings.get("extends") is None:
        return settings
    return merged(read(settings["extends"], (*above, name)), settings)


def _path(name: str) -> Path:
    return PROFILES / f"{name}.yaml"
