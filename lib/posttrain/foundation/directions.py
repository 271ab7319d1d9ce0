"""The pocket corpus of directions: compass arithmetic, action lists, instructions followed in many layouts.

What navigation asks of a foundation model: to find its place in a list of instructions, to see in context which words the actions
take, to copy. Every instruction holds two words of two conventions (compass and relative ones, or invented ones) and only the list
of actions says which convention counts. As in `corpus`, the chat frame holds the *parts* of the task (finding one's place, one
action, a log) and never their composition in the task's prompt and JSON. The streets are random words, of no city. Lists that the
gates use for "a list never seen" are left out (`CALIBRATION`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posttrain.environments import navigation, prompts
from posttrain.environments.cities import FIRST, SECOND
from posttrain.environments.navigation import (
    CROSSING,
    FORWARD_POINTS,
    HEADINGS,
    NOTHING,
    TURN,
    WALK,
    relative_word,
    space,
)
from posttrain.environments.routes import BEARINGS, COMPASS
from posttrain.foundation.corpus import _JOINTS, Document, Mixture, _one, _shuffled, chat
from posttrain.verifiers.navigation import FIELDS, FORWARD, STOP, TURNS, WRONG, turn

WORDS = (
    "ash",
    "bex",
    "cor",
    "dun",
    "eld",
    "fay",
    "gim",
    "hob",
    "ilk",
    "jot",
    "kip",
    "lum",
    "mox",
    "nib",
    "orb",
    "pim",
    "quo",
    "rud",
    "sob",
    "tam",
    "urn",
    "vex",
    "wim",
    "yop",
)  # invented conventions are made of these
CALIBRATION = (
    ("kip", "mox", "orb", "yop"),
    ("ash", "lum", "tam", "vex", "nib", "quo"),
)  # the gates' conventions: never a list of the corpus


class Convention(NamedTuple):
    """`first` and `second`: the words that stand first and second in an instruction; `listed` says which of them counts (0 or 1)."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    listed: int

    @property
    def words(self) -> tuple[str, ...]:
        return self[self.listed]


class Walk(NamedTuple):
    """A route as a text tells it: the instructions, and each point's observation, instruction (index) and action."""

    sentences: list[str]
    points: list[tuple[str, int, str]]


def convention(rng: np.random.Generator) -> Convention:
    """A quarter absolute and a quarter relative actions; the rest is invented, or the well-known words in another order or number."""
    draw = rng.random()
    if draw < 0.5:
        return Convention(TURNS["relative"], TURNS["absolute"], int(draw < 0.25))
    while True:
        pool = rng.permutation(WORDS if draw < 0.85 else [*WORDS, *COMPASS, *TURNS["relative"]]).tolist()
        a, b = rng.integers(3, 9, 2).tolist()
        drawn = Convention(tuple(pool[:a]), tuple(pool[a : a + b]), int(rng.integers(2)))
        if not {frozenset(drawn.first), frozenset(drawn.second)} & set(map(frozenset, CALIBRATION)):
            return drawn


def _landmark(rng: np.random.Generator) -> str:
    return f"{_one(rng, FIRST)} {_one(rng, SECOND)} is on your {_one(rng, BEARINGS)}"


