"""Studies and their arms: what is trained, for how long, and how it is judged.

An arm's settings may stand in the arm or, for all its arms, in the study; the arm's come first. Paper:
section 5 (two arms from one Init, compute measured in GFLOP).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from posttrain.config.settings import (
    Count,
    Name,
    Problem,
    Seeds,
    Settings,
    brief,
    choose,
    either,
    merged,
    neutral,
    setting,
)
from posttrain.config.tasks import TASKS, CensusConfig, GeneralPointsConfig, NavigationConfig
from posttrain.config.training import LoraSettings, PPOConfig, SFTConfig

ALGORITHMS = ("init", "sft", "ppo")  # in the order that seeds count on
Gflop = Annotated[float, Field(gt=0, le=1e15)]


def _navigates(said: dict) -> bool:
    return str(said.get("task")).startswith("navigation")


class Arm(Settings):
    """One arm of a study: what is trained, for how long, and how it is judged."""

    algorithm: Literal[ALGORITHMS] = setting(..., "init (supervised, where other arms start), sft or ppo.")
    task: Literal[tuple(TASKS)] = setting("general-points", "What is posed, in text or with pictures.")
    start: str | None = setting(
        None, "The init or sft arm, listed before, that it starts from; the model if left out."
    )
    steps: Count | None = setting(
        None, "Optimizer steps of init and sft, in place of a budget.", **neutral(None)
    )
    budget_gflop: Gflop | None = setting(
        None, "Compute in GFLOP: 6N for a trained token, 2N for a token of the rollouts.", **neutral(None)
    )
    checkpoints: Annotated[int, Field(ge=1, le=1000)] = setting(
        8, "How often it is judged; the start comes on top."
    )
    spacing: Literal["equal", "doubling"] = setting(
        "equal",
        "Whether checkpoints lie at equal distances of compute, or each at twice the compute of the last.",
        **neutral("equal"),
    )
    bf16: bool = setting(False, "Whether products are computed in bfloat16.")
    checkpointing: bool = setting(
        False,
        "Whether layers compute again what a backward pass needs, by transformers: memory, never the result.",
        **neutral(False),
    )
    environment: either(GeneralPointsConfig, NavigationConfig, _navigates) = setting(
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
        if self.steps and self.checkpoints != type(self).model_fields["checkpoints"].default:
            if self.checkpoints > (most := self._most_checkpoints(self.steps)):
                text = f"must be at most {most} for an arm of {self.steps} steps, not {self.checkpoints}"
                raise Problem(text, "checkpoints")
        if self.sft.errors and not self.task.startswith("general-points"):
            raise Problem("must be 0: only GeneralPoints has demonstrations with errors", "sft", "errors")
        if self.environment.pixels != self.census.pixels:
            text = f"must be {self.environment.pixels}, as in environment, not {self.census.pixels}"
            raise Problem(text, "census", "pixels")
        return self

    def _most_checkpoints(self, steps: int) -> int:
        """How many checkpoints have a step of their own."""
        return len({round(steps / 2**i) for i in range(40)} - {0}) if self.spacing == "doubling" else steps

    @property
    def shares(self) -> list[float]:
        """Of the steps or the budget, where the checkpoints lie; the last one at the end."""
        count = self.checkpoints
        if self.spacing == "doubling":
            return [2.0 ** (i - count) for i in range(1, count + 1)]
        return [i / count for i in range(1, count + 1)]

    def resolved(self) -> dict[str, Any]:
        """What decides an arm's numbers: not what it starts from, and only the trainer that it uses."""
        unused = ("start", "sft" if self.algorithm == "ppo" else "ppo")
        return {name: value for name, value in super().resolved().items() if name not in unused}


class StudySettings(Settings):
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
                part = unused.get(str(arm.get("algorithm"))) if isinstance(arm, dict) else None
                if part and part in arm:
                    raise Problem(f"must be left out: {arm['algorithm']} does not use it", "arms", name, part)
            own["arms"] = {
                n: merged(shared, arm) if isinstance(arm, dict) else arm for n, arm in arms.items()
            }
        return own

    @model_validator(mode="after")
    def _check(self) -> StudySettings:
        before: dict[str, str] = {}
        for name, arm in self.arms.items():
            if arm.start is not None and before.get(arm.start) != arm.task:
                there = choose(arm.start, [other for other, task in before.items() if task == arm.task])
                text = "must be an init or sft arm of the same task, listed before, not "
                raise Problem(f"{text}{brief(arm.start)}; {there}", "arms", name, "start")
            if arm.algorithm != "ppo":
                before[name] = arm.task
        return self
