"""Full tuning, the paper's: every weight moves, the start stays, and a run is resumed, saved and exported as
with LoRA."""

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from posttrain import config, policy, store
from posttrain.environments.general_points import GeneralPointsEnv
from posttrain.store import status
from posttrain.trainers import arm as arms
from posttrain.trainers import ppo, sft

from .test_arm import CLOCKS, SETTINGS
from .test_ppo import SMALL, changed, gradients, same, trainer

FULL = policy.LoraSettings(full=True)


def free(checkpoints, name, fast=True, **settings):
    """A policy whose every weight is trained, a little away from where it started."""
    made = policy.load(checkpoints[name])
    made.fast = fast
    made = policy.add_lora(made, policy.LoraSettings(full=True, **settings), seed=1, value=True)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in [*made.trainable(), *made.value_head.parameters()]:
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return made


def logits(made, ids=torch.arange(5, 30)[None]):
    return made.score(ids, torch.ones_like(ids, dtype=torch.bool))[0]


@pytest.mark.parametrize("name", ["pocket", "grouped", "biased", "mllama"])
def test_the_start_stays_and_comes_back(checkpoints, tmp_path, name):
    base, made = policy.load(checkpoints[name]), free(checkpoints, name)
    named = dict(made.model.named_parameters())
    trained = {n for n, p in named.items() if p.requires_grad}
    assert trained == {n for n in named if "vision" not in n and "projector" not in n} and len(trained) > 10
    with torch.no_grad():
        before, moved = logits(base), logits(made)
        with made.start():
            torch.testing.assert_close(logits(made), before)
        with made.merged():
            assert torch.equal(logits(made), moved)
        assert not torch.allclose(before, moved, atol=1e-2)
    assert {n for n, p in named.items() if p.requires_grad} == trained
    made.save_adapter(tmp_path / "kept")
    loaded = policy.load_adapter(base, tmp_path / "kept")
    assert loaded.trainable() == [] and not loaded.has_start
    assert torch.equal(logits(loaded), moved)
    other = policy.load(checkpoints["pocket" if name == "mllama" else "mllama"])
    with pytest.raises(ValueError, match="weights of another model"):
        policy.load_adapter(other, tmp_path / "kept")


def test_parts_are_named_by_structure(checkpoints, seeing):
    for folder in seeing.values():
        parts = policy.weights(policy.load(folder).model)
        for name, part in parts.items():
            bridge = any(word in name for word in ("projector", "merger", "connector"))
            sight = any(word in name for word in ("vision_", "visual."))
            inside = "projector" if bridge else "vision" if sight else "language"
            assert part == inside, name
        for last, wanted in zip(policy.PARTS, ({"language"}, {"language", "projector"}, set(policy.PARTS))):
            made = policy.add_lora(policy.load(folder), policy.LoraSettings(full=True, parts=last))
            assert {parts[n] for n, p in made.model.named_parameters() if p.requires_grad} == wanted
            assert all(p.requires_grad == (parts[n] in wanted) for n, p in made.model.named_parameters())


def test_both_paths_have_the_same_gradient(checkpoints):
    """The fast one folds norms and projections; in several parts, as a trainer does."""
    found = []
    ids = torch.tensor([[5, 9, 300, 2, 77, 120, 8, 41], [5, 9, 17, 3, 3, 260, 1, 0]])
    learned = torch.tensor([[False] * 3 + [True] * 5, [False] * 4 + [True] * 3 + [False]])
    for fast in (True, False):
        made = free(checkpoints, "pocket", fast)
        with made.accumulating():
            for rows in ([0, 1], [1], [0]):
                made.score(ids[rows], learned[rows])[0].log_softmax(-1)[:, 7].sum().backward()
        found.append(gradients(made))
    assert all(gradient is not None for name, gradient in found[1].items() if "model" in name)
    same(found[0], found[1], rtol=1e-3)


