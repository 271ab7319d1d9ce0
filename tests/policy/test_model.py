"""Gradient checkpointing: the same gradients although layers keep their inputs alone, and no dropout."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from posttrain import config, policy
from posttrain.environments.general_points import GeneralPointsEnv
from posttrain.policy.batching import padded
from posttrain.trainers import arm, sft
from transformers import LlamaForCausalLM

from tests.conftest import stir

TEXT, SEEING = ("pocket", "biased", "mllama"), ("llava", "mllama", "qwen2-vl", "idefics3")


def made(folder, again, **lora):
    """A policy on transformers' path, whose attention would drop half of what it sees if it were told to."""
    chosen = policy.load(folder, checkpointing=again)
    chosen.fast = False
    for module in chosen.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    chosen = policy.add_lora(chosen, policy.LoraSettings(rank=4, alpha=8, **lora), seed=1)
    stir(chosen)
    return chosen


def gradients(chosen, ids, **inputs):
    """Of a cross-entropy, one after the other, and how often a layer's inside of the decoder was computed."""
    inside = [layer.mlp for layer in chosen.base.get_decoder().layers]
    entered = []
    hooks = [one.register_forward_pre_hook(lambda *_: entered.append(1)) for one in inside]
    learned = (torch.arange(ids.shape[1]) >= ids.shape[1] - 9).expand(ids.shape)
    chosen.score(ids, learned, **inputs)[0].log_softmax(-1)[:, 7].mean().backward()
    for hook in hooks:
        hook.remove()
    return torch.cat([p.grad.flatten() for p in chosen.trainable() if p.grad is not None]), len(entered)


def alike(folder, *seen, **lora):
    ids, inputs = seen
    (plain, once), (again, twice) = (
        gradients(made(folder, how, **lora), ids, **inputs) for how in (False, True)
    )
    assert twice > once and plain.abs().max() > 1e-4
    assert (plain - again).abs().max() <= 1e-6 * plain.abs().max()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", TEXT)
def test_what_is_computed_again_has_the_same_gradient(checkpoints, name, full):
    ids = torch.randint(0, 300, (3, 40), generator=torch.Generator().manual_seed(0))
    alike(checkpoints[name], ids, {}, full=full)


@pytest.mark.parametrize("name", SEEING)
def test_with_pictures_too(seeing, name):
    posed = GeneralPointsEnv(rule="10", vision=True, suits="black", pixels=56)
    infos = [posed.reset(seed=seed)[1] for seed in range(2)]
    chat = policy.Chat(*policy.words(seeing[name]))
    openings, inputs = chat.openings([i["messages"] for i in infos], [i["picture"] for i in infos])
    alike(seeing[name], padded(openings, 0), inputs, parts="vision")


def test_training_goes_the_same_way(checkpoints, tmp_path):
    ended = []
    for again in (False, True):
        chosen = policy.add_lora(policy.load(checkpoints["biased"], checkpointing=again), seed=1)
        stream = sft.examples(
            GeneralPointsEnv(rule="10"), policy.Chat(chosen.tokenizer), np.random.default_rng(0)
        )
        data, _ = sft.take(stream, 2, None, 4)
        sft.train(chosen, data, sft.SFTConfig(batch_size=4, learning_rate=1e-2), tmp_path / str(again))
        ended.append(torch.cat([parameter.detach().flatten() for parameter in chosen.trainable()]))
        assert not any(module.training for module in chosen.model.modules())
    assert (ended[0] - ended[1]).abs().max() <= 1e-6


def test_a_run_asks_for_it_and_without_it_keeps_its_identity(checkpoints, tmp_path):
    def run(**said):
        study = {"arms": {"init": {"algorithm": "init", "steps": 8}}, **said}
        settings = {"seeds": [0], "model": checkpoints["pocket"], "studies": {"one": study}}
        profile = config.check("mine", settings, True, root=tmp_path)
        return profile, profile.run("one/init/0")

    plain, off, on = (run(**said)[1] for said in ({}, {"checkpointing": False}, {"checkpointing": True}))
    assert plain.identity == off.identity != on.identity and "checkpointing" not in plain.resolved()
    started = arm.start(*run(checkpointing=True))
    assert started.checkpointing and not started.is_fast
    assert all(layer.gradient_checkpointing for layer in started.base.model.layers)
    assert arm.start(*run()).is_fast
    parts = run(sft={"microbatch_tokens": 4096})[1], run(sft={"microbatch_tokens": 512})[1]
    assert plain.identity == parts[0].identity != parts[1].identity


def test_a_model_without_it_is_refused_before_anything_runs(checkpoints, monkeypatch, tmp_path):
    monkeypatch.setattr(LlamaForCausalLM, "supports_gradient_checkpointing", False)
    said = "has no layers that compute their inside again .*leave checkpointing"
    with pytest.raises(ValueError, match=said):
        policy.load(checkpoints["pocket"], checkpointing=True)
    for asked in (False, True):
        study = {"checkpointing": asked, "arms": {"init": {"algorithm": "init", "steps": 8}}}
        settings = {"seeds": [0], "model": checkpoints["pocket"], "studies": {"one": study}}
        profile = config.check("mine", settings, True, root=tmp_path)
        with pytest.raises(ValueError, match=said) if asked else nullcontext():
            arm.check(profile, profile.run("one/init/0"))
