import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from posttrain import formulas
from posttrain.environments import prompts
from posttrain.environments.general_points import hands
from posttrain.foundation import tokenizer
from posttrain.verifiers.general_points import Deal, Rule

TOKENS = tokenizer.build()


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_survives(text):
    assert TOKENS.decode(TOKENS(text, add_special_tokens=False)["input_ids"]) == text


def test_phrases_are_single_tokens():
    for phrase in prompts.phrases():
        assert len(TOKENS(phrase)["input_ids"]) == 1, phrase


def test_prompts_and_answers_are_short():
    rule = Rule.parse("11/12/13")
    for hand in hands("11/12/13")[::50]:
        deal = Deal(hand, rule.numbers(hand))
        chat = TOKENS.apply_chat_template(
            prompts.dialogue(prompts.task(deal, rule)), tokenize=False, add_generation_prompt=True
        )
        assert len(TOKENS(chat)["input_ids"]) <= 25
        answers = [prompts.answer(hand, deal.numbers, f) for f in formulas.solve(list(deal.numbers))]
        assert max(len(TOKENS(a)["input_ids"]) for a in answers) <= 33


def test_unknown_roles_are_refused():
    with pytest.raises(Exception, match="roles user and assistant only"):
        TOKENS.apply_chat_template([{"role": "system", "content": "x"}], tokenize=False)
