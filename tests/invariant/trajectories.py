"""Golden trajectories: every task with every algorithm, from a tiny checkpoint through the whole of a run,
censuses and tables included.
"""

from __future__ import annotations

import tempfile
from functools import cache, partial
from pathlib import Path

from tests.invariant import checkpoints
from tests.invariant import library as lib
from tests.invariant.goldens import Golden, numbers, sha

CLOCKS = {"evaluation_seconds", "rollout_seconds", "seconds"}
SHARED = {"checkpoints": 2, "lora": {"rank": 4, "alpha": 8}}
POINTS = {
    **SHARED,
    "environment": {"rule": "10", "split": "train", "verify_steps": 3},
    "census": {
        "sets": ["id", "ood"],
        "revised": ["ood"],
        "limit": 2,
        "kl_hands": 2,
        "verify_steps": 2,
        "batch": 6,
    },
    "arms": {
        "init": {"algorithm": "init", "steps": 2, "checkpoints": 1, "sft": {"batch_size": 4}},
        "sft": {"algorithm": "sft", "start": "init", "steps": 4, "sft": {"batch_size": 4, "warmup": 0.5}},
        "ppo": {
            "algorithm": "ppo",
            "start": "init",
            "budget_gflop": 1.2,
            "ppo": {"episodes": 8, "minibatches": 2},
        },
    },
}
WALKS = {
    **SHARED,
    "environment": {"actions": "absolute", "split": "train", "verify_steps": 2},
    "census": {"sets": ["id"], "revised": ["id"], "limit": 1, "kl_hands": 4, "max_tokens": 32},
    "arms": {
        "init": {"algorithm": "init", "steps": 2, "checkpoints": 1, "sft": {"batch_size": 4, "shuffle": 8}},
        "sft": {
            "algorithm": "sft",
            "start": "init",
            "budget_gflop": 0.8,
            "sft": {"batch_size": 4, "shuffle": 8, "warmup": 0.5},
        },
        "ppo": {
            "algorithm": "ppo",
            "start": "init",
            "budget_gflop": 1.0,
            "ppo": {"episodes": 4, "minibatches": 2, "max_tokens": 32},
        },
    },
}


# What the second edition measures and how it trains: several draws, cases that every seed shares, fewer in
# between, the divergence both ways, what was said; doubling checkpoints, errors before demonstrations, a
# critic that learns alone first.
SECOND = {
    **SHARED,
    "checkpoints": 3,
    "spacing": "doubling",
    "environment": {"rule": "10", "split": "shown", "verify_steps": 2},
    "census": {
        "sets": ["id", "ood"],
        "revised": ["id"],
        "revising": ["sampled"],
        "cases_seed": 0,
        "limit": 3,
        "limit_others": 2,
        "limit_between": 1,
        "kl_hands": 1,
        "told": 1,
        "dialogues": 2,
        "draws": 4,
        "both_ways": True,
        "verify_steps": 2,
    },
    "arms": {
        "init": {"algorithm": "init", "steps": 2, "checkpoints": 1, "sft": {"batch_size": 4}},
        "sft": {"algorithm": "sft", "start": "init", "steps": 4, "sft": {"batch_size": 4, "errors": 1}},
        "ppo": {
            "algorithm": "ppo",
            "start": "init",
            "budget_gflop": 0.5,
            "ppo": {"episodes": 2, "minibatches": 1, "gamma": 0.0, "value_warmup": 1},
        },
    },
}


def _seeing(settings: dict, **environment) -> dict:
    lora = {**settings["lora"], "parts": "vision"}
    return {**settings, "lora": lora, "environment": {**settings["environment"], **environment}}


STUDIES = {
    "general-points": ("pocket", POINTS),
    "navigation": ("pocket", {"task": "navigation", **WALKS}),
    "general-points-vision": ("llava", {"task": "general-points-vision", **_seeing(POINTS, suits="black")}),
    "navigation-vision": ("llava", {"task": "navigation-vision", **_seeing(WALKS)}),
    "second": ("pocket", SECOND),
}
ALGORITHMS = ("init", "sft", "ppo")


@cache
def paths() -> dict[str, str]:
    """The tiny checkpoints' folders; there as long as the process."""
    folder = tempfile.TemporaryDirectory()
    _KEPT.append(folder)
    return checkpoints.build(Path(folder.name))


_KEPT: list = []


@cache
def carried_out(study: str) -> dict:
    """What the three arms of a study publish."""
    name, settings = STUDIES[study]
    with tempfile.TemporaryDirectory() as root, lib.one_thread():
        return lib.carry_out(paths()[name], settings, Path(root))


def _task(study: str) -> str:
    return STUDIES[study][1].get("task", "general-points")


def trajectory(study: str, algorithm: str) -> dict:
    """The tables of a run of a study, and what was said at its end where it keeps that."""
    done, arm = carried_out(study)[algorithm], STUDIES[study][1]["arms"][algorithm]
    own = algorithm == "ppo" or bool(arm["sft"].get("errors"))
    values = tables(done, sampled=own)
    if len(done.dialogues):
        values["here"]["said"] = sha(done.dialogues.astype(object).values.tolist())
    return values


def tables(done, sampled: bool) -> dict:
    """The tables of a run: counts and data exactly, losses by their drift, and what a trained policy says
    exactly on the recorded machine; `sampled`: it was trained on its own answers."""
    exact, here, floats, after = {}, {}, {}, {}
    table, training = done.checkpoints, done.training
    exact["columns"] = [" ".join(columns) for columns in (table, training, done.hands)]
    first = table[table["step"] == table["step"].min()]
    exact["sets"] = sha(list(zip(first["set"], first["decoding"], first["n"])))
    for step, hands in done.hands.groupby("step"):
        if step == done.hands["step"].min():
            exact["cases"] = sha(list(zip(hands["set"], hands["decoding"], hands["hand"])))
        outcomes = hands.drop(columns=["step", "hand", "set", "decoding"])
        here[f"outcomes {step}"] = sha(outcomes.round(4).values.tolist())
    counts = ["trained_tokens", "processed_tokens", "gflops", "gflops_published"]
    spent = {column: numbers(table.groupby("step")[column].first()) for column in counts}
    (here if sampled else exact)["spent"] = spent
    for column in table.columns.difference(["set", "decoding", "n", "step", *CLOCKS, *counts]):
        after[f"checkpoints {column}"] = numbers(table[column])
    for column in training.columns.difference(list(CLOCKS)):
        (after if sampled else floats)[f"training {column}"] = numbers(training[column])
    (after if sampled else floats)["adapter"] = numbers(done.adapter)
    return {"exact": exact, "floats": floats, "here": here, "after": after}


def parts(task: str, algorithm: str) -> tuple[str, ...]:
    """The parts that a run of this kind is made of."""
    own = task.removesuffix("-vision")
    trained = ("sft", "ppo") if algorithm == "ppo" else ("sft",)  # a PPO arm starts from Init
    return (own, *(("pictures",) if task != own else ()), "chat", "rollout", *trained, "census")


TRAJECTORIES = {
    f"{study}.{algorithm}": Golden(parts(_task(study), algorithm), partial(trajectory, study, algorithm))
    for study in STUDIES
    for algorithm in ALGORITHMS
}
