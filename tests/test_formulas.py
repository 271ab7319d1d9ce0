"""Formulas: exact values, reasons for refusals, and the solver against a brute force that shares no code with
it."""

import random
from fractions import Fraction
from itertools import combinations_with_replacement, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from posttrain import formulas
from posttrain.formulas import FormulaError, evaluate, solve

HANDS = list(combinations_with_replacement(range(1, 14), 4))
SHAPES = {
    "(({0}{4}{1}){5}{2}){6}{3}": lambda a, b, c, d, f, g, h: h(g(f(a, b), c), d),
    "({0}{4}({1}{5}{2})){6}{3}": lambda a, b, c, d, f, g, h: h(f(a, g(b, c)), d),
    "{0}{4}(({1}{5}{2}){6}{3})": lambda a, b, c, d, f, g, h: f(a, h(g(b, c), d)),
    "{0}{4}({1}{5}({2}{6}{3}))": lambda a, b, c, d, f, g, h: f(a, g(b, h(c, d))),
    "({0}{4}{1}){5}({2}{6}{3})": lambda a, b, c, d, f, g, h: g(f(a, b), h(c, d)),
}
PRIME = 2**61 - 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/(3 - 8/3)", 24),
        ("7", 7),
        (" 1\t+\n2 ", 3),
        ("2-3-4", -5),
        ("2-(3-4)", 3),
        ("8/4/2", 1),
        ("8/(4/2)", 4),
        ("2+3*4", 14),
        ("((2))", 2),
        ("1/3", Fraction(1, 3)),
        ("0*5", 0),
        ("10/4*2", 5),
        ("(" * 20 + "1" + ")" * 20, 1),
    ],
)
def test_evaluate(text, value):
    assert evaluate(text) == value and isinstance(evaluate(text), Fraction)


@pytest.mark.parametrize(
    ("text", "reason", "position"),
    [
        ("", formulas.EMPTY, 0),
        (" \n", formulas.EMPTY, 0),
        ("2**3", formulas.OPERATOR, 2),
        ("7//2", formulas.OPERATOR, 2),
        ("-1", formulas.OPERATOR, 0),
        ("1 2", formulas.NUMBER, 2),
        ("(1)2", formulas.NUMBER, 3),
        ("2(3)", formulas.BRACKET, 1),
        ("()", formulas.BRACKET, 1),
        ("(1", formulas.BRACKET, 2),
        ("1)", formulas.BRACKET, 1),
        ("1+", formulas.OPERATOR, 2),
        ("01", formulas.ZERO, 0),
        ("1+00", formulas.ZERO, 2),
        ("1.5", formulas.ILLEGAL, 1),
        ("1=1", formulas.ILLEGAL, 1),
        ("x", formulas.ILLEGAL, 0),
        ("\u0663", formulas.ILLEGAL, 0),
        ("1\xa0+1", formulas.ILLEGAL, 1),
        ("1/(2-2)", formulas.DIVISION, 0),
        ("1" * 201, formulas.LENGTH, 200),
        ("(" * 21 + "1" + ")" * 21, formulas.DEPTH, 20),
    ],
)
def test_refusals_give_reason_and_position(text, reason, position):
    with pytest.raises(FormulaError) as error:
        evaluate(text)
    assert (error.value.reason, error.value.position) == (reason, position)
    assert reason in formulas.REASONS and reason in str(error.value)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text("0123456789+-*/() \n", max_size=60)))
def test_any_text_has_a_value_or_a_reason(text):
    try:
        assert isinstance(evaluate(text), Fraction)
    except FormulaError as error:
        assert error.reason in formulas.REASONS


# --- solving ------------------------------------------------------------------------------------------------


def test_how_many_hands_are_solvable():
    assert len(HANDS) == 1820
    solvable = [hand for hand in HANDS if solve(list(hand))]
    assert len(solvable) == 1362
    assert sum(hand[-1] <= 10 for hand in solvable) == 566


def test_solutions_are_sound_and_have_no_needless_bracket():
    for hand in HANDS[::5]:
        for text in solve(list(hand)):
            tree = formulas.parse(text)
            assert tuple(sorted(formulas.numbers(tree))) == hand and formulas.value(tree) == 24
            for opening in (i for i, c in enumerate(text) if c == "("):
                depth, closing = 1, opening + 1
                while depth:
                    depth += {"(": 1, ")": -1}.get(text[closing], 0)
                    closing += 1
                bare = text[:opening] + text[opening + 1 : closing - 1] + text[closing:]
                assert _fingerprint(bare, by_position=True) != _fingerprint(text, by_position=True), text


def _fingerprint(text: str, by_position: bool = False) -> int:
    """The formula as a function of its numbers (or of its places), at a random point of a prime field."""
    point = random.Random(1)
    field = [point.randrange(PRIME) for _ in range(14)]
    places = iter(field)

    def walk(tree):
        if isinstance(tree, int):
            return next(places) if by_position else field[tree]
        left, right = walk(tree[1]), walk(tree[2])
        if tree[0] == "/":
            return left * pow(right, -1, PRIME) % PRIME
        return {"+": left + right, "-": left - right, "*": left * right}[tree[0]] % PRIME

    return walk(formulas.parse(text))


