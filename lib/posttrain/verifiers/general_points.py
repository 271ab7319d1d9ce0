"""The GeneralPoints verifier: judges one answer to one deal, and says why.

Paper: sections 4.1 and 5.1, appendix A.3 (rewards). Exact arithmetic, one outcome per answer: +5 correct,
-1 wrong value, -2 wrong numbers, -3 not a formula, -1.5 wrong cards (vision). `verifiers.answers` says what
a reply may contain, `verifiers.released` what "as_released" pays and says (its flags are those of
"clean", but `valid` is what it took for a formula).

Model text is parsed, never executed. Left out on purpose: any judgement of `cards` and `number` in the text
task (the paper's reward ignores them); they are flags, because rule-following is read off them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from posttrain import formulas
from posttrain.verifiers import answers, released
from posttrain.verifiers.answers import Form, Judged, Reply, Verdict, Verifier, listed

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")
FACES = ("J", "Q", "K")
TARGET = 24

CORRECT, WRONG_VALUE, WRONG_CARDS, WRONG_NUMBERS, ILLEGAL = 5.0, -1.0, -1.5, -2.0, -3.0

FIELDS = ("cards", "number", "formula")
NO_ANSWER = "the reply is not one JSON object with the fields cards, number and formula"
NOT_TEXT = "the formula is not a text in double quotes"
FORM = Form(FIELDS, {"cards": str, "number": int}, NO_ANSWER, NOT_TEXT, cut_off=NOT_TEXT)


class Rule(NamedTuple):
    """What the face cards count as."""

    J: int
    Q: int
    K: int

    @classmethod
    def parse(cls, rule: Rule | str | dict[str, int]) -> Rule:
        """ "10", "11/12/13", "5/7/9" or {"J": 5, "Q": 7, "K": 9}; ValueError names what is wrong."""
        if isinstance(rule, Rule):
            return rule
        by_face = isinstance(rule, dict) and set(rule) == set(FACES)
        values = [repr(rule[face]) for face in FACES] if by_face else str(rule).split("/")
        if len(values) not in (1, 3) or not all(re.fullmatch("[1-9][0-9]?", value) for value in values):
            uses = '"10", "11/12/13", "a/b/c" and {"J": a, "Q": b, "K": c}, values 1 to 99'
            raise ValueError(f"unknown rule {rule!r}: use {uses}")
        return cls(*map(int, values * (3 // len(values))))

    def __str__(self) -> str:
        return str(self.J) if len(set(self)) == 1 else f"{self.J}/{self.Q}/{self.K}"

    def numbers(self, ranks: Iterable[str]) -> tuple[int, ...]:
        """Values of `ranks`, in order; an ace is 1."""
        return tuple(_VALUES[rank] if rank in _VALUES else self[FACES.index(rank)] for rank in ranks)


OLD_RULE = Rule(10, 10, 10)  # the training's
_VALUES = {"A": 1, **{str(n): n for n in range(2, 11)}}


class Deal(NamedTuple):
    """Four cards and what must be made of them. `suits` matter to pictures only."""

    ranks: tuple[str, ...]
    numbers: tuple[int, ...]
    target: int = TARGET
    suits: tuple[str, ...] = ()


class GeneralPointsVerifier(Verifier):
    """Judge answers to GeneralPoints deals. ValueError for an unknown setting.

    protocol: "clean" or "as_released"; feedback: "informative", "verdict" or "none"; vision: the cards must
    be recognized too. Correct answers under `OLD_RULE` are `fake` where the deal's own rule refuses them.
    """

    def __init__(self, protocol: str = "clean", feedback: str = "informative", vision: bool = False):
        super().__init__(protocol, feedback)
        self.vision = vision

    def judge(self, text: str, deal: Deal) -> Verdict:
        """Verdict on the reply `text` to `deal`. Never raises on any text."""
        reply = answers.read(text, FORM)
        cards, numbers, formula = reply.fields.values()
        recognized = cards is not None and sorted(cards) == sorted(deal.ranks)
        if self.protocol == "as_released":
            judged = released.judge_formula(text, deal.ranks, deal.numbers, deal.target, self.vision)
        elif self.vision and not recognized:
            judged = WRONG_CARDS, "the cards are not the ones shown", "wrong cards", None
        else:
            judged = _judge(reply, deal)
        reward, complaint, outcome, expression = judged
        correct, old = reward == CORRECT, OLD_RULE.numbers(deal.ranks)
        may_be_fake = not correct and expression is not None and old != deal.numbers
        ordered = tuple if cards == deal.ranks else sorted
        return Verdict(
            reward,
            self.message(correct, complaint),
            correct,
            strict=reply.strict and re.search(r"=[0-9]+\Z", formula) is not None,
            valid=outcome in ("correct", "wrong value", "wrong numbers"),
            follows_rule=numbers is not None and ordered(numbers) == ordered(deal.numbers),
            recognized=recognized,
            fake=may_be_fake and _judge_expression(expression, old, deal.target)[0] == CORRECT,
            outcome=outcome,
        )


def _judge(reply: Reply, deal: Deal) -> Judged:
    if reply.problem:
        return ILLEGAL, reply.problem, "no answer", None
    expression, equals, stated = reply.fields["formula"].partition("=")
    if equals and stated.strip(" \t\n") != str(deal.target):
        return ILLEGAL, f"the formula does not end in ={deal.target}", "not a formula", None
    judged = _judge_expression(expression, deal.numbers, deal.target)
    return (ILLEGAL, reply.doubt, "no answer", None) if judged[0] == CORRECT and reply.doubt else judged


def _judge_expression(expression: str, numbers: tuple[int, ...], target: int) -> Judged:
    try:
        tree = formulas.parse(expression)
        used, hand = Counter(formulas.numbers(tree)), Counter(numbers)
        if used != hand:
            invalid, missing = sorted((used - hand).elements()), sorted((hand - used).elements())
            complaints = [f"it must not use {listed(invalid)}"] if invalid else []
            complaints += [f"it leaves out {listed(missing)}"] if missing else []
            return WRONG_NUMBERS, " and ".join(complaints), "wrong numbers", expression
        value = formulas.value(tree)
    except formulas.FormulaError as error:
        return ILLEGAL, f"the formula is not valid: {error.reason}", "not a formula", None
    if value == target:
        return CORRECT, "", "correct", expression
    return WRONG_VALUE, f"the formula makes {value}", "wrong value", expression
