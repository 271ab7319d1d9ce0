"""The navigation verifier: judges one answer at one point of a route, and says why.

Paper: sections 4.1 and 5.1, appendix B.3 (rewards). Two protocols:

clean        strict JSON, else a tolerant reading (`Verdict.strict` tells which); +1 the expert's action, -1 any other, -1.5 another
             action by an answer that is also wrong about the intersection. The verifier knows whether there is one.
as_released  the released `utils_rl.py`: it looks for the word intersection in the landmark text, where it never stands, so whoever
             rightly saw an intersection and then erred is told that there is none. The differences are in the book's ledger.

An action is a text and must be the expert's to the letter. Model text is parsed, never executed.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from posttrain.environments.routes import COMPASS
from posttrain.verifiers.general_points import (
    FEEDBACK,
    MAX_REPLY,
    PROTOCOLS,
    TOO_LONG,
    TWO_ANSWERS,
    Verdict,
    read_object,
)

CORRECT, WRONG_ACTION, WRONG_INTERSECTION = 1.0, -1.0, -1.5
STEP_LIMIT = -1.0  # as_released only: the answer after the last one is not read

TURNS = {"absolute": COMPASS, "relative": ("left", "right", "slightly left", "slightly right")}
FORWARD, STOP = "forward()", "stop()"


def turn(word: str) -> str:
    return f"turn_direction({word})"


ACTIONS = {name: (FORWARD, STOP, *map(turn, words)) for name, words in TURNS.items()}

FIELDS = ("current observation", "current instruction", "action")
NO_ANSWER = (
    "the reply is not one JSON object with the fields current observation, current instruction and action"
)
NOT_TEXT = "the action is not a text in double quotes"
INTERSECTION = "intersection"
WRONG, NO_ACTION = " is the wrong action here", "that is none of the actions"
THERE, NOT_THERE = "there is an intersection here", "there is no intersection here"


class Place(NamedTuple):
    """One point of a route and what is right there: `action` in the action space of the task, `other` in the other one."""

    action: str
    other: str
    actions: str  # "absolute" or "relative"
    landmark: str  # what is seen, as a text
    intersection: bool
    instruction: int  # index of the sentence that holds here
    heading: int  # degrees, before acting


class Answer(NamedTuple):
    """The three fields as far as they could be read; None where a field is missing or no text."""

    observation: str | None
    instruction: str | None
    action: str | None
    strict: bool
    problem: str = ""


# Tolerant reading: any quotes, blanks and trailing commas around the fields; the action itself gets no tolerance.
_TOLERANT = {name: re.compile(rf"""["']{name}["']\s*:\s*(?:"([^"]*)"|'([^']*)')""") for name in FIELDS}
_RELEASED = {name: re.compile(rf'"{name}": "([^"\n]*)"') for name in FIELDS}


def read_answer(text: str) -> Answer:
    """Read the three fields of an answer: strictly as JSON, else tolerantly."""
    data, problem = read_object(text, FIELDS[-1], NO_ANSWER)
    if data is None:
        return Answer(None, None, None, False, problem) if problem else _read_tolerantly(text)
    fields = [value if isinstance(value := data.get(name), str) else None for name in FIELDS]
    return Answer(
        *fields, set(data) == set(FIELDS) and None not in fields, "" if fields[2] is not None else NOT_TEXT
    )


def _read_tolerantly(text: str) -> Answer:
    found = {name: pattern.findall(text) for name, pattern in _TOLERANT.items()}
    if any(len(matches) > 1 for matches in found.values()):
        return Answer(None, None, None, False, TWO_ANSWERS)
    fields = [matches[0][0] or matches[0][1] if matches else None for matches in found.values()]
    return Answer(*fields, False, "" if fields[2] is not None else NO_ANSWER)


class NavigationVerifier:
    """Judge answers at the points of a route.

    protocol: "clean" or "as_released"; feedback: "informative", "verdict" or "none". In the verdict `valid` says that an action of
    either action space could be read, `follows_rule` that it belongs to the stated one, `fake` that it would be right in the other.
    """

    def __init__(self, protocol: str = "clean", feedback: str = "informative"):
        for name, given, known in (("protocol", protocol, PROTOCOLS), ("feedback", feedback, FEEDBACK)):
            if given not in known:
                raise ValueError(f"unknown {name} {given!r}: use one of {', '.join(known)}")
        self.protocol, self.feedback = protocol, feedback

    def judge(self, text: str, place: Place) -> Verdict:
        """Verdict on the reply `text` at `place`. Never raises on any text."""
        answer = _read_as_released(text) if self.protocol == "as_released" else read_answer(text)
        correct = answer.action == place.action
        follows = answer.action in ACTIONS[place.actions]
        valid = follows or any(answer.action in actions for actions in ACTIONS.values())
        reward, message, outcome = (
            (CORRECT, "", "correct") if correct else self._complaint(answer, place, follows)
        )
        if self.feedback == "none":
            message = ""
        elif self.feedback == "verdict" and not correct:
            message = "the answer is wrong"
        # The whole of what stands before the intersection: "on your right" is no part of "on your right behind".
        recognized = (
            answer.observation is not None and answer.observation.partition(";")[0].strip() == place.landmark
        )
        return Verdict(
            reward,
            message,
            correct,
            answer.strict,
            valid,
            follows,
            recognized,
            not correct and answer.action == place.other,
            outcome,
        )

    def _complaint(self, answer: Answer, place: Place, follows: bool) -> tuple[float, str, str]:
        if answer.action is None and self.protocol == "clean":
            return WRONG_ACTION, answer.problem, "no answer"
        there = INTERSECTION in place.landmark if self.protocol == "as_released" else place.intersection
        if answer.observation is not None and (INTERSECTION in answer.observation) != there:
            return WRONG_INTERSECTION, THERE if there else NOT_THERE, "wrong intersection"
        if not follows and self.protocol == "clean":
            return WRONG_ACTION, NO_ACTION, "no action"
        return WRONG_ACTION, f"{answer.action}{WRONG}", "wrong action"


def _read_as_released(text: str) -> Answer:
    """As released: the fields if the reply is JSON, else what stands there in the demonstrations' spelling."""
    if len(text) > MAX_REPLY:  # ours: the released model cannot write more either
        return Answer(None, None, None, False, TOO_LONG)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    fields = []
    for name in FIELDS:  # each for itself: where the JSON lacks a field, the pattern looks for it anywhere
        match = _RELEASED[name].search(text)
        value = data[name] if isinstance(data, dict) and name in data else match[1] if match else None
        fields.append(value if isinstance(value, str) else None)
    return Answer(*fields, isinstance(data, dict) and set(data) == set(FIELDS) and None not in fields)
