"""The GeneralPoints verifier: right answers pass, hacks do not, verdicts agree with an independent judge."""

import ast
import json
import re
from collections import Counter
from fractions import Fraction
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from posttrain import formulas
from posttrain.environments import prompts
from posttrain.verifiers.general_points import RANKS, Deal, GeneralPointsVerifier, Rule

HACKS = json.loads(Path(__file__).with_name("reward_hacks.json").read_text())
CLEAN, RELEASED = GeneralPointsVerifier(), GeneralPointsVerifier("as_released")
TEN, ELEVEN = Rule(10, 10, 10), Rule(11, 12, 13)


def deal_of(ranks, rule=TEN, target=24) -> Deal:
    return Deal(tuple(ranks), rule.numbers(ranks), target)


def answer(deal: Deal, formula: str) -> str:
    return prompts.answer(deal.ranks, deal.numbers, formula, deal.target)


HAND = deal_of(["10", "7", "4", "5"])


# --- right answers ------------------------------------------------------------------------------------------


def test_every_solution_of_every_multiset_is_accepted_and_blanks_change_nothing():
    count = 0
    for ranks in combinations_with_replacement(RANKS, 4):
        deal = deal_of(ranks, ELEVEN)
        for formula in formulas.solve(list(deal.numbers)):
            count += 1
            for text in (formula, re.sub(r"([-+*/()])", r" \1  ", formula))[: 1 + (count % 5 == 0)]:
                verdict = CLEAN.judge(answer(deal, text), deal)
                assert (
                    verdict.correct
                    and verdict.strict
                    and verdict.follows_rule
                    and verdict.reward == 5
                    and not verdict.message
                ), text
    assert count > 30_000


def test_some_solutions_of_every_hand_are_accepted_under_the_training_rule():
    for ranks in combinations_with_replacement(RANKS, 4):
        deal = deal_of(ranks)
        for formula in formulas.solve(list(deal.numbers))[:3]:
            assert CLEAN.judge(answer(deal, formula), deal).correct


def test_the_equation_may_be_left_out():
    assert CLEAN.judge(answer(HAND, "(7-5)*10+4").replace("=24", ""), HAND).correct
    assert CLEAN.judge(answer(HAND, "(7-5)*10+4").replace("=24", " = 24 "), HAND).correct


# --- wrong answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "reward", "outcome", "message"),
    [
        ("10+7+4+5", -1, "wrong value", "the formula makes 26"),
        ("(10-7)/4*5", -1, "wrong value", "the formula makes 15/4"),
        ("7-10-4-5", -1, "wrong value", "the formula makes -12"),
        ("(7-4)*10-6", -2, "wrong numbers", "it must not use 6 and it leaves out 5"),
        ("7*7*7*7", -2, "wrong numbers", "it must not use 7, 7, 7 and it leaves out 4, 5, 10"),
        ("(7-5)*10", -2, "wrong numbers", "it leaves out 4"),
        ("(7-5)*10+4+4", -2, "wrong numbers", "it must not use 4"),
        ("(7-5)(10)+4", -3, "not a formula", "the formula is not valid: a bracket is out of place"),
        ("", -3, "not a formula", "the formula is not valid: it is empty"),
        ("(7-5)*10+4=24", -3, "not a formula", "the formula does not end in =24"),
    ],
)
def test_clean_rewards_and_messages(formula, reward, outcome, message):
    verdict = CLEAN.judge(answer(HAND, formula), HAND)
    assert (verdict.reward, verdict.outcome, verdict.message) == (reward, outcome, message)
    assert verdict.strict and verdict.follows_rule and verdict.recognized and not verdict.correct
    assert verdict.valid is outcome.startswith("wrong")


def _text(content) -> str:
    return content if isinstance(content, str) else "".join(piece * times for piece, times in content)


def _case(hack) -> tuple[str, Deal]:
    deal = deal_of(hack.get("ranks", ["A", "A", "4", "6"]))
    if "reply" in hack:
        return _text(hack["reply"]), deal
    formula = _text(hack["formula"])
    return json.dumps(
        {
            "cards": deal.ranks,
            "number": deal.numbers,
            "formula": formula if "=" in formula else f"{formula}=24",
        }
    ), deal


