"""Protocol "as_released": the released code's rewards, messages and faults, kept to the letter."""

import hashlib
import json
from itertools import combinations_with_replacement
from random import Random

import pytest
from posttrain import formulas
from posttrain.verifiers import GeneralPointsVerifier, NavigationVerifier

from . import mutations
from .test_general_points import CLEAN, ELEVEN, HAND, RANKS, RELEASED, answer, deal_of
from .test_navigation import CROSSING, reply

DIGEST = "45f264fb6370b7abf94d3dc18561acdccb20cee7c1748f78f1fd2eba108aa0d2"

# --- GeneralPoints ------------------------------------------------------------------------------------------

# As in the demonstrations, which are no JSON.
SPELLED = '{{\n  "cards": {cards},\n  "number": [10, 7, 4, 5],\n  "formula": "{formula}=24",\n}}'


@pytest.mark.parametrize(
    ("formula", "reward"),
    [
        ("(7-5)*10+4", 5),
        ("(7-4)*10-6", -4),
        ("7*7*7*7", -4),
        ("(7-5)(10)+4", -6),
        ("", -2),
        ("10+7+4+5", -1),
        ("4+10*(7-5", 1),
        ("10+7+4+(5", -1),
        ("(7-5) * 10+4", -3),
        ("(7-5)x10+4", -3),
        ("7-5-10-4-4", -2),
        ("10/(5-5)", -4),
        ("++10", -8),
        ("10 7 4 5", -3),
    ],
)
@pytest.mark.parametrize("spelling", ["json", "demonstration"])
def test_released_rewards_add_up(formula, reward, spelling):
    text = (
        answer(HAND, formula)
        if spelling == "json"
        else SPELLED.format(cards="['10', '7', '4', '5']", formula=formula)
    )
    verdict = RELEASED.judge(text, HAND)
    assert (
        verdict.reward == reward
        and verdict.correct is (reward == 5)
        and bool(verdict.message) is (reward != 5)
    )


def test_released_messages_leak():
    assert RELEASED.judge(answer(HAND, "10+7+4+5"), HAND).message == "10 is the beginning of a solution"
    assert RELEASED.judge(answer(HAND, "7+10+4+5"), HAND).message == "the formula is no solution"
    assert (
        RELEASED.judge(answer(HAND, "4+10*(7-5"), HAND).message == "4+10*(7-5 is the beginning of a solution"
    )
    assert (
        RELEASED.judge(answer(HAND, "7*7*7*7"), HAND).message
        == "it uses too often 7 and it leaves out 4, 5, 10"
    )


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("{'formula': '(7-5)*10+4=24'}", -3),
        ('{"formula":"(7-5)*10+4=24",}', -3),
        ('{"formula":"(7-5)*10+4=24"}', 5),
        ('{"formula": null}', -3),
        ('{"formula": 24}', -3),
        ('"formula": "(7-5)*10+4"', 5),
        ('{"formula": "(7-5)*10+4=25"}', 5),
        ("[1]", -3),
        ("", -3),
        ("9" * 5000, -3),
        ('{"formula": "' + "9" * 5000 + '"}', -3),
    ],
)
def test_released_reads_json_or_the_demonstrations_spelling(text, reward):
    assert RELEASED.judge(text, HAND).reward == reward


@pytest.mark.parametrize(
    ("cards", "reward"),
    [
        ("['10', '7', '4', '5']", 5),
        ("['5', '4', '7', '10']", 5),
        ("['10', '7', '4', '4']", -1.5),
        ("[10, 7, 4, 5]", -1.5),
        ("[]", -1.5),
    ],
)
def test_released_recognition_needs_the_broken_spelling(cards, reward):
    verifier = GeneralPointsVerifier("as_released", vision=True)
    assert verifier.judge(SPELLED.format(cards=cards, formula="(7-5)*10+4"), HAND).reward == reward
    assert verifier.judge(answer(HAND, "(7-5)*10+4"), HAND).reward == -1.5, "valid JSON never passes"