def _brute_force(hand: tuple[int, ...], target: int) -> set[str]:
    """Every formula, fully bracketed: orders x operators x the five shapes of a tree with four leaves."""
    apply = dict(zip("+-*/", (Fraction.__add__, Fraction.__sub__, Fraction.__mul__, Fraction.__truediv__)))
    found = set()
    for numbers, operators in product(set(permutations(hand)), product("+-*/", repeat=3)):
        a, b, c, d = map(Fraction, numbers)
        f, g, h = (apply[operator] for operator in operators)
        for shape, value in SHAPES.items():
            try:
                if value(a, b, c, d, f, g, h) == target:
                    found.add(shape.format(*numbers, *operators))
            except ZeroDivisionError:
                pass
    return found


@pytest.mark.parametrize("target", [24, 10])
def test_solver_against_brute_force(target):
    sample = random.Random(target).sample(HANDS, 15) + [
        (3, 3, 8, 8),
        (1, 1, 1, 1),
        (4, 4, 5, 5),
        (1, 5, 5, 5),
    ]
    for hand in sample:
        brute, ours = _brute_force(hand, target), solve(list(hand), target)
        assert {_fingerprint(text) for text in ours} == {_fingerprint(text) for text in brute}, hand
        assert all(evaluate(text) == target for text in brute)


def test_solve_lists_every_formula_once_shortest_first():
    assert solve([3, 3, 8, 8]) == ["8/(3-8/3)"]
    assert solve([8, 3, 8, 3]) == ["8/(3-8/3)"], "the order of the hand does not matter"
    assert solve([1, 1, 1, 1]) == [] and solve([24]) == ["24"] and solve([5]) == []
    assert set(solve([2, 3], 6)) == {"2*3", "3*2"}
    assert set(solve([0, 5], 0)) == {"0*5", "5*0", "0/5"}
    texts = solve([1, 2, 3, 4])
    assert len(set(texts)) == len(texts) and texts == sorted(texts, key=lambda text: (len(text), text))
    texts.clear()
    assert solve([1, 2, 3, 4]), "a caller cannot spoil the cache"


@pytest.mark.parametrize("target", [24, 10, 0, 1])
def test_solvable_says_for_which_hands_there_is_a_formula(target):
    hands = HANDS if target == 24 else HANDS[::7] + [(0, 0, 1, 2), (0, 3, 5, 8), (0, 0, 0, 24)]
    assert formulas.solvable(hands, target).tolist() == [bool(solve(list(hand), target)) for hand in hands]
    pairs = list(product(range(4), repeat=2))
    assert formulas.solvable(pairs, target).tolist() == [bool(solve(list(pair), target)) for pair in pairs]
    five = [(0, 0, 0, 0, 0), (1, 1, 1, 1, 1), (1, 2, 3, 4, 5), (13, 13, 13, 13, 13)]
    assert formulas.solvable(five, target).tolist() == [bool(solve(list(hand), target)) for hand in five]


@pytest.mark.parametrize("hand", [[], [1] * 6, [1.0], [True], [-1], ["1"]])
def test_solve_refuses_other_hands(hand):
    with pytest.raises(ValueError, match="one to five whole numbers"):
        solve(hand)


# --- canonical forms and typesetting ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("3*8", "8*3", True),
        ("(1+2)-3", "1+(2-3)", True),
        ("2*2", "2+2", False),
        ("8/(3-8/3)", "8/(3 - 8/3)", True),
        ("6/2*3", "6*3/2", True),
        ("4*(2+1)", "4*2+4*1", True),
        ("4*6", "6*4*1", False),
    ],
)
def test_canonical_names_the_rational_function(one, other, same):
    assert (formulas.canonical(one) == formulas.canonical(other)) is same


def test_group_and_fingerprints_agree():
    texts = solve([2, 3, 4, 6])
    groups = formulas.group(texts)
    assert sorted(text for group in groups.values() for text in group) == sorted(texts)
    assert len(groups) == len({_fingerprint(text) for text in texts})
    assert next(iter(groups.values()))[0] == texts[0]


@pytest.mark.parametrize("text", ["1/(2-2)", "(1-1)/(2-2)", "5*(1/(3-3))", "1-1/(2-2)"])
def test_canonical_of_a_division_by_zero(text):
    assert formulas.canonical(text) == "undefined"


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("8/(3-8/3)", r"\frac{8}{3 - \frac{8}{3}}"),
        ("3*8", r"3 \cdot 8"),
        ("8/4/2", r"\frac{\frac{8}{4}}{2}"),
        ("8/(4/2)", r"\frac{8}{\frac{4}{2}}"),
        ("2-3-4", "2 - 3 - 4"),
        ("2-(3-4)", r"2 - \left(3 - 4\right)"),
        ("(1+2)*3", r"\left(1 + 2\right) \cdot 3"),
        ("1+2*3", r"1 + 2 \cdot 3"),
        ("(1+2)/3*4", r"\frac{1 + 2}{3} \cdot 4"),
    ],
)
def test_latex_shows_the_formula_as_written(text, latex):
    assert formulas.latex(text) == latex
