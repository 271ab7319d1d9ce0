"""Census evaluation: every solvable hand, not a sample (paper, section 5.1 and appendix C.3, there 234 random hands).

A census plays one set of hands with one way of decoding and keeps every hand's outcome. The crossed design {rule seen, unseen}
x {numbers seen, unseen} is in `SETS`: it separates "ignores the instruction" from "cannot use 11-13".
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from posttrain.environments.general_points import GeneralPointsEnv, hands
from posttrain.foundation.corpus import IN_RANGE_RULES
from posttrain.models import Policy
from posttrain.rollouts import Episode, roll
from posttrain.verifiers.general_points import RANKS


@dataclass(frozen=True)
class Set:
    """A set of hands: rule, split of the number-multisets, whether each hand holds a face card."""

    rule: str
    split: str
    faces: bool


SETS: dict[str, Set] = {
    "id": Set("10", "test", False),  # the training rule, held-out numbers: "in distribution"
    "id_seen": Set("10", "train", False),  # the training rule, numbers of the training hands
    "ood": Set("11/12/13", "all", True),  # the paper's rule OOD
    "in_range_a": Set(IN_RANGE_RULES[0], "all", True),  # an unseen rule that needs no number above 10
    "in_range_b": Set(IN_RANGE_RULES[1], "all", True),
}


@dataclass(frozen=True)
class CensusConfig:
    """What is measured at a checkpoint."""

    verify_steps: int = 5  # answers per hand, for `revised` sets; one for the others
    revised: tuple[str, ...] = ("id", "ood")
    decodings: tuple[str, ...] = ("greedy", "sampled")
    sets: tuple[str, ...] = tuple(SETS)
    limit: int | None = None  # hands per set, for smoke runs; a fixed random choice
    limit_others: int | None = None  # the same for the sets that are not `revised`
    batch: int = 512
    max_tokens: int = 40
    kl_hands: int = 256  # hands per set for the KL to the starting model
    feedback: str = "informative"
    protocol: str = "clean"

    def __post_init__(self):
        unknown = [*{*self.sets, *self.revised} - set(SETS), *{*self.decodings} - {"greedy", "sampled"}]
        if unknown:
            raise ValueError(f"unknown {', '.join(map(repr, unknown))}: sets are {', '.join(SETS)}; decodings greedy, sampled")


def census(policy: Policy, config: CensusConfig = CensusConfig(), seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluate `policy` on every set: (summary, one row per set and decoding; hands, one row per hand).

    Deterministic in `seed` on one machine. Summary columns: n, first_try, within (k answers), rule_following (the `number` field
    is the rule applied to the cards), valid, strict (the JSON format), fake (right under the training rule), per_step (right
    answers / all answers), kl (nats per first answer to the starting model; sampled decoding only), tokens.
    """
    places = [(name, decoding) for name in config.sets for decoding in config.decodings]
    episodes, deals = _play(policy, config, places, seed)
    summaries, outcomes = [], []
    for name, decoding in places:
        played = episodes[name, decoding]
        table = pd.DataFrame([_outcome(e) for e in played])
        table.insert(0, "hand", [" ".join(sorted(d.ranks, key=RANKS.index)) for d in deals[name]])
        summary = {"set": name, "decoding": decoding, "n": len(table), "kl": float("nan"),
                   **{c: float(table[c].mean()) for c in ("first_try", "within", "rule_following", "valid", "strict", "fake")},
                   "per_step": table["within"].sum() / table["answers"].sum(), "tokens": sum(len(e.ids) for e in played)}
        if decoding == "sampled" and hasattr(policy.model, "disable_adapter"):
            summary["kl"] = divergence(policy, played[:config.kl_hands])
        summaries.append(summary)
        outcomes.append(table.assign(set=name, decoding=decoding))
    return pd.DataFrame(summaries), pd.concat(outcomes, ignore_index=True)


def _play(policy: Policy, config: CensusConfig, places: list[tuple[str, str]], seed: int):
    """Episodes by set and decoding, deals by set; all of them share batches, whatever their set and decoding."""
    cards, rows = {}, []
    for name in config.sets:
        # The same hands, and the same order of cards, at every checkpoint: differences between checkpoints are paired.
        rng = np.random.default_rng(np.random.SeedSequence([seed, list(SETS).index(name)]))
        chosen = hands(SETS[name].rule, split=SETS[name].split, faces=SETS[name].faces)
        limit = min(config.limit or len(chosen), name in config.revised and len(chosen) or config.limit_others or len(chosen))
        cards[name] = [rng.permutation(chosen[i]).tolist() for i in rng.permutation(len(chosen))[:limit]]
    for name, decoding in places:
        steps = config.verify_steps if name in config.revised else 1
        for ranks in cards[name]:
            environment = GeneralPointsEnv(rule=SETS[name].rule, verify_steps=steps, feedback=config.feedback, protocol=config.protocol, hands=[ranks])
            _, info = environment.reset(seed=0, options={"ranks": ranks})
            rows.append((name, decoding, environment, info))

    noise = torch.Generator(device=policy.device).manual_seed(seed)
    episodes: dict[tuple[str, str], list[Episode]] = {place: [] for place in places}
    with policy.merged():
        for start in range(0, len(rows), config.batch):
            part = rows[start:start + config.batch]

            def judge(row: int, text: str, part=part):
                says, reward, terminated, truncated, info = part[row][2].step(text)
                return reward, says, terminated or truncated, info["verdict"]

            heat = [float(decoding == "sampled") for _, decoding, _, _ in part]
            for (name, decoding, _, _), episode in zip(part, roll(policy, [info["messages"] for *_, info in part], judge, config.max_tokens, heat, noise)):
                episodes[name, decoding].append(episode)
    return episodes, {name: [info["deal"] for place, decoding, _, info in rows if (place, decoding) == (name, config.decodings[0])] for name in config.sets}


def _outcome(episode: Episode) -> dict:
    first = episode.verdicts[0]
    return {"first_try": first.correct, "within": episode.correct, "answers": len(episode.texts), "rule_following": first.follows_rule,
            "valid": first.valid, "strict": first.strict, "fake": first.fake, "reward": float(sum(episode.rewards))}


@torch.no_grad()
def divergence(policy: Policy, episodes: list[Episode], batch: int = 256) -> float:
    """Mean KL(policy || starting model) of the first answer, in nats: summed over its tokens, exact at each position."""
    total = 0.0
    for start in range(0, len(episodes), batch):
        rows = []
        for episode in episodes[start:start + batch]:
            end = episode.ask[1] if len(episode.ask) > 1 else len(episode.ids)
            answer = [i for i in range(episode.ask[0] + 1, end) if episode.sampled[i]]
            rows.append((episode.ids[:answer[-1] + 1], answer[0]))
        width = max(len(ids) for ids, _ in rows)
        ids, learned = torch.full((len(rows), width), policy.tokenizer.pad_token_id), torch.zeros(len(rows), width, dtype=torch.bool)
        for r, (row, begin) in enumerate(rows):
            ids[r, :len(row)] = torch.tensor(row)
            learned[r, begin:len(row)] = True
        ids, learned = ids.to(policy.device), learned.to(policy.device)
        current = policy.score(ids, learned)[0].log_softmax(-1)
        with policy.start():
            reference = policy.score(ids, learned)[0].log_softmax(-1)
        total += float((current.exp() * (current - reference)).sum())
    return total / len(episodes)
