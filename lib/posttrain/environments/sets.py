"""Evaluation sets: fixed lists of cases, how one is posed, and what its outcome is.

Paper: section 5.1. An evaluation plays each case of a set once with each way of decoding. A set of another
task is any class with the methods of these two; dialogues are those of `posttrain.rollouts`, and only
what `Played` names is looked at.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import pandas as pd

from posttrain.environments import cities
from posttrain.environments.general_points import GeneralPointsEnv, hands
from posttrain.environments.navigation import NOTHING, NavigationEnv
from posttrain.environments.revision import Question
from posttrain.verifiers import Verdict
from posttrain.verifiers.general_points import RANKS
from posttrain.verifiers.navigation import FORWARD, STOP


class Played(Protocol):
    """A dialogue that was played: its answers with rewards and verdicts, whether the last was right, and what
    it was about."""

    texts: list[str]
    rewards: list[float]
    verdicts: list[Verdict]
    correct: bool
    task: Any


@dataclass(frozen=True)
class Hands:
    """A set of GeneralPoints: rule, split of the number-multisets, whether each hand holds a face card;
    `suits` of the picture, or None in text."""

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
        # Suits and style of a picture come from the hand: the same at every checkpoint.
        seed = zlib.crc32(" ".join(case).encode()) if self.suits else 0
        return environment, environment.reset(seed=seed, options={"ranks": case})[1]

    def questions(self, case: list[str], **how: Any) -> list[tuple[Question, dict]]:
        """What first answers are asked for, and its info."""
        environment, info = self.pose(case, verify_steps=1, **how)
        return [(environment.question(), info)]

    def label(self, case: list[str]) -> str:
        return " ".join(sorted(case, key=RANKS.index))

    def first(self, dialogues: list[Played]) -> dict[str, Any]:
        """What the first answer to one hand decides alone. recognized: it names the cards shown, as a
        multiset (the paper's recognition: a single shot, ranks alone)."""
        (dialogue,) = dialogues
        first = dialogue.verdicts[0]
        return {
            **({"recognized": first.recognized} if self.suits else {}),
            "first_try": first.correct,
            "rule_following": first.follows_rule,
            "valid": first.valid,
            "strict": first.strict,
            "fake": first.fake,
        }

    def outcome(self, dialogues: list[Played]) -> dict[str, Any]:
        """One hand: `first`, and of all answers: within (one is right), how many, reward."""
        (dialogue,) = dialogues
        first = self.first(dialogues)
        return {
            **{column: first[column] for column in ("recognized", "first_try") if column in first},
            "within": dialogue.correct,
            "answers": len(dialogue.texts),
            **first,
            "reward": float(sum(dialogue.rewards)),
        }

    def summary(self, table: pd.DataFrame) -> dict[str, float]:
        """Means over hands, of each group if the table is grouped; per_step: right answers / all answers."""
        columns = ["first_try", "within", "rule_following", "valid", "strict", "fake"]
        means = {c: table[c].mean() for c in columns + ["recognized"] * bool(self.suits)}
        return {**means, "per_step": table["within"].sum() / table["answers"].sum()}


@dataclass(frozen=True)
class Routes:
    """A set of navigation: the action space and, as (city, split), the routes; `vision`: what is seen now is
    a picture."""

    actions: str
    where: tuple[tuple[str, str], ...]
    vision: bool = False

    def cases(self, rng: np.random.Generator, limit: int | None) -> list[tuple[str, str, int]]:
        """(city, split, index) in random order; the first `limit` of them."""
        chosen = [(city, split, i) for city, split in self.where for i in range(cities.SPLITS[city][split])]
        return [chosen[i] for i in rng.permutation(len(chosen))[:limit]]

    def pose(self, case: tuple[str, str, int], **how: Any) -> tuple[gymnasium.Env, dict]:
        """An environment that has just posed `case`, and its info. A failed point is skipped: every point is
        measured."""
        city, split, index = case
        environment = NavigationEnv(self.actions, city, split, skip_failed=True, vision=self.vision, **how)
        return environment, environment.reset(seed=index, options={"route": index})[1]

    def questions(self, case: tuple[str, str, int], **how: Any) -> list[tuple[Question, dict]]:
        """The turning points of a route. What comes before a point is the right way, whatever a policy would
        have done."""
        environment, info = self.pose(case, verify_steps=1, **how)
        asked = []
        for place in environment.places:
            if place.action not in (FORWARD, STOP):
                asked.append((environment.question(), info))
            info = environment.step(environment.expert())[-1]
        return asked

    def label(self, case: tuple[str, str, int]) -> str:
        city, split, index = case
        return f"{city}, {split}, {index}"

    def first(self, dialogues: list[Played]) -> dict[str, Any]:
        """Counts over the turning points among one route's, as first answers decide them: first_turns (right
        at once), valid (an action of either space), listed (of the stated one), fake (right in the other)."""
        turns = [d.verdicts[0] for d in dialogues if d.task.action not in (FORWARD, STOP)]
        return {
            "first_turns": sum(v.correct for v in turns),
            "valid": sum(v.valid for v in turns),
            "listed": sum(v.follows_rule for v in turns),
            "fake": sum(v.fake for v in turns),
        }

    def outcome(self, dialogues: list[Played]) -> dict[str, Any]:
        """One route.

        Counts over all its points: points, first (right at once), strict; turns, the points where one turns,
        and `first` over these. right, answers: up to the first point that was failed, where the
        paper's episode ends. With pictures: sights (points with a landmark), named (it and its bearing are in
        the first answer's observation). first_try: first / points; within: every point was right in the end.
        """
        first, turned = [d.verdicts[0] for d in dialogues], self.first(dialogues)
        right = next((i for i, d in enumerate(dialogues) if not d.correct), len(dialogues))
        counts = {
            "points": len(dialogues),
            "first": sum(v.correct for v in first),
            "turns": sum(d.task.action not in (FORWARD, STOP) for d in dialogues),
            "first_turns": turned["first_turns"],
            "strict": sum(v.strict for v in first),
            **turned,
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
        """Of each group if the table is grouped. first_try: mean over routes of the share of points right at
        once; within: route success; first_route: every point right at once; per_step: the paper's, right /
        answers; at turns: first_turns (right at once), rule_following (a listed action), valid, fake."""
        total = table.sum(numeric_only=True)
        seen = {"recognized": total["named"] / total["sights"]} if self.vision else {}
        return {
            **seen,
            **{c: table[c].mean() for c in ("first_try", "within", "first_route")},
            "rule_following": total["listed"] / total["turns"],
            **{c: total[c] / total["turns"] for c in ("first_turns", "valid", "fake")},
            "strict": total["strict"] / total["points"],
            "per_step": total["right"] / total["answers"],
        }
