"""Settings that depend on the task: its training environment, and the census that judges it (paper: section 5.1).

`TASKS` says what a task decides where a profile says nothing; the sets themselves are in `posttrain.tasks`, which imports torch.
"""

from __future__ import annotations

import re
import reprlib
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from posttrain.config.settings import Count, Distinct, Feedback, Listed, Problem, Protocol, Settings, choose


class Task(NamedTuple):
    """What a task decides: `corpus` of the foundations that can do it, its sets; `shown`: its pictures' settings, if any."""

    corpus: str
    verify_steps: int
    sets: tuple[str, ...]
    revised: tuple[str, ...]
    shown: dict[str, Any] = {}


_ROUTES = ("id", "ood", "id_seen", "ood_seen", "cities", "cities_ood", "benchmark")
_VIEWS = ("id", "ood", "id_seen", "cities", "benchmark")
_CARDS = {"pixels": 56, "suits": "black", "styles": 64}
TASKS = {
    "general-points": Task("numbers", 5, ("id", "id_seen", "ood", "in_range_a", "in_range_b"), ("id", "ood")),
    "general-points-vision": Task(
        "cards", 5, ("id", "id_seen", "ood", "visual"), ("id", "ood", "visual"), _CARDS
    ),
    "navigation": Task("directions", 2, _ROUTES, _ROUTES),
    "navigation-vision": Task("streets", 2, _VIEWS, _VIEWS, {"pixels": 40}),
}
SPLITS = {"Alderby": ("train", "held_out")} | dict.fromkeys(
    (
        "Brennick",
        "Calvero",
        "Dunmarsh",
        "Eskerville",
        "Farholt",
        "Greyport",
        "Hallowmere",
        "Istrava",
        "Juniper Bay",
    ),
    ("benchmark", "wide"),
)
Names = Annotated[tuple[str, ...], Listed, Distinct]


class TaskSettings(Settings):
    """Settings of one task. What is left out, or None, is the task's."""

    task: str = Field("general-points", exclude=True, description="The arm's task.")
    feedback: Feedback = Field("informative", description="What the verifier says after a wrong answer.")
    protocol: Protocol = Field(
        "clean", description="The verifier's rules: the paper's, or the released code's."
    )

    @classmethod
    def complete(cls, data: dict) -> dict:
        data = {"task": cls.model_fields["task"].default, **data}
        if (task := TASKS.get(str(data["task"]))) is None:
            raise Problem(f"unknown {data['task']!r}; {choose(data['task'], TASKS)}", "task")
        if name := next(
            (n for n in ("pixels", "styles") if data.get(n) is not None and not task.shown), None
        ):
            raise Problem(f"the task {data['task']} shows no pictures; leave {name} out", name)
        decided = {**task._asdict(), **task.shown}
        given = {name: value for name, value in data.items() if value is not None or name not in decided}
        return {**{name: value for name, value in decided.items() if name in cls.model_fields}, **given}


class CensusConfig(TaskSettings):
    """What is measured at a checkpoint: each case of some sets, once with each way of decoding."""

    verify_steps: Count | None = Field(
        None, description="Answers in a dialogue of a revised set, the task's if left out; one in other sets."
    )
    revised: Names | None = Field(
        None, description="Sets that are judged with all verify_steps answers; the task's if left out."
    )
    decodings: Annotated[tuple[Literal["greedy", "sampled"], ...], Listed, Field(min_length=1), Distinct] = (
        Field(("greedy", "sampled"), description="Ways of decoding: greedy, sampled, or both.")
    )
    sets: Annotated[Names, Field(min_length=1)] | None = Field(
        None, description="Sets that are played; all of the task's if left out."
    )
    limit: Count | None = Field(
        None, description="Cases in a set, a fixed random choice; every case if left out."
    )
    limit_others: Count | None = Field(
        None, description="The same for sets that are not revised, where it is smaller; as limit if left out."
    )
    batch: Count = Field(512, description="Cases that are played at once.")
    max_tokens: Count = Field(40, description="Longest answer, in tokens.")
    kl_hands: Count = Field(
        256, description="Dialogues of a set on which the KL to the starting model is measured."
    )
    pixels: Count | None = Field(
        None, description="Side of a picture or view, as in training; the task's if left out."
    )

    @model_validator(mode="after")
    def _check(self) -> CensusConfig:
        sets = TASKS[self.task].sets
        for field, name in [(field, name) for field in ("sets", "revised") for name in getattr(self, field)]:
            if name not in sets:
                raise Problem(f"unknown set {name!r}; {choose(name, sets)}", field)
        return self


