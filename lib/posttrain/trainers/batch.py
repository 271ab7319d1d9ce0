"""Dialogues as the tensors of a trainer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from posttrain.policy.batching import Pictures, padded, stacked
from posttrain.rollouts import Dialogue


@dataclass
class Batch:
    """D dialogues of at most T tokens and K answers; those of one episode follow each other."""

    ids: torch.Tensor  # [D, T]
    sampled: torch.Tensor  # [D, T], true for the policy's tokens
    turn: torch.Tensor  # [D, T], the answer that a token belongs to
    old: torch.Tensor  # [D, T], log-probabilities when sampled
    weight: torch.Tensor  # [D, T], of a token in its answer's log-probability
    ask: torch.Tensor  # [D, K], index of the last prompt token
    rewards: torch.Tensor  # [D, K]
    values: torch.Tensor  # [D, K]
    answered: torch.Tensor  # [D, K], true for answers that exist
    lengths: torch.Tensor  # [D], tokens
    correct: torch.Tensor  # [D]
    episode: torch.Tensor  # [D], which one a dialogue belongs to
    inputs: Pictures  # [D, ...] each
    advantages: torch.Tensor | None = None  # [D, K]
    returns: torch.Tensor | None = None  # [D, K]


def collate(games: list[list[Dialogue]], pad: int) -> Batch:
    """The dialogues of games, one game behind the other, padded on the right with `pad`."""
    dialogues = [dialogue for game in games for dialogue in game]
    # `turn` counts the questions asked so far, so every sampled token knows its answer.
    turns = [np.searchsorted(d.ask, np.arange(len(d.ids)), side="left") - 1 for d in dialogues]
    most = max(len(d.ask) for d in dialogues)
    ids = padded([d.ids for d in dialogues], pad)
    return Batch(
        ids=ids,
        sampled=padded([d.sampled for d in dialogues], False, torch.bool),
        turn=padded([turn.clip(min=0).tolist() for turn in turns], 0),
        old=padded([d.logprobs for d in dialogues], 0.0, torch.float32, ids.shape[1]),
        weight=torch.ones(ids.shape),
        ask=padded([d.ask for d in dialogues], 0),
        rewards=padded([d.rewards for d in dialogues], 0.0, torch.float32, most),
        values=padded([d.values for d in dialogues], 0.0, torch.float32, most),
        answered=padded([[True] * len(d.ask) for d in dialogues], False, torch.bool),
        lengths=torch.tensor([len(d.ids) for d in dialogues]),
        correct=torch.tensor([d.correct for d in dialogues]),
        episode=torch.tensor([i for i, game in enumerate(games) for _ in game]),
        inputs=stacked([d.inputs for d in dialogues]),
    )
