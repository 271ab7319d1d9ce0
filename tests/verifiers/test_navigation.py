"""The navigation verifier: rewards, messages, flags; any text is judged and none is executed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from posttrain.environments import navigation
from posttrain.verifiers.navigation import ACTIONS, NO_ANSWER, NOT_TEXT, NavigationVerifier, Place

CROSSING = Place(
    "turn_direction(north)", "turn_direction(left)", "absolute", "Blue Bakery is on your right", True, 2, 90
)
STREET = Place("forward()", "forward()", "relative", "No landmarks nearby", False, 1, 0)


def reply(
    action,
    seen="Blue Bakery is on your right; You observe an intersection",
    sentence="Turn left to face north.",
):
    return json.dumps({"current observation": seen, "current instruction": sentence, "action": action})


def test_the_expert_is_right_and_strict_everywhere():
    for place in (CROSSING, STREET):
        for protocol in ("clean", "as_released"):
            verdict = NavigationVerifier(protocol).judge(
                navigation.answer(place, "Turn left to face north."), place
            )
            assert (
                verdict.reward,
                verdict.correct,
                verdict.strict,
                verdict.valid,
                verdict.follows_rule,
                verdict.recognized,
                verdict.fake,
                verdict.message,
            ) == (1, True, True, True, True, True, False, "")


@pytest.mark.parametrize(
    "seen, recognized",
    [
        ("Blue Bakery is on your right; You observe an intersection", True),
        ("Blue Bakery is on your right; ", True),
        (" Blue Bakery is on your right", True),
        ("Blue Bakery is on your right behind; You observe an intersection", False),
        ("Blue Bakery is on your left; ", False),
        ("Bakery is on your right; ", False),
        ("; ", False),
    ],
)
def test_a_landmark_is_recognized_by_its_whole_name_and_bearing(seen, recognized):
    for protocol in ("clean", "as_released"):
        assert NavigationVerifier(protocol).judge(reply("forward()", seen), CROSSING).recognized == recognized


# reply, reward, outcome, message, valid, follows_rule, fake
CLEAN = {
    "another direction": (
        reply("turn_direction(south)"),
        -1,
        "wrong action",
        "turn_direction(south) is the wrong action here",
        True,
        True,
        False,
    ),
    "the other action space": (
        reply("turn_direction(left)"),
        -1,
        "no action",
        "that is none of the actions",
        True,
        False,
        True,
    ),
    "wrong in the other space too": (
        reply("turn_direction(right)"),
        -1,
        "no action",
        "that is none of the actions",
        True,
        False,
        False,
    ),
    "no intersection seen": (
        reply("forward()", "No landmarks nearby; "),
        -1.5,
        "wrong intersection",
        "there is an intersection here",
        True,
        True,
        False,
    ),
    "blanks in the action": (
        reply("turn_direction( north )"),
        -1,
        "no action",
        "that is none of the actions",
        False,
        False,
        False,
    ),
    "capitals": (
        reply("Turn_direction(north)"),
        -1,
        "no action",
        "that is none of the actions",
        False,
        False,
        False,
    ),
    "two actions": (
        reply("turn_direction(north); forward()"),
        -1,
        "no action",
        "that is none of the actions",
        False,
        False,
        False,
    ),
    "empty": ("", -1, "no answer", NO_ANSWER, False, False, False),
    "no json": ("turn_direction(north)", -1, "no answer", NO_ANSWER, False, False, False),
    "action missing": ('{"current observation": "x"}', -1, "no answer", NO_ANSWER, False, False, False),
    "action is a list": (
        '{"action": ["turn_direction(north)"]}',
        -1,
        "no answer",
        NOT_TEXT,
        False,
        False,
        False,
    ),
    "two answers": (
        reply("forward()") + reply("turn_direction(north)"),
        -1,
        "no answer",
        "the reply holds more than one answer",
        False,
        False,
        False,
    ),
    "a key twice": (
        '{"action": "forward()", "action": "turn_direction(north)"}',
        -1,
        "no answer",
        "the reply holds more than one answer",
        False,
        False,
        False,
    ),
    "one in the other": (
        '{"action": {"action": "turn_direction(north)"}}',
        -1,
        "no answer",
        "the reply holds more than one answer",
        False,
        False,
        False,
    ),
    "too long": (
        reply("turn_direction(north)", "x" * 3000),
        -1,
        "no answer",
        "the reply is too long",
        False,
        False,
        False,
    ),
    "deep": ("[" * 1900, -1, "no answer", NO_ANSWER, False, False, False),
}


@pytest.mark.parametrize("case", CLEAN)
def test_wrong_answers(case):
    text, reward, outcome, message, valid, follows, fake = CLEAN[case]
    verdict = NavigationVerifier().judge(text, CROSSING)
    assert (
        verdict.reward,
        verdict.outcome,
        verdict.message,
        verdict.valid,
        verdict.follows_rule,
        verdict.fake,
    ) == (reward, outcome, message, valid, follows, fake)
    assert not verdict.correct


def test_a_right_action_needs_nothing_else():
    for text, strict in (
        (reply("turn_direction(north)", "nonsense", ""), True),
        ("so: {'action': 'turn_direction(north)',}", False),
        ('{"action": "turn_direction(north)"}', False),
    ):
        verdict = NavigationVerifier().judge(text, CROSSING)
        assert verdict.correct and verdict.strict is strict


def test_seeing_an_intersection_where_there_is_none():
    verdict = NavigationVerifier().judge(reply("turn_direction(left)"), STREET)
    assert (verdict.reward, verdict.message) == (-1.5, "there is no intersection here")


@pytest.mark.parametrize(
    "feedback, message",
    [
        ("informative", "turn_direction(south) is the wrong action here"),
        ("verdict", "the answer is wrong"),
        ("none", ""),
    ],
)
def test_three_kinds_of_feedback(feedback, message):
    verifier = NavigationVerifier(feedback=feedback)
    assert (
        verifier.judge(reply("turn_direction(south)"), CROSSING).message == message
        and verifier.judge(reply("turn_direction(north)"), CROSSING).message == ""
    )


def test_unknown_settings():
    with pytest.raises(ValueError, match="unknown protocol 'x'"):
        NavigationVerifier("x")
    with pytest.raises(ValueError, match="unknown feedback 'x'"):
        NavigationVerifier(feedback="x")


def test_action_spaces_are_the_papers():
    assert (
        len(ACTIONS["absolute"]) == 10
        and len(ACTIONS["relative"]) == 6
        and "turn_direction(slightly left)" in ACTIONS["relative"]
    )


@given(
    st.text(max_size=300)
    | st.recursive(
        st.none() | st.text(max_size=20) | st.integers(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["action", "current observation", "current instruction", "x"]), x
            )
        ),
    ).map(json.dumps)
)
def test_any_text_is_judged(text):
    for protocol in ("clean", "as_released"):
        verdict = NavigationVerifier(protocol).judge(text, CROSSING)
        assert verdict.reward in (1, -1, -1.5) and verdict.correct == (verdict.reward == 1)
