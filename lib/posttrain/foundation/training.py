"""The loop that trains text foundations and towers, and its state on disk: who is killed goes on, to the same
bit.

Every minute all that the rest of a training depends on is saved: weights, the optimizers' states, counters,
the place in the stream of documents. Torch's generators are not among it, for nothing is drawn from them
after the first weights. A state file begins with the SHA-256 of what follows, so a damaged one is never read.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from posttrain.rendering import Picture

SAVE_SECONDS = 60.0  # between two states
Report = Callable[[int, dict[str, float]], None]  # (step, what is measured), after each step


class Batch(NamedTuple):
    """ids: LongTensor[batch, time], padded on the right; learned: BoolTensor of the same shape, true where
    ids[:, t] is a target; pictures: one a row, where there are any."""

    ids: torch.Tensor
    learned: torch.Tensor
    pictures: Sequence[Picture] = ()


def write_state(path: Path, state: dict[str, Any]) -> None:
    """`state` (tensors, numbers, texts, lists and dicts) into the file `path`, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(hashlib.sha256(buffer.getbuffer()).digest() + buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_state(path: Path) -> dict[str, Any] | None:
    """What `write_state` wrote; None if there is no file, or, with one line on standard error, a damaged
    one."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        print(f"{path} is damaged and is ignored: training begins anew", file=sys.stderr)
        return None
    return torch.load(io.BytesIO(content[32:]), weights_only=True)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the full learning rate: linear warm-up, linear decay to zero over the second half."""
    return min(1.0, (step + 1) / warmup, 2 * (1 - step / steps))


def train(
    config: Any,
    optimizers: list[torch.optim.Optimizer],
    batches: Callable[[int, dict[str, Any]], Iterator[Batch]],
    loss: Callable[[Batch], torch.Tensor],
    newest: float,
    report: Report = lambda step, measured: None,
    state: Path | None = None,
    clip: float | None = None,
) -> dict[str, float]:
    """Train for `config.steps`; returns {"tokens", "seconds", "loss"}.

    batches(step, place): the batches from `step` on; it keeps in `place` where in its stream it is.
    newest: share of a step's loss in the smoothed one that is reported. state: the file from which an
    interrupted training goes on. clip: largest norm of the gradient. "tokens": padding included.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    weights = [weight for group in groups for weight in group["params"]]
    rates, first, place = [group["lr"] for group in groups], 0, {}
    measured: dict[str, float] = {"tokens": 0, "seconds": 0.0, "loss": 0.0}
    if state is not None and (saved := read_state(state)):
        first, place, measured = saved["step"], saved["place"], saved["measured"]
        with torch.no_grad():
            for weight, value in zip(weights, saved["weights"], strict=True):
                weight.copy_(value)
        for optimizer, content in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    started = time.perf_counter() - measured["seconds"]
    wrote = time.monotonic()
    stream = itertools.islice(batches(first, place), config.steps - first)
    for step, batch in enumerate(stream, first):
        for group, rate in zip(groups, rates):
            group["lr"] = rate * schedule(step, config.steps, config.warmup)
        objective = loss(batch)
        objective.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(weights, clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        value = objective.item()
        measured = {
            "tokens": measured["tokens"] + batch.ids.numel(),
            "seconds": time.perf_counter() - started,
            "loss": value if step == 0 else (1 - newest) * measured["loss"] + newest * value,
        }
        report(step, measured)
        if state is not None and (step + 1 == config.steps or time.monotonic() - wrote >= SAVE_SECONDS):
            saved = {"step": step + 1, "place": place, "measured": measured}
            saved["weights"] = [weight.detach() for weight in weights]
            saved["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
            write_state(state, saved)
            wrote = time.monotonic()
    return measured
