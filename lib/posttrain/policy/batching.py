"""Rows of tokens as tensors: padding, cuts by length, pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

Pictures = dict[str, torch.Tensor]  # what a processor makes of pictures, one a row, by the model's names
GRID = "image_grid_thw"  # where a processor lays the patches of all pictures end to end (Qwen2-VL): how many


def padded(rows: Sequence[Sequence], fill, dtype: torch.dtype = torch.long, width: int = 0) -> torch.Tensor:
    """Tensor[rows, longest, or `width` if that is more] of `dtype`: each row, and behind it `fill`."""
    width = max(width, *map(len, rows))
    filled = [[*row, *[fill] * (width - len(row))] for row in rows]
    return torch.tensor(filled, dtype=dtype).view(len(rows), width)


def right_aligned(rows: Sequence[Sequence[int]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that end together, `fill` before the shorter ones: ids LongTensor[rows, longest], and a mask of
    that shape and type, 1 where a token of the row stands."""
    gaps = [max(map(len, rows)) - len(row) for row in rows]
    ids = torch.tensor([[*[fill] * gap, *row] for gap, row in zip(gaps, rows)], dtype=torch.long)
    return ids, (torch.arange(ids.shape[1]) >= torch.tensor(gaps)[:, None]).long()


def supervised(rows: Sequence[tuple[list[int], list[int]]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of (what is read, what is learned): ids LongTensor[rows, longest], padded on the right with
    `fill`, and where one learns, a BoolTensor of the same shape."""
    ids = padded([[*read, *learned] for read, learned in rows], fill)
    return ids, padded(
        [[False] * len(read) + [True] * len(learned) for read, learned in rows], False, torch.bool
    )


def parts(lengths: Sequence[int], tokens: int, sort: bool = True) -> list[list[int]]:
    """Rows by length, the longest first, or (not `sort`) as they stand, cut so that each part holds at most
    `tokens`, padding included (or one row)."""
    cut: list[list[int]] = []
    longest = 0  # of the last part
    for row in sorted(range(len(lengths)), key=lambda r: -lengths[r]) if sort else range(len(lengths)):
        longest = max(longest, lengths[row])
        if not cut or (len(cut[-1]) + 1) * longest > tokens:
            cut.append([])
            longest = lengths[row]
        cut[-1].append(row)
    return cut


def stacked(inputs: Sequence[Pictures]) -> Pictures:
    """What the processor made of the pictures of single rows, as one batch, noughts where one is smaller;
    empty where rows have none."""
    return {name: _stack([row[name] for row in inputs]) for name in inputs[0]}


def _stack(rows: list[torch.Tensor]) -> torch.Tensor:
    most = [max(sizes) for sizes in zip(*(row.shape for row in rows))]
    gaps = [[n for own, size in zip(row.shape, most) for n in (size - own, 0)][::-1] for row in rows]
    return torch.stack([F.pad(row, gap) if any(gap) else row for row, gap in zip(rows, gaps)])


def one_a_row(made: Pictures, count: int) -> Pictures:
    """What a processor made of `count` pictures, with patches that it laid end to end now picture by picture:
    [count, most patches, values]. ValueError where it made another number of rows."""
    if GRID in made:
        patches = made["pixel_values"].split(made[GRID].prod(1).tolist())
        made = {**made, "pixel_values": pad_sequence(patches, batch_first=True)}
    for name, value in made.items():
        if len(value) != count:
            raise ValueError(
                f"this model's processor makes {len(value)} rows of {name} for {count} pictures: only "
                "processors that keep pictures apart, or tell the grid of each (image_grid_thw), can be used"
            )
    return made


def end_to_end(inputs: Pictures) -> Pictures:
    """The way back: the patches of all rows as the model takes them."""
    if GRID not in inputs:
        return inputs
    pixels, counts = inputs["pixel_values"], inputs[GRID].prod(1)
    real = torch.arange(pixels.shape[1], device=pixels.device) < counts[:, None]
    return {**inputs, "pixel_values": pixels[real]}
