"""Navigation: follow instructions through a city, one action a point, with a verifier that lets the player
try again.

Paper: sections 3 and 4.1, appendix B, Figures 4 and 14 (V-IRL). The player is on rails: a point asks for one
action; the right one moves on to the next point, a wrong one gets the verifier's message and, within
`verify_steps` answers, another try. Each point has a prompt of its own: instructions, actions, the right
actions so far with what was seen, and what is seen now. Both words of a turn stand in every instruction
("turn left to face north"); the action space says which of them counts. With `vision` what is seen now is a
picture of four views (V-IRL-VL). Left out on purpose: walking off the rails.

    env = gymnasium.make("posttrain/Navigation-v0", actions="relative", city="Calvero", split="benchmark")
    task, info = env.reset(seed=1)
    answer = '{"current observation": "...", "current instruction": "...", "action": "forward()"}'
    task, reward, arrived, used_up, info = env.step(answer)
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from posttrain.environments import cities, prompts
from posttrain.environments.cities import FIRST, SECOND
from posttrain.environments.revision import CHARACTERS, RevisionEnv, one_of, whole
from posttrain.environments.routes import BEARINGS, COMPASS, DESTINATION, Point, Route, compass, phrase
from posttrain.rendering import Picture, streets
from posttrain.rendering.streets import POCKET
from posttrain.verifiers.answers import MAX_REPLY, TOO_LONG, TWO_ANSWERS
from posttrain.verifiers.navigation import (
    CALIBRATION,
    FIELDS,
    FORWARD,
    NO_ACTION,
    NO_ANSWER,
    NOT_TEXT,
    NOT_THERE,
    OTHER,
    STAND_INS,
    STOP,
    THERE,
    TURNS,
    WRONG,
    NavigationVerifier,
    Place,
    turn,
)

LEGS, LINES = 5, 40  # legs and points of a made route, at most; more are legal, and cost more tokens
FORWARD_POINTS = 5  # a leg has up to so many points between its ends, each there with probability 1/2

# --- the prompt: the paper's fields in their order, our words -----------------------------------------------

HEADINGS = ("\n\n[Instructions]\n", "\n[Actions]\n", "\n\n[Observations and actions]\n", "\n[Output]\n")
INTRODUCTION = "You are walking through a city and follow the instructions below."
OUTPUT = (
    "Answer with one JSON object with three fields in this order: "
    '"current observation", what is observed now; "current instruction", the instruction that holds now; '
    '"action", one of the actions above.'
)
TASK = (INTRODUCTION + HEADINGS[0], HEADINGS[1], HEADINGS[2], HEADINGS[3] + OUTPUT)
SPACE = (
    f"{FORWARD}: walk on\n{turn('x')}: turn, where x is one of ",
    f"\n{STOP}: the destination is reached",
)
TURN = ("Turn ", " to face ", ".")
WALK = ("Walk on to the next intersection", "Walk on to the destination", ", where ", ".")
NOTHING, CROSSING = "No landmarks nearby", "You observe an intersection"


def space(words: Iterable[str]) -> str:
    """The actions block: it alone says which of the two words of a turn counts."""
    return f"{SPACE[0]}{', '.join(words)}{SPACE[1]}"


SPACES = {name: space(words) for name, words in {**TURNS, **CALIBRATION}.items()}


def instructions(route: Route, words: Iterable[tuple[str, str]]) -> list[str]:
    """Two sentences a leg: turn, walk on; `words` holds the two words of each leg's turn."""
    sentences = []
    for number, (leg, (first, second)) in enumerate(zip(route.legs, words), 1):
        where = f"{WALK[2]}{phrase(leg)}" if leg.landmark else ""
        sentences += [
            f"{TURN[0]}{first}{TURN[1]}{second}{TURN[2]}",
            f"{WALK[number == len(route.legs)]}{where}{WALK[3]}",
        ]
    return sentences


def observation(place: Place) -> str:
    """What is observed at a point, as in the released prompts: the landmark, then the intersection."""
    return f"{place.landmark}; {CROSSING if place.intersection else ''}"


def answer(place: Place, sentence: str) -> str:
    """An expert's answer in the format that the task asks for: valid JSON, fields in the paper's order."""
    return reply(observation(place), sentence, place.action)


def reply(*values: str) -> str:
    """A JSON answer whose fields hold `values`."""
    return fields(dict(zip(FIELDS, values)))


def fields(content: dict[str, str]) -> str:
    return json.dumps(content, ensure_ascii=False)


