"""Beginnings that are read once: for all dialogues of a batch, and for later dialogues of the same games."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from posttrain.decoding.interface import Decoder, Pair
from posttrain.policy.batching import right_aligned

PAYS = 2  # so many times fewer tokens to read, and openings are read ahead of the batch


def alike(read: Sequence[int], new: Sequence[int], image: int) -> int:
    """How many tokens of `new` need not be read after `read`: those that both begin with, but neither the
    last, whose state is asked for, nor a picture's (the token `image`), which are the same for another
    picture."""
    most = min(len(read), len(new) - 1)
    return next((i for i in range(most) if read[i] != new[i] or read[i] == image), most)


def grown(openings: list[list[int]], image: int) -> tuple[list[list[int]], list[int]]:
    """Openings that are worth reading ahead, and to which of them each opening is alike: of draws of one
    question that question, of the points of a route, whose questions grow out of each other, the longest."""
    chosen: list[tuple] = []
    kinds: dict[tuple, int] = {}
    before: tuple = ()
    for new, times in sorted(Counter(map(tuple, openings)).items()):
        shorter = min(len(before), len(new))
        if max(times, 2) * (shorter - alike(before, new, image)) >= shorter:
            chosen.append(new)
        elif len(new) > len(chosen[-1]):
            chosen[-1] = new
        kinds[new], before = len(chosen) - 1, new
    return [list(opening) for opening in chosen], [kinds[tuple(opening)] for opening in openings]


class Prefixes:
    """What a decoder has read of the openings of one batch, for the next one."""

    def __init__(self):
        self.openings: list[list[int]] = []
        self.rows: list[int] = []  # the openings that the next batch goes on from
        self.cache: list[Pair] = []
        self.mask: torch.Tensor | None = None

    def begin(
        self, decoder: Decoder, openings: list[list[int]], device: torch.device
    ) -> tuple[torch.Tensor, list[list[int]]]:
        """Fill the decoder's cache with what `openings` share with the batch before, or with each other.

        Returns the cache's mask LongTensor[rows, columns], and what is left to read of each opening.
        """
        skipped = [0] * len(openings)
        if decoder.shares and self.openings:
            skipped = [alike(self.openings[i], new, decoder.image) for i, new in zip(self.rows, openings)]
        elif decoder.shares and len(openings) > 1:
            skipped = self._read_ahead(decoder, openings, device)
        if decoder.shares and self.openings:
            rows = torch.tensor(self.rows, device=device)
            columns = self.mask[rows].argsort(dim=1, descending=True, stable=True)[:, : max(skipped)]
            decoder.recall(self.cache, rows, columns)
        mask = torch.arange(max(skipped)) < torch.tensor(skipped)[:, None]
        return mask.long().to(device), [opening[n:] for n, opening in zip(skipped, openings)]

    def _read_ahead(self, decoder: Decoder, openings: list[list[int]], device: torch.device) -> list[int]:
        """Read what all openings share; or, where it saves enough, what many begin like, as if that were the
        batch before: pictures and each one's last token are left. Returns how much of each was read."""
        # What the first and the last in alphabetical order share, all share.
        common = alike(min(openings), max(openings), decoder.image)
        common = min(common, min(map(len, openings)) - 1)
        apart = sum(map(len, openings)) - common * (len(openings) - 1)
        first, kinds = grown(openings, decoder.image)
        skipped = [alike(first[kind], new, decoder.image) for kind, new in zip(kinds, openings)]
        unread = [opening[: alike(opening, opening, decoder.image)] for opening in first]
        ahead = sum(map(len, [*unread, *openings])) - sum(skipped)
        pays = PAYS * ahead <= apart
        if not pays:
            unread, skipped = [openings[0][:common]], [common] * len(openings)
        if pays or common:
            ids, mask = (tensor.to(device) for tensor in right_aligned(unread, 0))
            decoder.extend(ids, mask, (mask.cumsum(1) - 1).clamp(min=0))
        if pays:
            self.hold(decoder, first, mask)
            self.rows = kinds
        return skipped

    def hold(self, decoder: Decoder, openings: list[list[int]], mask: torch.Tensor) -> None:
        """Keep the cache as it is now, `openings` read: what follows is written behind it, or elsewhere."""
        if decoder.shares:
            self.openings, self.mask, self.rows = openings, mask, list(range(len(openings)))
            self.cache = [tuple(pair) for pair in decoder.read]

    def keep(self, rows: list[int]) -> None:
        """The next batch will be these rows."""
        self.rows = rows
