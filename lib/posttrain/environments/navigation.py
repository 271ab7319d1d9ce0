"""Navigation: follow instructions through a city, one action a point, with a verifier that lets the player try again.

Paper: sections 3 and 4.1, appendix B, Figures 4 and 14 (V-IRL). The player is on rails: a point asks for one action; the right one moves
on to the next point, a wrong one gets the verifier's message and, within `verify_steps` answers, another try. Each point has a
prompt of its own: instructions, actions, the right actions so far with what was seen, and what is seen now. Both words of a turn
stand in every instruction ("turn left to face north"); the action space says which of them counts. With `vision` what is seen now is a
picture of four views (V-IRL-VL). Left out on purpose: walking off the rails.

    env = gymnasium.make("posttrain/Navigation-v0", actions="relative", city="Calvero", split="benchmark")
    task, info = env.reset(seed=1)
    task, reward, arrived, used_up, info = env.step('{"current observation": "...", "current instruction": "...", "action": "forward()"}')
"""

from __future__ import annotations

import json
import operator
from typing import Any, Iterable

import gymnasium
import numpy as np

from posttrain.environments import cities, prompts
from posttrain.environments.cities import FIRST, SECOND
from posttrain.environments.general_points import _CHARACTERS, SOLVED, STOPPED, _one_of, _whole
from posttrain.environments.routes import BEARINGS, COMPASS, DESTINATION, Point, Route, compass, phrase
from posttrain.rendering import Picture, streets
from posttrain.rendering.streets import POCKET
from posttrain.verifiers.general_points import MAX_REPLY, TOO_LONG, TWO_ANSWERS, Verdict
from posttrain.verifiers.navigation import (
    ACTIONS,
    FIELDS,
    FORWARD,
    NO_ACTION,
    NO_ANSWER,
    NOT_TEXT,
    NOT_THERE,
    STEP_LIMIT,
    STOP,
    THERE,
    TURNS,
    WRONG,
    NavigationVerifier,
    Place,
    turn,
)

LEGS, LINES = 5, 40  # so many legs and points a made route has at most; more are legal, and cost more tokens
FORWARD_POINTS = 5  # a leg has up to so many points between its ends, each there with probability 1/2

# --- the prompt: the paper's fields in their order, our words -----------------------------------------------------------

