"""A census of several draws: what is asked how often, what is averaged, which cases, the divergence back."""

import numpy as np
import pandas as pd
import pytest
import torch
from posttrain import tasks
from posttrain.config import CensusConfig
from posttrain.decoding import prefixes
from posttrain.decoding.fast import Fast
from posttrain.evaluation import _cases, _outcome, _pose, census, divergence
from posttrain.rollouts import Dialogue, Sampling, play
from posttrain.verifiers.navigation import FORWARD, STOP

CARDS = {"task": "general-points", "cases_seed": 0, "limit": 3, "max_tokens": 8, "batch": 64}
WALKS = {**CARDS, "task": "navigation", "limit": 1, "max_tokens": 4}  # long prompts, letter by letter


@pytest.mark.parametrize("settings", [CARDS, WALKS])
def test_so_many_dialogues_and_first_answers_are_asked_for(settings):
    said = CensusConfig(**settings, sets=("id",), revising=("sampled",), dialogues=2, draws=8)
    cases = {"id": _cases(said, "id", seed=5, between=False)}
    posed = _pose(said, cases)
    greedy = [one for one in posed if one.key[1] == "greedy"]
    assert len(greedy) == len(cases["id"]) and all(one.whole for one in greedy)
    assert {one.environment.verify_steps for one in greedy} == {1}
    whole = [one for one in posed if one.key[1] == "sampled" and one.whole]
    assert len(whole) == 2 * len(cases["id"])
    assert {one.environment.verify_steps for one in whole} == {5 if settings is CARDS else 2}
    firsts = [one for one in posed if not one.whole]
    turns = [
        place
        for one in greedy
        for place in getattr(one.environment, "places", [])
        if place.action not in (FORWARD, STOP)
    ]
    assert len(firsts) == 6 * (len(turns) if settings is WALKS else len(cases["id"]))
    if settings is WALKS:  # each question shows what one has to know at its point
        assert {one.info["place"] for one in firsts} == set(turns)
        assert all(one.info["messages"][-1]["content"].count("A_") >= 1 for one in firsts)


def test_one_draw_and_one_dialogue_is_what_it_was():
    said = CensusConfig(task="general-points", limit=3)
    posed = _pose(said, {name: _cases(said, name, 0, False) for name in said.sets})
    assert all(one.whole for one in posed) and len(posed) == 2 * 3 * len(said.sets)


def test_cases_are_the_same_for_every_run_and_fewer_between():
    said = CensusConfig(**{**CARDS, "limit": 50}, limit_between=20)
    whole = _cases(said, "id", seed=1, between=False)
    assert whole == _cases(said, "id", seed=2, between=False) and len(whole) == 50
    assert _cases(said, "id", seed=1, between=True) == whole[:20]
    own = said.model_copy(update={"cases_seed": None})
    assert _cases(own, "id", seed=1, between=False) != _cases(own, "id", seed=2, between=False)


class _Set:
    """Outcomes that are their games."""

    def outcome(self, game):
        return {"first_try": game[0], "within": game[1]}

    def first(self, game):
        return {"first_try": game[0]}


def test_first_answers_and_dialogues_are_averaged_apart():
    from posttrain.evaluation import Played

    one = _outcome(_Set(), Played([(True, True), (False, True)], [(True,), (False,), (False,), (False,)]))
    assert one == {"first_try": 2 / 6, "within": 1.0}
    assert _outcome(_Set(), Played([(True, False)], [])) == {"first_try": True, "within": False}


@pytest.mark.parametrize("task", ["general-points", "navigation"])
def test_a_census_of_draws(policy, task):
    settings = {**(CARDS if task == "general-points" else WALKS), "sets": ("id", "calibration")}
    settings["sets"] = settings["sets"] if task == "general-points" else ("calibration",)
    said = CensusConfig(
        **settings, revised=settings["sets"][:-1], revising=("sampled",), dialogues=2, draws=4, both_ways=True
    )
    model = policy("pocket")
    summary, hands = census(model, said, seed=0)
    if task == "general-points":
        pd.testing.assert_frame_equal(summary, census(model, said, seed=0)[0])
    sampled = summary[summary.decoding == "sampled"]
    assert (sampled.kl > 0).all() and (sampled.kl_back > 0).all() and sampled.kl.ne(sampled.kl_back).all()
    assert summary[summary.decoding == "greedy"].kl_back.isna().all()
    assert all(hands[name].dtype != object for name in hands.columns[1:-2])  # parquet wants one type
    column = "first_try" if task == "general-points" else "first_turns"
    assert ((hands[column] * 4) % 1 == 0).all() and len(hands) == 2 * len(said.sets) * said.limit


