"""Dialogues as the tensors of a trainer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from posttrain.policy.batching import Pictures, padded, stacked
from posttrain.rollouts import Dialogue


@dataclass
class Batch:
    """Shapes: D dialogues, T tokens, K answers.

    ids, sampled (true for the policy's tokens), turn (answer a token belongs to), old (log-probabilities),
    weight: [D, T]; ask (index of the last prompt token), rewards, values, answered, advantages, returns: [D,
    K]; lengths (tokens), correct: [D]; episode (which one a dialogue belongs to; those of one episode follow
    each other): [D]; inputs: the pictures, each [D, ...].
    """

    ids: torch.Tensor
    sampled: torch.Tensor
    turn: torch.Tensor
    old: torch.Tensor
    weight: torch.Tensor
    ask: torch.Tensor
    rewards: torch.Tensor
    values: torch.Tensor
    answered: torch.Tensor
    lengths: torch.Tensor
    correct: torch.Tensor
    episode: torch.Tensor
    inputs: Pictures
    advantages: torch.Tensor | None = None
    returns: torch.Tensor | None = None


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
