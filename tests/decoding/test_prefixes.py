"""Beginnings that are read once: how far rows are alike, and what a decoder is asked to read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from posttrain.decoding import Decoder, decoder_for
from posttrain.decoding.prefixes import Prefixes, alike, grown

IMAGE = 9
ROWS = st.lists(st.integers(0, 3), min_size=1, max_size=6)


@pytest.mark.parametrize(
    "read, new, known",
    [
        ([1, 2, 3], [1, 2, 4, 5], 2),
        ([1, 2, 3], [1, 2, 3], 2),  # the last token's state is asked for
        ([1, 2, 3], [1, 2], 1),
        ([1, 2], [1, 2, 3], 2),
        ([1, IMAGE, IMAGE, 3], [1, IMAGE, IMAGE, 3, 4], 1),  # another picture has the same tokens
        ([2], [1, 2], 0),
    ],
)
def test_how_far_two_rows_are_alike(read, new, known):
    assert alike(read, new, IMAGE) == known


class Counting(Decoder):
    """Has a cache of the tokens themselves, and remembers what it was asked to read."""

    shares, image = True, IMAGE

    def __init__(self):
        self.cache, self.tokens, self.recalled = torch.zeros(1, 0), 0, False

    def see(self, inputs): ...

    def extend(self, ids, mask, positions, last=1):
        assert (positions == (mask.cumsum(1) - 1).clamp(min=0)).all() and mask.shape == ids.shape
        self.cache, self.tokens = ids, self.tokens + int(mask.sum())

    def logits(self, hidden): ...

    def select(self, rows, mask): ...

    @property
    def read(self):
        return []

    def recall(self, cache, rows, columns):
        self.cache, self.recalled = self.cache[rows].gather(1, columns), True


def shared(openings: list[list[int]]) -> int:
    return min(alike(min(openings), max(openings), IMAGE), min(map(len, openings)) - 1)


@given(st.lists(ROWS, min_size=1, max_size=5), st.integers(1, 6))
def test_beginnings_are_read_once(different, times):
    """All rows' beginning in one row; or, where it saves half, what many begin like, before them."""
    openings, decoder = different * times, Counting()
    mask, left = Prefixes().begin(decoder, openings, "cpu")
    known = decoder.cache.expand(len(openings), -1)
    for row, kept, rest, opening in zip(known, mask.bool(), left, openings):
        assert row[kept].tolist() + rest == opening and rest
    common = shared(openings) if len(openings) > 1 else 0
    apart = common + sum(len(opening) - common for opening in openings)
    assert decoder.tokens + sum(map(len, left)) <= (apart / 2 if decoder.recalled else apart)
    if not decoder.recalled:
        assert mask.shape == (len(openings), common)


@pytest.mark.parametrize("draws", [1, 6])
def test_the_points_of_a_route_are_read_as_one(draws):
    route = [[1] * 30 + [2] * 20 * k + [3] * 4 for k in range(6)]
    asked = [point for point in route for _ in range(draws)]
    known, kinds = grown(asked, image=-1)
    assert known == [route[-1]] and set(kinds) == {0}
    decoder = Counting()
    left = Prefixes().begin(decoder, asked, "cpu")[1]
    assert decoder.recalled and {len(rest) for rest in left[:-draws]} == {4} and len(left[-1]) == 1
    other = [[4, *point] for point in route]
    assert sorted(map(len, grown(route + other, image=-1)[0])) == [134, 135]
    assert len(grown(route[:2] * 50, image=-1)[0]) == 2  # so often that their ends cost more than a reading


def test_a_decoder_that_cannot_share_reads_everything(policy):
    decoder = decoder_for(policy("biased"))
    mask, left = Prefixes().begin(decoder, [[1, 2, 3], [1, 2, 4]], "cpu")
    assert mask.shape == (2, 0) and left == [[1, 2, 3], [1, 2, 4]] and not decoder.shares
    for optional in (
        lambda: decoder.read,
        lambda: decoder.recall([], mask, mask),
        lambda: decoder.narrow(mask, mask),
    ):
        with pytest.raises(NotImplementedError):
            optional()