HEADINGS = ("\n\n[Instructions]\n", "\n[Actions]\n", "\n\n[Observations and actions]\n", "\n[Output]\n")
INTRODUCTION = "You are walking through a city and follow the instructions below."
OUTPUT = (
    'Answer with one JSON object with three fields in this order: "current observation", what is observed now; '
    '"current instruction", the instruction that holds now; "action", one of the actions above.'
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


SPACES = {name: space(words) for name, words in TURNS.items()}


def instructions(route: Route, relative: Iterable[str]) -> list[str]:
    """Two sentences a leg: turn (both words), walk on; `relative` holds each leg's relative word."""
    sentences = []
    for number, (leg, word) in enumerate(zip(route.legs, relative), 1):
        where = f"{WALK[2]}{phrase(leg)}" if leg.landmark else ""
        sentences += [
            f"{TURN[0]}{word}{TURN[1]}{compass(leg.heading)}{TURN[2]}",
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


def phrases() -> list[str]:
    """Constant pieces of prompts, answers and verifier messages: the pocket tokenizer of the directions corpus holds each as one token."""
    lines = [text for i in range(1, LINES + 1) for text in (f"O_{i}: ", f"A_{i}: ")]
    answers = [f'{start}{name}": "' for start in ('{"', '", "') for name in FIELDS]
    return [
        INTRODUCTION,
        *HEADINGS,
        OUTPUT,
        *SPACE,
        *TURN,
        *WALK,
        NOTHING,
        CROSSING,
        "; ",
        ", ",
        *(f"{i}. " for i in range(1, 2 * LEGS + 1)),
        *lines,
        *FIRST,
        *(f" {name}" for name in SECOND),
        " is on your ",
        *BEARINGS,
        *COMPASS,
        *TURNS["relative"],
        FORWARD,
        STOP,
        turn("").removesuffix(")"),
        *answers,
        '"}',
        prompts.FAILED,
        prompts.AGAIN,
        prompts.feedback(""),
        NO_ANSWER,
        NOT_TEXT,
        TWO_ANSWERS,
        TOO_LONG,
        WRONG,
        NO_ACTION,
        THERE,
        NOT_THERE,
        "the answer is wrong",
    ]


def _between(begin: Point, end: Point, step: int) -> Point:
    """A point on the way from `begin` to `end`; which one, `step` decides."""
    share = (1 + step % FORWARD_POINTS) / (FORWARD_POINTS + 1)
    return begin[0] + share * (end[0] - begin[0]), begin[1] + share * (end[1] - begin[1])


def relative_word(change: float) -> str:
    """The relative word for a change of heading in degrees (released thresholds; 45 to either side is "slightly")."""
    return (
        "left"
        if change < -45
        else "right"
        if change > 45
        else "slightly left"
        if change <= 0
        else "slightly right"
    )


class NavigationEnv(gymnasium.Env):
    """Sequential revision on routes in text (paper, Figure 4 and appendix B).

    Settings::

        actions         "absolute" (eight compass words) or "relative" (four words): the rule
        city, split     which routes, see `posttrain.environments.cities.routes`; or `routes`, the only ones
        verify_steps    answers per point
        skip_failed     go on to the next point when all answers at a point were wrong; the episode is no success then
        feedback        "informative", "verdict" or "none"
        protocol        "clean", or "as_released": one more answer a point is asked for, not read and punished with -1; the verifier does
                        not know the intersections; changes of heading are not wrapped (350 to 10 degrees is "left"); with `vision` the
                        text says where an intersection is, and the views are turned by 135 degrees
        vision          show what is seen now as a picture of four views; only routes of made cities (`posttrain.environments.cities`) can be drawn
        pixels          side of a view

    Observation: the newest user turn, a text: a point's task, or the verifier's feedback. Action: the answer, any text. With `vision` the
    observation is {"text", "image": uint8 [height, width, 3]}, and `info` holds "picture", which draws what is seen.
    `info`: "place" (Place, the truth where one stands), "sentence" (the instruction that holds), "attempt" (answers at this point),
    "messages" (the dialogue at this point; the last one is the observation), "route" (index), "success" (no point has failed), and,
    after a step, "verdict" (Verdict) and "moved" (the dialogue is a new one). ValueError for an unknown setting.
    """

    metadata: dict[str, Any] = {"render_modes": []}
    FIELDS = FIELDS  # of an answer, in order

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
        self.actions, self.verify_steps, self.skip_failed = (
            _one_of("actions", actions, tuple(ACTIONS)),
            _whole("verify_steps", verify_steps),
            bool(skip_failed),
        )
        self.verifier = NavigationVerifier(protocol, feedback)
        self.routes = (
            tuple(routes)
            if routes is not None
            else cities.routes(city, split or next(iter(cities.SPLITS.get(city, {"train": 0}))))
        )
        if not self.routes:
            raise ValueError("there are no routes to follow: give at least one")
        self.vision, self.pixels = bool(vision), _whole("pixels", pixels)
        if self.vision and (unknown := {route.city for route in self.routes} - set(cities.SPLITS)):
            raise ValueError(
                f"no pictures of {', '.join(sorted(map(repr, unknown)))}: routes of {', '.join(cities.SPLITS)} can be drawn "
                "(released panoramas are cut with rendering.streets.cut)"
            )
        self._released = protocol == "as_released"
        self._steps = verify_steps + self._released
        self._open = False
        names = {leg.landmark for route in self.routes for leg in route.legs if leg.landmark}
        letters = _CHARACTERS.union(*names) if names else _CHARACTERS
        # A leg's share of a prompt: two sentences and up to FORWARD_POINTS + 2 points, the landmark's name in at most two places.
        longest = 1000 + max(len(route.legs) for route in self.routes) * (
            1000 + 2 * max(map(len, names), default=0)
        )
        self.observation_space = gymnasium.spaces.Text(max(longest, 2 * MAX_REPLY), charset=letters)
        if self.vision:
            side = streets.side(pixels)
            self.observation_space = gymnasium.spaces.Dict(
                {
                    "text": self.observation_space,
                    "image": gymnasium.spaces.Box(0, 255, (side, side, 3), np.uint8),
                }
            )
        self.action_space = gymnasium.spaces.Text(MAX_REPLY, min_length=0, charset=letters)

    def _rails(self, route: Route) -> tuple[list[Place], list[str]]:
        """The points of `route` and its instructions. Random: the first heading where the route has none, and the forward points."""
        heading = route.heading if route.heading is not None else int(self.np_random.random() * 360)
        bits = self.np_random.integers(0, 1 << FORWARD_POINTS, size=len(route.legs)).tolist()
        places, words, other = [], [], "relative" if self.actions == "absolute" else "absolute"
        seen, crossing = NOTHING, False
        for i, (leg, kept) in enumerate(zip(route.legs, bits)):
            change = leg.heading - heading
            words.append(relative_word(change if self._released else (change + 180) % 360 - 180))
            both = {"relative": turn(words[-1]), "absolute": turn(compass(leg.heading))}
            places.append(
                Place(both[self.actions], both[other], self.actions, seen, crossing, 2 * i, heading)
            )
            heading = leg.heading
            places += [
                Place(FORWARD, FORWARD, self.actions, NOTHING, False, 2 * i + 1, heading)
            ] * kept.bit_count()
            seen, crossing = phrase(leg) if leg.landmark or self._released else NOTHING, True
        if self._released and route.legs[-1].landmark:
            seen = DESTINATION + seen  # as released: what is seen at the end says so
        # The destination is no intersection in the released prompts either.
        places.append(Place(STOP, STOP, self.actions, seen, False, 2 * len(route.legs) - 1, heading))
        return places, instructions(route, words)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start a route; `options={"route": 3}` takes that one."""
        super().reset(seed=seed)
        if unknown := set(options or ()) - {"route"}:
            raise ValueError(f"unknown options {sorted(unknown)}: the only one is route")
        self._route = (
            self._chosen(options["route"]) if options else int(self.np_random.random() * len(self.routes))
        )
        self._places, self._sentences = self._rails(self.routes[self._route])
        listed = "".join(f"{i}. {sentence}\n" for i, sentence in enumerate(self._sentences, 1))
        self._history = [f"{TASK[0]}{listed}{TASK[1]}{SPACES[self.actions]}{TASK[2]}"]
        self._at, self._success, self._open = -1, True, True
        self._move()
        info = self._info()
        return self._observation(self._task), info

    def _chosen(self, index: Any) -> int:
        try:
            if isinstance(index, bool) or not 0 <= operator.index(index) < len(self.routes):
                raise TypeError
        except TypeError:
            raise ValueError(f"there is no route {index!r}: routes are 0 to {len(self.routes) - 1}") from None
        return operator.index(index)

    def _move(self) -> None:
        if self._at >= 0:
            self._history.append(f"A_{self._at + 1}: {self._places[self._at].action}\n")
        self._at += 1
        place = self._places[self._at]
        past = "".join(self._history)
        self._history.append(f"O_{self._at + 1}: {observation(place)}\n")
        self._attempts: list[tuple[str, str]] = []
        behind = f"\nA_{self._at + 1}: \n{TASK[3]}"
        if self.vision:
            # The picture takes the place of what is told. As released the text keeps the intersection.
            parts = (
                f"{past}O_{self._at + 1}: ",
                f"; {CROSSING if self._released and place.intersection else ''}{behind}",
            )
            self._task, content = (
                "".join(parts),
                [{"type": "text", "text": parts[0]}, prompts.IMAGE, {"type": "text", "text": parts[1]}],
            )
            self._picture = self._look(place)
            self._image = np.asarray(self._picture())
        else:
            self._task = content = f"{past}O_{self._at + 1}: {observation(place)}{behind}"
        self._messages = [{"role": "user", "content": content}]

    def _look(self, place: Place) -> Picture:
        """What is seen where one stands."""
        return Picture(streets.draw, (self._scene(place), place.heading, self.pixels, self.verifier.protocol))

    def _scene(self, place: Place) -> streets.Scene:
        """What stands around the point, as the text would tell it: crossings and landmarks that the route passes by are not shown."""
        route = self.routes[self._route]
        leg = route.legs[place.instruction // 2]
        begin = route.legs[place.instruction // 2 - 1].end if place.instruction > 1 else route.start
        turning, last = place.instruction % 2 == 0, self._at == len(self._places) - 1
        scene = streets.around(
            cities.city(route.city),
            begin if turning else leg.end if last else _between(begin, leg.end, self._at),
        )
        if not place.intersection:
            scene = scene._replace(streets=(leg.heading, (leg.heading + 180) % 360), crossing=False)
        return scene if place.landmark != NOTHING else scene._replace(landmark=None)

    def _info(self, **more: Any) -> dict[str, Any]:
        place = self._places[self._at]
        return {
            "place": place,
            "sentence": self._sentences[place.instruction],
            "attempt": len(self._attempts),
            "messages": list(self._messages),
            "route": self._route,
            "success": self._success,
            **({"picture": self._picture} if self.vision else {}),
            **more,
        }

    def _observation(self, text: str) -> str | dict[str, Any]:
        return {"text": text, "image": self._image.copy()} if self.vision else text

    def expert(self, rng: np.random.Generator | None = None) -> str:
        """The only right answer here (`rng` is GeneralPoints', where there are several)."""
        return answer(self._places[self._at], self._sentences[self._places[self._at].instruction])

    def guess(self) -> str:
        """How an answer probably reads. Saves decoding steps, changes no outcome."""
        return self.expert()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Judge one answer. Any text is a legal action; TypeError for anything else, ResetNeeded when no episode is open."""
        if not isinstance(action, str):
            raise TypeError(f"an answer is a text (str), not {type(action).__name__}")
        if not self._open:
            raise gymnasium.error.ResetNeeded("no episode is open: call reset() first")
        place, attempt = self._places[self._at], len(self._attempts) + 1
        unread = attempt > self.verify_steps
        verdict = (
            Verdict(STEP_LIMIT, STOPPED, outcome="step limit")
            if unread
            else self.verifier.judge(action, place)
        )
        last, moved, terminated, truncated = self._at == len(self._places) - 1, False, False, False
        self._attempts.append((action, verdict.message))
        self._messages += [
            {"role": "assistant", "content": action},
            {"role": "user", "content": prompts.feedback(verdict.message)},
        ]
        if verdict.correct:
            terminated, moved = last, not last
        elif attempt == self._steps:
            self._success = False
            moved = self.skip_failed and not last
            truncated = not moved
        if moved:
            self._move()
        elif terminated or truncated:
            self._open = False
            if verdict.correct or unread:
                self._messages[-1]["content"] = SOLVED if verdict.correct else STOPPED
        text = self._task if moved else self._messages[-1]["content"]
        return (
            self._observation(text),
            verdict.reward,
            terminated,
            truncated,
            self._info(verdict=verdict, moved=moved),
        )
