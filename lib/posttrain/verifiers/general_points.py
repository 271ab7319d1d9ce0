"""The GeneralPoints verifier: judges one answer to one deal, and says why.

Paper: sections 4.1 and 5.1, appendix A.3 (rewards). Two protocols:

clean        exact arithmetic; strict JSON, else a tolerant reading (`Verdict.strict` tells which); one outcome per answer
             with the paper's rewards: +5 correct, -1 wrong value, -2 wrong numbers, -3 not a formula, -1.5 wrong cards (vision).
as_released  the released `utils_rl.py`: penalties add up, 64-bit floats, only the demonstrations' exact spelling is read,
             a wrong formula is answered with a prefix of a solution. The book's ledger lists every difference.

Model text is parsed, never executed. Left out on purpose: any judgement of the `cards` and `number` fields in the text task
(the paper's reward ignores them); they are reported as flags, because rule-following is read off them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from posttrain import formulas

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")
FACES = ("J", "Q", "K")
PROTOCOLS = ("clean", "as_released")
FEEDBACK = ("informative", "verdict", "none")
TARGET = 24

CORRECT, PARTIAL, WRONG_VALUE, WRONG_CARDS, WRONG_NUMBERS, ILLEGAL = 5.0, 1.0, -1.0, -1.5, -2.0, -3.0
STEP_LIMIT = -1.0  # as_released only: the answer after the last one is not read


class Rule(NamedTuple):
    """What the face cards count as."""

    J: int
    Q: int
    K: int

    @classmethod
    def parse(cls, rule: "Rule | str | dict[str, int]") -> "Rule":
        """ "10", "11/12/13", "5/7/9" or {"J": 5, "Q": 7, "K": 9}; ValueError names what is wrong."""
        if isinstance(rule, Rule):
            return rule
        try:
            if isinstance(rule, dict):
                if set(rule) != set(FACES):
                    raise ValueError
                values = [rule[face] for face in FACES]
            else:
                values = [int(part) for part in str(rule).split("/")]
                values = values * 3 if len(values) == 1 else values
            if len(values) != 3 or any(type(v) is not int or not 0 < v < 100 for v in values):
                raise ValueError
        except ValueError:
            raise ValueError(
                f'unknown rule {rule!r}: use "10", "11/12/13", "a/b/c" or {{"J": a, "Q": b, "K": c}}, values 1 to 99'
            ) from None
        return cls(*values)

    def __str__(self) -> str:
        return str(self.J) if len(set(self)) == 1 else f"{self.J}/{self.Q}/{self.K}"

    def numbers(self, ranks) -> tuple[int, ...]:
        """Values of `ranks`, in order; an ace is 1."""
        return tuple(_VALUES[rank] if rank in _VALUES else self[FACES.index(rank)] for rank in ranks)


_VALUES = {"A": 1, **{str(n): n for n in range(2, 11)}}


class Deal(NamedTuple):
    """Four cards and what must be made of them. `suits` matter to pictures only."""

    ranks: tuple[str, ...]
    numbers: tuple[int, ...]
    target: int = TARGET
    suits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What the verifier says of one answer.

    `message` is empty when the answer is correct or feedback is "none". `strict`: the answer is one JSON object of the right
    shape; `valid`: a legal formula could be read from it; `follows_rule`: its `number` field is the rule applied to the
    cards; `fake`: the formula would be correct under `old_rule` and is not under the rule in force.
    """

    reward: float
    message: str
    correct: bool = False
    strict: bool = False
    valid: bool = False
    follows_rule: bool = False
    recognized: bool = False
    fake: bool = False
    outcome: str = field(default="", compare=False)


class Answer(NamedTuple):
    """The three fields as far as they could be read; None where a field is missing or of the wrong type."""

    cards: tuple[str, ...] | None
    numbers: tuple[int, ...] | None
    formula: str | None
    strict: bool
    problem: str = ""