def _pairs(rng: np.random.Generator, known: Convention, count: int) -> list[tuple[str, str]]:
    """The two words of each turn; compass and relative words agree with each other."""
    if known.second != COMPASS:
        return [(_one(rng, known.first), _one(rng, known.second)) for _ in range(count)]
    heading, pairs = int(rng.integers(8)), []
    for _ in range(count):
        change = _one(rng, (-135, -90, -90, -45, 45, 90, 90, 135))
        heading = (heading + change // 45) % 8
        pairs.append((relative_word(change), COMPASS[heading]))
    return pairs


def walk(rng: np.random.Generator, known: Convention, legs: int | None = None) -> Walk:
    """A random route of one to five legs."""
    count = int(rng.integers(1, 6)) if legs is None else legs
    sentences, points, seen = [], [], f"{NOTHING}; "
    for i, pair in enumerate(_pairs(rng, known, count)):
        points.append((seen, 2 * i, turn(pair[known.listed])))
        points += [(f"{NOTHING}; ", 2 * i + 1, FORWARD)] * int(rng.integers(FORWARD_POINTS + 1))
        last = i == count - 1
        place = _landmark(rng) if last or rng.random() < 0.7 else ""
        sentences += [
            f"{TURN[0]}{pair[0]}{TURN[1]}{pair[1]}{TURN[2]}",
            f"{WALK[last]}{WALK[2] + place if place else ''}{WALK[3]}",
        ]
        seen = f"{place or NOTHING}; {CROSSING}"
    return Walk(sentences, [*points, (f"{place}; ", 2 * count - 1, STOP)])


# --- plain layouts --------------------------------------------------------------------------------------------------

_FACING = ("facing ", "heading ", "you look ", "")
_OPTIONS = ("options: ", "one of ", "words: ", "choose: ")
_ORDER = ("order: ", "now: ", "", "do: ")
_SEEN = ("seen: ", "you see ", "there: ", "")
_STEPS = ("steps: ", "plan: ", "route: ", "")
_AT = (" -> ", ": ", " => ", " then ")
_NEW = (
    ("rotate ", "walk", "halt"),
    ("go ", "on", "end"),
    ("face ", "straight", "stay"),
    ("head ", "ahead", "arrived"),
)  # turn, walk on, stop
_LOG = "Write the log of this walk."
_FIND = (
    "Say which instruction holds now.",
    "\n[Output]\nAnswer with one JSON object with two fields: what is observed now and the instruction that holds now.",
)
_ACT = (
    "Say what to do next.\n\n[Instruction]\n",
    "\n[Observation]\n",
    "\n[Output]\nAnswer with one JSON object with one field: the next action.",
    '{"next": "',
)


def words() -> list[str]:
    """The corpus' frequent words, for the tokenizer."""
    texts = [
        *_FACING,
        *_OPTIONS,
        *_ORDER,
        *_SEEN,
        *_STEPS,
        *_AT,
        *(name for names in _NEW for name in names),
        *_JOINTS,
        _LOG,
        *_FIND,
        *_ACT,
        *WORDS,
    ]
    return [text for text in dict.fromkeys(texts) if len(text) > 1]


def vocabulary() -> list[str]:
    """All texts that the pocket tokenizer of this corpus holds as one token each."""
    return [*navigation.phrases(), *words()]


def _numbered(sentences: list[str]) -> str:
    return "".join(f"{i}. {sentence}\n" for i, sentence in enumerate(sentences, 1))


class Turns(NamedTuple):
    """Compass arithmetic, several turns in a row: what is given and what follows from it and from the turns before."""

    start: str
    items: list[tuple[str, str]]
    joint: str
    at: str

    def text(self, count: int | None = None) -> str:
        return self.joint.join(f"{given}{self.at}{answer}" for given, answer in self.items[:count])


def turns(rng: np.random.Generator) -> Turns:
    changes = [_one(rng, (-135, -90, -45, 45, 90, 135)) for _ in range(int(rng.integers(3, 10)))]
    before, draw = int(rng.integers(8)), rng.random()
    headings = [(before + sum(changes[: i + 1]) // 45) % 8 for i in range(len(changes))]
    turned, facing = [relative_word(change) for change in changes], [COMPASS[h] for h in headings]
    # Not near a boundary, where the nearest compass word is anybody's guess.
    degrees = [str((h * 45 + int(rng.integers(-20, 21))) % 360) for h in headings]
    items = zip(turned, facing) if draw < 0.5 else zip(facing, turned) if draw < 0.8 else zip(degrees, facing)
    return Turns(f"{_one(rng, _FACING)}{COMPASS[before]}\n", list(items), _one(rng, _JOINTS), _one(rng, _AT))


def plain_turning(rng) -> Document:
    """A heading, then turns: relative word -> heading, heading -> relative word, or degrees -> heading, one behind the other."""
    made = turns(rng)
    return Document("turning", made.start, made.text())


def plain_choice(rng) -> Document:
    """Options and instructions with two words each -> the one of each two that is an option."""
    known = convention(rng)
    pairs, joint = _pairs(rng, known, int(rng.integers(1, 6))), _one(rng, _JOINTS)
    orders = joint.join(f"{TURN[0]}{a}{TURN[1]}{b}" for a, b in pairs)
    prompt = _shuffled(rng, _one(rng, _OPTIONS) + ", ".join(known.words), f"{_one(rng, _ORDER)}{orders}")
    return Document("choice", prompt, joint.join(pair[known.listed] for pair in pairs))


def plain_steps(rng) -> Document:
    """A plan and what is seen on the way -> the log of what is done, and why where the reason changes, with functions of other names."""
    known = convention(rng)
    made, joint, at, (turning, on, halt) = (
        walk(rng, known),
        _one(rng, _JOINTS),
        _one(rng, _AT),
        _one(rng, _NEW),
    )
    done = lambda action: (
        on if action == FORWARD else halt if action == STOP else f"{turning}{action[len(turn('')) - 1 : -1]}"
    )
    before = [None, *(index for _, index, _ in made.points)]
    lines = [
        f"{seen}{at}{made.sentences[i] + at if i != last else ''}{done(action)}"
        for last, (seen, i, action) in zip(before, made.points)
    ]
    return Document(
        "steps",
        f"{_one(rng, _OPTIONS)}{', '.join(known.words)}{joint}{_one(rng, _STEPS)}\n{_numbered(made.sentences)}",
        joint.join(lines),
    )


def plain_list(rng) -> Document:
    """A numbered list of short things and some of its numbers -> what stands there."""
    things = [
        _landmark(rng)
        if draw < 0.3
        else _one(rng, FIRST)
        if draw < 0.5
        else _one(rng, WORDS)
        if draw < 0.8
        else _one(rng, COMPASS)
        for draw in rng.random(int(rng.integers(3, 2 * navigation.LEGS + 1))).tolist()
    ]
    return _recited(rng, things, len(things))


def plain_recite(rng) -> Document:
    """The same with the instructions of a walk."""
    return _recited(rng, walk(rng, convention(rng)).sentences, 4)


def _recited(rng: np.random.Generator, things: list[str], most: int) -> Document:
    asked = [int(i) for i in rng.permutation(len(things))[:most]]
    prompt = (
        f"{_one(rng, _STEPS)}\n{_numbered(things)}" + "".join(f"{i + 1}. " for i in asked) + _one(rng, _AT)
    )
    again = rng.random() < 0.5  # each number said again before what it stands for
    return Document("recite", prompt, "\n".join(f"{f'{i + 1}. ' if again else ''}{things[i]}" for i in asked))


def record(rng) -> Document:
    """Copy a field list into a JSON object."""
    made = walk(rng, convention(rng), 1)
    seen, index, action = _one(rng, made.points)
    fields = list(zip(FIELDS, (seen, made.sentences[index], action)))
    fields = [fields[i] for i in sorted(rng.permutation(3)[:2].tolist())]
    joint = _one(rng, _JOINTS)
    return Document(
        "record",
        joint.join(f"{name}: {value}" for name, value in fields) + joint,
        navigation.fields(dict(fields)),
    )


# --- the chat frame: parts of the task ------------------------------------------------------------------------------


def _listed(sentences: list[str]) -> str:
    return HEADINGS[0] + _numbered(sentences)


def log(points: list[tuple[str, int, str]], more: str = "") -> str:
    """What was observed and done, in the task's lines; `more` is observed at one point more."""
    lines = [f"O_{i}: {seen}\nA_{i}: {action}\n" for i, (seen, _, action) in enumerate(points, 1)]
    return "".join(lines) + (f"O_{len(points) + 1}: {more}\n" if more else "")


def log_prompt(sentences: list[str], words) -> str:
    return f"{_LOG}{_listed(sentences)}{HEADINGS[1]}{space(words)}"


def find_prompt(made: Walk, at: int) -> str:
    return f"{_FIND[0]}{_listed(made.sentences)[:-1]}{HEADINGS[2]}{log(made.points[:at], made.points[at][0])}{_FIND[1]}"


def find_answer(made: Walk, at: int) -> str:
    seen, index, _ = made.points[at]
    return navigation.fields({FIELDS[0]: seen, FIELDS[1]: made.sentences[index]})


def act_prompt(sentence: str, seen: str, words) -> str:
    return f"{_ACT[0]}{sentence}{HEADINGS[1]}{space(words)}{_ACT[1]}{seen}{_ACT[2]}"


def act_answer(action: str) -> str:
    return f'{_ACT[3]}{action}"}}'


def chat_log(rng) -> Document:
    """Instructions and actions -> the whole log: the task without its prompt, without its JSON and without its questions."""
    known = convention(rng)
    made = walk(rng, known)
    return Document("chat log", chat([log_prompt(made.sentences, known.words)]), log(made.points))


def chat_find(rng) -> Document:
    """Instructions and log -> JSON of the observation and the instruction that holds, no action."""
    made = walk(rng, convention(rng))
    at = int(rng.integers(len(made.points)))
    return Document("chat find", chat([find_prompt(made, at)]), find_answer(made, at))


def _step(rng: np.random.Generator, known: Convention) -> tuple[str, str, str]:
    """A sentence, what is seen where it holds, and the action."""
    made = walk(rng, known, int(rng.integers(1, 3)))
    seen, index, action = _one(rng, made.points) if rng.random() < 0.5 else made.points[0]
    return made.sentences[index], seen, action


def chat_act(rng) -> Document:
    """One instruction, what is seen, the actions -> JSON of the action."""
    known = convention(rng)
    sentence, seen, action = _step(rng, known)
    return Document("chat act", chat([act_prompt(sentence, seen, known.words)]), act_answer(action))


def complaint(rng: np.random.Generator, wrong: str) -> str:
    """What the verifier may say of an action that is not the expert's."""
    return _one(rng, (f"{wrong}{WRONG}", f"{wrong}{WRONG}", "the answer is wrong", ""))


def chat_revise(rng) -> Document:
    """The same after one or two wrong actions; only the last answer is learned."""
    known = convention(rng)
    sentence, seen, action = _step(rng, known)
    options = [a for a in (FORWARD, STOP, *map(turn, {*known.first, *known.second})) if a != action]
    turns = [act_prompt(sentence, seen, known.words)]
    for wrong in rng.permutation(sorted(options))[: 1 + int(rng.random() < 0.25)].tolist():
        turns += [act_answer(wrong), prompts.feedback(complaint(rng, wrong))]
    return Document("chat revise", chat(turns), act_answer(action))


# The first steps hold short copying and choosing alone: out of them grow the attention heads that everything else needs.
READING: Mixture = {plain_list: 0.5, plain_choice: 0.2, plain_recite: 0.15, chat_act: 0.15}
# Shares of documents; long ones cost more: of the tokens, finding one's place and the logs have half.
MIXTURE: Mixture = {
    plain_turning: 0.1,
    plain_choice: 0.07,
    plain_list: 0.05,
    plain_recite: 0.14,
    plain_steps: 0.11,
    record: 0.05,
    chat_log: 0.07,
    chat_find: 0.2,
    chat_act: 0.1,
    chat_revise: 0.11,
}
