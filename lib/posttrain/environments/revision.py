"""Sequential revision: what every environment of the study has in common.

Paper: section 4.1 and Figure 3. A task is posed; each answer is judged; a wrong one gets the verifier's
message and, within `verify_steps` answers, another try. An environment says what is posed and where its
verifier is; this class plays the dialogue. What a dialogue is about, a navigation's point for example, may be
one of several in an episode.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np

from posttrain.environments import prompts
from posttrain.rendering import Picture
from posttrain.verifiers.answers import MAX_REPLY, STEP_LIMIT, Verdict

SOLVED = "correct"  # what the observation says once an episode is over and no feedback is due
STOPPED = "the step limit is reached"
CHARACTERS = frozenset(string.printable) - frozenset("\t\r\x0b\x0c")


def one_of(name: str, given: Any, choices: Iterable[str]) -> str:
    """`given`, if it is one of `choices`; else a ValueError that lists them."""
    if given not in choices:
        raise ValueError(f"unknown {name} {given!r}: use one of {', '.join(choices)}")
    return given


def whole(name: str, given: Any) -> int:
    """`given`, if it is a whole number from 1 up; else a ValueError."""
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ValueError(f"{name} must be a whole number from 1 up, not {given!r}")
    return given


class Question:
    """One task, asked without revision: every answer is a first one, and any number of them is judged. Is
    played like an environment."""

    def __init__(self, verifier: Any, truth: Any, guess: str):
        self.verifier, self.truth, self._guess = verifier, truth, guess

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Judge an answer."""
        verdict = self.verifier.judge(action, self.truth)
        info = {"messages": [{"role": "user", "content": verdict.message}], "verdict": verdict}
        return verdict.message, verdict.reward, verdict.correct, not verdict.correct, info

    def guess(self) -> str:
        return self._guess


class RevisionEnv(gymnasium.Env):
    """An environment of dialogues; a subclass begins an episode (`_begin`), poses tasks (`_pose`) and tells
    the truth about them (`_about`); `_advance` poses the next task of an episode, if there is one.

    Observation: the newest user turn, a text: the task, then the verifier's feedback. Action: the answer, any
    text. With `vision` the observation is {"text", "image": uint8 [height, width, 3]}, and `info` holds
    "picture", which draws it. `info`: "attempt" (answers to this task so far), "messages" (the dialogue as
    chat messages; the last one is the observation) and, after a step, "verdict" (Verdict) and "moved" (the
    dialogue is a new one).
    """

    metadata: dict[str, Any] = {"render_modes": []}
    OPTION: str  # of `reset`
    FIELDS: tuple[str, ...]  # of an answer, in order

    def __init__(self, verifier: Any, verify_steps: int, vision: bool):
        self.verifier, self.vision = verifier, bool(vision)
        self.verify_steps = whole("verify_steps", verify_steps)
        # As released one more answer is asked for, not read and punished.
        self._steps = self.verify_steps + (verifier.protocol == "as_released")
        self._open = False

    def _set_spaces(self, longest: int, side: int, characters: frozenset[str] = CHARACTERS) -> None:
        """longest: characters of an observation; side: pixels of a picture."""
        text = gymnasium.spaces.Text(longest, charset=characters)
        image = gymnasium.spaces.Box(0, 255, (side, side, 3), np.uint8)
        both = gymnasium.spaces.Dict({"text": text, "image": image})
        self.observation_space = both if self.vision else text
        self.action_space = gymnasium.spaces.Text(MAX_REPLY, min_length=0, charset=characters)

    def _begin(self, options: dict[str, Any] | None) -> None:
        """Pose an episode's first task: the one that `options` name, or a random one."""
        raise NotImplementedError

    def _about(self) -> dict[str, Any]:
        """What `info` says of the task."""
        raise NotImplementedError

    def _advance(self, correct: bool) -> bool:
        """Pose the episode's next task, after the last answer to this one; false where there is none."""
        return False

    def _pose(self, truth: Any, content: prompts.Content, picture: Picture | None = None) -> None:
        """Begin a dialogue; `truth`: what the verifier judges by."""
        self._truth, self._content, self._attempts = truth, content, []
        if self.vision:
            self._picture, self._image = picture, np.asarray(picture())

    def _state(self, messages: list[prompts.Message], **more: Any) -> tuple[Any, dict[str, Any]]:
        """Observation and info."""
        text = prompts.text(messages[-1])
        info = {**self._about(), "attempt": len(self._attempts), "messages": messages, **more}
        if not self.vision:
            return text, info
        return {"text": text, "image": self._image.copy()}, {**info, "picture": self._picture}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode: a random one, or the one that the environment's option names."""
        super().reset(seed=seed)
        if unknown := set(options or ()) - {self.OPTION}:
            raise ValueError(f"unknown options {sorted(unknown)}: the only one is {self.OPTION}")
        self._begin(options)
        self._open = True
        return self._state(prompts.dialogue(self._content))

    def question(self) -> Question:
        """The task that is posed now, to be asked on its own."""
        return Question(self.verifier, self._truth, self.guess())

    def guess(self) -> str:
        """How an answer probably begins; it may save decoding steps, and changes no outcome."""
        return ""

    def step(self, action: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Judge one answer. Any text is legal; TypeError for anything else, ResetNeeded when no episode is
        open."""
        if not isinstance(action, str):
            raise TypeError(f"an answer is a text (str), not {type(action).__name__}")
        if not self._open:
            raise gymnasium.error.ResetNeeded("no episode is open: call reset() first")
        if unread := len(self._attempts) == self.verify_steps:
            verdict = Verdict(STEP_LIMIT, STOPPED, outcome="step limit")
        else:
            verdict = self.verifier.judge(action, self._truth)
        self._attempts.append((action, verdict.message))
        last = verdict.correct or len(self._attempts) == self._steps
        moved = last and self._advance(verdict.correct)
        self._open = moved or not last
        messages = prompts.dialogue(self._content, self._attempts)
        if not self._open and (verdict.correct or unread):
            messages[-1]["content"] = SOLVED if verdict.correct else STOPPED
        observation, info = self._state(messages, verdict=verdict, moved=moved)
        over = not self._open
        return observation, verdict.reward, over and verdict.correct, over and not verdict.correct, info
