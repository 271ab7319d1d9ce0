"""Answers guessed ahead: speculative decoding (Leviathan et al. 2023), with the environment as the guesser.

Guessed tokens are read along with what is known, many at once, and stay as far as the policy draws the very
same ones: fewer steps, and no other answer than without a guess.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from posttrain.policy import Chat
from posttrain.policy.batching import padded

NOTHING = -1  # where nothing is guessed


def guessed(chat: Chat, texts: Sequence[str], most: int) -> torch.Tensor:
    """LongTensor[rows, tokens]: the first `most` tokens of each text, and `NOTHING` behind them."""
    ids = chat.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return padded([row[:most] for row in ids], NOTHING)


class Draft:
    """The guesses of a batch, as `guessed` gives them."""

    def __init__(self, guess: torch.Tensor):
        self.guess = F.pad(guess, (0, 1), value=NOTHING)

    def next(self, rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """LongTensor[n, drafted]: guesses for `rows` LongTensor[n] from `positions` LongTensor[n] on.

        Position by position, so that one other token (a number, a word) does not spoil the rest; as far as
        most rows have a guess, because all read as many tokens.
        """
        longest = self.guess.shape[1] - 1
        if not longest:
            return self.guess[rows, :0]
        columns = positions[:, None] + torch.arange(longest, device=rows.device)
        drafted = self.guess[rows].gather(1, columns.clamp(max=longest))
        return drafted[:, : int(((drafted != NOTHING).sum(0) * 2 > len(rows)).sum())]

    def drop(self, rows: torch.Tensor) -> None:
        """Nothing of the guess was right in these rows."""
        self.guess[rows] = NOTHING


def accepted(drawn: torch.Tensor, drafted: torch.Tensor, end: int) -> torch.Tensor:
    """BoolTensor like `drawn` [rows, n + 1]: which count, all before them being as `drafted` [rows, n] and
    not `end`."""
    as_drafted = (drawn[:, :-1] == drafted) & (drawn[:, :-1] != end)
    return F.pad(as_drafted.long().cumprod(1), (1, 0), value=1).bool()
