"""Drawing: frequencies, temperatures, and what a row's draw depends on."""

import torch
from posttrain.decoding.sampling import Sampler

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1e9])


def draw(temperature, logits=LOGITS, seed=0):
    sampler = Sampler(torch.as_tensor(temperature), 1, torch.Generator().manual_seed(seed))
    rows = torch.arange(len(temperature))
    return sampler.draw(logits.expand(len(rows), 1, -1), rows, torch.zeros(len(rows), 1, dtype=torch.long))


def test_frequencies_are_those_of_the_softmax_at_each_rows_temperature():
    temperature = torch.tensor([1.0, 0.5, 0.0]).repeat_interleave(20_000)
    drawn, scores = draw(temperature)
    for part, heat in enumerate((1.0, 0.5)):
        expected = (LOGITS / heat).softmax(-1)
        rows = slice(20_000 * part, 20_000 * (part + 1))
        shares = drawn[rows, 0].bincount(minlength=4) / 20_000
        assert (shares - expected).abs().max() < 4 * (0.25 / 20_000) ** 0.5 and shares[3] == 0
        torch.testing.assert_close(scores[rows, 0], expected.log()[drawn[rows, 0]])
    assert (drawn[40_000:] == 0).all()
    torch.testing.assert_close(scores[-1, 0], LOGITS.softmax(-1).log()[0])  # greedy, scored at temperature 1


def test_a_draw_depends_on_its_row_and_position_alone():
    sampler = Sampler(torch.ones(6), 5, torch.Generator().manual_seed(1))
    logits, rows = torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(2)), torch.arange(6)
    every = sampler.draw(logits, rows, torch.arange(5).expand(6, 5))[0]
    some = torch.tensor([4, 1])
    at = torch.tensor([[3], [0]])
    assert sampler.draw(logits[some].gather(1, at[..., None].expand(2, 1, 7)), some, at)[0].tolist() == [
        [int(every[4, 3])],
        [int(every[1, 0])],
    ]
    beyond = sampler.draw(logits[:, :1], rows, torch.full((6, 1), 9))[
        0
    ]  # past the limit: drawn, and never taken
    assert beyond.shape == (6, 1)
