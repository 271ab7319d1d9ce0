import itertools
import json
import re

import numpy as np
import pytest
from posttrain import formulas
from posttrain.environments import prompts
from posttrain.foundation import corpus, tokenizer
from posttrain.foundation.documents import documents
from posttrain.verifiers.general_points import Deal, Rule

MIXTURES = (corpus.READING, corpus.MIXTURE)


def some(mixture, count=1500, seed=0):
    return list(itertools.islice(documents(np.random.default_rng(seed), mixture), count))


DOCUMENTS = [document for mixture in MIXTURES for document in some(mixture)]


def test_same_seed_same_documents():
    assert some(corpus.MIXTURE, 50) == some(corpus.MIXTURE, 50) != some(corpus.MIXTURE, 50, seed=1)


def test_shares_add_up():
    for mixture in MIXTURES:
        assert sum(mixture.values()) == pytest.approx(1)


def test_every_formula_makes_its_target():
    checked = 0
    for document in DOCUMENTS:
        for expression, target in re.findall(r"([0-9+\-*/()]+)=([0-9]+)", document.completion):
            assert formulas.evaluate(expression.lstrip("-")) == int(target), document
            checked += 1
    assert checked > 1000


def test_the_last_attempt_differs_from_the_failed_ones():
    revisions = [d for d in DOCUMENTS if d.kind == "chat revise"]
    assert len(revisions) > 50
    for document in revisions:
        assert document.completion not in document.prompt
        assert 1 <= document.prompt.count(prompts.FAILED.rstrip(": ")) <= 4


def test_json_completions_are_json():
    for document in DOCUMENTS:
        if document.completion.startswith('{"'):
            json.loads(document.completion)


def test_the_task_is_never_seen_as_a_whole():
    task = prompts.task(Deal(("J", "Q", "K", "A"), (10, 10, 10, 1)), "10")
    for document in DOCUMENTS:
        assert not any(phrase in document.prompt for phrase in prompts.TASK), task
        if document.completion.startswith('{"'):
            assert not {"cards", "formula"} <= set(json.loads(document.completion))


def test_every_token_of_an_answer_is_a_target_somewhere():
    tokens = tokenizer.build()
    learned = {token for document in DOCUMENTS for token in tokens(document.completion)["input_ids"]}
    answers = [
        prompts.answer(["A", "10", "J", "K"], [1, 10, 11, 13], "(1+10)*11/13-2"),
        prompts.answer(["2", "Q", "5", "7"], [2, 12, 5, 7], "2"),
    ]
    for text in answers:
        assert set(tokens(text)["input_ids"]) <= learned


def test_held_out_rules_are_never_drawn():
    rng = np.random.default_rng(0)
    drawn = {corpus.rule(rng) for _ in range(20_000)}
    assert not drawn & corpus.HELD_OUT_RULES
    assert {Rule(10, 10, 10), Rule(11, 12, 13)} < drawn


def test_24_is_no_favourite():
    targets = [
        target for d in some(corpus.MIXTURE, 4000) for target in re.findall(r"=([0-9]+)", d.completion)
    ]
    assert targets.count("24") / len(targets) < 0.04