def _rule(value: Any) -> str:
    """ "10", "11/12/13" or {J: 11, Q: 12, K: 13} as a text; what `verifiers.general_points.Rule` reads, without importing it."""
    faces = isinstance(value, dict) and set(value) == set("JQK")
    parts = [str(value[face]) for face in "JQK"] if faces else str(value).split("/")
    if (
        isinstance(value, bool)
        or len(parts) not in (1, 3)
        or not all(re.fullmatch("[1-9][0-9]?", p) for p in parts)
    ):
        raise ValueError(
            f'must be "10", "11/12/13" or {{J: 11, Q: 12, K: 13}}, values 1 to 99, not {reprlib.repr(value)}'
        )
    return "/".join(parts if len(set(parts)) > 1 else parts[:1])


class GeneralPointsConfig(TaskSettings):
    """The training environment of GeneralPoints: four cards, and a formula that makes the target."""

    rule: Annotated[str, BeforeValidator(_rule)] = Field(
        "10", description='What J, Q and K count as, 1 to 99: one number for all, "10", or three, "11/12/13".'
    )
    target: Annotated[int, Field(ge=1, le=1000)] = Field(
        24, description="The number that a formula must make."
    )
    verify_steps: Count = Field(5, description="Answers in an episode.")
    split: Literal["all", "train", "test"] = Field("train", description="Which hands, by their numbers.")
    faces: bool = Field(False, description="Whether every hand holds a face card.")
    deck: Literal["with_replacement", "without_replacement"] = Field(
        "with_replacement", description="Whether a hand may hold a card twice."
    )
    suits: Literal["mixed", "black", "red"] = Field(
        "mixed", description="Suits; black if pictures show them."
    )
    pixels: Annotated[int, Field(ge=40, le=4096)] | None = Field(
        None, description="Side of the picture, with pictures only; 56 if left out."
    )
    styles: Annotated[int, Field(ge=1, le=10**6)] | None = Field(
        None, description="Styles that cards are drawn in, with pictures only; 64 if left out."
    )

    @model_validator(mode="after")
    def _check(self) -> GeneralPointsConfig:
        if self.faces and self.split == "train" and min(map(int, self.rule.split("/"))) > 10:
            raise Problem(
                f"train has no hand with faces under the rule {self.rule}; use all or test", "split"
            )
        return self


class NavigationConfig(TaskSettings):
    """The training environment of navigation: a route, and an action at each of its points."""

    task: str = Field("navigation", exclude=True, description="The arm's task.")
    actions: Literal["absolute", "relative"] = Field(
        "absolute", description="The rule: eight words of the compass, or four of turning."
    )
    city: Literal[tuple(SPLITS)] = Field("Alderby", description="Where the routes are.")
    split: Literal["train", "held_out", "benchmark", "wide"] = Field(
        "train", description="Which routes: train or held_out of Alderby, benchmark or wide of another city."
    )
    verify_steps: Count = Field(2, description="Answers at a point.")
    skip_failed: bool = Field(False, description="Whether a route goes on after a point that was failed.")
    pixels: Annotated[int, Field(ge=8, le=4096)] | None = Field(
        None, description="Side of each of four views, with pictures only; 40 if left out."
    )

    @model_validator(mode="after")
    def _check(self) -> NavigationConfig:
        if self.split not in SPLITS[self.city]:
            raise Problem(
                f"{self.city} has no split {self.split}; choose one of {', '.join(SPLITS[self.city])}",
                "split",
            )
        return self


ENVIRONMENTS = {
    name: NavigationConfig if name.startswith("navigation") else GeneralPointsConfig for name in TASKS
}
