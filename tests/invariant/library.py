# ruff: noqa: F401 (what the goldens reach through this module)
"""All of the library that the goldens touch, imported in this one place: where a module moves, only this
file changes.

Everything is reached through the module it lives in (`lib.prompts.AGAIN`), so that a patched attribute is
what the goldens see.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import torch
from posttrain import config, evaluation, formulas, numerics, rollouts, store, tasks
from posttrain import policy as models
from posttrain.environments import cities, general_points, navigation, prompts, routes
from posttrain.foundation import corpus, directions, gates, pretraining, sights, tokenizer, training, vision
from posttrain.foundation.documents import documents
from posttrain.foundation.gates import numbers as _numbers  # noqa: F401 (gates.numbers)
from posttrain.foundation.gates import sights as _sights
from posttrain.foundation.training import schedule
from posttrain.policy import batching
from posttrain.policy import model as policy_model
from posttrain.rendering import Picture, cards, streets
from posttrain.trainers import arm, ppo, sft, work
from posttrain.verifiers import general_points as points_verifier
from posttrain.verifiers import navigation as navigation_verifier


def forget() -> None:
    """Empty the library's caches, which hold what a patch may change: before and behind a patch. What hands
    have for solutions stays: it is a third of all the time, and no patch touches arithmetic."""
    names = [name for name in sys.modules if name.startswith("posttrain") and name != "posttrain.formulas"]
    modules = [sys.modules[name] for name in names]
    classes = [thing for module in modules for thing in vars(module).values() if isinstance(thing, type)]
    for owner in [*modules, *(c for c in classes if c.__module__.startswith("posttrain"))]:
        for thing in list(vars(owner).values()):
            getattr(getattr(thing, "__func__", thing), "cache_clear", bool)()


# --- rollouts ---------------------------------------------------------------------------------------------


def roll(made, openings, judge, max_tokens, heat, noise, pictures, guesses):
    """`rollouts.roll` on lists of messages, pictures (or None) and guesses."""
    pictures = pictures or [None] * len(openings)
    begun = [rollouts.Opening(*one) for one in zip(openings, pictures, guesses)]
    return rollouts.roll(made, begun, judge, rollouts.Sampling(max_tokens, heat, noise))


def play(made, games, infos, max_tokens, heat, noise):
    return rollouts.play(made, games, infos, rollouts.Sampling(max_tokens, heat, noise))


# --- policies ---------------------------------------------------------------------------------------------


def policy(
    path: str, seed: int | None = 1, value: bool = False, fast: bool = True, bf16: bool = False, **lora
) -> models.Policy:
    """A policy with an adapter (rank 4). `seed`: its adapter and value head get weights from numpy's
    generator; None: as the library makes them.
    """
    made = models.load(path, bf16=bf16)
    made.fast = fast
    made = models.add_lora(made, models.LoraSettings(rank=4, alpha=8, **lora), seed=1, value=value)
    if seed is not None:
        rng = np.random.default_rng(np.random.SeedSequence([seed, 41]))
        parameters = [*made.trainable(), *(made.value_head.parameters() if value else [])]
        with torch.no_grad():
            for parameter in parameters:
                noise = 0.1 * rng.standard_normal(tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(noise.astype(np.float32)))
    return made


def weights(made: models.Policy) -> list[float]:
    """Norm of every trainable tensor of the adapter, and of the value head."""
    head = made.value_head.parameters() if made.value_head is not None else []
    return [float(p.detach().double().norm()) for p in [*made.trainable(), *head]]


# --- trainers ---------------------------------------------------------------------------------------------


def sft_log(made: models.Policy, data, config, folder: Path, on_step) -> list[dict]:
    """`sft.train`, and what the trainer logged of each step (loss, grad_norm, learning_rate)."""
    kept = []

    class Kept(sft._Trainer):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            kept.append(self)

    with mock.patch.object(sft, "_Trainer", Kept):
        sft.train(made, data, config, folder, seed=5, on_step=on_step)
    return [entry for entry in kept[0].state.log_history if "grad_norm" in entry]


# --- whole runs -------------------------------------------------------------------------------------------


def carry_out(model: str, settings: dict, root: Path) -> dict[str, SimpleNamespace]:
    """Every arm of one study with one seed, as `carry_out_run` gives it; `settings` are a study's, as in a
    profile.
    """
    content = {"model": model, "seeds": [3], "studies": {"golden": settings}}
    profile = config.check("golden", content, True, root=root)
    with mock.patch.object(work, "PLAYED", 8):  # games in which a model makes its errors: 256 take seconds
        return {run.arm: carry_out_run(run, profile) for run in profile.runs()}


_NORMS: dict[str, list[float]] = {}  # of each run of this process: two studies may share one


def carry_out_run(run, profile) -> SimpleNamespace:
    """What a run publishes (checkpoints, training, hands, dialogues), and the norms of its adapter and value
    head at the end.
    """
    save = models.Policy.save_adapter

    def kept(self, folder):
        _NORMS[folder.name.strip(".").partition(".")[0]] = weights(self)  # .<identity>.new
        save(self, folder)

    with mock.patch.object(models.Policy, "save_adapter", kept):
        arm.carry_out(profile, run)
    stored = store.read(profile, run)
    return SimpleNamespace(
        checkpoints=stored.checkpoints,
        training=stored.training,
        hands=stored.hands,
        dialogues=store.dialogues(profile, run),
        adapter=_NORMS[run.identity],
    )


@contextmanager
def one_thread():
    """Random state of torch is left as it was; one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            yield
    finally:
        torch.set_num_threads(threads)