FIELDS = ("cards", "number", "formula")
NO_ANSWER = "the reply is not one JSON object with the fields cards, number and formula"
TWO_ANSWERS = "the reply holds more than one answer"
NOT_TEXT = "the formula is not a text in double quotes"
TOO_LONG = "the reply is too long"
MAX_REPLY = 2000  # characters

# Tolerant reading: any quotes, blanks and trailing commas around the fields; the formula itself gets no tolerance.
_FORMULA = re.compile(r"""["']formula["']\s*:\s*(?:"([^"]*)"|'([^']*)')""")
_LISTS = {name: re.compile(rf"""["']{name}["']\s*:\s*\[([^\]]*)\]""") for name in ("cards", "number")}
_DIGITS = re.compile(r"[0-9]{1,3}", re.ASCII)


class _Twice(Exception):
    """A JSON object has a key twice; json.loads would keep the last one without a word."""


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise _Twice
    return data


def read_object(text: str, key: str, no_answer: str) -> tuple[dict | None, str]:
    """The one JSON object with `key` that `text` is, and what is wrong; (None, "") where it is no JSON and must be read tolerantly."""
    if len(text) > MAX_REPLY:
        return None, TOO_LONG
    try:
        data = json.loads(text, object_pairs_hook=_each_once)
    except _Twice:
        return None, TWO_ANSWERS
    except (ValueError, RecursionError):
        return None, ""
    if not isinstance(data, dict) or key not in data:
        return None, no_answer
    return (None, TWO_ANSWERS) if text.count(f'"{key}"') > 1 else (data, "")  # one inside the other


def read_answer(text: str) -> Answer:
    """Read the three fields of an answer: strictly as JSON, else tolerantly."""
    data, problem = read_object(text, FIELDS[-1], NO_ANSWER)
    if data is None:
        return Answer(None, None, None, False, problem) if problem else _read_tolerantly(text)
    cards, number, formula = (data.get(name) for name in FIELDS)
    cards = tuple(cards) if isinstance(cards, list) and all(isinstance(c, str) for c in cards) else None
    number = tuple(number) if isinstance(number, list) and all(type(n) is int for n in number) else None
    if not isinstance(formula, str):
        return Answer(cards, number, None, False, NOT_TEXT)
    strict = set(data) == set(FIELDS) and cards is not None and number is not None
    return Answer(cards, number, formula, strict)


def _read_tolerantly(text: str) -> Answer:
    found = _FORMULA.findall(text)
    if len(found) > 1:
        return Answer(None, None, None, False, TWO_ANSWERS)
    lists = {}
    for name, pattern in _LISTS.items():
        match = pattern.search(text)
        lists[name] = (
            tuple(part.strip(" \n\t\"'") for part in match[1].split(",") if part.strip()) if match else None
        )
    number = lists["number"]
    number = tuple(map(int, number)) if number and all(_DIGITS.fullmatch(n) for n in number) else None
    if not found:
        return Answer(lists["cards"], number, None, False, NOT_TEXT if "formula" in text else NO_ANSWER)
    return Answer(lists["cards"], number, found[0][0] or found[0][1], False)


@lru_cache(maxsize=65536)
def _is_correct(expression: str, hand: tuple[int, ...], target: int) -> bool:
    try:
        tree = formulas.parse(expression)
        return tuple(sorted(formulas.numbers(tree))) == hand and formulas.value(tree) == target
    except formulas.FormulaError:
        return False


def listed(items: list[int]) -> str:
    return ", ".join(map(str, items))


