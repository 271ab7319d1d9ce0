"""What a rollout asks of a decoder: to read a batch of dialogues, its key-value cache kept between calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from posttrain.policy.batching import Pictures

Pair = Sequence[torch.Tensor]  # a layer's keys and values, [rows, heads, columns, width] each


class Decoder(ABC):
    """Rows are dialogues, columns what was read of them. A mask LongTensor[rows, columns] says which columns
    hold a token of the row, and positions count these only: a row reads as if it had no gaps."""

    shares = (
        False  # can begin with what was read before (`decoding.prefixes`): has `image`, `read` and `recall`
    )
    narrows = False  # can leave rows out in the middle of an answer: has `narrow`
    image: int  # the token that stands for a picture

    @abstractmethod
    def see(self, inputs: Pictures) -> None:
        """The pictures of the rows, one each, whose image tokens the next `extend` reads."""

    @abstractmethod
    def extend(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, last: int = 1
    ) -> torch.Tensor:
        """Read `ids` LongTensor[rows, new] at `positions`, of that shape; `mask` covers the new columns too.

        Returns hidden states FloatTensor[rows, last, hidden] of the `last` columns.
        """

    @abstractmethod
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 logits [..., vocabulary] of hidden states [..., hidden]."""

    @abstractmethod
    def select(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Go on with only `rows` LongTensor[n] of the batch; returns their mask, of the columns left."""

    @property
    def read(self) -> list[Pair]:
        """The cache, a pair a layer, as it was before the first `narrow`."""
        raise NotImplementedError

    def recall(self, cache: Sequence[Pair], rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Begin with `columns` LongTensor[n, width] of `rows` LongTensor[n] of another batch's cache."""
        raise NotImplementedError

    def narrow(self, kept: torch.Tensor, rows: torch.Tensor) -> None:
        """Until `select` go on with those `kept` of the rows that are left; in the batch they are `rows`."""
        raise NotImplementedError
