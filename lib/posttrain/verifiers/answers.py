r"""Reading an answer out of model text, and what a verifier says of one. All tasks obey one rule.

A task asks for a few fields; the last one is judged. A key is a name in quotes before a colon: a card called
"formula", or a text that reads "action", is data. What a reply may contain:

1. One JSON object with the judged field. It is *strict* if it has the form that the prompt demands: the
   fields asked for, in order, nothing else, each of its type; GeneralPoints: the formula ends in "=" and a
   value (not the target: a wrong answer, in the right form). Other fields are no part of the answer.
2. Or text that is no JSON, read tolerantly: words around the object, other quotes, commas and closing
   brackets missing or too many. The judged text itself gets no tolerance.
3. Each asked key once, however it is spelled: escaped (``"f\u006frmula"``), in an object within, in a string
   that holds JSON, in other quotes. In text that is no JSON all asked keys stand at the top of one object, in
   the kind of quotes that it begins with: the object lies in no list, the key in no string.

A reply that breaks 3 is never paid. JSON that does is not judged, nor is text with two values of one text
field. For the rest, a wrong answer is told what is wrong with it, and a right one is refused.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

PROTOCOLS = ("clean", "as_released")
FEEDBACK = ("informative", "verdict", "none")
STEP_LIMIT = -1.0  # reward; as_released only: the answer after the last one is not read
MAX_REPLY = 2000  # characters

TWO_ANSWERS = "the reply holds more than one answer"
TOO_LONG = "the reply is too long"

Judged = tuple[float, str, str, str | None]  # reward, message, outcome, the formula without its ending


def listed(items: Iterable[int]) -> str:
    return ", ".join(map(str, items))


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of one answer.

    message: "" if correct. strict: of the form that the prompt demands. valid: a legal formula of any
    numbers, an action of either space. follows_rule: the numbers are the rule applied to the cards, the
    action is of the stated space. recognized: the cards, the landmark. fake: right only under the other rule.
    """

    reward: float
    message: str
    correct: bool = False
    strict: bool = False
    valid: bool = False
    follows_rule: bool = False
    recognized: bool = False
    fake: bool = False
    outcome: str = field(default="", compare=False)  # in one or two words


class Verifier:
    """What all tasks can be set to. ValueError for anything but PROTOCOLS and FEEDBACK."""

    def __init__(self, protocol: str = "clean", feedback: str = "informative"):
        for name, given, allowed in (("protocol", protocol, PROTOCOLS), ("feedback", feedback, FEEDBACK)):
            if given not in allowed:
                raise ValueError(f"unknown {name} {given!r}: use one of {', '.join(allowed)}")
        self.protocol, self.feedback = protocol, feedback

    def message(self, correct: bool, complaint: str) -> str:
        """What the player is told."""
        if correct or self.feedback == "none":
            return ""
        return complaint if self.feedback == "informative" else "the answer is wrong"


class Reply(NamedTuple):
    """What could be read. `fields`: a text or a tuple each, None where one is missing or of another type."""

    fields: dict[str, str | tuple | None]
    problem: str = ""  # why there is nothing to judge
    doubt: str = ""  # why it is not paid even if it is right
    strict: bool = False


class Form(NamedTuple):
    """What a task asks for, and what is said of a reply in which it cannot be read."""

    asked: tuple[str, ...]  # the fields in order; the last one, a text, is judged
    lists: dict[str, type]  # those that are lists, of str or int; the others are texts
    no_answer: str
    not_text: str
    cut_off: str  # it is no JSON, and the name of the judged field stands somewhere


def read(text: str, form: Form) -> Reply:
    """The fields of `text` that `form` asks for. Never raises."""
    asked, lists = form.asked, form.lists
    data, problem = read_json(text, asked, form.no_answer)
    strict, doubt = tuple(data or ()) == asked, ""
    if data is None and not problem:
        values = {name: _loose(text, name, lists.get(name)) for name in asked}
        data = {name: texts[0] for name, texts in values.items() if texts}
        if any(len(values[name]) > 1 for name in asked if name not in lists):
            data, problem = {}, TWO_ANSWERS
        elif asked[-1] not in data:
            problem = form.cut_off if asked[-1] in text else form.no_answer
        doubt = TWO_ANSWERS if _repeats(text, asked) else "" if _one_object(text, asked) else form.no_answer
    fields = {name: _typed((data or {}).get(name), lists.get(name)) for name in asked}
    if fields[asked[-1]] is None:
        problem = problem or form.not_text
    return Reply(fields, problem, doubt, strict and None not in fields.values())


def read_json(text: str, asked: Sequence[str], no_answer: str = "") -> tuple[dict | None, str]:
    """The JSON object that `text` is, if it has the last key, and what is wrong; no JSON: (None, "")."""
    if len(text) > MAX_REPLY:
        return None, TOO_LONG
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None, ""
    if _repeats(text, asked):
        return None, TWO_ANSWERS
    return (data, "") if isinstance(data, dict) and asked[-1] in data else (None, no_answer)


def _typed(value: object, item: type | None) -> str | tuple | None:
    if item is None:
        return value if isinstance(value, str) else None
    return tuple(value) if isinstance(value, list) and all(type(v) is item for v in value) else None


def _loose(text: str, name: str, item: type | None) -> list[str] | list[list[object]]:
    """All values of a field of text that is no JSON."""
    if item is None:
        pairs = re.findall(rf"""["']{name}["']\s*:\s*(?:"([^"]*)"|'([^']*)')""", text)
        return [double or single for double, single in pairs]
    lists = re.findall(rf"""["']{name}["']\s*:\s*\[([^\]]*)\]""", text)
    items = [[part.strip(" \n\t\"'") for part in inside.split(",") if part.strip()] for inside in lists]
    return [[int(i) if item is int and re.fullmatch("[0-9]{1,3}", i) else i for i in one] for one in items]


_ESCAPE = re.compile(r"""\\+(?:u([0-9a-fA-F]{4})|(["'/`])|[nrt])""")


def _repeats(text: str, asked: Sequence[str]) -> bool:
    """Is an asked key there twice? Escapes are undone until none is left: JSON within JSON has layers."""
    while _ESCAPE.search(text):
        text = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else m[2] or " ", text)
    keys = re.findall(rf"""["'`“”‘’]({"|".join(asked)})["'`“”‘’]\s*:""", text)
    return any(times > 1 for times in Counter(keys).values())


def _one_object(text: str, asked: Sequence[str]) -> bool:
    """Do all asked keys stand at the top of one object, in the kind of quotes that it begins with?"""
    opened, objects, where = "", 0, set()
    for match in re.finditer(rf"""(["'])(?:{"|".join(asked)})["']\s*:|[\[\]{{}}]""", text):
        if match[1]:
            where.add((match[1], opened, objects))
        elif match[0] == "{" or match[0] == "[" and not opened:
            # A list in an object holds no keys of its own.
            objects += not opened
            opened += match[0]
        elif match[0] == "}" or opened == "[":
            opened = opened[:-1]
    quote = next((c for c in text[text.find("{") :] if c in "\"'"), "")
    return len(where) == 1 and where.pop()[:2] == (quote, "{")