class GeneralPointsVerifier:
    """Judge answers to GeneralPoints deals.

    protocol: "clean" or "as_released"; feedback: "informative", "verdict" or "none"; vision: the cards must be recognized
    too; old_rule: the rule whose correct answers count as `fake` when they are wrong under the deal's own rule.
    """

    def __init__(
        self,
        protocol: str = "clean",
        feedback: str = "informative",
        vision: bool = False,
        old_rule: Rule | str = "10",
    ):
        for name, given, known in (("protocol", protocol, PROTOCOLS), ("feedback", feedback, FEEDBACK)):
            if given not in known:
                raise ValueError(f"unknown {name} {given!r}: use one of {', '.join(known)}")
        self.protocol, self.feedback, self.vision, self.old_rule = (
            protocol,
            feedback,
            vision,
            Rule.parse(old_rule),
        )

    def judge(self, text: str, deal: Deal) -> Verdict:
        """Verdict on the reply `text` to `deal`. Never raises on any text."""
        answer = read_answer(text)
        recognized = answer.cards is not None and sorted(answer.cards) == sorted(deal.ranks)
        if self.protocol == "clean":
            reward, message, outcome, expression = self._clean(answer, recognized, deal)
        else:
            reward, message, outcome, expression = _as_released(text, deal, self.vision)
        correct = reward == CORRECT
        fake = not correct and expression is not None and self._is_fake(expression, deal)
        if correct or self.feedback == "none":
            message = ""
        elif self.feedback == "verdict":
            message = "the answer is wrong"
        follows = answer.numbers is not None and (
            answer.numbers == deal.numbers
            if answer.cards == deal.ranks
            else sorted(answer.numbers) == sorted(deal.numbers)
        )
        return Verdict(
            reward,
            message,
            correct,
            answer.strict,
            outcome in ("correct", "wrong value", "wrong numbers"),
            follows,
            recognized,
            fake,
            outcome,
        )

    def _is_fake(self, expression: str, deal: Deal) -> bool:
        old = self.old_rule.numbers(deal.ranks)
        return old != deal.numbers and _is_correct(expression, tuple(sorted(old)), deal.target)

    def _clean(self, answer: Answer, recognized: bool, deal: Deal) -> tuple[float, str, str, str | None]:
        if self.vision and not recognized:
            return WRONG_CARDS, "the cards are not the ones shown", "wrong cards", None
        if answer.formula is None:
            return ILLEGAL, answer.problem, "no answer", None
        expression, _, stated = answer.formula.partition("=")
        if "=" in answer.formula and stated.strip(" \t\n") != str(deal.target):
            return ILLEGAL, f"the formula does not end in ={deal.target}", "not a formula", None
        try:
            tree = formulas.parse(expression)
            used = formulas.numbers(tree)
            if sorted(used) != sorted(deal.numbers):
                used, hand = Counter(used), Counter(deal.numbers)
                invalid, missing = sorted((used - hand).elements()), sorted((hand - used).elements())
                complaints = [f"it must not use {listed(invalid)}"] * bool(invalid) + [
                    f"it leaves out {listed(missing)}"
                ] * bool(missing)
                return WRONG_NUMBERS, " and ".join(complaints), "wrong numbers", expression
            result = formulas.value(tree)
        except formulas.FormulaError as error:
            return ILLEGAL, f"the formula is not valid: {error.reason}", "not a formula", None
        if result == deal.target:
            return CORRECT, "", "correct", expression
        return WRONG_VALUE, f"the formula makes {result}", "wrong value", expression


# --- the released verifier ---------------------------------------------------------------------------------------

_RELEASED = {"formula": re.compile(r'"formula": "([^"\n]*)"'), "cards": re.compile(r'"cards": \[([^\]]+)\]')}


def _released_field(text: str, name: str) -> object:
    """As released: the field if the reply is JSON, else what stands there in the demonstrations' spelling (no valid JSON)."""
    try:
        return json.loads(text)[name]
    except (ValueError, RecursionError, KeyError, TypeError):
        match = _RELEASED[name].search(text)
        return match[1] if match else None


