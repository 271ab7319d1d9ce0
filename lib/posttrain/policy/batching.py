"""Rows of tokens as tensors: padding, cuts by length, pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch

Pictures = dict[str, torch.Tensor]  # what a processor makes of pictures, by the names that the model knows


def padded(
    rows: Sequence[Sequence], fill, dtype: torch.dtype = torch.long, width: int = 0, left: bool = False
) -> torch.Tensor:
    """Tensor[rows, longest, or `width` if that is more] of `dtype`: each row, and behind it (before it, if
    `left`) `fill`."""
    width = max(width, *map(len, rows))
    gaps = [[fill] * (width - len(row)) for row in rows]
    filled = [[*gap, *row] if left else [*row, *gap] for row, gap in zip(rows, gaps)]
    return torch.tensor(filled, dtype=dtype).view(len(rows), width)


def supervised(rows: Sequence[tuple[list[int], list[int]]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of (what is read, what is learned): ids LongTensor[rows, longest], padded on the right with
    `fill`, and where one learns, a BoolTensor of the same shape."""
    ids = padded([[*read, *learned] for read, learned in rows], fill)
    return ids, padded(
        [[False] * len(read) + [True] * len(learned) for read, learned in rows], False, torch.bool
    )


def parts(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Rows by length, the longest first, cut so that each part holds at most `tokens`, padding included (or
    one row)."""
    cut: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda r: -lengths[r]):
        if not cut or (len(cut[-1]) + 1) * lengths[cut[-1][0]] > tokens:
            cut.append([])
        cut[-1].append(row)
    return cut


def stacked(inputs: Sequence[Pictures]) -> Pictures:
    """What the processor made of the pictures of single rows, as one batch; empty where rows have none."""
    return {name: torch.stack([row[name] for row in inputs]) for name in inputs[0]}
