"""Compute: what the x axes count, in FLOPs, as published and as measured.

Paper: appendix C.3. A training token costs 6N FLOPs and a token that is only read or generated 2N, N being
the number of parameters. The initial SFT is charged to both arms. The paper does not count the tokens its
rollouts process: it estimates them as lambda times the trained tokens, and that is `rl_flops_published`;
`rl_flops` takes the count itself.

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
AUXILIARY = ("lora_", "modules_to_save", "value_head", "v_head")  # what post-training adds to a model

Count = float | np.ndarray


def sft_flops(parameters: int, d_init: Count, d_sft: Count) -> Count:
    """FLOPs of the SFT arm, 6N(D_init + D_SFT).

    Token counts (numbers or arrays) hold every token of a sequence, prompt included, each time it is trained
    on. ValueError if a count is negative or not finite.
    """
    return rl_flops(parameters, d_init, d_sft, 0)


def rl_flops(parameters: int, d_init: Count, d_rl: Count, d_generated: Count) -> Count:
    """FLOPs of the RL arm, 6N(D_init + D_RL) + 2N D_generated, with the rollouts' tokens counted.

    `d_rl` counts a sequence once for each PPO epoch it is used in. `d_generated` counts every token that went
    through the model while sampling, prompts included; with a cache across turns each token goes through
    once.
    """
    if parameters < 1:
        raise ValueError(f"a model has at least one parameter, not {parameters}")
    for count in (d_init, d_rl, d_generated):
        if not (np.isfinite(count).all() and (np.asarray(count) >= 0).all()):
            raise ValueError(f"tokens are finite and not negative, not {count}")
    return TRAIN * parameters * (d_init + d_rl) + FORWARD * parameters * d_generated


def rl_flops_published(parameters: int, d_init: Count, d_rl: Count, task: str) -> Count:
    """FLOPs of the RL arm as the paper computes them: the rollouts are taken to process lambda D_RL tokens.

    Its lambda charges the whole prompt again for every generated token, as without a cache. ValueError if
    `task` is not in `LAMBDA`.
    """
    if task not in LAMBDA:
        raise ValueError(f"no published lambda for task {task!r}; there is one for {', '.join(LAMBDA)}")
    return rl_flops(parameters, d_init, d_rl, LAMBDA[task] * d_rl)


def model_parameters(model: torch.nn.Module) -> int:
    """N: all parameters, tied ones once, without adapters and value head (see `AUXILIARY`)."""
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if not any(part.startswith(AUXILIARY) for part in name.split("."))
    )
