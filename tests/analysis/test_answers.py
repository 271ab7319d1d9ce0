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
    table = points.at("ood", "sampled")
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
    cards.checkpoints.loc[cards.checkpoints["step"] == cards.checkpoints["step"].max(), "strict"] = 0.1
    labels = ("success", "recognition")
    figure = answers.trails(cards, {"id": "in distribution"}, "within", "recognized", labels)
    (axes,) = figure.axes
    table = cards.at("id", "sampled")
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


def test_levels_are_read_off_the_foundations(monkeypatch):
    from types import SimpleNamespace

    from posttrain import config

    text = {"corpus": "directions", "steps": 2, "reading_steps": 0}
    arms = {
        "init": {"algorithm": "init", "steps": 1},
        "sft": {"algorithm": "sft", "start": "init", "steps": 1},
        "ppo": {"algorithm": "ppo", "start": "init", "budget_gflop": 1},
    }
    one = {"task": "navigation", "arms": arms}
    said = {
        "seeds": [0],
        "foundations": {"a": {**text, "heed": 0.7}, "b": {**text, "invented": 0.05}},
        "studies": {"x": {**one, "foundation": "a"}, "y": {**one, "foundation": "b"}},
    }
    said["studies"]["pilot"] = {"task": "navigation", "foundation": "a", "arms": {"init": arms["init"]}}
    book = SimpleNamespace(profile=config.check("some", said), study=lambda name: name)
    assert answers.levels(book, "navigation") == {(0.7, 0.5): "x", (1.0, 0.05): "y"}
    assert answers.levels(book, "navigation-vision") == {}


def test_what_the_foundation_read(toy):
    shares = {
        (0.7, 0.5): {("Init", "ood"): {"first_try": 0.6}, ("RL", "ood"): {"first_try": [0.2, 0.3]}},
        (1.0, 0.5): {("Init", "ood"): {"first_try": 0.9}, ("RL", "ood"): {"first_try": 0.85}},
        (1.0, 0.05): {("Init", "ood"): {"first_try": 0.8}},
    }
    studies = {level: toy(said, task="navigation") for level, said in shares.items()}
    figure = answers.heed(studies, {"first_try": "turns right"})
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines["RL"].get_xdata()) == [0.7, 1.0]
    assert lines["RL"].get_ydata() == pytest.approx([0.25, 0.85])
    assert list(lines["RL, 5% of the lists invented"].get_xdata()) == [1.0]
    plt.close(figure)
    figure = answers.price(studies, {"gained": ("ood", "within")}, ("ood", "first_try"))
    (axes,) = figure.axes
    rl = next(line for line in axes.lines if line.get_label() == "RL")
    assert sorted(rl.get_ydata()) == pytest.approx(sorted([-0.4, -0.3, -0.05, -0.05, -0.3, -0.3]))
    plt.close(figure)