def test_released_floats_refuse_right_answers():
    """3, 3, 8, 8 can never be won; in 45 solvable hands some right answer gets nothing, and no reason."""
    deal = deal_of(["3", "3", "8", "8"])
    verdict = RELEASED.judge(answer(deal, "8/(3-8/3)"), deal)
    assert (verdict.reward, verdict.message, verdict.correct, verdict.fake) == (0, "", False, False)
    assert CLEAN.judge(answer(deal, "8/(3-8/3)"), deal).correct
    hit, never = 0, []
    for ranks in combinations_with_replacement(RANKS, 4):
        deal = deal_of(ranks, ELEVEN)
        solutions = formulas.solve(list(deal.numbers))
        refused = [
            text for text in solutions if "/" in text and RELEASED.judge(answer(deal, text), deal).reward != 5
        ]
        hit += bool(refused)
        if solutions and refused == solutions:
            never.append(ranks)
    assert hit == 45 and never == [("3", "3", "8", "8")]


# --- navigation ---------------------------------------------------------------------------------------------


def test_the_released_verifier_does_not_know_the_intersections():
    """Who rightly saw one and then erred is told that there is none; who did not see it is not corrected."""
    released = NavigationVerifier("as_released")
    verdict = released.judge(reply("forward()"), CROSSING)
    assert (verdict.reward, verdict.message) == (-1.5, "there is no intersection here")
    verdict = released.judge(reply("forward()", "No landmarks nearby; "), CROSSING)
    assert (verdict.reward, verdict.outcome) == (-1, "wrong action")
    assert (
        released.judge(reply("fly()", "x"), CROSSING).outcome == "wrong action"
    )  # and it knows no list of actions


def test_the_released_reading():
    released = NavigationVerifier("as_released")
    assert released.judge(
        '{"current observation": "x", "action": "turn_direction(north)",}', CROSSING
    ).correct  # a trailing comma, as in its demonstrations
    assert not released.judge("{'action': 'turn_direction(north)'}", CROSSING).correct
    assert not released.judge(
        '{"action":"turn_direction(north)",}', CROSSING
    ).correct  # one blank after the colon, exactly
    assert not released.judge('["turn_direction(north)"]', CROSSING).correct
    # Where the JSON lacks the field, the pattern finds it anywhere, also inside a list.
    assert (
        released.judge('[{"action": "turn_direction(north)"}]', CROSSING).correct
        and released.judge('{"a": {"action": "turn_direction(north)"}}', CROSSING).correct
    )
    # Without any action the observation is judged all the same.
    assert released.judge('{"current observation": "You observe an intersection"}', CROSSING).reward == -1.5
    assert not released.judge('{"action": 3}', CROSSING).correct


def test_a_message_holds_no_lone_surrogate():
    """A tokenizer raises on one. A pair of them in JSON is one character, and stays."""
    released = NavigationVerifier("as_released")
    for action, told in (("\ud800", "?"), ("a\udfffb", "a?b"), ("\U0001f600", "\U0001f600")):
        for text in (reply(action, "x"), f'{{"action": "{action}", }}'):
            message = released.judge(text, CROSSING).message
            assert message == f"{told} is the wrong action here" and message.encode()


# --- both ---------------------------------------------------------------------------------------------------


def verdicts(points, navigation, count: int = 3000) -> str:
    """Digest of what is said of mutated answers: reward, message, and the flags that the protocol decides."""
    rng, said = Random(1), []
    for i in range(count):
        if i % 2:
            text, truth = mutations.points_reply(rng)
            verdict = points[i % 4 // 2].judge(text, truth)
            flags = [verdict.valid, verdict.fake]
        else:
            text, truth = mutations.navigation_reply(rng)
            verdict = navigation.judge(text, truth)
            flags = [verdict.strict, verdict.valid, verdict.follows_rule, verdict.recognized, verdict.fake]
        message = verdict.message.encode("utf-8", "replace").decode()
        said.append([verdict.reward, message, verdict.correct, verdict.outcome, *flags])
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def test_nothing_has_changed_since_version_0_6():
    """The digest was taken with the code of 0.6.0, whose one difference was a lone surrogate in a message."""
    points = [GeneralPointsVerifier("as_released", vision=vision) for vision in (False, True)]
    assert verdicts(points, NavigationVerifier("as_released")) == DIGEST