def relative_word(change: float) -> str:
    """The relative word for a change of heading (degrees; released thresholds: 45 to either side is
    "slightly")."""
    side = "left" if change <= 0 else "right"
    return side if abs(change) > 45 else f"slightly {side}"


def phrases() -> list[str]:
    """Constant pieces of prompts, answers and messages: the tokenizer of the directions corpus holds each as
    one token, in this order."""
    return [
        *(INTRODUCTION, *HEADINGS, OUTPUT, *SPACE, *TURN, *WALK, NOTHING, CROSSING, "; ", ", "),
        *(f"{i}. " for i in range(1, 2 * LEGS + 1)),
        *(text for i in range(1, LINES + 1) for text in (f"O_{i}: ", f"A_{i}: ")),
        *(*FIRST, *(f" {name}" for name in SECOND), " is on your ", *BEARINGS, *COMPASS),
        *(*TURNS["relative"], FORWARD, STOP, turn("").removesuffix(")")),
        *(f'{start}{name}": "' for start in ('{"', '", "') for name in FIELDS),
        *(
            '"}',
            prompts.FAILED,
            prompts.AGAIN,
            prompts.feedback(""),
            NO_ANSWER,
            NOT_TEXT,
            TWO_ANSWERS,
            TOO_LONG,
        ),
        *(WRONG, NO_ACTION, THERE, NOT_THERE, "the answer is wrong"),
    ]


# --- the environment ----------------------------------------------------------------------------------------


