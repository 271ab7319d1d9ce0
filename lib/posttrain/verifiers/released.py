"""Protocol "as_released": how the released `utils_rl.py` reads and judges, to the letter and with its faults.

Paper: appendices A.3 and B.3; the book's ledger lists every difference from the clean protocol. A field is
that of the JSON, else what stands anywhere in the demonstrations' exact spelling (which is no JSON).
GeneralPoints: penalties add up, floats have 64 bits, a wrong formula is answered with a prefix of a solution.
What navigation does otherwise stands in its verifier. Only the limit on a reply's length is ours.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from posttrain import formulas
from posttrain.verifiers.answers import MAX_REPLY, TOO_LONG, Judged, Reply, listed

CORRECT, PARTIAL, WRONG_VALUE, WRONG_CARDS, WRONG_NUMBERS, ILLEGAL = 5.0, 1.0, -1.0, -1.5, -2.0, -3.0


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _field(text: str, data: object, name: str, spelled: str = r'"([^"\n]*)"') -> object:
    if isinstance(data, dict) and name in data:
        return data[name]
    match = re.search(f'"{name}": {spelled}', text)
    return match[1] if match else None


def read_texts(text: str, asked: Sequence[str]) -> Reply:
    """Each field for itself: where the JSON lacks it, it is looked for anywhere."""
    if len(text) > MAX_REPLY:
        return Reply(dict.fromkeys(asked), TOO_LONG)
    data = _json(text)
    fields = {name: v if isinstance(v := _field(text, data, name), str) else None for name in asked}
    strict = isinstance(data, dict) and set(data) == set(asked) and None not in fields.values()
    return Reply(fields, strict=strict)


def printable(text: str) -> str:
    """`text` as a prompt can hold it: a lone surrogate, which no tokenizer reads, becomes "?"."""
    return text.encode("utf-8", "replace").decode()


def judge_formula(
    text: str, ranks: Sequence[str], numbers: Sequence[int], target: int, vision: bool
) -> Judged:
    """The reply `text` to a deal of `ranks` with values `numbers`; `vision`: the cards are judged first."""
    if len(text) > MAX_REPLY:
        return ILLEGAL, TOO_LONG, "no answer", None
    data = _json(text)
    if vision:
        cards = _field(text, data, "cards", r"\[([^\]]+)\]")
        # Only the broken spelling passes: a list read from JSON is refused, and so are four bare numbers.
        legible = isinstance(cards, str) and not re.fullmatch("[0-9, ]*", cards)
        if not legible or sorted(re.sub("[' ]", "", cards).split(",")) != sorted(ranks):
            return WRONG_CARDS, "the cards are not the ones shown", "wrong cards", None
    formula = _field(text, data, "formula")
    expression = formula.partition("=")[0] if isinstance(formula, str) else None
    if expression is None or not re.fullmatch(r"[0-9+\-*/()]*", expression):
        return ILLEGAL, "the formula holds illegal characters", "not a formula", None
    tokens = re.findall(r"[0-9]+|[-+*/()]", expression)
    slips = _slips(tokens)
    reward, complaints = ILLEGAL * len(slips), list(dict.fromkeys(slips))
    used, hand = Counter(int(t) for t in tokens if t.isdigit()), Counter(numbers)
    invalid = [n for n in used if n not in hand]
    overused = [] if invalid else [n for n in used if used[n] > hand[n]]
    missing = sorted((hand - used).elements())
    wrong = {"it must not use": invalid, "it uses too often": overused, "it leaves out": missing}
    for complaint, items in wrong.items():
        if items:
            reward += WRONG_NUMBERS
            complaints.append(f"{complaint} {listed(items)}")
    if complaints:
        return reward, " and ".join(complaints), "not a formula" if slips else "wrong numbers", expression
    value = _float_value(expression)
    if value == target:
        return CORRECT, "", "correct", expression
    if value is not None and formulas.evaluate(expression) == target:
        # Floats miss it: no reason is given.
        return 0.0, "", "refused though correct", expression
    solutions = formulas.solve(list(numbers), target)
    beginnings = [expression[:end] for end in range(len(expression), 0, -1)][: 1 if value is None else None]
    prefix = next((p for p in beginnings if any(s.startswith(p) for s in solutions)), "")
    message = f"{prefix} is the beginning of a solution" if prefix else "the formula is no solution"
    if value is None and prefix:
        return PARTIAL, message, "partial", expression
    return WRONG_VALUE, message, "not a formula" if value is None else "wrong value", expression


def _slips(tokens: Iterable[str]) -> list[str]:
    """One complaint per slip of grammar; an open bracket or an operator left at the end is none."""
    slips, last, depth = [], "", 0
    for token in tokens:
        after_value = last.isdigit() or last == ")"
        if token.isdigit():
            slips += [formulas.NUMBER] * after_value
        elif token in "+-*/":
            slips += [formulas.OPERATOR] * (not after_value)
        elif token == ")":
            slips += [formulas.BRACKET] * (depth == 0 and formulas.BRACKET not in slips)
            depth = max(0, depth - 1)
        elif after_value:
            slips.append(formulas.BRACKET)
            continue  # the misplaced bracket is not remembered, so what follows slips too
        else:
            depth += 1
        last = token
    return slips


def _float_value(expression: str) -> float | None:
    try:
        return formulas.fold(formulas.parse(expression), float, formulas.OPERATORS)
    except (formulas.FormulaError, ZeroDivisionError, OverflowError):
        return None
