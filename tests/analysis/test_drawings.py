"""Drawings: dialogues, cards and maps show what they are given; bad input is named."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib import pyplot as plt
from posttrain.analysis import charts, drawings
from posttrain.environments import cities, routes
from posttrain.verifiers.general_points import Verdict

MESSAGES = [
    {"role": "user", "content": "Make 24.\n\n[Input]\nCards: [5, 4, 10, 7] " + "and so on " * 20},
    {"role": "assistant", "content": '{"formula": "5+4+10+7=24"}'},
    {"role": "user", "content": "You failed: the formula makes $26$."},
    {"role": "assistant", "content": '{"formula": "(7-5)*10+4=24"}'},
]
VERDICTS = [Verdict(-1, "the formula makes 26"), Verdict(5, "", True)]


pytestmark = pytest.mark.usefixtures("style")


def draw_dialogue():
    fig, ax = plt.subplots(figsize=(8, 1))
    drawings.dialogue(ax, MESSAGES, VERDICTS)
    return fig


def draw_map():
    fig, ax = plt.subplots()
    drawings.street_map(ax, cities.city("Calvero"), cities.routes("Calvero", "benchmark")[0])
    return fig


@pytest.mark.parametrize("draw", [draw_dialogue, draw_map, drawings.chain])
def test_a_drawing_is_written_with_the_same_bytes_each_time(draw, tmp_path):
    pairs = [charts.save(draw(), "ext-test", tmp_path / folder, png=True) for folder in ("one", "two")]
    assert pairs[0][0].read_bytes() == pairs[1][0].read_bytes()
    assert pairs[0][1].read_bytes() == pairs[1][1].read_bytes()


def test_a_picture_is_shown_pixel_by_pixel():
    _, ax = plt.subplots()
    drawings.picture(ax, np.zeros((4, 6, 3)), "nothing")
    assert ax.images[0].get_interpolation() == "nearest" and not ax.axison
    assert ax.get_title("left") == "nothing"


def test_a_dialogue_fits():
    fig = draw_dialogue()
    fig.draw_without_rendering()
    inside = fig.bbox.padded(1)
    for text in fig.axes[0].texts:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1, text
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1, text
    words = [text.get_text() for text in fig.axes[0].texts]
    assert [word for word in words if word.startswith("reward")] == ["reward −1", "reward +5"]
    assert words[-1] == "correct"


def test_a_dialogue_beside_something_else_shrinks_to_its_axes():
    fig, (_, ax) = plt.subplots(2, figsize=(8, 4))
    drawings.dialogue(ax, MESSAGES, VERDICTS)
    assert tuple(fig.get_size_inches()) == (8, 4) and ax.texts[0].get_fontsize() < 6


def test_a_map_shows_every_turning_point_and_landmark_with_north_up():
    route = cities.routes("Calvero", "benchmark")[0]
    ax = draw_map().axes[0]
    texts = [text.get_text() for text in ax.texts]
    points = [route.start, *(leg.end for leg in route.legs)]
    assert [str(n) for n in range(1, len(points) + 1)] == [t for t in texts if t.isdigit()] and {
        leg.landmark for leg in route.legs if leg.landmark
    } <= set(texts)
    path = next(line for line in ax.lines if line.get_linewidth() == 2.2).get_xydata()
    assert [(b > a) for a, b in zip(path[:-1, 1], path[1:, 1])] == [
        b[0] > a[0] for a, b in zip(points, points[1:])
    ]
    assert np.hypot(*(path[1] - path[0])) == pytest.approx(routes.metres(points[0], points[1]), rel=0.01)


def test_a_dialogue_shows_where_its_picture_stands():
    _, ax = plt.subplots()
    drawings.dialogue(
        ax,
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see "},
                    {"type": "image"},
                    {"type": "text", "text": " and say"},
                ],
            }
        ],
    )
    assert "see (picture) and say" in [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    "call",
    [
        lambda ax: drawings.dialogue(ax, []),
        lambda ax: drawings.dialogue(ax, MESSAGES, VERDICTS[:1]),
        lambda ax: drawings.dialogue(ax, [{"role": "tool", "content": ""}]),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError):
        call(plt.subplots()[1])
