"""An arm with one seed, carried out: Init, SFT or PPO on a task, evaluated at checkpoints of equal compute.

Paper: section 5 (protocol), appendix C.3 (compute). Both arms start from the same Init and stop when they
have spent the same budget, counted as measured: 6N for a trained token, 2N for a token the policy read or
wrote while rolling out. The state is saved at every checkpoint, so a killed run goes on from the last one and
ends with the same tables. What a run leaves is its tables; its adapter is kept under build/ and made again
where it is missing: training is deterministic, and what comes out is compared with the tables.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
import torch
from accelerate import PartialState

from posttrain import compute, policy, store
from posttrain.config import ALGORITHMS, Profile, Run
from posttrain.evaluation import census
from posttrain.policy import Chat, Policy
from posttrain.progress import Progress
from posttrain.tasks import task
from posttrain.trainers import ppo, sft

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "numpy")
# Of a loss, relative: how far an Init that is made again may be from the published one (another processor
# rounds elsewhere).
SAME = 0.02


def environment(run: Run, **changes) -> gymnasium.Env:
    """The run's training environment; its profile's `environment` settings are the environment's
    arguments."""
    known = task(run.task)
    return known.environment(**{**known.training, **run.settings.environment.arguments(), **changes})


def check_device(device: str) -> str:
    """`device`, or a ValueError that says what there is."""
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}: use cpu, cuda or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(kind):
        usable = ", ".join(name for name, is_there in there.items() if is_there)
        raise ValueError(f"device {device}: this machine has none; use {usable}")
    return device


def carry_out(profile: Profile, run: Run, threads: int = 1, device: str = "cpu") -> Path:
    """Carry out `run` (or what is left of it) and publish its tables; returns their folder. A finished run is
    left alone."""
    with _alone(profile, run.name, device):
        if folder := store.find(profile, run):
            return folder
        state = profile.state / run.identity
        work = _Work(profile, run, state, threads, device)
        work.train()
        if work.main:
            facts = {
                "seconds": round(work.tick(), 1),
                "parameters": work.parameters,
                "spent_gflops": work.spent_gflops,
            }
            store.publish(profile, run, work.tables, {**facts, **provenance(threads, device)})
            shutil.rmtree(state)
        PartialState().wait_for_everyone()  # nobody looks for this run before it is there
        return store.home(profile, run)


def adapter(profile: Profile, run: Run, threads: int = 1, device: str = "cpu") -> Path:
    """The folder of a finished run's adapter: kept, or made again by the same training without its
    evaluations.

    StoreError where what was made again is not what the run's tables tell.
    """
    kept = [root / "build" / "adapters" / run.identity for root in store.roots(profile)]
    with _alone(profile, f"adapter of {run.name}", device):
        for folder in kept:
            if (folder / "adapter_model.safetensors").is_file():
                return folder
        state = profile.state / f"{run.identity}-again"
        work = _Work(profile, run, state, threads, device, judged=False)
        work.train()
        if work.main:
            _compare(store.read(profile, run).training, work.tables.get("training"), run)
            shutil.rmtree(state)
        PartialState().wait_for_everyone()
        return kept[0]


def _compare(published: pd.DataFrame, again: pd.DataFrame, run: Run) -> None:
    column = "loss" if "loss" in published else "policy_loss"
    if len(published) != len(again) or (published["tokens"] != again["tokens"]).any():
        raise store.StoreError(
            f"{run.name}: made again it read other tokens than the published run: see `posttrain plan`"
        )
    drift = (published[column] - again[column]).abs().max() / published[column].abs().max()
    if column == "loss" and drift > SAME:
        raise store.StoreError(
            f"{run.name}: made again its loss is off by {drift:.1%}; published runs cannot start from it"
        )
    if drift > 1e-4:
        print(
            f"{run.name}: made again; its {column} is off by at most {drift:.2%} of the published one",
            file=sys.stderr,
        )


def start(profile: Profile, run: Run, value: bool = False, threads: int = 1, device: str = "cpu") -> Policy:
    """The run's model with its parent's adapter merged in, and a fresh adapter."""
    bf16 = run.settings.bf16
    # On a CPU bfloat16 speeds the products and the weights stay float32; on a GPU the weights are what
    # fills the memory.
    dtype = torch.bfloat16 if bf16 and device != "cpu" else torch.float32
    model = policy.load(store.model_path(profile, run), dtype=dtype, device=device, bf16=bf16)
    if run.parent is not None:
        model = policy.load_adapter(model, adapter(profile, run.parent, threads, device))
    return policy.add_lora(model, run.settings.lora, seed=run.seed, value=value)


def provenance(threads: int, device: str) -> dict:
    """Where and with what a run was made: information, no part of its identity."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    where = {
        "machine": _processor(),
        "device": device,
        "threads": threads,
        "python": platform.python_version(),
    }
    return {"packages": packages, **where, "commit": store.commit()}


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as lines:
            names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
            return f"{next(names, platform.machine())}, {os.cpu_count()} cores"
    return platform.machine()


