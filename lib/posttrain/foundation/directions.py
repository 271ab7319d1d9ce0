"""The pocket corpus of directions: compass arithmetic, action lists, instructions followed in many layouts.

What navigation asks of a foundation model: to find its place in a list of instructions, to see in context
which words the actions take, to copy. Every instruction holds two words of two conventions (compass and
relative ones, or invented ones) and only the list of actions says which convention counts. As in `corpus`,
the chat frame holds the *parts* of the task (finding one's place, one action, a log) and never their
composition in the task's prompt and JSON. The streets are random words, of no city. Lists that the gates use
for "a list never seen" are left out (`conventions.CALIBRATION`). Conventions and walks are in `conventions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from numpy.random import Generator

from posttrain.config import FoundationConfig
from posttrain.environments import navigation, prompts
from posttrain.environments.cities import FIRST
from posttrain.environments.navigation import HEADINGS, TURN, relative_word, space
from posttrain.environments.routes import COMPASS
from posttrain.foundation.conventions import (
    WORDS,
    Convention,
    Walk,
    Writer,
    convention,
    sight,
    turns_of,
    walk,
)
from posttrain.foundation.documents import JOINTS, Document, Mixture, chat, pick, shuffled
from posttrain.verifiers.navigation import FIELDS, FORWARD, STOP, WRONG, turn

# --- plain layouts ------------------------------------------------------------------------------------------

_FACING = ("facing ", "heading ", "you look ", "")
_OPTIONS = ("options: ", "one of ", "words: ", "choose: ")
_ORDER = ("order: ", "now: ", "", "do: ")
_SEEN = ("seen: ", "you see ", "there: ", "")
_STEPS = ("steps: ", "plan: ", "route: ", "")
_AT = (" -> ", ": ", " => ", " then ")
_NEW = (  # turn, walk on, stop
    *(("rotate ", "walk", "halt"), ("go ", "on", "end")),
    *(("face ", "straight", "stay"), ("head ", "ahead", "arrived")),
)
_LOG = "Write the log of this walk."
_FIND = (
    "Say which instruction holds now.",
    "\n[Output]\nAnswer with one JSON object with two fields: what is observed now and the instruction that "
    "holds now.",
)
_ACT = (
    "Say what to do next.\n\n[Instruction]\n",
    "\n[Observation]\n",
    "\n[Output]\nAnswer with one JSON object with one field: the next action.",
    '{"next": "',
)


def vocabulary() -> list[str]:
    """All texts that the pocket tokenizer of this corpus holds as one token each."""
    layouts = (*_FACING, *_OPTIONS, *_ORDER, *_SEEN, *_STEPS, *_AT, *sum(_NEW, ()))
    texts = dict.fromkeys((*layouts, *JOINTS, _LOG, *_FIND, *_ACT, *WORDS))
    return [*navigation.phrases(), *(text for text in texts if len(text) > 1)]


def _numbered(sentences: list[str]) -> str:
    return "".join(f"{i}. {sentence}\n" for i, sentence in enumerate(sentences, 1))


class Turns(NamedTuple):
    """Compass arithmetic, turns in a row: what is given and what follows from it and from those before."""

    start: str
    items: list[tuple[str, str]]
    joint: str
    at: str

    def text(self, count: int | None = None) -> str:
        return self.joint.join(f"{given}{self.at}{answer}" for given, answer in self.items[:count])


def turns(rng: Generator) -> Turns:
    """Three to nine random turns; words -> headings, headings -> words or degrees -> headings."""
    changes = [pick(rng, (-135, -90, -45, 45, 90, 135)) for _ in range(int(rng.integers(3, 10)))]
    before, draw = int(rng.integers(8)), rng.random()
    headings = [(before + sum(changes[: i + 1]) // 45) % 8 for i in range(len(changes))]
    turned, facing = [relative_word(change) for change in changes], [COMPASS[h] for h in headings]
    # Not near a boundary, where the nearest compass word is anybody's guess.
    degrees = [str((h * 45 + int(rng.integers(-20, 21))) % 360) for h in headings]
    items = zip(turned, facing) if draw < 0.5 else zip(facing, turned) if draw < 0.8 else zip(degrees, facing)
    return Turns(f"{pick(rng, _FACING)}{COMPASS[before]}\n", list(items), pick(rng, JOINTS), pick(rng, _AT))


def plain_turning(rng: Generator, writer: Writer = Writer()) -> Document:
    """A heading, then turns: relative word -> heading, heading -> relative word, or degrees -> heading."""
    drawn = turns(rng)
    return Document("turning", drawn.start, drawn.text())


def plain_choice(rng: Generator, writer: Writer = Writer()) -> Document:
    """Options and instructions with two words each -> the one of each two that is an option."""
    drawn = convention(rng, writer)
    pairs, joint = turns_of(rng, drawn, int(rng.integers(1, 6))), pick(rng, JOINTS)
    orders = joint.join(f"{TURN[0]}{a}{TURN[1]}{b}" for a, b in pairs)
    prompt = shuffled(rng, pick(rng, _OPTIONS) + ", ".join(drawn.words), f"{pick(rng, _ORDER)}{orders}")
    return Document("choice", prompt, joint.join(pair[drawn.acted] for pair in pairs))


def plain_steps(rng: Generator, writer: Writer = Writer()) -> Document:
    """Options and a plan -> the log: what is seen and done, and why where that changes, in other words."""
    drawn = convention(rng, writer)
    sentences, points = walk(rng, drawn)
    joint, at, (turning, on, halt) = pick(rng, JOINTS), pick(rng, _AT), pick(rng, _NEW)
    new = {FORWARD: on, STOP: halt, **{turn(word): f"{turning}{word}" for word in drawn.own}}
    lines, before = [], None
    for seen, i, action in points:
        why, before = sentences[i] + at if i != before else "", i
        lines.append(f"{seen}{at}{why}{new[action]}")
    options = f"{pick(rng, _OPTIONS)}{', '.join(drawn.words)}{joint}{pick(rng, _STEPS)}"
    return Document("steps", f"{options}\n{_numbered(sentences)}", joint.join(lines))


def plain_list(rng: Generator, writer: Writer = Writer()) -> Document:
    """A numbered list of short things and its numbers in another order -> what stands there."""
    draws = rng.random(int(rng.integers(3, 2 * navigation.LEGS + 1))).tolist()
    lists = [None if x < 0.3 else FIRST if x < 0.5 else WORDS if x < 0.8 else COMPASS for x in draws]
    things = [pick(rng, options) if options else sight(rng) for options in lists]
    return _recited(rng, things, len(things))


def plain_recite(rng: Generator, writer: Writer = Writer()) -> Document:
    """The same with the instructions of a walk."""
    return _recited(rng, walk(rng, convention(rng, writer)).sentences, 4)


def _recited(rng: Generator, things: list[str], most: int) -> Document:
    asked = [int(i) for i in rng.permutation(len(things))[:most]]
    asking = "".join(f"{i + 1}. " for i in asked)
    prompt = f"{pick(rng, _STEPS)}\n{_numbered(things)}{asking}{pick(rng, _AT)}"
    again = rng.random() < 0.5  # each number said again before what it stands for
    return Document("recite", prompt, "\n".join(f"{f'{i + 1}. ' if again else ''}{things[i]}" for i in asked))


def record(rng: Generator, writer: Writer = Writer()) -> Document:
    """Copy a field list into a JSON object."""
    sentences, points = walk(rng, convention(rng, writer), 1)
    seen, index, action = pick(rng, points)
    fields = list(zip(FIELDS, (seen, sentences[index], action)))
    fields = [fields[i] for i in sorted(rng.permutation(3)[:2].tolist())]
    joint = pick(rng, JOINTS)
    prompt = joint.join(f"{name}: {value}" for name, value in fields) + joint
    return Document("record", prompt, navigation.fields(dict(fields)))


# --- the chat frame: parts of the task ----------------------------------------------------------------------


def log(points: list[tuple[str, int, str]], more: str = "") -> str:
    """What was observed and done, in the task's lines; `more` is observed at one point more."""
    lines = [f"O_{i}: {seen}\nA_{i}: {action}\n" for i, (seen, _, action) in enumerate(points, 1)]
    return "".join(lines) + (f"O_{len(points) + 1}: {more}\n" if more else "")


