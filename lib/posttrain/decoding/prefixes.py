"""Beginnings that are read once: for all dialogues of a batch, and for later dialogues of the same games."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from posttrain.decoding.interface import Decoder, Pair
from posttrain.policy.batching import padded

MANY = 4  # times that openings are asked, on average, from which on each is read once


def alike(read: Sequence[int], new: Sequence[int], image: int) -> int:
    """How many tokens of `new` need not be read after `read`: those that both begin with, but neither the
    last, whose state is asked for, nor a picture's (the token `image`), which are the same for another
    picture."""
    most = min(len(read), len(new) - 1)
    return next((i for i in range(most) if read[i] != new[i] or read[i] == image), most)


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
        once = list(dict.fromkeys(map(tuple, openings)))
        # Of one opening alone all is shared that can be, below.
        if decoder.shares and not self.openings and 1 < len(once) <= len(openings) / MANY:
            self._read_once(decoder, [list(opening) for opening in once], device)
            places = {opening: i for i, opening in enumerate(once)}
            self.rows = [places[tuple(opening)] for opening in openings] if self.openings else []
        if decoder.shares and self.openings:
            skipped = [alike(self.openings[i], new, decoder.image) for i, new in zip(self.rows, openings)]
            rows = torch.tensor(self.rows, device=device)
            columns = self.mask[rows].argsort(dim=1, descending=True, stable=True)[:, : max(skipped)]
            decoder.recall(self.cache, rows, columns)
        elif decoder.shares and len(openings) > 1:
            # What the first and the last in alphabetical order share, all share.
            shared = alike(min(openings), max(openings), decoder.image)
            shared = min(shared, min(map(len, openings)) - 1)
            if shared:
                ids = torch.tensor(openings[0][:shared], device=device)[None]
                decoder.extend(ids, torch.ones_like(ids), torch.arange(shared, device=device)[None])
            skipped = [shared] * len(openings)
        mask = torch.arange(max(skipped)) < torch.tensor(skipped)[:, None]
        return mask.long().to(device), [opening[n:] for n, opening in zip(skipped, openings)]

    def _read_once(self, decoder: Decoder, once: list[list[int]], device: torch.device) -> None:
        """Read openings, as if they were the batch before; pictures and each one's last token are left."""
        unread = [opening[: alike(opening, opening, decoder.image)] for opening in once]
        if not any(unread):
            return
        ids, mask = (
            padded(rows, 0, left=True).to(device) for rows in (unread, [[1] * len(new) for new in unread])
        )
        decoder.extend(ids, mask, (mask.cumsum(1) - 1).clamp(min=0))
        self.hold(decoder, once, mask)

    def hold(self, decoder: Decoder, openings: list[list[int]], mask: torch.Tensor) -> None:
        """Keep the cache as it is now, `openings` read: what follows is written behind it, or elsewhere."""
        if decoder.shares:
            self.openings, self.mask, self.rows = openings, mask, list(range(len(openings)))
            self.cache = [tuple(pair) for pair in decoder.read]

    def keep(self, rows: list[int]) -> None:
        """The next batch will be these rows."""
        self.rows = rows
