"""What a rollout asks of a decoder: one model's reading of a batch of dialogues, its key-value cache kept
between calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from posttrain.policy.batching import Pictures

Pair = Sequence[torch.Tensor]  # a layer's keys and values, [rows, heads, columns, width] each


class Decoder(ABC):
    """Rows are dialogues, columns what was read of them. Rows differ in length: a mask LongTensor[rows,
    columns] says which columns hold a token, and positions count these only, so that a row reads as if it had
    no gaps.
    """

    shares = (
        False  # can begin with what was read before: `image`, `read` and `recall` (see `decoding.prefixes`)
    )
    narrows = False  # can go on with some of the rows in the middle of an answer: `narrow`

    @abstractmethod
    def see(self, inputs: Pictures) -> None:
        """The pictures of the rows, one each, whose image tokens the next `extend` reads."""

    @abstractmethod
    def extend(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, last: int = 1
    ) -> torch.Tensor:
        """Read `ids` LongTensor[rows, new] at `positions` (the same shape); `mask` [rows, columns] is that of
        all columns, the new ones at its end. Hidden states FloatTensor[rows, last, hidden] of the `last` new
        columns.
        """

    @abstractmethod
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 logits [..., vocabulary] of hidden states [..., hidden]."""

    @abstractmethod
    def select(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Go on with only `rows` LongTensor[n] of the batch (mask [rows, columns]); the mask of what is then
        in the cache.
        """

    # --- optional -------------------------------------------------------------------------------------------------

    image: int  # the token that stands for a picture

    @property
    def read(self) -> list[Pair]:
        """The cache of all rows, a pair a layer; where rows were narrowed, as it was before."""
        raise NotImplementedError

    def recall(self, cache: Sequence[Pair], rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Begin with what another batch's cache holds: of its `rows` LongTensor[n] the `columns`
        LongTensor[n, width].
        """
        raise NotImplementedError

    def narrow(self, kept: torch.Tensor, rows: torch.Tensor) -> None:
        """Until `select`, go on with only those `kept` of the rows that are left; in the batch they are
        `rows`.
        """
        raise NotImplementedError
