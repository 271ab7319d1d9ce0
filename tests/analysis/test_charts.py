"""Plots: every kind of figure draws and is written, the same bytes each time; bad input is named."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from posttrain.analysis import charts as plots
from posttrain.analysis.statistics import Interval
from posttrain.environments import cities, routes
from posttrain.verifiers.general_points import Verdict

MESSAGES = [
    {"role": "user", "content": "Make 24.\n\n[Input]\nCards: [5, 4, 10, 7] " + "and so on " * 20},
    {"role": "assistant", "content": '{"formula": "5+4+10+7=24"}'},
    {"role": "user", "content": "You failed: the formula makes $26$."},
    {"role": "assistant", "content": '{"formula": "(7-5)*10+4=24"}'},
]
VERDICTS = [Verdict(-1, "the formula makes 26"), Verdict(5, "", True)]
BARS = {
    "SFT": Interval(0.03, 0.02, 0.05),
    "Init": Interval(0.11, 0.1, 0.12),
    "RL": Interval(0.15, 0.12, 0.18),
}


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def table(seeds=3):
    rng = np.random.default_rng(0)
    rows = [("Init", seed, 0, 1e12, 0.115) for seed in range(seeds)]
    for arm, slope in (("SFT", -0.08), ("RL", 0.05)):
        for seed, c in np.ndindex(seeds, 9):
            rows.append(
                (arm, seed, c, 1e12 * (1 + c * (8 + seed)), 0.115 + slope * c / 8 + rng.normal(0, 0.01))
            )
    return pd.DataFrame(rows, columns=["arm", "seed", "checkpoint", "flops", "success"])


def draw_curves():
    fig, axes = plots.panels(["GP-L", "V-IRL-L"])
    for ax in axes.flat:
        plots.curves(ax, table(), "flops", "success")
    plots.legend(fig)
    return fig


def draw_bars():
    fig, ax = plt.subplots()
    plots.bars(ax, BARS, {"RL": 0.15})
    plots.legend(fig)
    return fig


def draw_dialogue():
    fig, ax = plt.subplots(figsize=(8, 1))
    plots.dialogue(ax, MESSAGES, VERDICTS)
    return fig


def draw_hand():
    fig, (ax, below) = plt.subplots(2)
    plots.hand(ax, ["A", "10", "Q", "K"], ["S", "hearts", "♦", "C"])
    plots.hand(below, ["A", "10", "Q", "K"])
    return fig


def draw_map():
    fig, ax = plt.subplots()
    plots.street_map(ax, cities.city("Calvero"), cities.routes("Calvero", "benchmark")[0])
    return fig


@pytest.mark.parametrize("draw", [draw_curves, draw_bars, draw_dialogue, draw_hand, draw_map])
def test_a_figure_is_written_with_the_same_bytes_each_time(draw, tmp_path):
    first, second = [], []
    for folder, found in (("one", first), ("two", second)):
        fig = draw()
        plots.footer(fig, "smoke", [0, 1, 2], ["run-" + "0" * 12] * 12, 7543)
        svg, png = plots.save(fig, "fig05-test", tmp_path / folder)
        found += [svg.read_bytes(), png.read_bytes()]
        assert sorted(path.name for path in svg.parent.iterdir()) == ["fig05-test.png", "fig05-test.svg"], (
            "no drafts"
        )
    assert first == second
    assert b"<text" in first[0] and b"<dc:date>" not in first[0], "text stays text, and no date"
    image = Image.open(png).convert("RGB")
    assert image.getpixel((0, 0)) == (255, 255, 255) and image.info.get("Software") is None


@pytest.mark.parametrize(
    "name", ["fig5-x", "fig05", "fig05-", "fig05-Rule", "ext-a/b", "../fig05-x", "fig05-x.svg", "fig05-x\n"]
)
def test_a_bad_name_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="figure is called"):
        plots.save(draw_bars(), name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_notebook_shows_is_the_saved_picture(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    fig = draw_bars()
    plots.show(fig, "ext-shown", tmp_path)
    assert [picture.data for picture in shown] == [
        (tmp_path / "ext-shown.png").read_bytes()
    ] and not plt.fignum_exists(fig.number)


def test_saving_leaves_the_figure_as_it_was(tmp_path):
    fig, _ = plots.panels(["GP-L"])
    before = fig.dpi, type(fig.get_layout_engine())
    plots.save(fig, "ext-same", tmp_path)
    assert (fig.dpi, type(fig.get_layout_engine())) == before


def test_a_failed_save_leaves_the_old_figure(tmp_path, monkeypatch):
    fig = draw_bars()
    svg, _ = plots.save(fig, "ext-kept", tmp_path)
    before = svg.read_bytes()
    monkeypatch.setattr(fig, "savefig", lambda path, **_: (path.write_text("half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        plots.save(fig, "ext-kept", tmp_path)
    assert svg.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_panels(columns):
    _, axes = plots.panels([f"task {n}" for n in range(columns)])
    assert axes.shape == (2, columns)
    assert (
        axes[1, 0].get_ylabel() == "Out of distribution"
        and axes[0, -1].get_title("left") == f"task {columns - 1}"
    )


def test_curves_show_the_mean_of_the_seeds_and_init():
    _, ax = plt.subplots()
    plots.curves(ax, table(), "flops", "success")
    lines = {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}
    assert list(lines) == ["Init", "SFT", "RL"] and len(ax.get_lines()) == 1 + 2 * (3 + 1)
    assert lines["Init"].get_ydata() == pytest.approx([0.115, 0.115])
    rows = table().query("arm == 'RL'").groupby("checkpoint")[["flops", "success"]].mean()
    np.testing.assert_allclose(lines["RL"].get_xydata(), rows.to_numpy())
    assert lines["SFT"].get_color() == plots.COLOURS["SFT"]


def test_curves_of_one_seed_with_an_interval():
    _, ax = plt.subplots()
    one = table(1).assign(low=lambda t: t.success - 0.02, high=lambda t: t.success + 0.03)
    plots.curves(ax, one, "flops", "success", band=("low", "high"))
    extent = ax.collections[1].get_paths()[0].get_extents()
    assert extent.y1 == pytest.approx(one.query("arm == 'RL'").high.max())


def test_bars_print_values_and_the_papers():
    fig, ax = plt.subplots()
    plots.bars(ax, BARS | {"RL, 1 answer": Interval(-0.02, -0.03, 0)}, {"Init": 0.115})
    assert {text.get_text() for text in ax.texts} == {"3.0 %", "11.0 %", "15.0 %", "−2.0 %"}
    (diamond,) = (line for line in ax.get_lines() if line.get_marker() == "D")
    assert diamond.get_ydata() == [0.115] and diamond.get_markerfacecolor() == "none"


def test_colours_are_fixed_for_the_arms_and_ordered_for_the_rest():
    first, second, *_ = plots.AUXILIARY
    assert plots.colours(["x", "RL", "y"]) == {"x": first, "RL": plots.COLOURS["RL"], "y": second}


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
    plots.dialogue(ax, MESSAGES, VERDICTS)
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


def test_footer_wraps():
    fig = draw_bars()
    plots.footer(fig, "cpu", [4], ["a" * 12] * 30, 59.6)
    text = fig.texts[-1].get_text()
    assert (
        text.startswith("profile cpu · 1 seed (4) · 1 min 0 s in all · 30 runs: ") and text.count("\n") >= 2
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda ax: plots.curves(ax, table().iloc[:0], "flops", "success"),
        lambda ax: plots.curves(ax, table(), "flops", "luck"),
        lambda ax: plots.curves(ax, pd.concat([table(), table()]), "flops", "success"),
        lambda ax: plots.bars(ax, {}),
        lambda ax: plots.bars(ax, BARS, {"PPO": 0.1}),
        lambda ax: plots.panels([]),
        lambda ax: plots.panels(["a"] * 5),
        lambda ax: plots.colours("abcde"),
        lambda ax: plots.dialogue(ax, []),
        lambda ax: plots.dialogue(ax, MESSAGES, VERDICTS[:1]),
        lambda ax: plots.dialogue(ax, [{"role": "tool", "content": ""}]),
        lambda ax: plots.hand(ax, []),
        lambda ax: plots.hand(ax, ["A"], ["S", "H"]),
        lambda ax: plots.hand(ax, ["A"], ["X"]),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError):
        call(plt.subplots()[1])


def test_pairs_join_two_sets_of_each_checkpoint():
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "checkpoint": step,
            "set": set_,
            "x": 0.1 * step + 0.01 * seed,
            "y": 0.5 + 0.1 * (set_ == "id"),
            "flops": step * 1e12,
        }
        for arm in ("RL", "SFT")
        for seed in (0, 1)
        for step in (1, 2, 3)
        for set_ in ("id", "ood")
    ]
    _, ax = plt.subplots()
    plots.pairs(ax, pd.DataFrame(rows), "x", "y")
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2]
    points = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert len(lines) == 6 and len(points) == 12
    filled = [p for p in points if p.get_markerfacecolor() != plots.PAPER]
    assert {round(float(p.get_ydata()[0]), 6) for p in filled} == {0.6} and len(
        filled
    ) == 6  # the first set of the table
    strengths = [p.get_alpha() for p in filled][:3]
    assert strengths == sorted(strengths) and strengths[-1] == 1  # the colour grows with compute
    assert sorted(ax.get_legend_handles_labels()[1]) == ["RL, id", "RL, ood", "SFT, id", "SFT, ood"]
    with pytest.raises(ValueError, match="a pair has two sets, not 1: id"):
        plots.pairs(ax, pd.DataFrame([r for r in rows if r["set"] == "id"]), "x", "y")


def test_a_dialogue_shows_where_its_picture_stands():
    _, ax = plt.subplots()
    plots.dialogue(
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
