"""Card pictures: the layout, the colours, and that every hand can be told from every other."""

import random

import numpy as np
import pytest
from posttrain.rendering import cards
from posttrain.rendering.cards import PAPER, POCKET, RANKS, SUITS, Layout, Style, draw


def pixels(*arguments, **more):
    return np.asarray(draw(*arguments, **more), int)


HAND = ("A", "10", "J", "7"), ("S", "C", "H", "D")


def test_the_papers_layout():
    image = pixels(*HAND)
    assert image.shape == (1200, 1200, 3)
    table = (image == cards.GREEN).all(2)
    assert table[:411].all() and table[789:].all()  # the cards fill the middle 378 rows
    columns = np.flatnonzero(~table[600])
    starts = [columns[0], *columns[1:][np.diff(columns) > 1]]
    assert starts == [5, 302, 599, 896] and columns[-1] == 896 + 269


@pytest.mark.no_cover  # others run the same lines, and it runs them a thousand times
@pytest.mark.parametrize("layout", [PAPER, POCKET, Layout.square(224), Layout.square(40)])
def test_every_card_differs_from_every_other_at_every_size(layout):
    keys = [(rank, suit) for rank in RANKS for suit in SUITS]
    faces = np.stack([pixels([rank], [suit], layout) for rank, suit in keys])
    differ = (faces != faces[0]).any((0, 3))  # all others are the table's pixels or the cards' blank ones
    faces = faces[:, differ].reshape(len(keys), -1).astype(np.int16)
    for i, a in enumerate(keys[1:], 1):
        distances = np.abs(faces[:i] - faces[i]).max(1)
        assert distances.min() > 60, (a, keys[distances.argmin()])


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_suits_have_their_colours_in_every_style(seed):
    """Black suits hold no red pixel and red suits do: the visual shift is the suit's colour alone."""
    for suits, red in ((cards.BLACK, False), (cards.RED, True)):
        image = pixels(
            ["K", "3", "10", "A"], [suits[0], suits[1]] * 2, POCKET, Style.of(seed) if seed else Style()
        )
        reddish = (image[..., 0] - image[..., 1:].max(2)) > 80
        assert reddish.any() == red


def test_the_same_arguments_give_the_same_pixels_and_styles_differ():
    random.seed(1)
    np.random.seed(1)
    state = random.getstate(), np.random.get_state()[1].tolist()
    first = [pixels(*HAND, POCKET, Style.of(seed)) for seed in range(4)]
    again = [pixels(*HAND, POCKET, Style.of(seed)) for seed in range(4)]
    assert all((a == b).all() for a, b in zip(first, again)) and all(
        (a != b).any() for a, b in zip(first, first[1:])
    )
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state


def test_order_and_position_are_kept():
    assert (
        pixels(["A", "K"], ["S", "S"], POCKET)[:, 14:28] == pixels(["K", "K"], ["S", "S"], POCKET)[:, 14:28]
    ).all()
    assert (
        pixels(["A", "K"], ["S", "S"], POCKET)[:, :14] != pixels(["K", "K"], ["S", "S"], POCKET)[:, :14]
    ).any()


def test_noise_has_its_strength_and_jitter_its_reach():
    plain, noisy = pixels(*HAND), pixels(*HAND, style=Style(noise=10, seed=3))
    assert np.std((noisy - plain)[:400]) == pytest.approx(10, abs=0.5)
    moved = (pixels(*HAND, style=Style(jitter=4, seed=3)) != cards.GREEN).any(2)
    rows = np.flatnonzero(moved.any(1))
    assert 411 - 11 <= rows[0] and rows[-1] <= 788 + 11


@pytest.mark.parametrize(
    "ranks, suits, message",
    [
        ([], [], "one to four"),
        (["A"] * 5, ["S"] * 5, "one to four"),
        (["A"], [], "one to four"),
        (["1"], ["S"], "unknown '1'"),
        (["A"], ["X"], "unknown 'X'"),
    ],
)
def test_unknown_cards_are_refused(ranks, suits, message):
    with pytest.raises(ValueError, match=message):
        draw(ranks, suits)


def test_bad_layouts_and_styles():
    with pytest.raises(ValueError, match="too small"):
        Layout.square(20)
    with pytest.raises(ValueError, match="unknown font"):
        Style("Comic Sans")
