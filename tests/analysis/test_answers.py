"""The figure of the first page: its dots and means are the study's ends, arm by arm."""

import matplotlib

matplotlib.use("Agg")

import pytest
from matplotlib import pyplot as plt
from posttrain.analysis import answers, study


@pytest.fixture(scope="module")
def points():
    return study.Book("cpu").study("gp-l")


def test_every_seed_is_a_dot_and_the_mean_a_line(points):
    figure = answers.distances({"GP-L": points}, answers.CARDS)
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["Init", "SFT", "RL"]
    for arm, line in lines.items():
        ends = [points.end(arm, set_, "sampled", "first_try") for set_ in answers.CARDS]
        assert line.get_ydata() == pytest.approx([end.mean() for end in ends])
        dots = [one for one in axes.lines if one.get_marker() == "o" and one.get_color() == line.get_color()]
        assert [list(dot.get_ydata()) for dot in dots] == [end.tolist() for end in ends]
        assert all(set(dot.get_xdata()) == {x} for dot, x in zip(dots, line.get_xdata()))
    assert [label.get_text() for label in axes.get_xticklabels()] == list(answers.CARDS.values())
    assert axes.get_ylim()[0] == 0
    plt.close(figure)


def test_several_studies_stand_side_by_side(points):
    figure = answers.distances(
        {"one": points, "two": points}, {"id": "held-out", "ood": "other rule"}, "greedy"
    )
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    plt.close(figure)