@contextmanager
def _alone(profile: Profile, name: str, device: str) -> Iterator[None]:
    """One program at a time makes `name`; under `accelerate launch` its first process holds the lock for
    all."""
    processes = PartialState(
        cpu=device == "cpu"
    )  # the first call decides: without `cpu` it sees no other process on a CPU
    if processes.is_main_process:
        with store.locked(profile.root, name):
            processes.wait_for_everyone()
            yield
    else:
        processes.wait_for_everyone()
        yield


def _spent(parameters: int, trained: float, processed: float) -> float:
    """GFLOP of an arm: 6N a trained token, 2N a token of its rollouts."""
    return compute.rl_flops(parameters, 0, trained, processed) / 1e9


class _Work:
    """One run while it goes on: its policy, the tables and the clock under `state`, its checkpoints."""

    def __init__(
        self, profile: Profile, run: Run, state: Path, threads: int, device: str, judged: bool = True
    ):
        check_device(device)
        if run.parent is not None and judged:
            carry_out(profile, run.parent, threads, device)
        torch.set_num_threads(threads)
        state.mkdir(parents=True, exist_ok=True)
        self.profile, self.run, self.state, self.judged, self.device = profile, run, state, judged, device
        self.main, self.tables = PartialState().is_main_process, store.Tables(state / "tables")
        self.training: list[
            dict
        ] = []  # rows since the last checkpoint: a resumed run goes through these steps again
        self.clock, self.began = state / "seconds", time.perf_counter()
        self.before = float(self.clock.read_text()) if self.clock.is_file() else 0.0
        self.policy = start(profile, run, run.algorithm == "ppo", threads, device)
        self.parameters = compute.model_parameters(self.policy.model)

    def tick(self) -> float:
        """Seconds of this run, of earlier processes too."""
        seconds = self.before + time.perf_counter() - self.began
        if self.main:
            store.write(self.clock, f"{seconds:.3f}")
        return seconds

    @property
    def spent_gflops(self) -> float:
        return float(self.tables.get("checkpoints")["gflops"].max())

    def train(self) -> None:
        if self.judged and 0 not in self.tables.steps("checkpoints"):
            self.begin()
        (self._ppo if self.run.algorithm == "ppo" else self._sft)()
        if self.main:
            folder = self.profile.root / "build" / "adapters" / self.run.identity
            partial = folder.with_name(f".{folder.name}")
            shutil.rmtree(partial, ignore_errors=True)
            self.policy.save_adapter(partial)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)

    # --- checkpoints ----------------------------------------------------------------------------------------

    def put(self, name: str, step: int, rows: pd.DataFrame) -> None:
        if self.main:  # under `accelerate launch` every process trains, one writes
            self.tables.put(name, step, rows)

    def checkpoint(self, step: int, tokens: dict[str, float]) -> None:
        if self.main and self.training:
            self.put("training", step, pd.DataFrame(self.training))
            self.training.clear()
        if self.main and self.judged:
            began = time.perf_counter()
            summary, hands = census(self.policy, self.run.settings.census, seed=self.run.seed)
            self.put(
                "checkpoints", step, summary.assign(**tokens, evaluation_seconds=time.perf_counter() - began)
            )
            self.put("hands", step, hands)

    def begin(self) -> None:
        """The checkpoint of step 0: what the parent's last one was, where the parent was judged by the same
        census."""
        nothing = {"trained_tokens": 0, "processed_tokens": 0, "gflops": 0.0, "gflops_published": 0.0}
        parent = self.run.parent
        if parent is None or parent.settings.census != self.run.settings.census:
            return self.checkpoint(0, nothing)
        stored = store.read(self.profile, parent)
        last = stored.checkpoints[stored.checkpoints["step"] == stored.checkpoints["step"].max()]
        # The parent's divergence was measured from its own start; from here on Init is the start.
        kl = last["kl"].where(last["kl"].isna(), 0.0)
        self.put("checkpoints", 0, last.drop(columns="step").assign(**nothing, kl=kl, evaluation_seconds=0.0))
        self.put(
            "hands", 0, stored.hands[stored.hands["step"] == stored.hands["step"].max()].drop(columns="step")
        )

    # --- the two trainers -----------------------------------------------------------------------------------

    def _sft(self) -> None:
        settings, config = self.run.settings, self.run.settings.sft
        rng = np.random.default_rng(
            np.random.SeedSequence([self.run.seed, ALGORITHMS.index(self.run.algorithm)])
        )
        budget = settings.budget_gflop
        tokens = None if budget is None else budget * 1e9 / (6 * self.parameters)
        chat = Chat(self.policy.tokenizer, self.policy.processor)
        stream = sft.examples(environment(self.run), chat, rng, config.shuffle)
        data, counts = sft.take(stream, settings.steps, tokens, config.batch_size)
        marks = set(np.linspace(0, len(counts), settings.checkpoints + 1).round().astype(int).tolist())
        progress = Progress(_spent(self.parameters, counts[-1], 0), "GFLOP", self.run.name)

        def on_step(step: int, logs: dict) -> bool:
            trained = counts[step - 1]
            spent = _spent(self.parameters, trained, 0)
            progress.update(spent, loss=logs["loss"])
            self.training.append({"iteration": step, "loss": logs["loss"], "tokens": trained})
            if step in marks:
                self.policy.model.eval()
                published = compute.sft_flops(self.parameters, 0, trained) / 1e9
                self.checkpoint(
                    step,
                    {
                        "trained_tokens": trained,
                        "processed_tokens": 0,
                        "gflops": spent,
                        "gflops_published": published,
                    },
                )
                self.policy.model.train()
                self.tick()
            return step in marks

        sft.train(self.policy, data, config, self.state / "trainer", self.run.seed, on_step)

    def _ppo(self) -> None:
        settings = self.run.settings
        environments = [environment(self.run) for _ in range(settings.ppo.episodes)]
        trainer = ppo.PPO(self.policy, environments, settings.ppo, seed=self.run.seed)
        saved = (
            self.state / f"state-{trainer.processes.process_index}.pt"
        )  # generators differ between processes
        if saved.is_file():
            trainer.load_state(torch.load(saved, weights_only=True))
        budget = settings.budget_gflop
        progress = Progress(budget, "GFLOP", self.run.name)

        def spent() -> float:
            return _spent(self.parameters, trainer.trained, trainer.processed)

        def passed() -> int:
            """How many of the equally spaced checkpoints are behind."""
            return math.floor(spent() / budget * settings.checkpoints)

        reached = passed()
        while spent() < budget:
            metrics = trainer.iterate()
            self.training.append(metrics)
            speed = metrics["tokens"] / metrics["seconds"]
            progress.update(
                spent(), first_try=metrics["first_try"], within=metrics["within"], tokens_per_s=speed
            )
            if passed() > reached or spent() >= budget:
                self.policy.model.eval()
                published = (
                    compute.rl_flops_published(self.parameters, 0, trainer.trained, self.run.task) / 1e9
                )
                counted = {"trained_tokens": trainer.trained, "processed_tokens": trainer.processed}
                self.checkpoint(
                    trainer.iteration, {**counted, "gflops": spent(), "gflops_published": published}
                )
                _save(trainer.state(), saved)
                self.tick()
                reached = passed()


def _save(state: dict, path: Path) -> None:
    partial = path.with_name(f".{path.name}")
    torch.save(state, partial)
    os.replace(partial, path)


def export(profile: Profile, run: Run, folder: Path, only_adapter: bool = False, threads: int = 1) -> None:
    """Write the trained model of a run to `folder`, an ordinary checkpoint for transformers; trains again
    what is not kept.

    `only_adapter`: `folder`/base, what training started from, and `folder`/adapter for peft. FileExistsError
    if `folder` is there.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: name a new folder")
    carry_out(profile, run, threads)
    trained = adapter(profile, run, threads)
    model = policy.load(store.model_path(profile, run))
    if run.parent is not None:
        model = policy.load_adapter(model, adapter(profile, run.parent, threads))
    base = folder / "base" if only_adapter else folder
    if only_adapter:
        shutil.copytree(trained, folder / "adapter")
    else:
        model = policy.load_adapter(model, trained)
    if hasattr(model.model.config, "language_foundation"):
        del model.model.config.language_foundation  # what is written is whole: nothing is read from beside it
    model.model.save_pretrained(base)
    (model.processor or model.tokenizer).save_pretrained(base)
