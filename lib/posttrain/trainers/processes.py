"""The processes of `accelerate launch`: each trains on its own share; gradients are averaged and counts
summed."""

from __future__ import annotations

import torch
from accelerate import PartialState
from accelerate.utils import reduce
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