def _as_released(text: str, deal: Deal, vision: bool) -> tuple[float, str, str, str | None]:
    """Rewards as in the released `utils_rl.py` (facts in the book's ledger): reward, message, outcome, expression."""
    if len(text) > MAX_REPLY:  # ours: the released model cannot write more either
        return ILLEGAL, TOO_LONG, "no answer", None
    if vision:
        cards = _released_field(text, "cards")
        # Wart: a list read from valid JSON is refused, and so are four bare numbers; only the broken spelling passes.
        if (
            not isinstance(cards, str)
            or re.fullmatch(r"[0-9, ]*", cards)
            or sorted(re.sub("[' ]", "", cards).split(",")) != sorted(deal.ranks)
        ):
            return WRONG_CARDS, "the cards are not the ones shown", "wrong cards", None
    formula = _released_field(text, "formula")
    expression = formula.partition("=")[0] if isinstance(formula, str) else None
    if expression is None or not re.fullmatch(r"[0-9+\-*/()]*", expression):
        return ILLEGAL, "the formula holds illegal characters", "not a formula", None
    tokens = re.findall(r"[0-9]+|[-+*/()]", expression)
    slips = _grammar_slips(tokens)
    reward, complaints = ILLEGAL * len(slips), list(dict.fromkeys(slips))
    used, hand = Counter(int(t) for t in tokens if t.isdigit()), Counter(deal.numbers)
    invalid = [n for n in used if n not in hand]
    overused = [n for n in used if n in hand and used[n] > hand[n]]
    missing = sorted((hand - used).elements())
    for numbers, complaint in (
        (invalid, "it must not use"),
        ([] if invalid else overused, "it uses too often"),
        (missing, "it leaves out"),
    ):
        if numbers:
            reward += WRONG_NUMBERS
            complaints.append(f"{complaint} {listed(numbers)}")
    if complaints:
        return reward, " and ".join(complaints), "not a formula" if slips else "wrong numbers", expression
    solutions = formulas.solve(list(deal.numbers), deal.target)
    result = _float_value(expression)
    if result is None:
        partial = any(s.startswith(expression) for s in solutions)
        return (
            (PARTIAL, f"{expression} is the beginning of a solution", "partial", expression)
            if partial
            else (WRONG_VALUE, "the formula is no solution", "not a formula", expression)
        )
    if result == deal.target:
        return CORRECT, "", "correct", expression
    if (
        formulas.evaluate(expression) == deal.target
    ):  # right in exact arithmetic, wrong in floats: no reward, no reason
        return 0.0, "", "refused though correct", expression
    prefix = next(
        (
            expression[:end]
            for end in range(len(expression), 0, -1)
            if any(s.startswith(expression[:end]) for s in solutions)
        ),
        "",
    )
    return (
        WRONG_VALUE,
        f"{prefix} is the beginning of a solution" if prefix else "the formula is no solution",
        "wrong value",
        expression,
    )


def _grammar_slips(tokens: list[str]) -> list[str]:
    """One complaint per slip; as released, an open bracket or an operator left at the end is none."""
    slips, last, depth = [], "", 0
    for token in tokens:
        if token.isdigit():
            if last.isdigit() or last == ")":
                slips.append("a number is out of place")
        elif token == "(":
            if last.isdigit() or last == ")":
                slips.append("a bracket is out of place")
                continue  # as released: the misplaced bracket is not remembered, so what follows slips too
            depth += 1
        elif token == ")":
            if depth == 0 and not any("bracket" in s for s in slips):
                slips.append("a bracket is out of place")
            depth = max(0, depth - 1)
        elif last == "" or last in "+-*/(":
            slips.append("an operator is out of place")
        last = token
    return slips


def _float_value(expression: str) -> float | None:
    def walk(tree) -> float:
        if isinstance(tree, int):
            return float(tree)
        left, right = walk(tree[1]), walk(tree[2])
        return {"+": left.__add__, "-": left.__sub__, "*": left.__mul__, "/": left.__truediv__}[tree[0]](
            right
        )

    try:
        return walk(formulas.parse(expression))
    except (formulas.FormulaError, ZeroDivisionError, OverflowError):
        return None
