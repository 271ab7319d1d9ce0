"""Formulas: parse, evaluate exactly, solve, canonical form.

Paper: section 4.1 and appendix A (the formula a GeneralPoints answer must contain). Model text is data: it
goes through the recursive-descent parser below and is never executed. Left out on purpose: unary signs,
implied products, powers, decimals, "=" - a player of the card game needs none of them, and each is a known
way to cheat a lax verifier.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from itertools import combinations
from operator import add, mul, sub, truediv
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

MAX_LENGTH = 200  # characters; the longest formula of four two-digit numbers has 17
MAX_DEPTH = 20  # nested brackets

_TOKEN = re.compile(r"[ \t\n]*([0-9]+|[-+*/()])", re.ASCII)
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
OPERATORS = {"+": add, "-": sub, "*": mul, "/": truediv}

# A parsed formula: an int, or (operator, left, right).
Tree = "int | tuple[str, Tree, Tree]"


class FormulaError(ValueError):
    """A text is not a formula. `reason` is one of a few fixed phrases (fit for a prompt), `position` a
    0-based index."""

    def __init__(self, reason: str, position: int):
        super().__init__(f"{reason} at character {position}")
        self.reason, self.position = reason, position


ILLEGAL, NUMBER, OPERATOR, BRACKET, LENGTH, DEPTH, ZERO, DIVISION, EMPTY = REASONS = (
    "it contains an illegal character",
    "a number is out of place",
    "an operator is out of place",
    "a bracket is out of place",
    "it is too long",
    "it has too many brackets",
    "a number has a leading zero",
    "it divides by zero",
    "it is empty",
)


def _tokenize(text: str) -> list[tuple[str, int]]:
    if len(text) > MAX_LENGTH:
        raise FormulaError(LENGTH, MAX_LENGTH)
    tokens, end, stripped = [], 0, len(text.rstrip(" \t\n"))
    while end < stripped:
        match = _TOKEN.match(text, end)
        if match is None:
            raise FormulaError(ILLEGAL, end)
        token = match[1]
        if len(token) > 1 and token[0] == "0":
            raise FormulaError(ZERO, match.start(1))
        tokens.append((token, match.start(1)))
        end = match.end()
    if not tokens:
        raise FormulaError(EMPTY, 0)
    return tokens


def parse(text: str) -> Tree:
    """Parse `text` into a tree of ints and (operator, left, right) tuples; raise `FormulaError` if it is no
    formula."""
    tokens = [*_tokenize(text), ("", len(text))]
    index = 0

    def wrong(token: str, position: int) -> FormulaError:
        reason = NUMBER if token.isdigit() else OPERATOR if token in _PRECEDENCE else BRACKET
        # A formula that simply stops ("3+") lacks an operand: the operator before the end is out of place.
        return FormulaError(
            reason if token else (OPERATOR if tokens[index - 1][0] in _PRECEDENCE else BRACKET), position
        )

    def operand(depth: int) -> Tree:
        nonlocal index
        token, position = tokens[index]
        if token.isdigit():
            index += 1
            return int(token)
        if token != "(":
            raise wrong(token, position)
        if depth >= MAX_DEPTH:
            raise FormulaError(DEPTH, position)
        index += 1
        tree = binary(depth + 1, 1)
        token, position = tokens[index]
        if token != ")":
            raise wrong(token, position)
        index += 1
        return tree

    def binary(depth: int, precedence: int) -> Tree:
        nonlocal index
        tree = operand(depth) if precedence > 2 else binary(depth, precedence + 1)
        while precedence <= 2 and _PRECEDENCE.get(tokens[index][0]) == precedence:
            operator = tokens[index][0]
            index += 1
            tree = (operator, tree, binary(depth, precedence + 1))
        return tree

    tree = binary(0, 1)
    if tokens[index][0]:
        raise wrong(*tokens[index])
    return tree


def numbers(tree: Tree) -> list[int]:
    """The numbers of a parsed formula, left to right."""
    return [tree] if isinstance(tree, int) else numbers(tree[1]) + numbers(tree[2])


def fold(tree: Tree, number: Callable[[int], Any], operators: Mapping[str, Callable[[Any, Any], Any]]) -> Any:
    """What a parsed formula comes to where a number means `number` of it."""
    if isinstance(tree, int):
        return number(tree)
    return operators[tree[0]](fold(tree[1], number, operators), fold(tree[2], number, operators))


def value(tree: Tree) -> Fraction:
    """Exact value of a parsed formula; `FormulaError` on a division by zero."""
    try:  # whole numbers stay ints: several times faster, and as exact
        return Fraction(fold(tree, int, {**OPERATORS, "/": Fraction}))
    except ZeroDivisionError:
        raise FormulaError(DIVISION, 0) from None


def evaluate(text: str) -> Fraction:
    """Exact value of the formula `text`; `FormulaError` says why if it is none.

    >>> evaluate("8/(3 - 8/3)")
    Fraction(24, 1)
    """
    return value(parse(text))


# --- solving: tables of every value that a sub-multiset of the hand can make --------------------------------

# A formula with as few brackets as possible, and its precedence (3 for a bare number).
Entry = "tuple[str, int]"


def join(operator: str, left: Entry, right: Entry) -> Entry:
    """Two formulas as one, with the brackets that its value needs."""
    precedence = _PRECEDENCE[operator]
    a = f"({left[0]})" if left[1] < precedence else left[0]
    # a-(b-c) and a/(b*c) need their brackets; a+(b-c) and a*(b/c) mean the same without.
    needed = right[1] < precedence or (right[1] == precedence and operator in "-/")
    b = f"({right[0]})" if needed else right[0]
    return f"{a}{operator}{b}", precedence


def _splits(hand: tuple[int, ...]):
    """Both parts, as sorted tuples, of every way to cut `hand` in two; each unordered cut once."""
    seen = set()
    for mask in range(1, 2 ** len(hand) - 1):
        left = tuple(n for i, n in enumerate(hand) if mask >> i & 1)
        right = tuple(n for i, n in enumerate(hand) if not mask >> i & 1)
        if (left, right) not in seen and (right, left) not in seen:
            seen.add((left, right))
            yield left, right


@cache
def _values(hand: tuple[int, ...]) -> dict[Fraction, set[Entry]]:
    """Every value that uses all of `hand` (sorted), with every formula that makes it."""
    if len(hand) == 1:
        return {Fraction(hand[0]): {(str(hand[0]), 3)}}
    table: dict[Fraction, set[Entry]] = {}
    for left, right in _splits(hand):
        for x, xs in _values(left).items():
            for y, ys in _values(right).items():
                for first, second, firsts, seconds in ((x, y, xs, ys), (y, x, ys, xs)):
                    for operator in "+-*/" if second else "+-*":
                        found = table.setdefault(OPERATORS[operator](first, second), set())
                        found.update(join(operator, a, b) for a in firsts for b in seconds)
    return table


@cache
def _solve(hand: tuple[int, ...], target: Fraction) -> tuple[str, ...]:
    if len(hand) == 1:
        return (str(hand[0]),) if hand[0] == target else ()
    found: set[str] = set()
    for left, right in _splits(hand):
        if len(left) > len(right):
            left, right = right, left
        table = _values(right)
        for x, xs in _values(left).items():
            # Only the partner that reaches the target is looked up, so four numbers cost little more than 3.
            wanted = [
                ("+", target - x, True),
                ("+", target - x, False),
                ("-", x - target, True),
                ("-", target + x, False),
            ]
            if x:
                wanted += [("*", target / x, True), ("*", target / x, False), ("/", target * x, False)]
                wanted += [("/", x / target, True)] if target else []
            elif not target:
                wanted += [
                    (op, y, first)
                    for y in table
                    for op, first in (("*", True), ("*", False), ("/", True))
                    if y or op == "*"
                ]
            for operator, y, first in wanted:
                if operator == "/" and not (y if first else x):
                    continue
                for b in table.get(y, ()):
                    found.update(join(operator, a, b)[0] if first else join(operator, b, a)[0] for a in xs)
    return tuple(sorted(found, key=lambda text: (len(text), text)))


def solve(hand: list[int], target: int = 24) -> list[str]:
    """Every distinct formula, with as few brackets as possible, that uses each number of `hand` once and
    makes `target`.

    >>> solve([3, 3, 8, 8], target=24)
    ['8/(3-8/3)']
    """
    if not hand or len(hand) > 5 or any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in hand):
        raise ValueError(f"a hand is one to five whole numbers >= 0, not {hand!r}")
    return list(_solve(tuple(sorted(hand)), Fraction(target)))


Ratio = tuple[np.ndarray, np.ndarray]  # numerators and denominators, 0 where something was divided by 0


def solvable(hands: ArrayLike, target: int = 24) -> np.ndarray:
    """For which hands, whole numbers [hands, numbers], `solve` finds a formula: bool [hands], exact."""
    columns = np.asarray(hands, np.int64).T
    return _makes([(column, np.ones_like(column)) for column in columns], target)


def _makes(numbers: list[Ratio], target: int) -> np.ndarray:
    if len(numbers) == 1:
        ((over, under),) = numbers
        return (over == target * under) & (under != 0)
    able = np.zeros(len(numbers[0][0]), bool)
    for i, j in combinations(range(len(numbers)), 2):
        (a, b), (c, d) = numbers[i], numbers[j]
        left, right, both = a * d, b * c, b * d
        made = [(left + right, both), (left - right, both), (right - left, both), (a * c, both)]
        made += [(left * d, right * d), (right * b, left * b)]  # a second d, b: what is undefined stays so
        for one in made:
            able |= _makes([*numbers[:i], *numbers[i + 1 : j], *numbers[j + 1 :], one], target)
    return able


# --- canonical forms (sympy never sees model text: only trees that `parse` made) and typesetting ------------


def canonical(text: str) -> str:
    """One name for all formulas that are the same rational function of their numbers.

    Each number becomes a symbol, so 3*8 and 8*3 agree, (a+b)-c and a+(b-c) agree, and 2*2 and 2+2 do not.
    """
    import sympy

    expression = fold(parse(text), lambda number: sympy.Symbol(f"n{number}"), OPERATORS)
    return "undefined" if expression.has(sympy.zoo, sympy.nan) else str(sympy.cancel(expression))


def group(formulas: list[str]) -> dict[str, list[str]]:
    """`formulas` by canonical form, in the order of first appearance."""
    groups: dict[str, list[str]] = {}
    for text in formulas:
        groups.setdefault(canonical(text), []).append(text)
    return groups


def latex(text: str) -> str:
    """The formula in LaTeX as it is written, for the book; divisions become fractions."""
    return _latex(parse(text))[0]


def _latex(tree: Tree) -> Entry:
    if isinstance(tree, int):
        return str(tree), 3
    operator, (left, inner), (right, outer) = tree[0], _latex(tree[1]), _latex(tree[2])
    if operator == "/":
        return rf"\frac{{{left}}}{{{right}}}", 3
    precedence = _PRECEDENCE[operator]
    left = rf"\left({left}\right)" if inner < precedence else left
    # A tree leans left unless brackets made it lean right.
    right = rf"\left({right}\right)" if outer <= precedence else right
    return rf"{left} \cdot {right}" if operator == "*" else f"{left} {operator} {right}", precedence
