"""Compute: what the x axes count, in FLOPs, as published and as measured.

Paper: appendix C.3. A training token costs 6N FLOPs and a token that is only read or generated 2N, N being
the number of parameters. The initial SFT is charged to both arms, where they are compared
(`posttrain.analysis.study`). The paper does not count the tokens its rollouts process: it estimates them as
lambda times the trained tokens, and that is `rl_flops_published`; `flops` takes the count itself.

Left out on purpose: the attention term, a share of about (length x width x layers) / N, which is no longer
small for the longest dialogues of a pocket model; and what LoRA saves: a frozen matrix needs no weight
gradient, so a LoRA token costs nearer 4N than 6N. 6N is kept for every arm: the figures compare arms, in the
paper's unit.
"""

from __future__ import annotations

import numpy as np
import torch

TRAIN, FORWARD = 6, 2  # FLOPs for each parameter and token
LAMBDA = {  # tokens processed while sampling, for each trained token, as published
    "general-points": 6.0,
    "general-points-vision": 6.0,
    "navigation": 5.1,
    "navigation-vision": 5.1,
}

Count = float | np.ndarray


def flops(parameters: int, trained: Count, processed: Count) -> Count:
    """FLOPs of an arm, 6N a trained token and 2N a token of its rollouts.

    Token counts (numbers or arrays): `trained` holds every token of a sequence, prompt included, each time it
    is trained on, so once for each PPO epoch; `processed` every token that went through the model while
    sampling, prompts included; with a cache across turns each token goes through once. ValueError if a count
    is negative or not finite.
    """
    if parameters < 1:
        raise ValueError(f"a model has at least one parameter, not {parameters}")
    for count in (trained, processed):
        if not (np.isfinite(count).all() and (np.asarray(count) >= 0).all()):
            raise ValueError(f"tokens are finite and not negative, not {count}")
    return TRAIN * parameters * trained + FORWARD * parameters * processed


def rl_flops_published(parameters: int, trained: Count, task: str) -> Count:
    """FLOPs of the RL arm as the paper computes them: the rollouts are taken to process lambda D_RL tokens.

    Its lambda charges the whole prompt again for every generated token, as without a cache. ValueError if
    `task` is not in `LAMBDA`.
    """
    if task not in LAMBDA:
        raise ValueError(f"no published lambda for task {task!r}; there is one for {', '.join(LAMBDA)}")
    return flops(parameters, trained, LAMBDA[task] * trained)


def model_parameters(model: torch.nn.Module) -> int:
    """N: all parameters, tied ones once, without adapters (a value head is no part of the model)."""
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if not any(part.startswith("lora_") for part in name.split("."))
    )