@pytest.mark.parametrize("hack", HACKS, ids=[hack["name"] for hack in HACKS])
def test_hacks_are_refused_with_a_message(hack):
    text, deal = _case(hack)
    verdict = CLEAN.judge(text, deal)
    assert verdict.outcome == hack["outcome"] and not verdict.correct
    assert (
        verdict.reward
        == {"wrong value": -1, "wrong numbers": -2, "not a formula": -3, "no answer": -3}[hack["outcome"]]
    )
    assert verdict.message.isascii() and verdict.message.isprintable() and 5 < len(verdict.message) < 400
    released = RELEASED.judge(
        text, deal
    )  # has its own opinion, but neither crashes nor writes what a prompt cannot hold
    assert released.message.isascii() and released.message.isprintable()


def test_the_list_of_hacks_is_long_and_the_hands_solvable():
    assert len(HACKS) >= 100 and len({hack["name"] for hack in HACKS}) == len(HACKS)
    solvable = [
        CLEAN.judge(answer(deal, formulas.solve(list(deal.numbers))[0]), deal).correct
        for _, deal in map(_case, HACKS)
        if formulas.solve(list(deal.numbers))
    ]
    assert len(solvable) > 0.95 * len(HACKS) and all(solvable)


# --- an independent judge -----------------------------------------------------------------------------------


def _outcome(text: str, deal: Deal) -> str:
    """What `text` deserves, by Python's own grammar on a whitelisted text (parsed, never run)."""
    if not re.fullmatch(r"[0-9+\-*/() \t\n]+", text) or re.search(r"(?<![0-9])0[0-9]", text):
        return "not a formula"
    used, zero_divisions = [], []

    def divide(a: Fraction, b: Fraction) -> Fraction:
        return a / b if b else zero_divisions.append(a) or Fraction(0)

    operators = {
        ast.Add: Fraction.__add__,
        ast.Sub: Fraction.__sub__,
        ast.Mult: Fraction.__mul__,
        ast.Div: divide,
    }

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        return operators[type(node.op)](
            value(node.left), value(node.right)
        )  # what is no such operator lacks an attribute or a key

    try:
        result = value(ast.parse(re.sub(r"\s", " ", text).strip(), mode="eval").body)
    except (SyntaxError, AttributeError, KeyError):
        return "not a formula"
    if Counter(used) != Counter(deal.numbers):
        return "wrong numbers"
    return "not a formula" if zero_divisions else "correct" if result == deal.target else "wrong value"


BLANKS = st.sampled_from(["", "", "", " ", "\n", "\t "])
OPERATORS = st.sampled_from("+-*/")


@st.composite
def formula_texts(draw, numbers: tuple[int, ...]) -> str:
    """Mostly legal formulas of mostly the right numbers; sometimes with one character changed."""
    parts = [str(n) for n in draw(st.permutations(numbers))]
    if draw(st.integers(0, 5)) == 0:
        parts[0] = str(draw(st.integers(0, 14)))
    while len(parts) > 1:
        i = draw(st.integers(0, len(parts) - 2))
        joined = f"{parts[i]}{draw(BLANKS)}{draw(OPERATORS)}{draw(BLANKS)}{parts[i + 1]}"
        parts[i : i + 2] = [f"({joined})" if draw(st.booleans()) else joined]
    text = parts[0]
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from([*"0123456789+-*/() ", "**", "//", "()", ".", "x"]))
            + text[at + draw(st.integers(0, 1)) :]
        )
    return text


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_verdicts_agree_with_an_independent_judge(data):
    deal = deal_of(
        data.draw(st.lists(st.sampled_from(RANKS), min_size=4, max_size=4)),
        data.draw(st.sampled_from([TEN, ELEVEN])),
    )
    formula = data.draw(
        st.one_of(formula_texts(deal.numbers), st.text("0123456789+-*/() ", min_size=1, max_size=15))
    )
    if _outcome(formula, deal) == "wrong value" and data.draw(
        st.booleans()
    ):  # 24 is hardly ever hit: aim at what the formula makes
        deal = deal._replace(target=int(formulas.evaluate(formula)))
    reply = json.dumps({"cards": deal.ranks, "number": deal.numbers, "formula": f"{formula}={deal.target}"})
    assert CLEAN.judge(reply, deal).outcome == _outcome(formula, deal), formula


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from([*'{}[]":,=\\', "formula", '"formula": "', "cards", "24", "4*6", "null"]),
            max_size=25,
        ).map("".join),
    )
)
def test_no_text_raises_or_wins_by_luck(text):
    deal = deal_of(["A", "A", "4", "6"])
    for verifier in (
        CLEAN,
        RELEASED,
        GeneralPointsVerifier(vision=True),
        GeneralPointsVerifier("as_released", vision=True),
    ):
        verdict = verifier.judge(text, deal)
        assert verdict.reward < 0 and verdict.message.isascii()


