"""Settings that depend on the task: its training environment, and the census that judges it (section 5.1).

`TASKS` says what a task decides where a profile says nothing. The sets themselves are in `posttrain.tasks`,
which takes a third of a second to import (gymnasium).
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from posttrain.config.settings import (
    Count,
    Distinct,
    Feedback,
    Listed,
    Problem,
    Protocol,
    Seed,
    Settings,
    brief,
    choose,
    neutral,
    setting,
)
from posttrain.verifiers.general_points import Rule


class Task(NamedTuple):
    """What a task decides: the corpus of its foundations, its sets; `shown`: the settings of its pictures;
    `more`: sets that are played only where they are named."""

    corpus: str
    verify_steps: int
    sets: tuple[str, ...]
    revised: tuple[str, ...]
    shown: dict[str, Any] = {}
    more: tuple[str, ...] = ("calibration",)


_ROUTES = ("id", "ood", "id_seen", "ood_seen", "cities", "cities_ood", "benchmark")
_VIEWS = ("id", "ood", "id_seen", "cities", "benchmark")
_HANDS = ("id", "id_seen", "ood", "in_range_a", "in_range_b")
_MORE = ("seen", "same_numbers", "calibration")
_CARDS = {"pixels": 56, "suits": "black", "styles": 64}
TASKS = {
    "general-points": Task("numbers", 5, _HANDS, ("id", "ood"), more=_MORE),
    "general-points-vision": Task(
        "cards", 5, ("id", "id_seen", "ood", "visual"), ("id", "ood", "visual"), _CARDS, _MORE
    ),
    "navigation": Task("directions", 2, _ROUTES, _ROUTES),
    "navigation-vision": Task("streets", 2, _VIEWS, _VIEWS, {"pixels": 40}),
}
_CITIES = ("Brennick", "Calvero", "Dunmarsh", "Eskerville", "Farholt", "Greyport", "Hallowmere", "Istrava")
SPLITS = {"Alderby": ("train", "held_out")} | dict.fromkeys((*_CITIES, "Juniper Bay"), ("benchmark", "wide"))
Names = Annotated[tuple[str, ...], Listed, Distinct]
Decodings = Annotated[tuple[Literal["greedy", "sampled"], ...], Listed, Field(min_length=1), Distinct]


class TaskSettings(Settings):
    """Settings of one task. What is left out, or None, is the task's."""

    given: ClassVar = ("task",)
    task: str = setting("general-points", "The arm's task.", exclude=True)
    feedback: Feedback = setting("informative", "What the verifier says after a wrong answer.")
    protocol: Protocol = setting("clean", "The rules: the paper's, or the released code's.")

    @classmethod
    def complete(cls, data: dict) -> dict:
        fields = cls.model_fields
        data = {"task": fields["task"].default, **data}
        if (task := TASKS.get(str(data["task"]))) is None:
            raise Problem(f"unknown {brief(data['task'])}; {choose(data['task'], TASKS)}", "task")
        for name in ("pixels", "styles"):
            if data.get(name) is not None and name in fields and not task.shown:
                raise Problem(f"must be left out: {data['task']} shows no pictures", name)
        decided = {**task._asdict(), **task.shown}
        said = {name: value for name, value in data.items() if value is not None or name not in decided}
        return {**{name: value for name, value in decided.items() if name in fields}, **said}


class CensusConfig(TaskSettings):
    """What is measured at a checkpoint: each case of some sets, once with each way of decoding."""

    verify_steps: Count | None = setting(
        None, "Answers in a dialogue of a revised set, the task's if left out; other sets have one."
    )
    revised: Names | None = setting(
        None, "Sets judged with all verify_steps answers; the task's if left out."
    )
    decodings: Decodings = setting(("greedy", "sampled"), "Ways of decoding.")
    sets: Annotated[Names, Field(min_length=1)] | None = setting(
        None, "Sets that are played; all of the task's if left out."
    )
    limit: Count | None = setting(None, "Cases in a set, a fixed random choice; every case if left out.")
    limit_others: Count | None = setting(
        None, "The same for sets that are not revised, where it is smaller; as limit if left out."
    )
    cases_seed: Seed | None = setting(
        None,
        "Seed of the choice of cases and of the order of cards; the run's own if left out.",
        **neutral(None),
    )
    limit_between: Count | None = setting(
        None, "Cases in any set at checkpoints but the first and the last.", **neutral(None)
    )
    revising: Decodings = setting(
        ("greedy", "sampled"),
        "Ways of decoding in which revised sets get all verify_steps answers.",
        **neutral(("greedy", "sampled")),
    )
    dialogues: Count = setting(1, "Dialogues a case of a revised set, sampled to their end.", **neutral(1))
    draws: Count = setting(
        1, "First answers a case that are sampled, those of the dialogues among them.", **neutral(1)
    )
    both_ways: bool = setting(
        False,
        "Whether the KL is also measured from the starting model, on its own answers.",
        **neutral(False),
    )
    told: Annotated[int, Field(ge=0, le=10**6)] = setting(
        0, "Cases of a set whose dialogues are kept, at the last checkpoint.", **neutral(0)
    )
    batch: Count = setting(512, "Cases that are played at once.")
    max_tokens: Count = setting(40, "Longest answer, in tokens.")
    kl_hands: Count = setting(256, "Dialogues of a set on which the KL to the starting model is measured.")
    pixels: Count | None = setting(None, "Side of a picture or view, as in training; the task's if left out.")

    @model_validator(mode="after")
    def _check(self) -> CensusConfig:
        sets = (*TASKS[self.task].sets, *TASKS[self.task].more)
        for field in ("sets", "revised"):
            if unknown := [name for name in getattr(self, field) if name not in sets]:
                raise Problem(f"unknown set {brief(unknown[0])}; {choose(unknown[0], sets)}", field)
        if self.draws < self.dialogues:
            raise Problem(f"must be at least dialogues ({self.dialogues}), not {self.draws}", "draws")
        self._check_used()
        return self

    def _check_used(self) -> None:
        """Problem if something was said that nothing would come of; what a task or a default says may be."""
        if self.revised != TASKS[self.task].revised:
            if lost := [name for name in self.revised if name not in self.sets]:
                raise Problem(f"must be among sets ({', '.join(self.sets)}), not {brief(lost[0])}", "revised")
        if self.revising != type(self).model_fields["revising"].default:
            if lost := [way for way in self.revising if way not in self.decodings]:
                said = ", ".join(self.decodings)
                raise Problem(f"must be among decodings ({said}), not {brief(lost[0])}", "revising")
        if self.draws > 1 and "sampled" not in self.decodings:
            raise Problem(f"must be 1 where decodings has no sampled, not {self.draws}", "draws")
        if self.dialogues > 1 and "sampled" not in self.revising:
            raise Problem(f"must be 1 where revising has no sampled, not {self.dialogues}", "dialogues")


