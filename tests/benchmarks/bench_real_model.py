"""A real model of 135 million parameters on two threads: the fast path beside transformers' own.

Skipped where SmolLM2 was not made (`make book PROFILE=smollm` makes it).
"""

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
import torch
from posttrain import config, rollouts, tasks
from posttrain.environments.general_points import GeneralPointsEnv
from posttrain.policy import Chat, checkpoints
from posttrain.trainers import sft

MODEL, THREADS, DRAWS, TOKENS = config.ROOT / "build/models/smollm2-135m", 2, 4, 12


@pytest.fixture(scope="module")
def policy():
    if not MODEL.exists():
        pytest.skip("no SmolLM2 on this machine")
    torch.set_num_threads(THREADS)
    return checkpoints.add_lora(checkpoints.load(MODEL))


def side_by_side(policy, seconds) -> dict[bool, float]:
    """Seconds of `seconds(policy)` with the fast path and without, in turn."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2):
        fast = turn % 2 == 0
        times[fast].append(seconds(replace(policy, fast=fast)))
    return {fast: min(each) for fast, each in times.items()}


@pytest.mark.parametrize("task", ["general-points", "navigation"])
def bench_real_model_draws(policy, record, task):
    """Tokens a second of first answers, four draws of each question of a few cases."""
    known = tasks.TASKS[task].sets["id"]
    cases = known.cases(np.random.default_rng(0), 2 if task == "general-points" else 1)
    asked = [pair for case in cases for pair in known.questions(case) for _ in range(DRAWS)]

    def seconds(policy) -> float:
        sampling = rollouts.Sampling(TOKENS, 1.0, torch.Generator().manual_seed(0))
        with policy.merged():
            start = perf_counter()
            rollouts.play(policy, *zip(*asked), sampling)
            return perf_counter() - start

    times = side_by_side(policy, seconds)
    record(
        f"real-model-draws-{task}",
        answers_per_second=len(asked) / times[True],
        answers_per_second_transformers=len(asked) / times[False],
        ratio=times[False] / times[True],
        threads=THREADS,
    )


def bench_real_model_sft(policy, record, tmp_path):
    """Seconds of a step of SFT on eight demonstrations, in trl's trainer both times."""
    settings = sft.SFTConfig(batch_size=8)
    stream = sft.examples(GeneralPointsEnv(), Chat(policy.tokenizer), np.random.default_rng(0))
    data, _ = sft.take(stream, 3, None, settings.batch_size)

    def seconds(policy) -> float:
        marks: list[float] = []
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        sft.train(policy, data, settings, folder, on_step=lambda *_: marks.append(perf_counter()) or False)
        return min(b - a for a, b in zip(marks, marks[1:]))

    times = side_by_side(policy, seconds)
    record(
        "real-model-sft",
        seconds=times[True],
        seconds_transformers=times[False],
        ratio=times[False] / times[True],
        threads=THREADS,
    )
