"""The navigation verifier: judges one answer at one point of a route, and says why.

Paper: sections 4.1 and 5.1, appendix B.3 (rewards). +1 the expert's action, to the letter; -1 any other,
-1.5 if the answer is also wrong about the intersection. `verifiers.answers` says what a reply may contain.

Protocol "as_released": the released `utils_rl.py` looks for the word intersection in the landmark's text,
where it never stands: whoever rightly saw an intersection and then erred is told that there is none. It has
no list of actions either. Model text is parsed, never executed.
"""

from __future__ import annotations

from typing import NamedTuple

from posttrain.verifiers import answers, released
from posttrain.verifiers.answers import Form, Reply, Verdict, Verifier

CORRECT, WRONG_ACTION, WRONG_INTERSECTION = 1.0, -1.0, -1.5

COMPASS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
TURNS = {"absolute": COMPASS, "relative": ("left", "right", "slightly left", "slightly right")}
FORWARD, STOP = "forward()", "stop()"


def turn(word: str) -> str:
    return f"turn_direction({word})"


def _space(words: tuple[str, ...]) -> tuple[str, ...]:
    return (FORWARD, STOP, *map(turn, words))


ACTIONS = {name: _space(words) for name, words in TURNS.items()}
# Lists of no experiment and no corpus: settings are judged by them, not by the words that the study asks for.
CALIBRATION = {"first": ("kip", "mox", "orb", "yop"), "second": ("ash", "lum", "tam", "vex", "nib", "quo")}
_SPACES = ACTIONS | {name: _space(words) for name, words in CALIBRATION.items()}
STAND_INS = {  # the study's words -> those in their places; of eight compass words some share one
    word: CALIBRATION[name][i % len(CALIBRATION[name])]
    for name, words in (("first", TURNS["relative"]), ("second", TURNS["absolute"]))
    for i, word in enumerate(words)
}
OTHER = {"absolute": "relative", "relative": "absolute", "first": "second", "second": "first"}

FIELDS = ("current observation", "current instruction", "action")
NO_ANSWER = (
    "the reply is not one JSON object with the fields current observation, current instruction and action"
)
NOT_TEXT = "the action is not a text in double quotes"
FORM = Form(FIELDS, {}, NO_ANSWER, NOT_TEXT, cut_off=NO_ANSWER)
INTERSECTION = "intersection"
WRONG, NO_ACTION = " is the wrong action here", "that is none of the actions"
THERE, NOT_THERE = "there is an intersection here", "there is no intersection here"


class Place(NamedTuple):
    """One point of a route and what is right there: `action` in the task's space, `other` in the other."""

    action: str
    other: str
    actions: str  # the space: "absolute" or "relative"; in calibrations "second" or "first"
    landmark: str  # what is seen, as a text
    intersection: bool
    instruction: int  # index of the sentence that holds here
    heading: int  # degrees, before acting


class NavigationVerifier(Verifier):
    """Judge answers at the points of a route. ValueError for an unknown setting.

    protocol: "clean" or "as_released"; feedback: "informative", "verdict" or "none".
    """

    def judge(self, text: str, place: Place) -> Verdict:
        """Verdict on the reply `text` at `place`. Never raises on any text."""
        as_released = self.protocol == "as_released"
        reply = released.read_texts(text, FIELDS) if as_released else answers.read(text, FORM)
        observation, _, action = reply.fields.values()
        follows = action in _SPACES[place.actions]
        reward, complaint, outcome = self._judge(reply, place, follows)
        correct = reward == CORRECT
        return Verdict(
            reward,
            self.message(correct, complaint),
            correct,
            reply.strict,
            valid=follows or action in _SPACES[OTHER[place.actions]],
            follows_rule=follows,
            # All that stands before the intersection: "on your right" is no part of "on your right behind".
            recognized=observation is not None and observation.partition(";")[0].strip() == place.landmark,
            fake=action != place.action and action == place.other,
            outcome=outcome,
        )

    def _judge(self, reply: Reply, place: Place, follows: bool) -> tuple[float, str, str]:
        """Reward, message and outcome."""
        observation, _, action = reply.fields.values()
        as_released = self.protocol == "as_released"
        if action == place.action:
            return (WRONG_ACTION, reply.doubt, "no answer") if reply.doubt else (CORRECT, "", "correct")
        if action is None and not as_released:
            return WRONG_ACTION, reply.problem, "no answer"
        there = INTERSECTION in place.landmark if as_released else place.intersection
        if observation is not None and (INTERSECTION in observation) != there:
            return WRONG_INTERSECTION, THERE if there else NOT_THERE, "wrong intersection"
        if not follows and not as_released:
            return WRONG_ACTION, NO_ACTION, "no action"
        return WRONG_ACTION, f"{released.printable(str(action))}{WRONG}", "wrong action"
