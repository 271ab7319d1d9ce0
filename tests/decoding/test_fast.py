"""Decoding with few kernels is a full forward pass of transformers' Llama, whatever was read, dropped or
recalled before."""

import torch
from posttrain.decoding.fast import Fast
from posttrain.policy.llama import Llama


def fresh(model):
    return Fast(Llama(model, lambda module: module.weight))


def close(got, expected, atol=3e-5):
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)


def test_decoding_with_holes_and_dropped_rows_equals_a_full_forward(plain_llama):
    """Turns of different lengths leave holes in the cache; rows leave the batch; the cache outgrows its first
    places."""
    generator = torch.Generator().manual_seed(1)
    own, dialogues, rows = fresh(plain_llama), [[] for _ in range(4)], [0, 1, 2, 3]
    mask = torch.zeros(4, 0, dtype=torch.long)
    seen = 0
    for turn in range(12):
        lengths = [int(torch.randint(1, 12, (1,), generator=generator)) for _ in rows]
        if turn % 4 == 2 and len(rows) > 1:
            lengths = [1 if r else 0 for r in range(len(rows))]  # one new place: row 0 has nothing for it
        width = max(lengths)
        ids, real = (
            torch.zeros(len(rows), width, dtype=torch.long),
            torch.zeros(len(rows), width, dtype=torch.long),
        )
        for r, (row, n) in enumerate(zip(rows, lengths)):
            new = torch.randint(60, (n,), generator=generator).tolist()
            dialogues[row] += new
            if n:
                ids[r, width - n :], real[r, width - n :] = torch.tensor(new), 1
        mask = torch.cat([mask, real], 1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -width:]
        hidden = own.extend(ids, mask, positions)
        for r, row in enumerate(rows):
            if lengths[r]:  # the last place holds a real token of this row
                full = plain_llama(input_ids=torch.tensor([dialogues[row]]), output_hidden_states=True)
                close(hidden[r, 0], full.hidden_states[-1][0, -1])
                close(own.logits(hidden[r, 0]), full.logits[0, -1])
                seen += 1
        if turn in (3, 7):
            kept = torch.tensor([2, 0] if turn == 3 else [1])
            mask, rows = own.select(kept, mask), [rows[k] for k in kept]
            assert mask.shape[1] == mask.sum(1).max()  # no holes that all rows have
    assert seen > 20 and mask.shape[1] > 50 and rows == [0]


def test_rows_that_went_on_alone_come_back_with_the_others(plain_llama):
    """Narrowed twice, beyond the cache's first room; afterwards every row continues its own dialogue."""
    generator = torch.Generator().manual_seed(2)
    own = fresh(plain_llama)
    rows, dialogues = torch.arange(5), torch.randint(60, (5, 20), generator=generator).tolist()
    mask = torch.ones(5, 20, dtype=torch.long)
    own.extend(torch.tensor(dialogues), mask, mask.cumsum(1) - 1)
    for kept, steps in ((torch.tensor([0, 2, 3]), 30), (torch.tensor([2]), 40)):
        rows = rows[kept]
        own.narrow(kept, rows)
        for _ in range(steps):
            new = torch.randint(60, (len(rows),), generator=generator)
            for row, token in zip(rows.tolist(), new.tolist()):
                dialogues[row].append(token)
            mask = torch.cat([mask, torch.zeros(5, 1, dtype=torch.long).index_fill(0, rows, 1)], 1)
            own.extend(new[:, None], mask[rows], mask[rows].sum(1, keepdim=True) - 1)
    assert (
        [len(d) for d in dialogues] == [50, 20, 50, 90, 20]
        and len(own.cache[0][0]) == 1
        and len(own.read[0][0]) == 5
    )
    order = [3, 0, 4, 1]  # one row is left out, the others stand in another order
    mask = own.select(torch.tensor(order), mask)
    assert mask.sum(1).tolist() == [90, 50, 20, 20] and mask.shape == (4, 90) and len(own.cache[0][0]) == 4
    last = torch.randint(60, (4, 1), generator=generator)
    mask = torch.cat([mask, torch.ones(4, 1, dtype=torch.long)], 1)
    hidden = own.extend(last, mask, mask.sum(1, keepdim=True) - 1)
    for r, row in enumerate(order):
        full = plain_llama(
            input_ids=torch.tensor([dialogues[row] + last[r].tolist()]), output_hidden_states=True
        )
        close(hidden[r, 0], full.hidden_states[-1][0, -1])


def test_what_is_recalled_is_what_was_read(plain_llama):
    """Rows of another batch, cut off where each one's own dialogue goes another way."""
    generator = torch.Generator().manual_seed(3)
    first, tail = (
        torch.randint(60, (4, 12), generator=generator),
        torch.randint(60, (2, 7), generator=generator),
    )
    mask = torch.ones(4, 12, dtype=torch.long)
    mask[1, :5] = 0  # a shorter opening, padded on the left
    other, own = fresh(plain_llama), fresh(plain_llama)
    other.extend(first, mask, (mask.cumsum(1) - 1).clamp(min=0))
    rows, known = torch.tensor([3, 1]), torch.tensor([9, 4])
    own.recall(other.read, rows, mask[rows].argsort(dim=1, descending=True, stable=True)[:, :9])
    seen = torch.cat([(torch.arange(9) < known[:, None]).long(), torch.ones(2, 7, dtype=torch.long)], 1)
    hidden = own.extend(tail, seen, (seen.cumsum(1) - 1)[:, -7:], 7)
    for r, begin in enumerate((first[3, :9], first[1, 5:9])):
        full = plain_llama(input_ids=torch.cat([begin, tail[r]])[None], output_hidden_states=True)
        close(hidden[r], full.hidden_states[-1][0, -7:])