@pytest.mark.parametrize("task", ["general-points", "navigation"])
def test_a_question_that_is_asked_often_is_read_once(policy, task, monkeypatch):
    """The same answers as where each draw reads it for itself, in float32."""
    model, set_ = policy("pocket"), tasks.TASKS[task].sets["id"]
    case = set_.cases(np.random.default_rng(0), 2 if task == "general-points" else 1)
    asked = [pair for one in case for pair in set_.questions(one) for _ in range(6)]

    def answers() -> list[Dialogue]:
        generator = torch.Generator().manual_seed(3)
        sampling = Sampling(8, [0.0, 1.0, 1.0, 1.0, 1.0, 1.0] * (len(asked) // 6), generator)
        with model.merged():
            return [game[0] for game in play(model, *zip(*asked), sampling)]

    read = []
    real = Fast.extend
    monkeypatch.setattr(Fast, "extend", lambda *a: read.append(a[1].shape) or real(*a))
    once = answers()
    assert read[0][0] == len(asked) // 6  # rows: each question once, though it is asked six times
    alone = sum(rows * columns for rows, columns in read)
    read.clear()
    monkeypatch.setattr(prefixes, "PAYS", 10**9)
    each = answers()
    assert alone < sum(rows * columns for rows, columns in read)
    assert [d.ids for d in once] == [d.ids for d in each]
    for a, b in zip(once, each):
        assert np.allclose(a.logprobs, b.logprobs, atol=1e-4)


def test_the_divergence_back_is_the_other_direction(policy):
    model = policy("pocket")
    questions = [
        pair
        for case in tasks.TASKS["general-points"].sets["id"].cases(np.random.default_rng(0), 4)
        for pair in tasks.TASKS["general-points"].sets["id"].questions(case)
    ]
    with model.start():
        games = play(model, *zip(*questions), Sampling(8, 1.0, torch.Generator().manual_seed(0)))
    dialogues = [game[0] for game in games]
    total = 0.0
    for dialogue in dialogues:
        ids = torch.tensor([dialogue.ids])
        learned = torch.tensor([dialogue.sampled])
        ours = model.score(ids, learned)[0].log_softmax(-1)
        with model.start():
            theirs = model.score(ids, learned)[0].log_softmax(-1)
        total += float((theirs.exp() * (theirs - ours)).sum())
    assert np.isclose(divergence(model, dialogues, back=True), total / len(dialogues), rtol=1e-4)


def test_fewer_draws_than_dialogues_are_refused():
    with pytest.raises(ValueError, match="draws"):
        CensusConfig(dialogues=3, draws=2)


@pytest.mark.parametrize("task", ["general-points", "navigation"])
def test_what_was_said_is_told_as_it_was_said(policy, task):
    said = CensusConfig(
        **(CARDS if task == "general-points" else WALKS), sets=("id",), revising=("sampled",), told=2
    )
    told = []
    _, hands = census(policy("pocket"), said, seed=0, told=told)
    table = pd.DataFrame(told)
    assert list(table.hand.unique()) == hands[hands.decoding == "greedy"].hand.tolist()[:2]  # of one or three
    greedy, sampled = (table[table.decoding == name] for name in ("greedy", "sampled"))
    assert (greedy.answer == 1).all() and sampled.answer.max() == (5 if task == "general-points" else 2)
    assert (table.dialogue.max() == 1) == (task == "general-points")
    assert (
        table.text.map(type).eq(str).all() and not table.correct.any() and table.message.str.len().gt(0).all()
    )