class NavigationEnv(RevisionEnv):
    """Sequential revision on routes (paper, Figure 4 and appendix B). See `RevisionEnv` for what is observed.

    Settings::

        actions         the rule: "absolute" (eight compass words) or "relative" (four words); in calibrations
                        "second" or "first", invented words in their places
        city, split     which routes, see `posttrain.environments.cities.routes`; or `routes`, the only ones
        verify_steps    answers per point
        skip_failed     go on to the next point when all answers at a point were wrong; the episode is then no
                        success
        feedback        "informative", "verdict" or "none"
        protocol        "clean", or "as_released": one more answer a point is asked for, not read and punished
                        with -1; the verifier does not know the intersections; changes of heading are not
                        wrapped (350 to 10 degrees is "left"); with `vision` the text says where an
                        intersection is, and the views are turned by 135 degrees
        vision          show what is seen now as a picture of four views; only made cities can be drawn
        pixels          side of a view

    `reset(options={"route": 3})` takes that route. `info` holds "place" (Place, the truth where one stands),
    "sentence" (the instruction that holds), "route" (index), "success" (no point has failed). Of the route
    being walked, `places` are the points and `sentences` the instructions. ValueError for an unknown setting.
    """

    OPTION, FIELDS = "route", FIELDS

    def __init__(
        self,
        actions: str = "absolute",
        city: str = cities.TRAINING_CITY,
        split: str | None = None,
        verify_steps: int = 2,
        skip_failed: bool = False,
        feedback: str = "informative",
        protocol: str = "clean",
        routes: Iterable[Route] | None = None,
        vision: bool = False,
        pixels: int = POCKET,
    ):
        super().__init__(NavigationVerifier(protocol, feedback), verify_steps, vision)
        self.actions, self.skip_failed = one_of("actions", actions, OTHER), bool(skip_failed)
        if routes is None:
            routes = cities.routes(city, split or next(iter(cities.SPLITS.get(city, {"train": 0}))))
        self.routes, self.pixels = tuple(routes), whole("pixels", pixels)
        if not self.routes:
            raise ValueError("there are no routes to follow: give at least one")
        if self.vision and (unknown := {route.city for route in self.routes} - set(cities.SPLITS)):
            names, drawn = ", ".join(sorted(map(repr, unknown))), ", ".join(cities.SPLITS)
            cut = "released panoramas are cut with rendering.streets.cut"
            raise ValueError(f"no pictures of {names}: routes of {drawn} can be drawn ({cut})")
        self._released = protocol == "as_released"
        names = {leg.landmark for route in self.routes for leg in route.legs if leg.landmark}
        leg = 1000 + 2 * max(map(len, names), default=0)  # its sentences and points; a landmark's name twice
        longest = 1000 + leg * max(len(route.legs) for route in self.routes)
        self._set_spaces(max(longest, 2 * MAX_REPLY), streets.side(pixels), CHARACTERS.union(*names))

    def _rails(self, route: Route) -> tuple[list[Place], list[str]]:
        """The points of `route` and its instructions. Random: the first heading where the route has none, and
        the forward points."""
        heading = route.heading if route.heading is not None else int(self.np_random.random() * 360)
        bits = self.np_random.integers(0, 1 << FORWARD_POINTS, size=len(route.legs)).tolist()
        places, words, stands_first = [], [], self.actions in ("relative", "first")
        seen, crossing = NOTHING, False
        for i, (leg, kept) in enumerate(zip(route.legs, bits)):
            change = leg.heading - heading
            change = change if self._released else (change + 180) % 360 - 180
            pair = relative_word(change), compass(leg.heading)
            words.append(tuple(map(STAND_INS.get, pair)) if self.actions in CALIBRATION else pair)
            action, other = map(turn, words[-1] if stands_first else words[-1][::-1])
            turning = Place(action, other, self.actions, seen, crossing, 2 * i, heading)
            heading = leg.heading
            walking = Place(FORWARD, FORWARD, self.actions, NOTHING, False, 2 * i + 1, heading)
            places += [turning] + [walking] * kept.bit_count()
            seen, crossing = phrase(leg) if leg.landmark or self._released else NOTHING, True
        if self._released and route.legs[-1].landmark:
            seen = DESTINATION + seen  # as released: what is seen at the end says so
        # The destination is no intersection in the released prompts either.
        places.append(Place(STOP, STOP, self.actions, seen, False, 2 * len(route.legs) - 1, heading))
        return places, instructions(route, words)

    def _begin(self, options: dict[str, Any] | None) -> None:
        self._route = (
            self._chosen(options["route"]) if options else int(self.np_random.random() * len(self.routes))
        )
        self.places, self.sentences = self._rails(self.routes[self._route])
        listed = "".join(f"{i}. {sentence}\n" for i, sentence in enumerate(self.sentences, 1))
        self._past = f"{TASK[0]}{listed}{TASK[1]}{SPACES[self.actions]}{TASK[2]}"
        self._at, self._success = 0, True
        self._arrive()

    def _chosen(self, index: Any) -> int:
        try:
            if isinstance(index, bool) or not 0 <= operator.index(index) < len(self.routes):
                raise TypeError
        except TypeError:
            raise ValueError(f"there is no route {index!r}: routes are 0 to {len(self.routes) - 1}") from None
        return operator.index(index)

    def _advance(self, correct: bool) -> bool:
        self._success = self._success and correct
        if self._at == len(self.places) - 1 or not (correct or self.skip_failed):
            return False
        place, number = self.places[self._at], self._at + 1
        self._past += f"O_{number}: {observation(place)}\nA_{number}: {place.action}\n"
        self._at += 1
        self._arrive()
        return True

    def _arrive(self) -> None:
        """Pose the point's task."""
        place, number = self.places[self._at], self._at + 1
        before, behind = f"{self._past}O_{number}: ", f"\nA_{number}: \n{TASK[3]}"
        if not self.vision:
            return self._pose(place, f"{before}{observation(place)}{behind}")
        # The picture takes the place of what is told. As released the text keeps the intersection.
        crossing = CROSSING if self._released and place.intersection else ""
        task = prompts.with_picture(f"{before}; {crossing}{behind}", before)
        self._pose(place, task, self._look(place))

    def _look(self, place: Place) -> Picture:
        """What is seen where one stands."""
        return Picture(streets.draw, (self._scene(place), place.heading, self.pixels, self.verifier.protocol))

    def _scene(self, place: Place) -> streets.Scene:
        """What stands around the point, as the text would tell it: what the route passes by is not shown."""
        route = self.routes[self._route]
        heading = route.legs[place.instruction // 2].heading
        scene = cities.around(route.city, self.standpoint(place))
        if not place.intersection:
            scene = scene._replace(streets=(heading, (heading + 180) % 360), crossing=False)
        return scene if place.landmark != NOTHING else scene._replace(landmark=None)

    def standpoint(self, place: Place) -> Point:
        """Where one stands: at a leg's begin, at its end, or between them; where between them, the step
        decides."""
        route, number = self.routes[self._route], place.instruction // 2
        begin, end = route.legs[number - 1].end if number else route.start, route.legs[number].end
        if place.instruction % 2 == 0:
            return begin
        if self._at == len(self.places) - 1:
            return end
        share = (1 + self._at % FORWARD_POINTS) / (FORWARD_POINTS + 1)
        return begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1])

    def _about(self) -> dict[str, Any]:
        sentence = self.sentences[self._truth.instruction]
        return {"place": self._truth, "sentence": sentence, "route": self._route, "success": self._success}

    def expert(self, rng: np.random.Generator | None = None) -> str:
        """The only right answer here (`rng` is GeneralPoints', where there are several)."""
        return answer(self._truth, self.sentences[self._truth.instruction])

    def guess(self) -> str:
        return self.expert()
