"""A study's run, carried out: Init, SFT or PPO on a task, evaluated at checkpoints of equal compute.

Paper: section 5 (protocol), appendix C.3 (compute). Both arms start from the same Init and stop when they have spent the same
`budget`, counted as measured: 6N for a trained token, 2N for a token the policy read or wrote while rolling out.
The state is saved at every checkpoint, so a killed run goes on from the last one and ends with the same tables.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from tqdm import tqdm

from posttrain import compute, runs
from posttrain import policy as models
from posttrain.evaluation import CensusConfig, census
from posttrain.policy import Chat
from posttrain.tasks import task


class _Progress:
    """One line a run: step, success, tokens/s, time left; silent when standard error is no terminal."""

    def __init__(self, run: runs.Run, total: float):
        self.bar = tqdm(
            total=round(total),
            desc=run.name,
            unit="GFLOP",
            disable=None if PartialState().is_main_process else True,
            mininterval=2.0,
        )

    def __call__(self, spent: float, **shown) -> None:
        self.bar.set_postfix({k: f"{v:.3g}" for k, v in shown.items()}, refresh=False)
        self.bar.update(max(0, round(spent) - self.bar.n))


class _Record:
    """Evaluates checkpoints and keeps the run's tables and clock."""

    def __init__(self, run: runs.Run, folder: Path):
        self.run, self.tables, self.main = run, runs.Tables(folder / "tables"), PartialState().is_main_process
        self.training: list[
            dict
        ] = []  # rows since the last checkpoint: a resumed run goes through these steps again
        self.census = CensusConfig(task=run.task, **_tuples(run.settings.get("census", {})))

    def put(self, name: str, step: int, rows: pd.DataFrame) -> None:
        if self.main:  # under `accelerate launch` every process trains, one writes
            self.tables.put(name, step, rows)

    def checkpoint(self, step: int, policy: models.Policy, tokens: dict[str, float]) -> None:
        if not self.main:
            return
        began = time.perf_counter()
        summary, hands = census(policy, self.census, seed=self.run.seed)
        summary = summary.assign(**tokens, evaluation_seconds=time.perf_counter() - began)
        if self.training:
            self.put("training", step, pd.DataFrame(self.training))
            self.training.clear()
        self.put("checkpoints", step, summary)
        self.put("hands", step, hands)

    def begin(self, policy: models.Policy, results: Path) -> None:
        """The checkpoint of step 0: what the parent's last one was, where the parent was judged by the same census."""
        nothing = {"trained_tokens": 0, "processed_tokens": 0, "gflops": 0.0, "gflops_published": 0.0}
        parent = self.run.parent
        if parent is None or parent.settings.get("census") != self.run.settings.get("census"):
            return self.checkpoint(0, policy, nothing)
        _, checkpoints, _, hands = runs.read(parent, results)
        last = checkpoints[checkpoints["step"] == checkpoints["step"].max()]
        # The parent's divergence was measured from its own start; from here on Init is the start.
        kl = last["kl"].where(last["kl"].isna(), 0.0)
        self.put("checkpoints", 0, last.drop(columns="step").assign(**nothing, kl=kl, evaluation_seconds=0.0))
        self.put("hands", 0, hands[hands["step"] == hands["step"].max()].drop(columns="step"))


def environment(run: runs.Run, **changes) -> gymnasium.Env:
    """The run's training environment; its profile's `environment` settings are the environment's arguments."""
    known = task(run.task)
    return known.environment(**{**known.training, **run.settings.get("environment", {}), **changes})


def starting_policy(run: runs.Run, results: Path, value: bool = False, device: str = "cpu") -> models.Policy:
    """The run's model with its parent's adapter merged in, and a fresh adapter."""
    bf16 = run.settings.get("bf16", False)
    # On a CPU bfloat16 speeds the products and the weights stay float32; on a GPU the weights are what fills the memory.
    policy = models.load(
        run.model,
        dtype=torch.bfloat16 if bf16 and device != "cpu" else torch.float32,
        device=device,
        bf16=bf16,
    )
    if run.parent is not None:
        policy = models.load_adapter(policy, Path(results) / run.parent.id / "adapter")
    return models.add_lora(
        policy, models.LoraSettings(**run.settings.get("lora", {})), seed=run.seed, value=value
    )


def carry_out(run: runs.Run, profile: runs.Profile, threads: int = 1, device: str = "cpu") -> Path:
    """Carry out `run` (or what is left of it) and publish its tables; returns their folder. Finished runs are left alone."""
    PartialState(
        cpu=device == "cpu"
    )  # the first call decides: without `cpu` accelerate sees no other process on a CPU
    folder = profile.results / run.id
    if (folder / "run.json").is_file():
        return folder
    if run.parent is not None:
        carry_out(run.parent, profile, threads, device)
    torch.set_num_threads(threads)
    state = profile.state / run.id
    state.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    clock = state / "seconds"
    before = float(clock.read_text()) if clock.is_file() else 0.0
    adapter = None
    record = _Record(run, state)

    def tick() -> float:
        seconds = before + time.perf_counter() - began
        if record.main:
            runs.write(clock, f"{seconds:.3f}")
        return seconds

    parameters = (_ppo if run.algorithm == "ppo" else _sft)(run, profile, state, record, tick, device)
    if run.algorithm == "init":
        adapter = state / "adapter"
    PartialState().wait_for_everyone()
    if record.main:
        runs.publish(
            run,
            profile.results,
            record.tables,
            {
                "seconds": round(tick(), 1),
                "parameters": parameters,
                "spent_gflops": float(record.tables.get("checkpoints")["gflops"].max()),
                **provenance(threads),
            },
            adapter,
        )
        shutil.rmtree(state)
    PartialState().wait_for_everyone()  # nobody looks for this run's adapter before it is there
    return folder


