"""The processes of `accelerate launch`: each trains on its own share; gradients are averaged and counts
summed, and what they go on from is of one and the same step."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather, reduce
from torch import nn


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Explicit, because `Policy.score` never calls a wrapped model's forward."""
    if PartialState().num_processes > 1:
        for parameter in parameters:
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = reduce(gradient, "mean")


def total(amount: float, device: torch.device) -> float:
    """Sum of a number over all processes, of the same type."""
    if PartialState().num_processes == 1:
        return amount
    return type(amount)(reduce(torch.tensor(float(amount), device=device), "sum").item())


def save(state: dict[str, Any], path: Path) -> None:
    """Write a process's own state to `path`, in whose place it comes when the states of all are written."""
    partial = _partial(path)
    torch.save(state, partial)
    PartialState().wait_for_everyone()
    os.replace(partial, path)


def saved(path: Path, step: Callable[[dict[str, Any]], int], device: torch.device) -> dict[str, Any] | None:
    """The state that this process saved, of the step that all go on from (`step` of a state); None where
    there is none.

    A kill may come when some states are in their place and others are not: then these were written.
    """
    state = torch.load(path, weights_only=True) if path.is_file() else None
    own = step(state) if state else -1
    if int(gather(torch.tensor([own], device=device)).max()) > own:
        os.replace(_partial(path), path)
        state = torch.load(path, weights_only=True)
    return state


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}")