def log_prompt(sentences: list[str], words: Iterable[str]) -> str:
    return f"{_LOG}{HEADINGS[0]}{_numbered(sentences)}{HEADINGS[1]}{space(words)}"


def find_prompt(route: Walk, at: int) -> str:
    listed = f"{HEADINGS[0]}{_numbered(route.sentences)}"[:-1]
    return f"{_FIND[0]}{listed}{HEADINGS[2]}{log(route.points[:at], route.points[at][0])}{_FIND[1]}"


def find_answer(route: Walk, at: int) -> str:
    seen, index, _ = route.points[at]
    return navigation.fields({FIELDS[0]: seen, FIELDS[1]: route.sentences[index]})


def act_prompt(sentence: str, seen: str, words: Iterable[str]) -> str:
    return f"{_ACT[0]}{sentence}{HEADINGS[1]}{space(words)}{_ACT[1]}{seen}{_ACT[2]}"


def act_answer(action: str) -> str:
    return f'{_ACT[3]}{action}"}}'


def chat_log(rng: Generator, writer: Writer = Writer()) -> Document:
    """Instructions and actions -> the whole log: the task without its prompt, its JSON and its questions."""
    drawn = convention(rng, writer)
    sentences, points = walk(rng, drawn)
    return Document("chat log", chat([log_prompt(sentences, drawn.words)]), log(points))


