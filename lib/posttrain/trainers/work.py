"""One run while it goes on: SFT or PPO, checkpoints along its compute, state to go on from."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pandas as pd
from accelerate import PartialState

from posttrain import compute, store
from posttrain.config import ALGORITHMS, Profile, Run
from posttrain.evaluation import census
from posttrain.policy import Chat, Policy
from posttrain.progress import Progress
from posttrain.rollouts import Sampling
from posttrain.tasks import TASKS
from posttrain.trainers import ppo, sft
from posttrain.trainers.curves import Curves
from posttrain.trainers.processes import save, saved

PLAYED = 256  # environments in which a model makes its errors, side by side


def environment(run: Run, **changes) -> gymnasium.Env:
    """The run's training environment; its profile's `environment` settings are the environment's
    arguments."""
    known = TASKS[run.task]
    return known.environment(**{**known.training, **run.settings.environment.arguments(), **changes})


def _spent(parameters: int, trained: float, processed: float) -> float:
    """GFLOP of an arm: 6N a trained token, 2N a token of its rollouts."""
    return compute.flops(parameters, trained, processed) / 1e9


class Work:
    """One run while it goes on: its policy, the tables and the clock under `state`, its checkpoints. With
    `judged` false nothing is evaluated: an adapter is made again."""

    def __init__(self, profile: Profile, run: Run, policy: Policy, state: Path, judged: bool = True):
        self.profile, self.run, self.policy, self.state, self.judged = profile, run, policy, state, judged
        self.main, self.tables = PartialState().is_main_process, store.Tables(state / "tables")
        self.training: list[dict] = []  # rows since the last checkpoint, which a resumed run makes again
        self.clock, self.began = state / "seconds", time.perf_counter()
        self.before = float(self.clock.read_text()) if self.clock.is_file() else 0.0
        self.parameters = compute.model_parameters(policy.model)
        watched = profile.watch == "tensorboard" and judged and self.main
        self.curves = Curves(profile.root / "build" / "watch" / run.name if watched else None)

    def tick(self) -> float:
        """Seconds of this run, of earlier processes too."""
        seconds = self.before + time.perf_counter() - self.began
        if self.main:
            store.write(self.clock, f"{seconds:.3f}")
        return seconds

    @property
    def spent_gflops(self) -> float:
        return float(self.tables.get("checkpoints")["gflops"].max())

    def train(self, check: Callable[[], None] = lambda: None) -> None:
        """Train to the end, then keep the adapter, unless `check` raises."""
        if self.judged and 0 not in self.tables.steps("checkpoints"):
            self.begin()
        (self._ppo if self.run.algorithm == "ppo" else self._sft)()
        self.curves.close()
        if self.main:
            check()
            folder = self.profile.root / "build" / "adapters" / self.run.identity
            with store.replacing(folder) as partial:
                self.policy.save_adapter(partial)

    # --- checkpoints ----------------------------------------------------------------------------------------

    def put(self, name: str, step: int, rows: pd.DataFrame) -> None:
        if self.main:  # under `accelerate launch` every process trains, one writes
            self.tables.put(name, step, rows)
            if name == "checkpoints":
                self.curves.judged(step, rows)

    def trained(self, row: dict[str, float], gflops: float) -> None:
        """What a step of training measured, and the GFLOP spent so far."""
        self.training.append(row)
        self.curves.trained(row["iteration"], row, gflops)

    def checkpoint(self, step: int, tokens: dict[str, float], between: bool = False) -> None:
        """Judge the policy as it is; `between`: neither the first time nor the last."""
        if self.main and self.training:
            self.put("training", step, pd.DataFrame(self.training))
            self.training.clear()
        if self.main and self.judged:
            began = time.perf_counter()
            told: list[dict] = []
            summary, hands = census(
                self.policy, self.run.settings.census, self.run.seed, between, told, self.run.name
            )
            seconds = time.perf_counter() - began
            # Last of all the table by which a resumed run sees that a checkpoint is there.
            self.put("hands", step, hands)
            if told:
                self.put("dialogues", step, pd.DataFrame(told))
            self.put("checkpoints", step, summary.assign(**tokens, evaluation_seconds=seconds))

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
        kl = {name: last[name].where(last[name].isna(), 0.0) for name in ("kl", "kl_back") if name in last}
        hands = stored.hands[stored.hands["step"] == stored.hands["step"].max()]
        self.put("hands", 0, hands.drop(columns="step"))
        self.put("checkpoints", 0, last.drop(columns="step").assign(**nothing, **kl, evaluation_seconds=0.0))

    # --- the two trainers -----------------------------------------------------------------------------------

    def _sft(self) -> None:
        settings, config = self.run.settings, self.run.settings.sft
        rng = np.random.default_rng(
            np.random.SeedSequence([self.run.seed, ALGORITHMS.index(self.run.algorithm)])
        )
        budget = settings.budget_gflop
        tokens = None if budget is None else budget * 1e9 / (6 * self.parameters)
        chat = Chat(self.policy.tokenizer, self.policy.processor)
        if config.errors:
            tries = [environment(self.run, verify_steps=config.errors + 1) for _ in range(PLAYED)]
            most = max(Sampling.max_tokens, self.run.settings.census.max_tokens)
            stream = sft.with_errors(self.policy, tries, chat, rng, config.errors, most)
        else:
            stream = sft.examples(environment(self.run), chat, rng, config.shuffle)
        data, counts = sft.take(stream, settings.steps, tokens, config.batch_size)
        marks = {round(share * len(counts)) for share in settings.shares}
        progress = Progress(_spent(self.parameters, counts[-1], 0), "GFLOP", self.run.name, not self.main)

        def on_step(step: int, logs: dict) -> bool:
            trained = counts[step - 1]
            spent = _spent(self.parameters, trained, 0)
            progress.update(spent, loss=logs["loss"])
            self.trained({"iteration": step, "loss": logs["loss"], "tokens": trained}, spent)
            if step in marks:
                self.policy.model.eval()
                counted = {"trained_tokens": trained, "processed_tokens": 0}
                self.checkpoint(
                    step, {**counted, "gflops": spent, "gflops_published": spent}, between=step < len(counts)
                )
                self.policy.model.train()
                self.tick()
            return step in marks

        sft.train(self.policy, data, config, self.state / "trainer", self.run.seed, on_step)

    def _ppo(self) -> None:
        settings = self.run.settings
        environments = [environment(self.run) for _ in range(settings.ppo.episodes)]
        trainer = ppo.PPO(self.policy, environments, settings.ppo, seed=self.run.seed)
        # Generators differ between processes.
        place = self.state / f"state-{trainer.processes.process_index}.pt"
        if state := saved(place, lambda state: state["counters"][0], self.policy.device):
            trainer.load_state(state)
        budget = settings.budget_gflop
        progress = Progress(budget, "GFLOP", self.run.name, not self.main)

        def spent() -> float:
            return _spent(self.parameters, trainer.trained, trainer.processed)

        def passed() -> int:
            """How many of the checkpoints are behind."""
            return sum(share * budget <= spent() for share in settings.shares)

        reached = passed()
        while spent() < budget:
            metrics = trainer.iterate()
            self.trained(metrics, spent())
            speed = metrics["tokens"] / metrics["seconds"]
            progress.update(
                spent(), first_try=metrics["first_try"], within=metrics["within"], tokens_per_s=speed
            )
            if passed() > reached or spent() >= budget:
                self.policy.model.eval()
                published = compute.rl_flops_published(self.parameters, trainer.trained, self.run.task) / 1e9
                counted = {"trained_tokens": trainer.trained, "processed_tokens": trainer.processed}
                self.checkpoint(
                    trainer.iteration,
                    {**counted, "gflops": spent(), "gflops_published": published},
                    between=spent() < budget,
                )
                save(trainer.state(), place)
                self.tick()
                reached = passed()
