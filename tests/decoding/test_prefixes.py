"""Beginnings that are read once: how far rows are alike, and what a decoder is asked to read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from posttrain.decoding import Decoder, decoder_for
from posttrain.decoding.prefixes import Prefixes, alike

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
    """Remembers what it was asked to read."""

    shares, image = True, IMAGE

    def __init__(self):
        self.asked = []

    def see(self, inputs): ...

    def extend(self, ids, mask, positions, last=1):
        assert mask.all() and positions.tolist() == [list(range(ids.shape[1]))]
        self.asked += ids.tolist()

    def logits(self, hidden): ...

    def select(self, rows, mask): ...


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_what_all_rows_begin_with_is_read_once(openings):
    decoder = Counting()
    mask, left = Prefixes().begin(decoder, openings, "cpu")
    shared = decoder.asked[0] if decoder.asked else []
    assert all(shared + rest == opening and rest for rest, opening in zip(left, openings))
    assert mask.tolist() == [[1] * len(shared)] * len(openings)
    if len(openings) > 1:  # nothing more could be shared
        firsts = {rest[0] for rest in left}
        assert len(firsts) > 1 or min(map(len, left)) == 1
    else:
        assert not shared


class Recalling(Counting):
    """Has a cache of the tokens themselves."""

    def extend(self, ids, mask, positions, last=1):
        assert (positions == (mask.cumsum(1) - 1).clamp(min=0)).all() and mask.shape == ids.shape
        self.asked += [row[kept].tolist() for row, kept in zip(ids, mask.bool())]
        self.cache = ids

    @property
    def read(self):
        return []

    def recall(self, cache, rows, columns):
        self.known = self.cache[rows].gather(1, columns)


@given(st.lists(ROWS, min_size=2, max_size=3, unique_by=tuple), st.integers(4, 6))
def test_openings_that_are_asked_often_are_read_once(different, times):
    openings, decoder = [opening for opening in different for _ in range(times)], Recalling()
    mask, left = Prefixes().begin(decoder, openings, "cpu")
    assert [len(rest) for rest in left] == [1] * len(openings)
    if any(len(opening) > 1 for opening in different):
        assert decoder.asked == [opening[:-1] for opening in different]
        for row, kept, rest, opening in zip(decoder.known, mask.bool(), left, openings):
            assert row[kept].tolist() + rest == opening
    else:
        assert decoder.asked == [] and left == openings


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
