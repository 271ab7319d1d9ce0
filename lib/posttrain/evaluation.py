"""Census evaluation: every solvable hand (or a fixed set of routes), not a sample (paper, section 5.1 and
appendix C.3, there 234 hands).

A census plays the sets of a task (`posttrain.tasks`) with each way of decoding and keeps every case's
outcome.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from posttrain.config import CensusConfig
from posttrain.policy import Policy
from posttrain.policy.batching import parts, stacked, supervised
from posttrain.rollouts import Dialogue, Sampling, play
from posttrain.tasks import TASKS


def census(
    policy: Policy, config: CensusConfig = CensusConfig(), seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate `policy` on every set: (summary, one row per set and decoding; hands, one row per case).

    Deterministic in `seed` on one machine. Summary columns: n (cases), the task's (`Hands.summary`,
    `Routes.summary`), kl (nats per first answer to the starting model; sampled decoding only), tokens.
    """
    sets = TASKS[config.task].sets
    cases = {name: _cases(config, name, seed) for name in config.sets}
    games = _play(policy, config, cases, seed)
    summaries, outcomes = [], []
    for (name, decoding), played in games.items():
        dialogues = [dialogue for game in played for dialogue in game]
        table = pd.DataFrame([sets[name].outcome(game) for game in played])
        table.insert(0, "hand", [sets[name].label(case) for case in cases[name]])
        summary = {
            "set": name,
            "decoding": decoding,
            "n": len(table),
            "kl": float("nan"),
            **sets[name].summary(table),
            "tokens": sum(len(d.ids) for d in dialogues),
        }
        if decoding == "sampled" and hasattr(policy.model, "disable_adapter"):
            summary["kl"] = divergence(policy, dialogues[: config.kl_hands])
        summaries.append(summary)
        outcomes.append(table.assign(set=name, decoding=decoding))
    return pd.DataFrame(summaries), pd.concat(outcomes, ignore_index=True)


def _cases(config: CensusConfig, name: str, seed: int) -> list:
    """The same cases (and order of cards) at every checkpoint: differences between checkpoints are paired."""
    sets = TASKS[config.task].sets
    rng = np.random.default_rng(np.random.SeedSequence([seed, list(sets).index(name)]))
    limits = (config.limit, None if name in config.revised else config.limit_others)
    return sets[name].cases(rng, min(filter(None, limits), default=None))


def _play(
    policy: Policy, config: CensusConfig, cases: dict[str, list], seed: int
) -> dict[tuple[str, str], list[list[Dialogue]]]:
    """Games (lists of dialogues) by set and decoding; all share batches, whatever their set and decoding."""
    games = {(name, decoding): [] for name in config.sets for decoding in config.decodings}
    how = {"feedback": config.feedback, "protocol": config.protocol}
    if config.pixels:
        how["pixels"] = config.pixels
    posed = []
    for name, decoding in games:
        steps = config.verify_steps if name in config.revised else 1
        for case in cases[name]:
            environment, info = TASKS[config.task].sets[name].pose(case, verify_steps=steps, **how)
            posed.append(((name, decoding), float(decoding == "sampled"), environment, info))
    generator = torch.Generator(device=policy.device).manual_seed(seed)
    with policy.merged():
        for start in range(0, len(posed), config.batch):
            keys, temperatures, environments, infos = zip(*posed[start : start + config.batch])
            sampling = Sampling(config.max_tokens, list(temperatures), generator)
            for key, game in zip(keys, play(policy, environments, infos, sampling)):
                games[key].append(game)
    return games


@torch.no_grad()
def divergence(policy: Policy, dialogues: list[Dialogue], tokens: int = 8192) -> float:
    """Mean KL(policy || starting model) of the first answer, in nats: summed over its tokens, exact at each
    position.

    `tokens`: so many are read at once, padding included. ValueError if the policy has no adapter.
    """
    total, rows = 0.0, []
    for dialogue in dialogues:
        begin = dialogue.ask[0] + 1
        end = dialogue.ask[1] if len(dialogue.ask) > 1 else len(dialogue.ids)
        last = max(i for i in range(begin, end) if dialogue.sampled[i])
        rows.append((dialogue.ids[:begin], dialogue.ids[begin : last + 1]))
    for part in parts([len(prompt) + len(answer) for prompt, answer in rows], tokens):
        ids, learned = supervised([rows[i] for i in part], policy.tokenizer.pad_token_id)
        ids, learned = ids.to(policy.device), learned.to(policy.device)
        inputs = stacked([dialogues[i].inputs for i in part])
        inputs = {name: value.to(policy.device) for name, value in inputs.items()}
        current = policy.score(ids, learned, **inputs)[0].log_softmax(-1)
        with policy.start():
            reference = policy.score(ids, learned, **inputs)[0].log_softmax(-1)
        total += float((current.exp() * (current - reference)).sum())
    return total / len(dialogues)
