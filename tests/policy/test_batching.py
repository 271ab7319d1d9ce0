"""Rows as tensors: padding on either side, what is learned, cuts by length."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from posttrain.policy.batching import padded, parts, right_aligned, stacked, supervised


def test_padding_on_either_side():
    rows = [[1, 2, 3], [4], []]
    assert padded(rows, 9).tolist() == [[1, 2, 3], [4, 9, 9], [9, 9, 9]]
    ids, mask = right_aligned(rows, 9)
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4], [9, 9, 9]] and mask.tolist() == [
        [1] * 3,
        [0, 0, 1],
        [0] * 3,
    ]
    assert mask.dtype == ids.dtype == torch.long and right_aligned([[], []], 9)[0].shape == (2, 0)
    assert padded(rows, 0.5, torch.float32, width=4).tolist()[1] == [4, 0.5, 0.5, 0.5]
    assert padded([[], []], -1).shape == (2, 0) and padded(rows, 9, width=2).shape == (3, 3)


def test_what_is_learned_stands_behind_what_is_read():
    ids, learned = supervised([([1, 2], [3]), ([4], [5, 6, 7])], 9)
    assert ids.tolist() == [[1, 2, 3, 9], [4, 5, 6, 7]]
    assert learned.tolist() == [[False, False, True, False], [False, True, True, True]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 200))
def test_parts_hold_every_row_once_and_no_more_than_so_many_tokens(lengths, tokens):
    cut = parts(lengths, tokens)
    assert sorted(row for part in cut for row in part) == list(range(len(lengths)))
    assert [lengths[row] for part in cut for row in part] == sorted(lengths, reverse=True)
    assert all(len(part) == 1 or len(part) * lengths[part[0]] <= tokens for part in cut)
    # No part could have taken the next one's first row too.
    assert all((len(a) + 1) * lengths[a[0]] > tokens for a, b in zip(cut, cut[1:]))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 200))
def test_parts_in_the_order_given(lengths, tokens):
    cut = parts(lengths, tokens, sort=False)
    assert [row for part in cut for row in part] == list(range(len(lengths)))
    assert all(len(part) == 1 or len(part) * max(lengths[row] for row in part) <= tokens for part in cut)


def test_pictures_side_by_side():
    rows = [{"pixels": torch.full((2, 2), float(i))} for i in range(3)]
    assert stacked(rows)["pixels"].shape == (3, 2, 2) and stacked(rows)["pixels"][2, 0, 0] == 2
    assert stacked([{}, {}]) == {}
    with pytest.raises(KeyError):
        stacked([rows[0], {}])
