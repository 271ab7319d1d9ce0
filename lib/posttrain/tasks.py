"""The study's tasks: which environment poses one, on what it is trained, on which sets it is judged.

Paper: section 5.1. The crossed design {rule seen, unseen} x {numbers, routes or city seen, unseen} is in the
sets' definitions: it separates "ignores the instruction" from "does not know these numbers, these streets". A
new task is a file in `verifiers`, one in `environments` and an entry in `TASKS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium

from posttrain.environments import GeneralPointsEnv, NavigationEnv
from posttrain.environments.cities import CALIBRATION_CITY, OTHER_CITIES, TRAINING_CITY
from posttrain.environments.general_points import IN_RANGE_RULES
from posttrain.environments.sets import Hands, Routes


@dataclass(frozen=True)
class Task:
    """A task as the study uses it. `training`: the environment's arguments; how its sets are judged where a
    profile says nothing is in `posttrain.config.TASKS`."""

    environment: type[gymnasium.Env]
    training: dict[str, Any]
    sets: dict[str, Hands | Routes]


_POINTS = {
    "id": Hands("10", "test", False),  # the training rule, held-out numbers: "in distribution"
    "id_seen": Hands("10", "train", False),  # the training rule, numbers of the training hands
    "ood": Hands("11/12/13", "all", True),  # the paper's rule OOD
    "in_range_a": Hands(IN_RANGE_RULES[0], "all", True),  # an unseen rule that needs no number above 10
    "in_range_b": Hands(IN_RANGE_RULES[1], "all", True),
    "seen": Hands("10", "shown", False),  # hands of the training, where some are held out for their faces
    "same_numbers": Hands("10", "faces", False),  # these: numbers of training hands, other faces
    "calibration": Hands("12/4/11", "all", True),  # settings may be judged by it: no experiment is
}
_CARDS = {
    **{name: replace(_POINTS[name], suits="black") for name in ("id", "id_seen", "ood")},
    "visual": Hands("10", "test", False, "red"),  # the paper's visual OOD
    **{name: replace(_POINTS[name], suits="black") for name in ("seen", "same_numbers", "calibration")},
}
_WIDE = tuple((city, split) for city in OTHER_CITIES for split in ("benchmark", "wide"))
_ROUTES = {
    "id": Routes("absolute", ((TRAINING_CITY, "held_out"),)),  # the training actions, held-out routes
    "ood": Routes("relative", ((TRAINING_CITY, "held_out"),)),  # the paper's rule OOD
    "id_seen": Routes("absolute", ((TRAINING_CITY, "train"),)),
    "ood_seen": Routes("relative", ((TRAINING_CITY, "train"),)),  # routes of the training, the other actions
    "cities": Routes("absolute", _WIDE),
    "cities_ood": Routes("relative", _WIDE),
    "benchmark": Routes(
        "absolute", tuple((city, "benchmark") for city in OTHER_CITIES)
    ),  # the paper's eighteen
    "calibration": Routes("first", ((CALIBRATION_CITY, "calibration"),)),  # an unseen list, in an unseen city
}
_SIGHTS = {
    name: replace(_ROUTES[name], vision=True)
    for name in ("id", "ood", "id_seen", "cities", "benchmark", "calibration")
}
_DEALT = {"rule": "10", "split": "train"}
_SHOWN = {**_DEALT, "vision": True, "suits": "black"}
_WALKED = {"actions": "absolute", "city": TRAINING_CITY, "split": "train"}
_SEEN = {**_WALKED, "vision": True}

TASKS = {
    "general-points": Task(GeneralPointsEnv, _DEALT, _POINTS),
    "general-points-vision": Task(GeneralPointsEnv, _SHOWN, _CARDS),
    "navigation-vision": Task(NavigationEnv, _SEEN, _SIGHTS),
    "navigation": Task(NavigationEnv, _WALKED, _ROUTES),
}
