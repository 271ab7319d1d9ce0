"""Charts: every kind of figure draws and is written, the same bytes each time; bad input is named."""

import base64
import io

import matplotlib

matplotlib.use("Agg")

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image
from posttrain.analysis import charts, saving
from posttrain.analysis.statistics import Interval
from posttrain.config import ROOT

BARS = {
    "SFT": Interval(0.03, 0.02, 0.05),
    "Init": Interval(0.11, 0.1, 0.12),
    "RL": Interval(0.15, 0.12, 0.18),
}


pytestmark = pytest.mark.usefixtures("style")


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
    fig, axes = charts.panels(["GP-L", "V-IRL-L"], ["In distribution", "Out of distribution"])
    for ax in axes.flat:
        charts.curves(ax, table(), "success")
    charts.legend(fig)
    return fig


def draw_bars():
    fig, ax = plt.subplots()
    charts.bars(ax, BARS, {"RL": 0.15})
    charts.legend(fig)
    return fig


@pytest.mark.parametrize("draw", [draw_curves, draw_bars])
def test_a_figure_is_written_with_the_same_bytes_each_time(draw, tmp_path):
    written = []
    for folder in ("one", "two"):
        fig = draw()
        charts.footer(fig, "smoke", [0, 1, 2], 7543)
        svg, png = charts.save(fig, "fig05-test", tmp_path / folder, png=True)
        written.append((svg.read_bytes(), png.read_bytes()))
        assert sorted(path.name for path in svg.parent.iterdir()) == ["fig05-test.png", "fig05-test.svg"], (
            "no drafts"
        )
    assert written[0] == written[1]
    assert b"<text" in written[0][0] and b"<dc:date>" not in written[0][0], "text stays text, and no date"
    image = Image.open(png).convert("RGB")
    assert image.getpixel((0, 0)) == (255, 255, 255) and image.info.get("Software") is None


