"""Supervised fine-tuning: what carries the loss, which answers are shown, and that a killed run ends where an
unbroken one does."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from posttrain import formulas
from posttrain.environments.general_points import GeneralPointsEnv
from posttrain.policy import Chat
from posttrain.trainers import sft

CONFIG = sft.SFTConfig(batch_size=4, learning_rate=3e-3, warmup=0.2)


def stream(tokenizer, seed=0, hands=None):
    return sft.examples(
        GeneralPointsEnv(rule="10", hands=hands), Chat(tokenizer), np.random.default_rng(seed)
    )


def adapter(policy):
    return {name: p.detach().clone() for name, p in policy.model.named_parameters() if p.requires_grad}


def test_expert_answers_are_correct_and_any_solution_is_shown(tokenizer):
    hand = ("2", "3", "4", "10")
    solutions = formulas.solve([2, 3, 4, 10], 24)
    assert len(solutions) > 2
    env = GeneralPointsEnv(rule="11/12/13", split="test")
    rng = np.random.default_rng(0)
    for i in range(50):
        _, info = env.reset(seed=i)
        verdict = env.verifier.judge(env.expert(rng), info["deal"])
        assert verdict.correct and verdict.strict and verdict.follows_rule
    shown = [
        tokenizer.decode(e.ids[-e.answer :])
        for e in itertools.islice(stream(tokenizer, hands=[hand]), 40 * len(solutions))
    ]
    counts = [sum(f'"formula": "{s}=24"' in text for text in shown) for s in solutions]
    assert (
        sum(counts) == len(shown) and min(counts) > 15 and max(counts) < 80
    )  # uniform: 40 each, six deviations either way


def test_examples_are_the_dialogues_of_the_environment(tokenizer):
    env, rng = GeneralPointsEnv(rule="10"), np.random.default_rng(0)
    dealt = []
    reset = env.reset

    def watched(**kwargs):
        task, info = reset(**kwargs)
        dealt.append(info)
        return task, info

    env.reset = watched
    for example in itertools.islice(sft.examples(env, Chat(tokenizer), rng), 5):
        chat, info = Chat(tokenizer), dealt[-1]
        assert (
            example.ids[: -example.answer] == chat.opening(info["messages"])
            and example.ids[-1] == tokenizer.eos_token_id
        )
        assert env.verifier.judge(tokenizer.decode(example.ids[-example.answer : -1]), info["deal"]).correct
    assert len({info["deal"].ranks for info in dealt}) > 3


def test_errors_are_the_models_own_and_stand_before_an_experts_answer(policy, tokenizer, monkeypatch):
    env, policy = [GeneralPointsEnv(rule="10", verify_steps=4) for _ in range(8)], policy("pocket")
    chat, rng, errors = Chat(tokenizer), np.random.default_rng(0), []
    before = adapter(policy)
    played, play = [], sft.play
    monkeypatch.setattr(sft, "play", lambda *given: played.extend(games := play(*given)) or games)
    for example in itertools.islice(sft.with_errors(policy, env, chat, rng, 3), 64):
        prompt, answer = example.ids[: -example.answer], tokenizer.decode(example.ids[-example.answer : -1])
        assert example.ids[-1] == chat.end and "=24" in answer
        (dialogue,) = played[len(errors)]
        errors.append([dialogue.ids[: ask + 1] for ask in dialogue.ask].index(prompt))
        assert not any(verdict.correct for verdict in dialogue.verdicts[: errors[-1]])
    assert set(errors) == {0, 1, 2, 3}  # a model that was not trained is never right
    assert min(errors.count(n) for n in range(4)) > 5
    assert all(torch.equal(value, before[name]) for name, value in adapter(policy).items())


def test_take_by_steps_and_by_budget(tokenizer):
    data, counts = sft.take(stream(tokenizer), 3, None, 4)
    assert len(data.rows) == 12 and len(counts) == 3
    lengths = [len(ids) for ids in data.rows["input_ids"]]
    assert counts == [sum(lengths[: 4 * (k + 1)]) for k in range(3)]
    for budget, batches in ((1, 1), (counts[0], 1), (counts[0] + 1, 2), (counts[2], 3)):
        bought, spent = sft.take(stream(tokenizer), None, budget, 4)
        assert (
            spent == counts[:batches] and bought.rows["input_ids"] == data.rows["input_ids"][: 4 * batches]
        )  # a longer budget begins alike
    assert sft.take(stream(tokenizer), 2, counts[2], 4)[1] == counts[:2]
    assert data.rows["input_ids"] != sft.take(stream(tokenizer, seed=1), 3, None, 4)[0].rows["input_ids"]
    for ids, labels in zip(data.rows["input_ids"], data.rows["labels"]):
        answer = [t for t in labels if t != -100]
        assert labels == [-100] * (len(ids) - len(answer)) + answer and ids[-len(answer) :] == answer
        assert tokenizer.decode(answer).startswith('{"cards"') and answer[-1] == tokenizer.eos_token_id
    with pytest.raises(ValueError, match="steps or a budget"):
        sft.take(stream(tokenizer), None, None, 4)


@pytest.mark.parametrize("name", ["pocket", "grouped", "biased", "mllama"])
def test_the_loss_is_the_mean_cross_entropy_of_the_answers_in_order(policy, tmp_path, name):
    """At learning rate 0 every step's loss must be transformers' own loss of that step's batch, row by row,
    unpadded."""
    chosen = policy(name)
    data, _ = sft.take(stream(chosen.tokenizer), 3, None, 4)
    losses = []
    sft.train(
        chosen,
        data,
        sft.SFTConfig(batch_size=4, learning_rate=0.0),
        tmp_path,
        on_step=lambda step, logs: losses.append(logs["loss"]),
    )
    expected = []
    for k in range(3):
        parts = []
        for row in range(4 * k, 4 * k + 4):
            ids, labels = (
                torch.tensor([data.rows["input_ids"][row]]),
                torch.tensor([data.rows["labels"][row]]),
            )
            with torch.no_grad():
                logits = chosen.model(input_ids=ids).logits[0, :-1]
            parts.append(
                torch.nn.functional.cross_entropy(logits, labels[0, 1:], ignore_index=-100, reduction="none")[
                    labels[0, 1:] != -100
                ]
            )
        expected.append(torch.cat(parts).mean().item())
    assert losses == pytest.approx(expected, abs=2e-5) and len(set(losses)) == 3


@pytest.mark.parametrize("name", ["pocket", "biased", "mllama"])
def test_a_batch_in_parts_has_the_same_gradient(policy, tmp_path, monkeypatch, name):
    chosen, found, scored = policy(name), [], []
    score = type(chosen).score
    monkeypatch.setattr(
        sft,
        "average_gradients",
        lambda trained: found.append(torch.cat([p.grad.flatten() for p in trained if p.grad is not None])),
    )
    monkeypatch.setattr(
        type(chosen),
        "score",
        lambda self, ids, *seen, **more: scored.append(len(ids)) or score(self, ids, *seen, **more),
    )
    data, (tokens,) = sft.take(stream(chosen.tokenizer), 1, None, 6)
    for at_once in (4096, tokens // 2, 1):
        how = sft.SFTConfig(batch_size=6, learning_rate=0.0, microbatch_tokens=at_once)
        sft.train(chosen, data, how, tmp_path / str(at_once))
    assert scored[0] == 6 and len(scored) > 8 and scored[-6:] == [1] * 6
    for parts in found[1:]:
        assert (parts - found[0]).abs().max() <= 1e-6 * found[0].abs().max()


def test_training_lowers_the_loss_and_changes_the_adapter_only(policy, tmp_path):
    chosen = policy(stirred=False)
    frozen = {name: p.detach().clone() for name, p in chosen.model.named_parameters() if not p.requires_grad}
    data, _ = sft.take(stream(chosen.tokenizer), 20, None, 4)
    losses = []
    sft.train(
        chosen,
        data,
        sft.SFTConfig(batch_size=4, learning_rate=2e-2),
        tmp_path,
        on_step=lambda step, logs: losses.append(logs["loss"]),
    )
    assert len(losses) == 20 and np.mean(losses[-4:]) < 0.8 * losses[0]
    assert all(torch.equal(p, frozen[name]) for name, p in chosen.model.named_parameters() if name in frozen)
    assert not chosen.model.training and all(
        p.grad is None or p.requires_grad for p in chosen.model.parameters()
    )


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "killed_at", [3, 4, 6]
)  # before and in the step after a save, and when all is done but publishing
def test_killed_and_resumed_equals_uninterrupted(policy, tmp_path, killed_at):
    data, _ = sft.take(stream(policy().tokenizer), 6, None, 4)

    def train(folder, kill=None):
        chosen, losses = policy(stirred=False), {}

        def on_step(step, logs):
            losses[step] = logs["loss"]
            if step == kill and step != 6:
                raise Killed
            return step in (2, 4, 6)

        sft.train(chosen, data, CONFIG, folder, seed=3, on_step=on_step)
        return adapter(chosen), losses

    whole, losses = train(tmp_path / "whole")
    broken = tmp_path / "broken"
    if killed_at == 6:
        train(broken)
    else:
        with pytest.raises(Killed):
            train(broken, killed_at)
    # What a kill in the middle of saving leaves: a later checkpoint, without its mark and with half a file.
    half = broken / "checkpoint-5"
    shutil.copytree(sft.last_checkpoint(broken), half)
    (half / "complete").unlink()
    (half / "optimizer.pt").write_bytes(b"half")
    assert Path(sft.last_checkpoint(broken)).name == f"checkpoint-{ {3: 2, 4: 2, 6: 6}[killed_at] }"
    resumed, later = train(broken)
    assert sorted(later) == list(range({3: 3, 4: 3, 6: 7}[killed_at], 7))
    assert all(losses[step] == loss for step, loss in later.items())
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_last_checkpoint_is_the_newest_whole_one(tmp_path):
    assert sft.last_checkpoint(tmp_path) is None and sft.last_checkpoint(tmp_path / "nowhere") is None
    for step, whole in ((9, True), (10, True), (11, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "complete").touch()
    assert Path(sft.last_checkpoint(tmp_path)).name == "checkpoint-10"


def test_no_examples_is_an_error(policy, tmp_path):
    with pytest.raises(ValueError, match="no examples"):
        sft.train(
            policy(),
            sft.Demonstrations(sft.datasets.Dataset.from_dict({"input_ids": [], "labels": []}), []),
            CONFIG,
            tmp_path,
        )
