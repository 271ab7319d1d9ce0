"""Progress of something long: a bar on a terminal, elsewhere (a log, or where TQDM_DISABLE is set) a line
every half minute."""

from __future__ import annotations

import os
import sys
import time

from tqdm import tqdm

SECONDS = 30.0  # between two lines where there is no terminal


class Progress:
    """Progress towards `total`, counted in `unit`; `silent` says nothing (all processes but one).

    A line reads "gp-l/ppo/0  42 %  3 min left  loss=0.314". What was done before the first `update` (by a
    process that was killed) does not enter the time left.
    """

    def __init__(self, total: float, unit: str, name: str, silent: bool = False):
        self.total, self.name, self.silent = total, name, silent
        lines = silent or os.environ.get("TQDM_DISABLE")  # two jobs at once would draw over each other's bar
        self.bar = tqdm(
            total=round(total), unit=unit, desc=name, disable=True if lines else None, mininterval=2.0
        )
        self.first, self.began, self.spoke = None, time.monotonic(), time.monotonic()

    def update(self, done: float, **shown: float) -> None:
        """`done` of `total`; `shown`: numbers to show, by name."""
        now = time.monotonic()
        if self.first is None:
            self.first, self.began = done, now
        texts = {
            name: f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}" for name, value in shown.items()
        }
        if not self.bar.disable:
            self.bar.set_postfix(texts, refresh=False)
            self.bar.update(max(0, round(done) - self.bar.n))
        elif not self.silent and now - self.spoke >= SECONDS:
            self.spoke = now
            left = (
                (self.total - done) * (now - self.began) / (done - self.first) if done > self.first else None
            )
            time_left = [] if left is None else [f"{max(left, 0) / 60:.0f} min left"]
            share = f"{min(done / self.total, 1):.0%}".replace("%", " %")
            numbers = [" ".join(f"{name}={text}" for name, text in texts.items())]
            print("  ".join([self.name, share, *time_left, *numbers]), file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