def test_pictures_in_a_figure_are_packed_unless_one_sees_through_them(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    hidden = np.dstack([colours, np.full((60, 60), 128, np.uint8)])
    modes = []
    for image in (colours, hidden):
        fig, ax = plt.subplots()
        ax.imshow(image)
        (svg,) = charts.save(fig, "ext-picture", tmp_path)
        (data,) = saving.PIXELS.findall(svg.read_text())
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            modes.append(picture.mode)
        plt.close(fig)
    assert modes == ["P", "RGBA"]


@pytest.mark.parametrize(
    "name", ["fig5-x", "fig05", "fig05-", "fig05-Rule", "ext-a/b", "../fig05-x", "fig05-x.svg", "fig05-x\n"]
)
def test_a_bad_name_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="figure is called"):
        charts.save(draw_bars(), name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_notebook_shows_the_saved_picture_with_its_footer(tmp_path, monkeypatch):
    shown, drawn = [], []
    monkeypatch.setattr(
        "IPython.display.display", lambda what, metadata=None, **_: shown.append((what, metadata))
    )
    monkeypatch.setattr(charts, "footer", lambda *args: drawn.append(args[1:]))
    book = SimpleNamespace(
        profile=SimpleNamespace(name="cpu", results=ROOT / "data/results"), figures=tmp_path
    )
    one = SimpleNamespace(name="gp-l", seeds=[0, 1], seconds=60, note="", run_ids=["a", "b"])
    other = SimpleNamespace(name="gp-vl", seeds=[0, 2], seconds=30, note="edited results", run_ids=["c"])
    fig = draw_bars()
    charts.show(fig, "ext-shown", book, one, other, alt="up and down")
    (picture, metadata), (text, _) = shown
    assert picture == {"image/svg+xml": (tmp_path / "ext-shown.svg").read_text(), "text/plain": "up and down"}
    assert metadata == {"image/svg+xml": {"alt": "up and down"}} and len(list(tmp_path.iterdir())) == 1
    assert "<../figures/ext-shown.svg>" in text.data and "3 runs" in text.data
    assert "tables in `data/results/gp-l`, `data/results/gp-vl`" in text.data
    assert not plt.fignum_exists(fig.number)
    charts.show(draw_bars(), "ext-shown", book, alt="down")
    assert drawn == [("cpu", [0, 1, 2], 90, "edited results")], "no studies, no footer"


def test_a_figure_is_shown_with_what_it_says_or_not_at_all(tmp_path):
    book, fig = SimpleNamespace(figures=tmp_path), draw_bars()
    with pytest.raises(TypeError, match="alt"):
        charts.show(fig, "ext-shown", book)
    with pytest.raises(ValueError, match="ext-shown needs an alt"):
        charts.show(fig, "ext-shown", book, alt=" ")
    assert not list(tmp_path.iterdir())
    plt.close(fig)


@pytest.mark.parametrize(
    ("seeds", "seconds", "note", "text"),
    [
        ([4], 59.6, "", "profile cpu · seed 4 · 1 min 0 s in all"),
        (
            [0, 1],
            7543,
            "superseded results",
            "superseded results · profile cpu · seeds 0, 1 · 2 h 5 min in all",
        ),
    ],
)
def test_footer(seeds, seconds, note, text):
    fig = draw_bars()
    charts.footer(fig, "cpu", seeds, seconds, note)
    assert fig.texts[-1].get_text() == text
    assert fig.texts[-1].get_color() == (charts.COLOURS["SFT"] if note else charts.QUIET)


def test_a_failed_save_leaves_the_old_figure(tmp_path, monkeypatch):
    fig = draw_bars()
    before = {path: path.read_bytes() for path in charts.save(fig, "ext-kept", tmp_path, png=True)}

    def fails(path, *_, **__):
        (path.write if owner is fig else path.write_text)("half")
        raise ZeroDivisionError

    for owner, name in ((fig, "savefig"), (Path, "write_bytes")):  # a fault in drawing; a full disk
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(owner, name, fails)
            charts.save(fig, "ext-kept", tmp_path, png=True)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_panels(columns):
    _, axes = charts.panels([f"task {n}" for n in range(columns)], ["ID", "OOD"])
    assert axes.shape == (2, columns)
    assert axes[1, 0].get_ylabel() == "OOD" and axes[0, -1].get_title("left") == f"task {columns - 1}"


def test_curves_show_the_mean_of_the_seeds_and_init():
    _, ax = plt.subplots()
    charts.curves(ax, table(), "success")
    lines = {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}
    assert list(lines) == ["Init", "SFT", "RL"] and len(ax.get_lines()) == 1 + 2 * (3 + 1)
    assert lines["Init"].get_ydata() == pytest.approx([0.115, 0.115])
    rows = table().query("arm == 'RL'").groupby("checkpoint")[["flops", "success"]].mean()
    np.testing.assert_allclose(lines["RL"].get_xydata(), rows.to_numpy())
    assert lines["SFT"].get_color() == charts.COLOURS["SFT"]


def test_the_band_of_the_seeds_and_curves_of_nothing_but_zeros():
    _, (ax, below) = plt.subplots(2)
    charts.curves(ax, table(), "success")
    rows = table().query("arm == 'RL'").groupby("checkpoint")["success"]
    extent = ax.collections[1].get_paths()[0].get_extents()
    assert (extent.y0, extent.y1) == pytest.approx((rows.min().min(), rows.max().max()))
    charts.curves(below, table().assign(success=0.0), "success")
    assert below.get_ylim() == (0, 0.01)


@pytest.mark.parametrize("labels, columns", [(3, 3), (7, 7), (8, 4), (9, 5)])
def test_many_labels_stand_in_two_lines(labels, columns):
    fig, ax = plt.subplots()
    for number in range(labels):
        ax.plot([0], [0], label=str(number))
    charts.legend(fig)
    assert fig.legends[0]._ncols == columns


def test_bars_print_values_and_the_papers():
    fig, ax = plt.subplots()
    charts.bars(ax, BARS | {"RL, 1 answer": Interval(-0.02, -0.03, 0)}, {"Init": 0.115})
    assert {text.get_text() for text in ax.texts} == {"3.0 %", "11.0 %", "15.0 %", "−2.0 %"}
    (diamond,) = (line for line in ax.get_lines() if line.get_marker() == "D")
    assert diamond.get_ydata() == [0.115] and diamond.get_markerfacecolor() == "none"
    charts.bars(ax, BARS, seeds={"Init": [0.05, 0.3]})
    (dots,) = (line for line in ax.get_lines() if line.get_marker() == "o")
    assert dots.get_ydata().tolist() == [0.05, 0.3]
    assert ax.texts[-2].xy[1] == 0.3  # the printed share stands above the highest dot


def test_colours_are_fixed_for_the_arms_and_ordered_for_the_rest():
    first, second, *_ = charts.AUXILIARY
    assert charts.colours(["x", "RL", "y"]) == {"x": first, "RL": charts.COLOURS["RL"], "y": second}


def test_figures_of_a_study(toy):
    study = toy({("SFT", "id"): {"kl": 2.0}, ("RL", "ood"): {"first_try": 0.9}}, task="navigation")
    sets = {"id": "held out", "ood": "other rule"}
    fig, axes = charts.grid(study, sets, [("greedy", "first_try", "first"), ("sampled", "within", "within")])
    assert axes.shape == (2, 2) and [ax.get_ylabel() for ax in axes[:, 0]] == ["held out", "other rule"]
    (rl,) = (line for line in axes[1, 0].lines if line.get_label() == "RL")
    assert rl.get_ydata().tolist() == [0.5, 0.9] and rl.get_xdata().tolist() == [2e9, 7e9]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["SFT", "RL", "Init"]
    causes = charts.causes(study, sets, {"strict": "format", "kl": "KL"}, height=5)
    assert [ax.get_title("left") for ax in causes.axes][2:] == ["format, other rule", "KL, other rule"]
    formats = [ax.yaxis.get_major_formatter()(0.5, 0) for ax in causes.axes[:2]]
    assert formats[0] == "50 %" and formats[1] != "50 %", "KL is in nats"


@pytest.mark.parametrize(
    "call",
    [
        lambda ax: charts.curves(ax, table().iloc[:0], "success"),
        lambda ax: charts.curves(ax, table(), "luck"),
        lambda ax: charts.curves(ax, pd.concat([table(), table()]), "success"),
        lambda ax: charts.bars(ax, {}),
        lambda ax: charts.bars(ax, BARS, {"PPO": 0.1}),
        lambda ax: charts.panels([], ["ID"]),
        lambda ax: charts.panels(["a"] * 5, ["ID"]),
        lambda ax: charts.panels(["a"], []),
        lambda ax: charts.colours("abcdef"),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError):
        call(plt.subplots()[1])


def test_what_a_killed_process_left_of_a_figure_goes_with_the_next_one(tmp_path):
    left = [tmp_path / f".ext-some-words.{kind}.123" for kind in ("svg", "png")]
    other = tmp_path / ".ext-some-words-more.svg.123"
    for file in (*left, other):
        file.write_text("half")
    charts.save(plt.figure(), "ext-some-words", tmp_path, png=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        other.name,
        "ext-some-words.png",
        "ext-some-words.svg",
    ]
