"""Prompts: what the dialogue says, and that its constant phrases cover every message."""

import json
import re

import pytest
from posttrain.environments import prompts
from posttrain.verifiers.general_points import Deal, GeneralPointsVerifier, Rule

HAND = Deal(("10", "7", "4", "5"), (10, 7, 4, 5))
FORMULAS = [
    "(7-5)*10+4",
    "10+7+4+5",
    "(7-10)/4*5",
    "(7-4)*10-6",
    "7*7*7*7",
    "(7-5)*10",
    "4+10*(7-5",
    "(7-5)(10)+4",
    "10+7+4+5)",
    "++7",
    "7 7",
    "",
    "07",
    "7/(5-5)*10*4",
    "x",
    "1" * 300,
    "(" * 50,
    "7=25",
]
REPLIES = [prompts.answer(HAND.ranks, HAND.numbers, text) for text in FORMULAS] + [
    "",
    '{"formula": 1}',
    '{"formula": "1"} {"formula": "2"}',
    "x" * 3000,
]


def test_only_the_rule_sentence_differs_between_rules():
    ten, eleven = prompts.task(HAND, "10"), prompts.task(HAND, "11/12/13")
    assert (
        ten != eleven
        and ten.replace(prompts.rule_sentence("10"), prompts.rule_sentence("11/12/13")) == eleven
    )
    assert ten.count(prompts.rule_sentence("10")) == 1
    assert prompts.task(HAND, Rule(5, 7, 9)) == prompts.task(HAND, {"J": 5, "Q": 7, "K": 9})


def test_the_task_names_target_and_cards_in_order():
    text = prompts.task(HAND._replace(target=36), "10")
    assert "value 36." in text and "[10, 7, 4, 5]" in text and "24" not in text


def test_an_answer_is_strict_json_in_the_papers_order():
    fields = json.loads(prompts.answer(HAND.ranks, HAND.numbers, "(7-5)*10+4"))
    assert list(fields.items()) == [
        ("cards", ["10", "7", "4", "5"]),
        ("number", [10, 7, 4, 5]),
        ("formula", "(7-5)*10+4=24"),
    ]
    assert prompts.answer(HAND.ranks, HAND.numbers, "10+7+4+5", 26).endswith('=26"}')


def test_dialogue_alternates_and_begins_with_the_task():
    messages = prompts.dialogue("task", [("first", "it leaves out 4"), ("second", "")])
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert [message["content"] for message in messages[::2]] == [
        "task",
        prompts.feedback("it leaves out 4"),
        prompts.feedback(""),
    ]
    assert [message["content"] for message in messages[1::2]] == ["first", "second"]
    assert prompts.dialogue("task") == [{"role": "user", "content": "task"}]


def test_feedback_without_a_reason_gives_none():
    assert "it leaves out 4" in prompts.feedback("it leaves out 4")
    assert ":" not in prompts.feedback("") and prompts.feedback("").endswith(prompts.AGAIN)


def _rest(text: str) -> str:
    """What is left of `text` without the constant phrases, longest first."""
    for phrase in sorted(prompts.phrases(), key=len, reverse=True):
        text = text.replace(phrase, "\0")
    return text.replace("\0", "")


@pytest.mark.parametrize("protocol", ["clean", "as_released"])
@pytest.mark.parametrize("feedback", ["informative", "verdict", "none"])
def test_phrases_cover_everything_that_is_said(protocol, feedback):
    verifier = GeneralPointsVerifier(protocol, feedback)
    said = [prompts.feedback(verifier.judge(reply, HAND).message) for reply in REPLIES]
    said += [
        prompts.feedback(GeneralPointsVerifier(protocol, feedback, vision=True).judge(reply, HAND).message)
        for reply in REPLIES
    ]
    said += [prompts.task(HAND, rule) for rule in ("10", "11/12/13")] + [
        prompts.answer(HAND.ranks, HAND.numbers, "8/(3-8/3)")
    ]
    for text in said:
        assert re.fullmatch(r"[0-9+\-*/()=]*", _rest(text)), text
    assert len(set(said)) > (10 if feedback == "informative" else 3)


def test_phrases_are_distinct():
    assert len(set(prompts.phrases())) == len(prompts.phrases()) and all(prompts.phrases())
