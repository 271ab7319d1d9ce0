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
    assert axes.get_ylim()[0] < 0, "a dot at nought is a whole dot"
    plt.close(figure)


def test_several_studies_stand_side_by_side(points):
    figure = answers.distances(
        {"one": points, "two": points}, {"id": "held-out", "ood": "other rule"}, "greedy"
    )
    assert [axes.get_title() for axes in figure.axes] == ["one", "two"]
    plt.close(figure)


def test_growth_shows_every_seed_and_shares_its_axis(points):
    figure = answers.growth({"GP-L": (points, "first_try")}, {"id_seen": "seen", "ood": "another rule"})
    left, right = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["seen", "another rule"]
    assert left.get_ylim() == right.get_ylim() and left.get_ylim()[0] == 0 and left.get_xscale() == "log"
    table = points.along("ood", "sampled")
    for arm in ("SFT", "RL"):
        rows = table[table["arm"] == arm]
        ends = rows.sort_values("flops").groupby("seed")["first_try"].last()
        thin = [line for line in right.lines if line.get_linewidth() == 0.7]
        assert set(ends.round(9)) <= {round(line.get_ydata()[-1], 9) for line in thin}
        (mean,) = [line for line in right.lines if line.get_label() == arm]
        assert mean.get_ydata() == pytest.approx(rows.groupby("checkpoint")["first_try"].mean().to_numpy())
    plt.close(figure)


def test_where_the_format_is_lost_points_are_hollow():
    cards = study.Book("cpu").study("gp-vl")
    for table in (cards.checkpoints, cards.hands):
        table.loc[table["step"] == cards.checkpoints["step"].max(), "strict"] = 0.1
    labels = ("success", "recognition")
    figure = answers.trails(cards, {"id": "in distribution"}, "within", "recognized", labels)
    (axes,) = figure.axes
    table = cards.along("id", "sampled")
    lost = table[(table["strict"] < answers.LOST) & (table["arm"] != "Init")]
    hollow = [line for line in axes.lines if line.get_label() == answers.HOLLOW]
    drawn = sorted(y for line in hollow for y in line.get_ydata())
    assert len(lost) > 0 and drawn == pytest.approx(sorted(lost["recognized"]))
    assert sum(line.get_marker() == "s" for line in axes.lines) == len(cards.seeds)
    assert (axes.get_xlabel(), axes.get_ylabel()) == labels
    plt.close(figure)


def test_a_trail_may_run_from_one_set_to_another(toy):
    shares = {("SFT", "seen"): {"first_try": 0.9}, ("SFT", "id"): {"first_try": 0.1}}
    small = toy({("Init", "seen"): {}, ("Init", "id"): {}, **shares})
    labels = ("on seen hands", "on held-out hands")
    figure = answers.trails(small, {"id": "held out"}, "first_try", "first_try", labels, against="seen")
    ends = [line.get_xydata()[-1].tolist() for line in figure.axes[0].lines if line.get_label() == "SFT"]
    assert ends == [[0.9, 0.1]]
    plt.close(figure)
