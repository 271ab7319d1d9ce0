"""Census evaluation: every solvable hand (or a fixed set of routes), not a sample (paper, section 5.1 and appendix C.3, there 234 hands).

A census plays the sets of a task (`posttrain.tasks`) with each way of decoding and keeps every case's outcome.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from posttrain.config import CensusConfig
from posttrain.policy.load import Policy
from posttrain.rollouts import Dialogue, parts, play, stacked
from posttrain.tasks import TASKS


def census(
    policy: Policy, config: CensusConfig = CensusConfig(), seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate `policy` on every set: (summary, one row per set and decoding; hands, one row per case).

    Deterministic in `seed` on one machine. Summary columns: n (cases), the task's (`Hands.summary`, `Routes.summary`), kl (nats per
    first answer to the starting model; sampled decoding only), tokens.
    """
    sets = TASKS[config.task].sets
    places = [(name, decoding) for name in config.sets for decoding in config.decodings]
    games, labels = _play(policy, config, places, seed)
    summaries, outcomes = [], []
    for name, decoding in places:
        played = games[name, decoding]
        dialogues = [dialogue for game in played for dialogue in game]
        table = pd.DataFrame([sets[name].outcome(game) for game in played])
        table.insert(0, "hand", labels[name])
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


def _play(policy: Policy, config: CensusConfig, places: list[tuple[str, str]], seed: int):
    """Games (lists of dialogues) by set and decoding, labels of the cases by set; all share batches, whatever their set and decoding."""
    sets, cases, rows = TASKS[config.task].sets, {}, []
    for name in config.sets:
        # The same cases (and order of cards) at every checkpoint: differences between checkpoints are paired.
        rng = np.random.default_rng(np.random.SeedSequence([seed, list(sets).index(name)]))
        limits = (config.limit, None if name in config.revised else config.limit_others)
        cases[name] = sets[name].cases(rng, min(filter(None, limits), default=None))
    for name, decoding in places:
        steps = config.verify_steps if name in config.revised else 1
        for case in cases[name]:
            shown = {"pixels": config.pixels} if config.pixels else {}
            rows.append(
                (
                    name,
                    decoding,
                    *sets[name].pose(
                        case, verify_steps=steps, feedback=config.feedback, protocol=config.protocol, **shown
                    ),
                )
            )

    noise = torch.Generator(device=policy.device).manual_seed(seed)
    games: dict[tuple[str, str], list[list[Dialogue]]] = {place: [] for place in places}
    with policy.merged():
        for start in range(0, len(rows), config.batch):
            names, decodings, environments, infos = zip(*rows[start : start + config.batch])
            heat = [float(decoding == "sampled") for decoding in decodings]
            for name, decoding, game in zip(
                names, decodings, play(policy, environments, infos, config.max_tokens, heat, noise)
            ):
                games[name, decoding].append(game)
    return games, {name: [sets[name].label(case) for case in cases[name]] for name in config.sets}


@torch.no_grad()
def divergence(policy: Policy, dialogues: list[Dialogue], tokens: int = 8192) -> float:
    """Mean KL(policy || starting model) of the first answer, in nats: summed over its tokens, exact at each position."""
    total, answered = 0.0, []
    for dialogue in dialogues:
        end = dialogue.ask[1] if len(dialogue.ask) > 1 else len(dialogue.ids)
        answer = [i for i in range(dialogue.ask[0] + 1, end) if dialogue.sampled[i]]
        answered.append((dialogue.ids[: answer[-1] + 1], answer[0]))
    for part in parts([len(ids) for ids, _ in answered], tokens):
        rows = [answered[i] for i in part]
        inputs = {
            name: value.to(policy.device) for name, value in stacked([dialogues[i] for i in part]).items()
        }
        width = max(len(ids) for ids, _ in rows)
        ids, learned = (
            torch.full((len(rows), width), policy.tokenizer.pad_token_id),
            torch.zeros(len(rows), width, dtype=torch.bool),
        )
        for r, (row, begin) in enumerate(rows):
            ids[r, : len(row)] = torch.tensor(row)
            learned[r, begin : len(row)] = True
        ids, learned = ids.to(policy.device), learned.to(policy.device)
        current = policy.score(ids, learned, **inputs)[0].log_softmax(-1)
        with policy.start():
            reference = policy.score(ids, learned, **inputs)[0].log_softmax(-1)
        total += float((current.exp() * (current - reference)).sum())
    return total / len(dialogues)