# --- flags --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "strict"),
    [
        ("", "", True),
        (" \n", "\n", True),
        ("```json\n", "\n```", False),
        ("Here it is: ", " I hope so.", False),
        ("", ",", False),
        ("", "}", False),
    ],
)
def test_tolerant_reading_is_flagged(before, after, strict):
    verdict = CLEAN.judge(before + answer(HAND, "(7-5)*10+4") + after, HAND)
    assert (
        verdict.correct
        and verdict.valid
        and verdict.follows_rule
        and verdict.recognized
        and verdict.strict is strict
    )


@pytest.mark.parametrize(
    ("reply", "follows", "recognized"),
    [
        ("{'cards': ['10', '7', '4', '5'], 'number': [10, 7, 4, 5], 'formula': '(7-5)*10+4=24'}", True, True),
        (
            '{\n  "cards": [10, 7, 4, 5],\n  "number": [10, 7, 4, 5],\n  "formula": "(7-5)*10+4=24",\n}',
            True,
            True,
        ),
        ('{"formula": "(7-5)*10+4=24"}', False, False),
        ('{"cards": "10 7 4 5", "number": "10 7 4 5", "formula": "(7-5)*10+4=24"}', False, False),
        ('{"cards": [10, 7, 4, 5], "number": [10.0, 7, 4, 5], "formula": "(7-5)*10+4=24"}', False, False),
        (
            '{"cards": ["10", "7", "4", "5"], "number": [10, 7, 4, true], "formula": "(7-5)*10+4=24"}',
            False,
            True,
        ),
        (
            '{"cards": ["10", "7", "4", "5"], "number": [10, 7, 4, 5], "formula": "(7-5)*10+4=24", "x": ""}',
            True,
            True,
        ),
        ('{"cards": ["5", "4", "7", "10"], "number": [5, 4, 7, 10], "formula": "(7-5)*10+4=24"', True, True),
    ],
)
def test_answers_that_are_right_but_not_strict(reply, follows, recognized):
    verdict = CLEAN.judge(reply, HAND)
    assert verdict.correct and not verdict.strict
    assert (verdict.follows_rule, verdict.recognized) == (follows, recognized)


def test_follows_rule_reads_the_number_field_and_nothing_else():
    deal = deal_of(["K", "3", "8", "A"], ELEVEN)
    for numbers, follows in (
        ([13, 3, 8, 1], True),
        ([10, 3, 8, 1], False),
        ([3, 13, 8, 1], False),
        ([13, 3, 8], False),
    ):
        verdict = CLEAN.judge(prompts.answer(deal.ranks, numbers, "13+8+3*1"), deal)
        assert verdict.correct and verdict.follows_rule is follows
    shuffled = CLEAN.judge(prompts.answer(["3", "K", "8", "A"], [3, 13, 8, 1], "13+8+3*1"), deal)
    assert shuffled.follows_rule and shuffled.recognized
    assert not CLEAN.judge(prompts.answer(["3", "J", "8", "A"], [13, 3, 8, 1], "13+8+3*1"), deal).recognized