def _tuples(settings: dict) -> dict:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def provenance(threads: int) -> dict:
    import importlib.metadata

    return {
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("torch", "transformers", "trl", "peft", "accelerate", "numpy")
        },
        "python": platform.python_version(),
        "machine": _processor(),
        "threads": threads,
    }


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as lines:
            return (
                next(
                    (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
                    platform.machine(),
                )
                + f", {os.cpu_count()} cores"
            )
    return platform.machine()


def _spent(parameters: int, trained: float, processed: float) -> float:
    """GFLOP of an arm: 6N per trained token, 2N per token of its rollouts."""
    return compute.rl_flops(parameters, 0, trained, processed) / 1e9


def _sft(run, profile, state, record, tick, device) -> int:
    from posttrain.trainers import sft

    policy = starting_policy(run, profile.results, device=device)
    parameters = compute.model_parameters(policy.model)
    config = sft.SFTConfig(**run.settings.get("sft", {}))
    rng = np.random.default_rng(np.random.SeedSequence([run.seed, runs.ALGORITHMS.index(run.algorithm)]))
    budget = run.settings.get("budget")
    tokens = None if budget is None else budget * 1e9 / (6 * parameters)
    if run.settings.get("steps") == 0:
        raise ValueError(f"{run.name}: steps must be above 0")
    data, counts = sft.take(
        sft.examples(environment(run), Chat(policy.tokenizer, policy.processor), rng, config.shuffle),
        run.settings.get("steps"),
        tokens,
        config.batch_size,
    )
    marks = set(
        np.linspace(0, len(counts), run.settings.get("checkpoints", 8) + 1).round().astype(int).tolist()
    )
    progress = _Progress(run, _spent(parameters, counts[-1], 0))

    def evaluate(step: int) -> None:
        trained = counts[step - 1]
        record.checkpoint(
            step,
            policy,
            {
                "trained_tokens": trained,
                "processed_tokens": 0,
                "gflops": _spent(parameters, trained, 0),
                "gflops_published": compute.sft_flops(parameters, 0, trained) / 1e9,
            },
        )

    def on_step(step: int, logs: dict) -> bool:
        progress(_spent(parameters, counts[step - 1], 0), step=step, loss=logs["loss"])
        record.training.append({"iteration": step, "loss": logs["loss"], "tokens": counts[step - 1]})
        if step in marks:
            policy.model.eval()
            evaluate(step)
            policy.model.train()
            tick()
        return step in marks

    if 0 not in record.tables.steps("checkpoints"):
        record.begin(policy, profile.results)
    sft.train(policy, data, config, state / "trainer", run.seed, on_step)
    if record.main:
        policy.save_adapter(state / "adapter")
    return parameters


def _ppo(run, profile, state, record, tick, device) -> int:
    from posttrain.trainers import ppo

    policy = starting_policy(run, profile.results, value=True, device=device)
    parameters = compute.model_parameters(policy.model)
    config = ppo.PPOConfig(**run.settings.get("ppo", {}))
    trainer = ppo.PPO(policy, [environment(run) for _ in range(config.episodes)], config, seed=run.seed)
    saved = state / f"state-{trainer.processes.process_index}.pt"  # generators differ between processes
    if saved.is_file():
        trainer.load_state(torch.load(saved, weights_only=False))
    budget, count = run.settings["budget"], run.settings.get("checkpoints", 8)
    progress = _Progress(run, budget)

    def spent() -> float:
        return _spent(parameters, trainer.trained, trainer.processed)

    def evaluate() -> None:
        policy.model.eval()
        record.checkpoint(
            trainer.iteration,
            policy,
            {
                "trained_tokens": trainer.trained,
                "processed_tokens": trainer.processed,
                "gflops": spent(),
                "gflops_published": compute.rl_flops_published(parameters, 0, trainer.trained, run.task)
                / 1e9,
            },
        )
        _save(trainer.state(), saved)
        tick()

    if 0 not in record.tables.steps("checkpoints"):
        record.begin(policy, profile.results)
    reached = int(spent() / budget * count + 1e-9)
    while spent() < budget:
        metrics = trainer.iterate()
        record.training.append(metrics)
        progress(
            spent(),
            step=trainer.iteration,
            first_try=metrics["first_try"],
            within=metrics["within"],
            tokens_per_s=metrics["tokens"] / metrics["seconds"],
        )
        if int(spent() / budget * count) > reached or spent() >= budget:
            evaluate()
            reached = int(spent() / budget * count)
    if record.main:
        policy.save_adapter(state / "adapter")
    return parameters


def _save(state: dict, path: Path) -> None:
    partial = path.with_name(f".{path.name}")
    torch.save(state, partial)
    os.replace(partial, path)
