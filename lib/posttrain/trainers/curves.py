"""A run's curves while it trains, for TensorBoard: files under build/watch, where a profile says
`watch: tensorboard`.

accelerate's tracker writes them. Left out on purpose: trl's own report (`report_to`), which PPO has none of,
and in which a run that goes on has points twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from accelerate.tracking import TensorBoardTracker

ROWS = ("set", "decoding")  # of a checkpoint's summary: what its rows are of
COUNTS = ("n", "step", "tokens", "trained_tokens", "processed_tokens", "evaluation_seconds")


class Curves:
    """Numbers of one run, written to `folder` as they come; nothing is written where that is None.

    The first number decides what stays of an earlier process's: the steps before its own. So a run that goes
    on has no point twice, and one that begins anew has none of the old.
    """

    def __init__(self, folder: Path | None):
        self.folder, self.tracker = folder, None

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of a step by name, "train/loss"; NaN is left out."""
        if self.folder is None:
            return
        if self.tracker is None:
            self.tracker = TensorBoardTracker(self.folder.name, self.folder.parent, purge_step=step)
            self.tracker.start()
        said = {name: float(number) for name, number in numbers.items() if not math.isnan(number)}
        self.tracker.log(said, step=step)

    def trained(self, step: int, numbers: Mapping[str, float], gflops: float) -> None:
        """What a step of training measured, and the GFLOP spent so far."""
        named = {f"train/{name}": number for name, number in numbers.items() if name != "iteration"}
        self.add(step, {**named, "train/gflops": gflops})

    def judged(self, step: int, summary: pd.DataFrame) -> None:
        """A checkpoint's summary, a row for each set and decoding: "first_try/id-greedy"."""
        measures = summary.columns.difference([*ROWS, *COUNTS, "gflops", "gflops_published"], sort=False)
        for row in summary.to_dict("records"):
            self.add(step, {f"{name}/{row['set']}-{row['decoding']}": row[name] for name in measures})

    def close(self) -> None:
        if self.tracker is not None:
            self.tracker.finish()