def chat_find(rng: Generator, writer: Writer = Writer()) -> Document:
    """Instructions and log -> JSON of the observation and the instruction that holds, no action."""
    route = walk(rng, convention(rng, writer))
    at = int(rng.integers(len(route.points)))
    return Document("chat find", chat([find_prompt(route, at)]), find_answer(route, at))


def _step(rng: Generator, words: Convention) -> tuple[str, str, str]:
    """A sentence, what is seen where it holds, and the action."""
    sentences, points = walk(rng, words, int(rng.integers(1, 3)))
    seen, index, action = pick(rng, points) if rng.random() < 0.5 else points[0]
    return sentences[index], seen, action


def chat_act(rng: Generator, writer: Writer = Writer()) -> Document:
    """One instruction, what is seen, the actions -> JSON of the action."""
    drawn = convention(rng, writer)
    sentence, seen, action = _step(rng, drawn)
    return Document("chat act", chat([act_prompt(sentence, seen, drawn.words)]), act_answer(action))


def complaint(rng: Generator, wrong: str) -> str:
    """What the verifier may say of an action that is not the expert's."""
    return pick(rng, (f"{wrong}{WRONG}", f"{wrong}{WRONG}", "the answer is wrong", ""))


def chat_revise(rng: Generator, writer: Writer = Writer()) -> Document:
    """The same after one or two wrong actions; only the last answer is learned."""
    drawn = convention(rng, writer)
    sentence, seen, action = _step(rng, drawn)
    options = {FORWARD, STOP, *map(turn, {*drawn.first, *drawn.second})} - {action}
    dialogue = [act_prompt(sentence, seen, drawn.words)]
    for wrong in rng.permutation(sorted(options))[: 1 + int(rng.random() < 0.25)].tolist():
        dialogue += [act_answer(wrong), prompts.feedback(complaint(rng, wrong))]
    return Document("chat revise", chat(dialogue), act_answer(action))


# The first steps hold short copying and choosing alone: out of them grow the attention heads that all else
# needs.
READING: Mixture = {plain_list: 0.5, plain_choice: 0.2, plain_recite: 0.15, chat_act: 0.15}
# Shares of documents; long ones cost more: of the tokens, finding one's place and the logs have half.
MIXTURE: Mixture = {
    **{plain_turning: 0.1, plain_choice: 0.07, plain_list: 0.05, plain_recite: 0.14, plain_steps: 0.11},
    **{record: 0.05, chat_log: 0.07, chat_find: 0.2, chat_act: 0.1, chat_revise: 0.11},
}


def arguments(config: FoundationConfig) -> tuple[Writer]:
    """What the makers take besides the generator."""
    return (Writer(config.heed, config.invented),)
