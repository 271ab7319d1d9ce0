"""The rule for what a reply may contain, in both tasks: what is one answer, what is two, what is strict."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from posttrain.verifiers import GeneralPointsVerifier, NavigationVerifier
from posttrain.verifiers.answers import MAX_REPLY, TOO_LONG, TWO_ANSWERS, read
from posttrain.verifiers.general_points import FIELDS, FORM, NO_ANSWER, NOT_TEXT, Deal
from posttrain.verifiers.navigation import FIELDS as STEP
from posttrain.verifiers.navigation import FORM as STEP_FORM
from posttrain.verifiers.navigation import NO_ANSWER as NO_STEP
from posttrain.verifiers.navigation import Place, turn

from . import mutations

DEAL = Deal(("4", "6", "A", "A"), (4, 6, 1, 1))
PLACE = Place(turn("north"), turn("left"), "absolute", "No landmarks nearby", False, 2, 90)
POINTS, VISION = GeneralPointsVerifier(), GeneralPointsVerifier(vision=True)
NAVIGATION = NavigationVerifier()

CARDS, NUMBER, FORMULA = '"cards": ["4", "6", "A", "A"]', '"number": [4, 6, 1, 1]', '"formula": "4*6*1*1=24"'
ANSWER = f"{{{CARDS}, {NUMBER}, {FORMULA}}}"
SEEN, SENTENCE = '"current observation": "No landmarks nearby; "', '"current instruction": "Turn left."'
ACTION = '"action": "turn_direction(north)"'
STEPS = f"{{{SEEN}, {SENTENCE}, {ACTION}}}"


def escaped(word: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in word)


# Written with the fields of GeneralPoints; navigation is judged by the same cases, see `as_step`.
PAID = {
    "as the prompt demands": ANSWER,
    "a card or a text called formula": f'{{{CARDS}, {NUMBER}, {FORMULA}, "note": "formula", "x": ["cards"]}}',
    "the same in text": f'{{{CARDS}, {NUMBER}, {FORMULA}, "note": "formula",}}',
    "other fields": f'{{{CARDS}, {NUMBER}, {FORMULA}, "x": {{"a": [1]}}, "x": 2}}',
    "a code fence": f"```json\n{ANSWER}\n```",
    "words and a colon": f"Here's the formula: {ANSWER}. Isn't it?",
    "a number, a list or another object before it": f'1. null [1, 2] {{"a": 3}} {ANSWER}',
    "single quotes": ANSWER.replace('"', "'"),
    "a comma too many": ANSWER.replace("}", ",}"),
    "no commas": ANSWER.replace(", ", " "),
    "no closing bracket": ANSWER[:-1],
    "a closing bracket too many": ANSWER + "}",
    "an unclosed list": f"{{{CARDS[:-1]}, {NUMBER}, {FORMULA}}}",
    "a quote that is not closed": f'{{"cards": ["4", "6", "A], {FORMULA}}}',
    "two fields": f"{{{CARDS}, {FORMULA}}}",
    "the judged field alone": f"{{{FORMULA}}}",
    "a key spelled in escapes, once": ANSWER.replace("formula", "f\\u006frmula"),
    "an apostrophe": f'{{{CARDS}, "note": "Joe\'s", {FORMULA},}}',
}
TWO = {
    "one beside the other": ANSWER + ANSWER,
    "a key twice": f'{{{FORMULA}, "formula": "1"}}',
    "a key twice, in text": f'{{{FORMULA}, "formula": "1",}}',
    "in escapes, in an object within": f'{{{CARDS}, {NUMBER}, {FORMULA}, "x": {{"f\\u006frmula": "1"}}}}',
    "the same in text": f'{{{CARDS}, {NUMBER}, {FORMULA}, "x": {{"f\\u006frmula": "1"}},}}',
    "every letter in escapes": f'{{{FORMULA}, "{escaped("formula")}": "1"}}',
    "in a string that holds JSON": f'{{{FORMULA}, "x": {json.dumps(ANSWER)}}}',
    "in a string within that string": f'{{{FORMULA}, "x": {json.dumps(json.dumps(json.dumps(ANSWER)))}}}',
    "in such a string, in text": f'{{{FORMULA}, "x": {json.dumps(ANSWER)},}}',
    "in other quotes": f"{{{FORMULA}, 'formula': '1'}}",
    "in other quotes, within a string": f"""{{{FORMULA}, "x": "'formula': 1"}}""",
    "in printers' quotes": f"{{{FORMULA}, “formula”: “1”,}}",
    "another list of cards": f'{{{CARDS}, {FORMULA}, "cards": ["4"],}}',
    "another number list, in JSON": f'{{{NUMBER}, {FORMULA}, "number": [4, 6, 1, 1]}}',
    "another number list in an object within": f'{{{NUMBER}, {FORMULA}, "x": {{"number": []}}}}',
    "without a value": f'{{{FORMULA}, "formula": }}',
    "a list of two": f"[{ANSWER}, {ANSWER}]",
}
NONE = {
    "in a list": f"[{ANSWER}]",
    "in a list, in text": f"[{ANSWER},]",
    "in a list that is not closed": f"[{ANSWER}",
    "in an object": f'{{"answer": {ANSWER}}}',
    "in an object, in text": f'{{"answer": {ANSWER},}}',
    "within a string": f"""{{"x": "{ANSWER.replace('"', "'")}"}}""",
    "within a string, in text": f"""{{"x": "{ANSWER.replace('"', "'")}",}}""",
    "within a string without brackets, in text": """{"x": "so 'formula': '4*6*1*1=24'",}""",
    "the other way round": f"""{{'x': 'so {FORMULA}'}}""",
    "over three objects": f"{{{CARDS}}} {{{NUMBER}}} {{{FORMULA}}}",
    "without an object": FORMULA,
}


def as_step(text: str) -> str:
    """The case with the fields of navigation."""
    for points, steps in (
        (CARDS, SEEN),
        (NUMBER, SENTENCE),
        ("4*6*1*1=24", "turn_direction(north)"),
        ("f\\u006frmula", "a\\u0063tion"),
        (escaped("formula"), escaped("action")),
        ("formula", "action"),
    ):
        for form in (lambda s: s, lambda s: s.replace('"', "'"), lambda s: json.dumps(s)[1:-1]):
            text = text.replace(form(points), form(steps))
    return text.replace('"cards"', '"current observation"').replace('"number"', '"current instruction"')


@pytest.mark.parametrize("case", PAID)
def test_one_answer_is_paid(case):
    assert POINTS.judge(PAID[case], DEAL).correct
    assert NAVIGATION.judge(as_step(PAID[case]), PLACE).correct


@pytest.mark.parametrize("case", TWO)
def test_two_answers_are_refused(case):
    verdict = POINTS.judge(TWO[case], DEAL)
    assert (verdict.reward, verdict.outcome, verdict.message) == (-3, "no answer", TWO_ANSWERS)
    assert not VISION.judge(TWO[case], DEAL).correct
    if "in a string within" not in case:
        verdict = NAVIGATION.judge(as_step(TWO[case]), PLACE)
        assert (verdict.reward, verdict.outcome, verdict.message) == (-1, "no answer", TWO_ANSWERS)


@pytest.mark.parametrize("case", NONE)
def test_what_is_no_object_is_refused(case):
    verdict = POINTS.judge(NONE[case], DEAL)
    assert (verdict.reward, verdict.outcome, verdict.message) == (-3, "no answer", NO_ANSWER)
    verdict = NAVIGATION.judge(as_step(NONE[case]), PLACE)
    assert (verdict.reward, verdict.outcome, verdict.message) == (-1, "no answer", NO_STEP)


def test_a_wrong_answer_in_broken_text_is_told_what_is_wrong_with_it():
    """Models write such texts early in training. The same texts are not paid when they are right."""
    for before in ('{"cards": ["], "cards": ["4"], ', '{"cards": ["{"number": [4], ', '{"x": {'):
        text = f'{before}"formula": "4+6+1+1=24"'
        assert POINTS.judge(text, DEAL).message == "the formula makes 12"
        assert not POINTS.judge(text.replace("4+6+1+1", "4*6*1*1"), DEAL).correct


def test_a_card_called_formula_is_a_wrong_card_and_no_second_answer():
    text = ANSWER.replace('"6"', '"formula"')
    assert POINTS.judge(text, DEAL).correct and POINTS.judge(text, DEAL).strict
    assert VISION.judge(text, DEAL).outcome == "wrong cards"


@pytest.mark.parametrize(
    ("text", "strict"),
    [
        (ANSWER, True),
        (f"\n {ANSWER} ", True),
        (ANSWER.replace("*1=24", "=24"), True),  # wrong, and as demanded
        (ANSWER.replace("=24", ""), False),
        (ANSWER.replace("=24", " = 24 "), False),
        (ANSWER.replace("=24", "=25"), True),  # wrong too: it states what it makes, or wishes to
        (ANSWER.replace("=24", "="), False),
        (ANSWER.replace("4*6*1*1=24", "24"), False),
        (f"{{{NUMBER}, {CARDS}, {FORMULA}}}", False),
        (f'{{{CARDS}, {NUMBER}, {FORMULA}, "x": 1}}', False),
        (f"{{{CARDS}, {FORMULA}}}", False),
        (ANSWER.replace("6, 1, 1", '"6", 1, 1'), False),
        (ANSWER[:-1] + ",}", False),
    ],
)
def test_strict_is_what_the_prompt_demands(text, strict):
    assert POINTS.judge(text, DEAL).strict is strict
    assert GeneralPointsVerifier("as_released").judge(text, DEAL).strict is strict


@pytest.mark.parametrize("ending", ["", " = 24 "])
def test_a_formula_without_its_ending_is_paid_and_not_strict(ending):
    verdict = POINTS.judge(ANSWER.replace("=24", ending), DEAL)
    assert verdict.correct and not verdict.strict


def test_strict_steps():
    assert NAVIGATION.judge(STEPS, PLACE).strict
    for text in (f"{{{SENTENCE}, {SEEN}, {ACTION}}}", f"{{{SEEN}, {ACTION}}}", STEPS.replace("}", ", }")):
        verdict = NAVIGATION.judge(text, PLACE)
        assert verdict.correct and not verdict.strict


def test_what_is_read_and_why_not():
    read_points = lambda text: read(text, FORM)  # noqa: E731
    values = (("4", "6", "A", "A"), (4, 6, 1, 1), "4*6*1*1=24")
    for text in (ANSWER, ANSWER.replace('"', "'"), ANSWER.replace('"A"', "A")):
        assert tuple(read_points(text).fields.values()) == values
    nothing = dict.fromkeys(FIELDS)
    assert read_points("x" * (MAX_REPLY + 1)) == (nothing, TOO_LONG, "", False)
    assert read_points('{"formula": 24}') == (nothing, NOT_TEXT, "", False)
    assert read_points('{"formula": 24,}').problem == NOT_TEXT
    assert read_points("{}") == (nothing, NO_ANSWER, "", False)
    fields = read('{"action": "stop()"}', STEP_FORM).fields
    assert fields == {**dict.fromkeys(STEP), "action": "stop()"}
    for verifier, truth, text, message in (
        (POINTS, DEAL, f"{{{FORMULA[:-4]}", NOT_TEXT),
        (NAVIGATION, PLACE, f"{{{ACTION[:-4]}", NO_STEP),
    ):
        assert verifier.judge(text, truth).message == message  # cut off


# --- what must hold for any text ---------------------------------------------------------------------------

PIECES = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    ":",
    ",",
    "\\",
    "\\u0066",
    "\n",
    *(f'"{n}": ' for n in (*FIELDS, *STEP)),
]
TEXTS = st.text(max_size=200) | st.lists(
    st.sampled_from([*PIECES, CARDS, NUMBER, FORMULA, SEEN, SENTENCE, ACTION, json.dumps(ANSWER), "formula"]),
    max_size=30,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_any_text_is_judged(text):
    for verifier, truth in ((POINTS, DEAL), (VISION, DEAL), (NAVIGATION, PLACE)):
        verdict = verifier.judge(text, truth)
        assert verdict.message.isascii() and verdict.correct is (verdict.reward > 0)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_two_different_answers_are_never_paid(seed, navigation):
    """A right answer with another one in it or beside it, perhaps in a string, a list or an object."""
    rng = Random(seed)
    if navigation:
        verifier, truth, name = NAVIGATION, PLACE, "action"
        right, other = json.loads(STEPS), {"action": "stop()"}
    else:
        verifier, truth, name = POINTS, DEAL, "formula"
        right, other = json.loads(ANSWER), {"formula": "4+6+1+1=24"}
    second = mutations.pick(rng, (json.dumps(other), repr(other), json.dumps({"x": [other]})))
    second = second.replace(name, mutations.pick(rng, (name, f"{name[0]}\\u{ord(name[1]):04x}{name[2:]}")))
    for _ in range(int(rng.random() * 3)):
        second = mutations.pick(rng, (json.dumps(second), f"[{second}]", f'{{"y": {second}}}'))
    first = json.dumps(right)
    text = mutations.pick(
        rng,
        (
            f"{first} {second}",
            f"{second}\n{first}",
            f'{first[:-1]}, "x": {second}}}',
            f'{{"x": {second}, {first[1:]}',
            f'{first[:-1]}, "x": {json.dumps(second)}}}',
            f'{{"x": {json.dumps(second)}, {first[1:-1]},}}',
        ),
    )
    assert verifier.judge(first, truth).correct and not verifier.judge(text, truth).correct, text