def test_the_kl_of_the_objective_is_to_a_frozen_copy(checkpoints):
    made = free(checkpoints, "biased")
    reference = copy.deepcopy(made.model)
    with made.start():
        reference.load_state_dict(made.model.state_dict())
    one = trainer(made, changed(SMALL, kl_coefficient=0.5, value_coefficient=0.0))
    batch = ppo.collate(one.rollout(), made.tokenizer.pad_token_id)
    one._estimate(batch).advantages.zero_()
    one.loss(batch, torch.arange(len(batch.ids)), 8.0)[0].backward()
    found = gradients(made)
    shown = batch.sampled[:, 1:]
    ours, theirs = (m(batch.ids).logits[:, :-1][shown].log_softmax(-1) for m in (made.model, reference))
    (0.5 * (ours.exp() * (ours - theirs.detach())).sum() / 8).backward()
    wanted, head = gradients(made), dict(made.value_head.named_parameters())
    same(*({n: g for n, g in one.items() if n not in head} for one in (found, wanted)), rtol=1e-3)


# --- whole runs ---------------------------------------------------------------------------------------------


def settings(**study):
    tiny = SETTINGS["studies"]["tiny"]
    said = {**tiny, "lora": {"full": True}, "sft": {**tiny["sft"], "learning_rate": 1e-3}, **study}
    said["arms"] = copy.deepcopy(tiny["arms"])
    said["arms"]["ppo"]["ppo"] |= {"learning_rate": 1e-3, "kl_coefficient": 0.01}
    said["census"] = {**tiny["census"], "both_ways": True}
    return {"seeds": [0], "studies": {"tiny": said}}


def profile(root, model):
    said = settings()
    for arm in ("sft", "ppo"):  # more steps than a cut lets pass
        said["studies"]["tiny"]["arms"][arm]["budget_gflop"] = 1.2 if "mllama" in model else 0.35
    return config.check("tiny", {"model": model, **said}, True, root=root)


@pytest.fixture(scope="module", params=["pocket", "mllama"])
def whole(request, tmp_path_factory, checkpoints):
    made = profile(tmp_path_factory.mktemp("whole"), checkpoints[request.param])
    for run in made.runs():
        arms.carry_out(made, run)
    return made


def test_a_study_moves_every_weight_and_measures_from_its_start(whole):
    assert status.verify(whole) == []
    base = dict(policy.load(whole.model).model.named_parameters())
    for arm in ("init", "sft", "ppo"):
        run = whole.run(f"tiny/{arm}/0")
        sampled = store.read(whole, run).checkpoints.query("decoding == 'sampled'").groupby("step")
        for name in ("kl", "kl_back"):
            kl = sampled[name].mean()
            assert kl.iloc[0] == pytest.approx(0, abs=1e-5) and kl.iloc[-1] > 1e-3, (arm, name)
        ended = policy.load(whole.model)
        for one in (*run.ancestors, run):
            ended = policy.load_adapter(ended, arms.adapter(whole, one))
        moved = {n for n, p in ended.model.named_parameters() if not torch.equal(p, base[n])}
        # Where no picture is shown, cross-attention is skipped and has no gradient.
        still = {n for n in base if "vision" in n or "projector" in n or "layers.1." in n}
        assert moved == set(base) - (still if "vision" in "".join(base) else set())


class Cut(Exception):
    pass


CUTS = {"sft": (sft._Trainer, "training_step", 8), "ppo": (ppo.PPO, "iterate", 6)}


@pytest.mark.parametrize("arm", CUTS)
def test_a_run_that_was_cut_off_ends_alike(whole, tmp_path, monkeypatch, arm):
    made = profile(tmp_path, whole.model)
    run, (owner, name, calls) = made.run(f"tiny/{arm}/0"), CUTS[arm]
    arms.carry_out(made, run.parent)
    real, count = getattr(owner, name), itertools.count(1)

    def cut(*given, **named):
        if next(count) == calls:
            raise Cut
        return real(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, cut)
        with pytest.raises(Cut):
            arms.carry_out(made, run)
    assert len(store.Tables(made.state / run.identity / "tables").steps("checkpoints")) > 1
    arms.carry_out(made, run)
    for got, wanted in zip(store.read(made, run)[1:4], store.read(whole, whole.run(run.name))[1:4]):
        pd.testing.assert_frame_equal(
            got.drop(columns=CLOCKS, errors="ignore"), wanted.drop(columns=CLOCKS, errors="ignore")
        )