class EnvironmentSettings(TaskSettings):
    """A training environment's settings."""

    def arguments(self) -> dict[str, Any]:
        """What the gymnasium environment is made with."""
        said = {name: value for name, value in dict(self).items() if name != "task" and value is not None}
        return {**said, "vision": bool(TASKS[self.task].shown)}


def _rule(value: Any) -> str:
    """One spelling of a rule, as `posttrain.verifiers` prints it."""
    try:
        return str(Rule.parse(value))
    except ValueError:
        must = '"10", "11/12/13" or {J: 11, Q: 12, K: 13}, values 1 to 99'
        raise ValueError(f"must be {must}, not {brief(value)}") from None


@cache
def _dealt(rule: str, target: int, split: str, faces: bool) -> int:
    """How many hands there are to deal; asked of unusual settings only, for it takes a second."""
    from posttrain.environments.general_points import hands

    return len(hands(rule, target, split, faces))


class GeneralPointsConfig(EnvironmentSettings):
    """The training environment of GeneralPoints: four cards, and a formula that makes the target."""

    rule: Annotated[str, BeforeValidator(_rule)] = setting(
        "10", 'What J, Q and K count as, 1 to 99: one number for all, "10", or three, "11/12/13".'
    )
    target: Annotated[int, Field(ge=1, le=1000)] = setting(24, "The number that a formula must make.")
    verify_steps: Count = setting(5, "Answers in an episode.")
    split: Literal["all", "train", "test", "shown", "faces"] = setting(
        "train", "Which hands, by their numbers; shown and faces are the two parts of train."
    )
    faces: bool = setting(False, "Whether every hand holds a face card.")
    deck: Literal["with_replacement", "without_replacement"] = setting(
        "with_replacement", "Whether a hand may hold a card twice."
    )
    suits: Literal["mixed", "black", "red"] = setting(
        "mixed", "The suits; black if left out where they are shown."
    )
    pixels: Annotated[int, Field(ge=40, le=4096)] | None = setting(
        None, "Side of the picture, in tasks that show one; 56 if left out."
    )
    styles: Annotated[int, Field(ge=1, le=10**6)] | None = setting(
        None, "Styles that cards are drawn in, in tasks that show them; 64 if left out."
    )

    @model_validator(mode="after")
    def _check(self) -> GeneralPointsConfig:
        if self.faces and self.split not in ("all", "test") and min(map(int, self.rule.split("/"))) > 10:
            raise Problem(
                f"must be all or test: {self.split} has no faces under the rule {self.rule}", "split"
            )
        if (self.target != 24 or self.faces) and not _dealt(self.rule, self.target, self.split, self.faces):
            which = f"under the rule {self.rule} in the split {self.split}{' with faces' * self.faces}"
            raise Problem(
                f"must be a number that a hand can make; none makes {self.target} {which}", "target"
            )
        return self


class NavigationConfig(EnvironmentSettings):
    """The training environment of navigation: a route, and an action at each of its points."""

    task: str = setting("navigation", "The arm's task.", exclude=True)
    actions: Literal["absolute", "relative"] = setting(
        "absolute", "The rule: eight words of the compass, or four of turning."
    )
    city: Literal[tuple(SPLITS)] = setting("Alderby", "Where the routes are.")
    split: Literal["train", "held_out", "benchmark", "wide"] = setting(
        "train", "Which routes: train or held_out of Alderby, benchmark or wide of another city."
    )
    verify_steps: Count = setting(2, "Answers at a point.")
    skip_failed: bool = setting(False, "Whether a route goes on after a point that was failed.")
    pixels: Annotated[int, Field(ge=8, le=4096)] | None = setting(
        None, "Side of each of four views, in tasks that show them; 40 if left out."
    )

    @model_validator(mode="after")
    def _check(self) -> NavigationConfig:
        if self.split not in SPLITS[self.city]:
            raise Problem(f"{self.city} has no split {self.split}; {choose('', SPLITS[self.city])}", "split")
        return self
