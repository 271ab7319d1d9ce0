"""The study's tasks: which environment poses one, on what it is trained, on which sets it is judged, and what an outcome is.

Paper: section 5.1. A set is a fixed list of cases (hands, routes); an evaluation plays each case once with each way of decoding.
The crossed design {rule seen, unseen} x {numbers, routes or city seen, unseen} is in the sets' definitions: it separates "ignores
the instruction" from "does not know these numbers, these streets".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import pandas as pd

from posttrain.environments import cities
from posttrain.environments.general_points import GeneralPointsEnv, hands
from posttrain.environments.navigation import NOTHING, NavigationEnv
from posttrain.foundation.corpus import IN_RANGE_RULES
from posttrain.rollouts import Dialogue
from posttrain.verifiers.general_points import RANKS
from posttrain.verifiers.navigation import FORWARD, STOP


@dataclass(frozen=True)
class Hands:
    """A set of GeneralPoints: rule, split of the number-multisets, whether each hand holds a face card; `suits` of the picture, or None in text."""

    rule: str
    split: str
    faces: bool
    suits: str | None = None

    def cases(self, rng: np.random.Generator, limit: int | None) -> list[list[str]]:
        """The hands in random order, the cards of each too; the first `limit` of them."""
        chosen = hands(self.rule, split=self.split, faces=self.faces)
        return [rng.permutation(chosen[i]).tolist() for i in rng.permutation(len(chosen))[:limit]]

    def pose(self, case: list[str], **how: Any) -> tuple[gymnasium.Env, dict]:
        """An environment that has just posed `case`, and its info."""
        shown = {"vision": True, "suits": self.suits} if self.suits else {}
        environment = GeneralPointsEnv(rule=self.rule, hands=[case], **shown, **how)
        # Suits and style of a picture come from the hand: the same at every checkpoint, others for other hands.
        seed = zlib.crc32(" ".join(case).encode()) if self.suits else 0
        return environment, environment.reset(seed=seed, options={"ranks": case})[1]

    def label(self, case: list[str]) -> str:
        return " ".join(sorted(case, key=RANKS.index))

    def outcome(self, dialogues: list[Dialogue]) -> dict[str, Any]:
        """One hand: flags of the first answer, `within` (one of the answers is right), answers, reward; recognized: the first answer names
        the cards shown, as a multiset (the paper's recognition: a single shot, ranks alone)."""
        (dialogue,) = dialogues
        first = dialogue.verdicts[0]
        seen = {"recognized": first.recognized} if self.suits else {}
        return {
            **seen,
            "first_try": first.correct,
            "within": dialogue.correct,
            "answers": len(dialogue.texts),
            "rule_following": first.follows_rule,
            "valid": first.valid,
            "strict": first.strict,
            "fake": first.fake,
            "reward": float(sum(dialogue.rewards)),
        }

    def summary(self, table: pd.DataFrame) -> dict[str, float]:
        """Means over hands; per_step: right answers / all answers."""
        columns = (
            "first_try",
            "within",
            "rule_following",
            "valid",
            "strict",
            "fake",
            *(["recognized"] if self.suits else []),
        )
        return {
            **{c: float(table[c].mean()) for c in columns},
            "per_step": table["within"].sum() / table["answers"].sum(),
        }


@dataclass(frozen=True)
class Routes:
    """A set of navigation: the action space and, as (city, split), the routes; `vision`: what is seen now is a picture."""

    actions: str
    where: tuple[tuple[str, str], ...]
    vision: bool = False

    def cases(self, rng: np.random.Generator, limit: int | None) -> list[tuple[str, str, int]]:
        """(city, split, index) in random order; the first `limit` of them."""
        chosen = [(city, split, i) for city, split in self.where for i in range(cities.SPLITS[city][split])]
        return [chosen[i] for i in rng.permutation(len(chosen))[:limit]]

    def pose(self, case: tuple[str, str, int], **how: Any) -> tuple[gymnasium.Env, dict]:
        """An environment that has just posed `case`, and its info. A failed point is skipped, so every point is measured."""
        city, split, index = case
        environment = NavigationEnv(
            actions=self.actions,
            city=city,
            split=split,
            skip_failed=True,
            **({"vision": True} if self.vision else {}),
            **how,
        )
        return environment, environment.reset(seed=index, options={"route": index})[1]

    def label(self, case: tuple[str, str, int]) -> str:
        city, split, index = case
        return f"{city}, {split}, {index}"

    def outcome(self, dialogues: list[Dialogue]) -> dict[str, Any]:
        """One route. Counts over all its points: points, first (right at once), strict, and over the points where one turns: turns, valid (an
        action of either space), listed (of the stated one), fake (right in the other one). right, answers: up to the first point that
        was failed, where the paper's episode ends. With pictures: sights (points with a landmark), named (it and its bearing are in the first
        answer's observation). first_try: first / points; within: every point was right in the end."""
        first = [d.verdicts[0] for d in dialogues]
        turns = [v for d, v in zip(dialogues, first) if d.task.action not in (FORWARD, STOP)]
        right = next((i for i, d in enumerate(dialogues) if not d.correct), len(dialogues))
        counts = {
            "points": len(dialogues),
            "first": sum(v.correct for v in first),
            "turns": len(turns),
            "first_turns": sum(v.correct for v in turns),
            "strict": sum(v.strict for v in first),
            "valid": sum(v.valid for v in turns),
            "listed": sum(v.follows_rule for v in turns),
            "fake": sum(v.fake for v in turns),
            "right": right,
            "answers": sum(len(d.texts) for d in dialogues[: right + 1]),
        }
        if self.vision:
            sights = [v for d, v in zip(dialogues, first) if d.task.landmark != NOTHING]
            counts |= {"sights": len(sights), "named": sum(v.recognized for v in sights)}
        return {
            "first_try": counts["first"] / counts["points"],
            "within": right == len(dialogues),
            "first_route": counts["first"] == counts["points"],
            "per_step": right / counts["answers"],
            **counts,
            "reward": float(sum(r for d in dialogues for r in d.rewards)),
        }

    def summary(self, table: pd.DataFrame) -> dict[str, float]:
        """first_try: mean over routes of the share of points right at once; within: route success; first_route: every point right at once;
        per_step: the paper's, right / answers; at turns: first_turns (right at once), rule_following (a listed action), valid, fake."""
        total = table.sum(numeric_only=True)
        seen = {"recognized": total["named"] / total["sights"]} if self.vision else {}
        return {
            **seen,
            **{c: float(table[c].mean()) for c in ("first_try", "within", "first_route")},
            "rule_following": total["listed"] / total["turns"],
            **{c: total[c] / total["turns"] for c in ("first_turns", "valid", "fake")},
            "strict": total["strict"] / total["points"],
            "per_step": total["right"] / total["answers"],
        }


@dataclass(frozen=True)
class Task:
    """A task as the study uses it. `training`: the environment's arguments; `revised`: the sets judged with all `verify_steps` answers,
    the others with one."""

    environment: type[gymnasium.Env]
    training: dict[str, Any]
    verify_steps: int
    sets: dict[str, Hands | Routes]
    revised: tuple[str, ...]


_WIDE = tuple((city, split) for city in cities.OTHER_CITIES for split in ("benchmark", "wide"))
_BENCHMARK = tuple((city, "benchmark") for city in cities.OTHER_CITIES)
_ROUTES = {
    "id": Routes("absolute", ((cities.TRAINING_CITY, "held_out"),)),  # the training actions, held-out routes
    "ood": Routes("relative", ((cities.TRAINING_CITY, "held_out"),)),  # the paper's rule OOD
    "id_seen": Routes("absolute", ((cities.TRAINING_CITY, "train"),)),
    "ood_seen": Routes(
        "relative", ((cities.TRAINING_CITY, "train"),)
    ),  # routes of the training, the other actions
    "cities": Routes("absolute", _WIDE),
    "cities_ood": Routes("relative", _WIDE),
    "benchmark": Routes("absolute", _BENCHMARK),  # the paper's eighteen
}
_SEEN = {
    name: replace(_ROUTES[name], vision=True) for name in ("id", "ood", "id_seen", "cities", "benchmark")
}
TASKS = {
    "general-points": Task(
        GeneralPointsEnv,
        {"rule": "10", "split": "train"},
        5,
        {
            "id": Hands("10", "test", False),  # the training rule, held-out numbers: "in distribution"
            "id_seen": Hands("10", "train", False),  # the training rule, numbers of the training hands
            "ood": Hands("11/12/13", "all", True),  # the paper's rule OOD
            "in_range_a": Hands(
                IN_RANGE_RULES[0], "all", True
            ),  # an unseen rule that needs no number above 10
            "in_range_b": Hands(IN_RANGE_RULES[1], "all", True),
        },
        ("id", "ood"),
    ),
    "general-points-vision": Task(
        GeneralPointsEnv,
        {"rule": "10", "split": "train", "vision": True, "suits": "black"},
        5,
        {
            "id": Hands("10", "test", False, "black"),
            "id_seen": Hands("10", "train", False, "black"),
            "ood": Hands("11/12/13", "all", True, "black"),
            "visual": Hands("10", "test", False, "red"),  # the paper's visual OOD
        },
        ("id", "ood", "visual"),
    ),
    "navigation-vision": Task(
        NavigationEnv,
        {"actions": "absolute", "city": cities.TRAINING_CITY, "split": "train", "vision": True},
        2,
        _SEEN,
        tuple(_SEEN),
    ),
    "navigation": Task(
        NavigationEnv,
        {"actions": "absolute", "city": cities.TRAINING_CITY, "split": "train"},
        2,
        _ROUTES,
        tuple(_ROUTES),
    ),
}


def task(name: str) -> Task:
    """The task called `name`; ValueError lists them."""
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}: choose one of {', '.join(TASKS)}")
    return TASKS[name]