def test_an_export_is_the_trained_model(whole, tmp_path):
    run = whole.run("tiny/ppo/0")
    with pytest.raises(ValueError, match="leave --adapter out"):
        arms.export(whole, run, tmp_path / "parts", only_adapter=True)
    arms.export(whole, run, tmp_path / "model")
    ended = policy.load(whole.model)
    for one in (*run.ancestors, run):
        ended = policy.load_adapter(ended, arms.adapter(whole, one))
    with torch.no_grad():
        assert torch.allclose(logits(policy.load(tmp_path / "model")), logits(ended), atol=1e-5)


def test_lora_may_stand_on_what_was_fully_tuned(tmp_path, checkpoints):
    said = settings()
    study = said["studies"]["tiny"]
    study["arms"] = {name: study["arms"][name] for name in ("init", "sft")}
    study["arms"]["sft"] |= {"lora": {"full": False, "rank": 4, "alpha": 8}, "budget_gflop": 0.05}
    made = config.check("tiny", {"model": checkpoints["pocket"], **said}, True, root=tmp_path)
    arms.carry_out(made, made.run("tiny/sft/0"))
    kept = {run.arm: {path.name for path in arms.adapter(made, run).iterdir()} for run in made.runs()}
    assert kept["init"] == {"weights.safetensors"} and "adapter_model.safetensors" in kept["sft"]


def test_it_is_part_of_an_identity_and_its_rank_is_not(checkpoints, tmp_path):
    def identity(lora):
        said = {"model": checkpoints["pocket"], **settings(lora=lora)}
        return config.check("tiny", said, True, root=tmp_path).run("tiny/sft/0").identity

    assert "full" not in policy.LoraSettings().resolved()
    assert identity({}) == identity({"full": False}) != identity({"full": True})
    assert identity({"full": True, "rank": 3, "alpha": 5}) == identity({"full": True})
    assert FULL.resolved() == {"parts": "language", "full": True}


def test_in_bfloat16_the_weights_stay_float32(checkpoints, tmp_path, monkeypatch):
    """bfloat16 has eight bits: a step of a thousandth of a weight would be rounded away."""
    made = config.check("tiny", {"model": checkpoints["pocket"], **settings(bf16=True)}, True, root=tmp_path)
    loaded, load = [], policy.load
    monkeypatch.setattr(arms, "check_device", lambda device: device)
    monkeypatch.setattr(policy, "load", lambda path, dtype, **more: loaded.append(dtype) or load(path, dtype))
    arms.start(made, made.run("tiny/init/0"), device="cuda")
    lora = config.check("tiny", {"model": made.model, **settings(bf16=True, lora={})}, True, root=tmp_path)
    arms.start(lora, lora.run("tiny/init/0"), device="cuda")
    assert loaded == [torch.float32, torch.bfloat16]
    chosen = policy.add_lora(load(made.model, bf16=True), FULL)
    posed, rng, losses = GeneralPointsEnv(rule="10"), np.random.default_rng(0), []
    data, _ = sft.take(sft.examples(posed, policy.Chat(chosen.tokenizer), rng), 4, None, 4)
    settled = sft.SFTConfig(batch_size=4, learning_rate=1e-3, warmup=0.0)
    sft.train(chosen, data, settled, tmp_path / "t", 0, lambda step, logs: losses.append(logs["loss"]))
    assert losses[-1] < losses[0] and {p.dtype for p in chosen.trainable()} == {torch.float32}


@pytest.mark.parametrize("name", ["llava", "mllama"])
def test_the_tower_is_tuned_too_where_pictures_are_shown(seeing, tmp_path, name):
    made = policy.add_lora(
        policy.load(seeing[name]), policy.LoraSettings(full=True, parts="vision"), value=True
    )
    before = {n: p.detach().clone() for n, p in made.model.named_parameters()}
    posed = [GeneralPointsEnv(rule="10", vision=True, suits="black", pixels=56) for _ in range(2)]
    one = ppo.PPO(made, posed, changed(SMALL, episodes=2, kl_coefficient=0.1, learning_rate=1e-2))
    assert one.iterate()["grad_norm"] > 0
    moved = {n for n, p in made.model.named_parameters() if not torch.equal(p, before[n])}
    parts = policy.weights(made.model)
    assert {parts[n] for n in moved} == set(policy.PARTS)
    assert all(torch.equal(copy_, before[n]) for (n, _), copy_ in zip(before.items(), made.origin))