def test_fake_is_right_under_the_old_rule_only():
    deal = deal_of(["K", "3", "8", "A"], ELEVEN)
    old = answer(deal, formulas.solve([10, 3, 8, 1])[0])
    assert CLEAN.judge(old, deal).fake and CLEAN.judge(old, deal).outcome == "wrong numbers"
    assert RELEASED.judge(old, deal).fake and not RELEASED.judge(answer(deal, "10+(3"), deal).fake
    assert not CLEAN.judge(answer(deal, "10+3+8+1"), deal).fake, "wrong under both"
    assert not CLEAN.judge(answer(deal, "13+8+3*1"), deal).fake, "right under the rule in force"
    assert not CLEAN.judge(answer(HAND, "10+7+4+5"), HAND).fake, "no face card: the rules agree"


@pytest.mark.parametrize("protocol", ["clean", "as_released"])
def test_feedback_kinds_say_less_and_less(protocol):
    wrong, right = answer(HAND, "(7-4)*10-6"), answer(HAND, "(7-5)*10+4")
    said = {
        kind: GeneralPointsVerifier(protocol, kind).judge(wrong, HAND)
        for kind in ("informative", "verdict", "none")
    }
    assert said["informative"].message == "it must not use 6 and it leaves out 5"
    assert said["verdict"].message == "the answer is wrong" and said["none"].message == ""
    assert len({verdict.reward for verdict in said.values()}) == 1
    assert all(GeneralPointsVerifier(protocol, kind).judge(right, HAND).message == "" for kind in said)


def test_vision_needs_the_cards():
    verifier = GeneralPointsVerifier(vision=True)
    assert verifier.judge(answer(HAND, "(7-5)*10+4"), HAND).correct
    assert verifier.judge(prompts.answer(["5", "4", "7", "10"], [5, 4, 7, 10], "(7-5)*10+4"), HAND).correct, (
        "order does not matter"
    )
    for cards in (["10", "7", "4", "4"], ["10", "7", "4"], ["10", "7", "4", "5", "5"], []):
        verdict = verifier.judge(prompts.answer(cards, [10, 7, 4, 5], "(7-5)*10+4"), HAND)
        assert (verdict.reward, verdict.outcome, verdict.recognized) == (
            -1.5,
            "wrong cards",
            False,
        ) and verdict.message


def test_target_is_the_deals():
    deal = deal_of(["10", "7", "4", "5"], target=26)
    assert CLEAN.judge(answer(deal, "10+7+4+5"), deal).correct
    assert (
        CLEAN.judge(answer(deal, "10+7+4+5").replace("=26", "=24"), deal).message
        == "the formula does not end in =26"
    )


# --- rules and settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "rule", "text"),
    [
        ("10", (10, 10, 10), "10"),
        (10, (10, 10, 10), "10"),
        ("11/12/13", (11, 12, 13), "11/12/13"),
        ({"Q": 7, "J": 5, "K": 9}, (5, 7, 9), "5/7/9"),
        ("7/7/7", (7, 7, 7), "7"),
    ],
)
def test_rules(given, rule, text):
    assert Rule.parse(given) == rule and str(Rule.parse(given)) == text
    assert Rule.parse(str(Rule.parse(given))) == Rule.parse(Rule.parse(given))


def test_rule_numbers():
    assert ELEVEN.numbers(["A", "10", "J", "Q", "K"]) == (1, 10, 11, 12, 13)


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "ten",
        "11/12",
        "0",
        "100",
        "-1",
        "1.5",
        {"J": 1},
        {"J": 1, "Q": 2, "K": "3"},
        None,
        True,
        "11/12/13/14",
        "010",
        "1_0",
        " 10",
    ],
)
def test_bad_rules(rule):
    with pytest.raises(ValueError, match="unknown rule .*11/12/13"):
        Rule.parse(rule)


@pytest.mark.parametrize(
    ("setting", "known"), [("protocol", "clean, as_released"), ("feedback", "informative, verdict, none")]
)
def test_bad_settings_name_the_known_ones(setting, known):
    with pytest.raises(ValueError, match=f"unknown {setting} 'strict': use one of {known}"):
        GeneralPointsVerifier(**{setting: "strict"})
