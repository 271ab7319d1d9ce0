"""Figures that compare the arms at a glance: how far what was learned carries, and how it came.

Paper: Figures 5 and 8. Arms stand in one order everywhere (Init, SFT, RL), every seed is seen, and a panel
shares its axis with those it is to be compared with.

    distances({"GP-L": points}, CARDS)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator

from posttrain.analysis import charts
from posttrain.analysis.study import Book, Study

CARDS = {  # sets of GeneralPoints, the nearest to the training first
    "seen": "hands of\nthe training",
    "same_numbers": "same numbers,\nother faces",
    "id": "other numbers,\nsame rule",
    "in_range_a": "rule 5/7/9,\nnumbers\nmostly trained",
    "ood": "rule 11/12/13,\nnumbers\nnever trained",
}
OLDER = {"seen": "id_seen"}  # what the first edition's runs call a set
LOST = 0.5  # share of answers in the format below which success says little of skill
HOLLOW = "less than half of the answers in the format"
APART = 0.22  # of two arms' dots over one label


def distances(
    studies: Mapping[str, Study],
    sets: Mapping[str, str],
    decoding: str = "sampled",
    metric: str = "first_try",
) -> Figure:
    """Success of Init, SFT and RL at their ends on sets ever further from the training, one panel a study:
    every seed a dot, their mean a line. sets: the studies' sets, with labels of one or more lines."""
    size = (4.6 * len(studies) + 1.0, 3.3)
    fig, axes = plt.subplots(1, len(studies), figsize=size, layout="constrained", squeeze=False)
    for ax, (title, study) in zip(axes[0], studies.items()):
        for place, (arm, colour) in enumerate(charts.COLOURS.items()):
            x, means = np.arange(len(sets)) + (place - 1) * APART, []
            for at, set_ in zip(x, sets):
                values = study.end(arm, set_, decoding, metric).to_numpy()
                means.append(values.mean())
                ax.plot(
                    np.full(len(values), at), values, "o", color=colour, markersize=4, alpha=0.55, zorder=3
                )
            ax.plot(x, means, color=colour, linewidth=1.6, label=arm, zorder=2)
            ax.plot(x, means, "_", color=colour, markersize=11, markeredgewidth=2.2, zorder=4)
        ax.set_xticks(range(len(sets)), sets.values())
        ax.set_xlim(-0.5, len(sets) - 0.5)
        ax.set_ylim(bottom=-0.02 * ax.get_ylim()[1])  # a dot at nought is a whole dot
        ax.tick_params(axis="x", length=0)
        if len(studies) > 1:
            ax.set_title(title)
        ax.grid(axis="y")
        charts.in_percent(ax.yaxis)
    axes[0, 0].set_ylabel("first answers that are right")
    charts.legend(fig)
    return fig


def growth(
    rows: Mapping[str, tuple[Study, str]], columns: Mapping[str, str], decoding: str = "sampled"
) -> Figure:
    """Success against compute, on a logarithmic axis: a row for each study with its metric, a
    column for each set. Lines are the seeds' means, thin lines the seeds; hollow where a seed has lost the
    format."""
    size = (2.9 * len(columns) + 0.6, 2.0 * len(rows) + 0.7)
    fig, axes = plt.subplots(
        len(rows), len(columns), figsize=size, sharey="row", layout="constrained", squeeze=False
    )
    for ax, label in zip(axes[0], columns.values()):
        ax.set_title(label)
    for row, (title, (study, metric)) in zip(axes, rows.items()):
        for ax, set_ in zip(row, columns):
            known = set_ if set_ in set(study.checkpoints["set"]) else OLDER.get(set_, set_)
            _grow(ax, study.at(known, decoding), metric)
        row[0].set_ylabel(title)
        row[0].set_ylim(bottom=0)
    charts.legend(fig)
    return fig


def _grow(ax: Axes, table: pd.DataFrame, metric: str) -> None:
    for arm, colour in charts.COLOURS.items():
        rows = table[table["arm"] == arm].sort_values("flops")
        if arm == "Init":
            ax.axhline(rows[metric].mean(), color=colour, linestyle=(0, (4, 2)), linewidth=1.2, label=arm)
            continue
        for _, run in rows.groupby("seed"):
            ax.plot(run["flops"], run[metric], color=colour, linewidth=0.7, alpha=0.5)
            _hollow(ax, run, "flops", metric, colour)
        means = rows.groupby("checkpoint")[["flops", metric]].mean()
        ax.plot(means["flops"], means[metric], color=colour, linewidth=1.8, label=arm)
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    among = (1, 3) if high < 40 * low else (1,)  # more labels than these would touch
    ax.xaxis.set_major_locator(FixedLocator([m * 10.0**n for n in range(6, 25) for m in among]))
    ax.xaxis.set_major_formatter(EngFormatter(unit="FLOP"))
    ax.minorticks_off()
    ax.grid(axis="y")
    charts.in_percent(ax.yaxis)


def _hollow(ax: Axes, run: pd.DataFrame, x: str, y: str, colour: str) -> None:
    lost = run[run["strict"] < LOST]
    if len(lost):
        style = {"markerfacecolor": charts.PAPER, "markeredgecolor": colour, "markersize": 4.5, "zorder": 5}
        ax.plot(lost[x], lost[y], "o", linestyle="none", label=HOLLOW, **style)


def trails(
    study: Study,
    sets: Mapping[str, str],
    x: str,
    y: str,
    labels: tuple[str, str],
    decoding: str = "sampled",
    against: str | None = None,
) -> Figure:
    """Figure 8: how two measures go together along each run, a panel for each set. A thin line is a seed,
    from Init (square) to its end (dot); hollow where it has lost the format. `against`: the set on which x is
    measured, if it is another one."""
    size = (3.1 * len(sets) + 0.4, 3.5)
    fig, axes = plt.subplots(
        1, len(sets), figsize=size, sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    for ax, (set_, label) in zip(axes[0], sets.items()):
        keys = ["arm", "seed", "step"]
        across = study.at(against or set_, decoding)[[*keys, x]].rename(columns={x: "x"})
        table = study.at(set_, decoding).rename(columns={y: "y"}).merge(across, on=keys)
        for arm, colour in charts.COLOURS.items():
            for number, (_, run) in enumerate(
                table[table["arm"] == arm].sort_values("flops").groupby("seed")
            ):
                once = {"label": None if number else arm}
                if arm == "Init":
                    ax.plot(run["x"], run["y"], "s", color=colour, markersize=5, zorder=4, **once)
                    continue
                ax.plot(run["x"], run["y"], color=colour, linewidth=0.9, alpha=0.6, **once)
                ax.plot(run["x"].iloc[-1:], run["y"].iloc[-1:], "o", color=colour, markersize=5.5, zorder=4)
                _hollow(ax, run, "x", "y", colour)
        ax.set_title(label)
        ax.grid()
        charts.in_percent(ax.xaxis, ax.yaxis)
        ax.set_xlabel(labels[0])
    axes[0, 0].set_ylabel(labels[1])
    charts.legend(fig)
    return fig


# --- what the foundation read -------------------------------------------------------------------------------

Level = tuple[float, float]  # heed, share of invented lists


def levels(book: Book, task: str) -> dict[Level, Study]:
    """The studies of a task by what their foundations read: how often its writers heeded the list of actions
    they show, and how many of the lists were invented."""
    found: dict[Level, Study] = {}
    for name, study in book.profile.studies.items():
        foundation = book.profile.foundations.get(study.foundation)
        foundation = book.profile.foundations.get(getattr(foundation, "language", ""), foundation)
        arms = {arm.algorithm for arm in study.arms.values()}
        if (
            foundation is not None
            and arms >= {"init", "sft", "ppo"}
            and task in {a.task for a in study.arms.values()}
        ):
            found[foundation.heed, foundation.invented] = book.study(name)
    return dict(sorted(found.items()))


def heed(
    studies: Mapping[Level, Study], metrics: Mapping[str, str], set_: str = "ood", decoding: str = "sampled"
) -> Figure:
    """The arms' ends against how often the writers heeded the list, a panel a metric: seeds as dots, means as
    lines, dashed where fewer lists were invented. metrics: columns, with what to call them."""
    size = (3.2 * len(metrics) + 0.4, 3.4)
    fig, axes = plt.subplots(1, len(metrics), figsize=size, sharex=True, layout="constrained", squeeze=False)
    shares = sorted({invented for _, invented in studies}, reverse=True)
    for ax, (metric, title) in zip(axes[0], metrics.items()):
        for arm, colour in charts.COLOURS.items():
            for invented, style in zip(shares, ("-", (0, (3, 2)), ":")):
                x = [level[0] for level in studies if level[1] == invented]
                ends = [studies[h, invented].end(arm, set_, decoding, metric).to_numpy() for h in x]
                label = arm if invented == shares[0] else f"{arm}, {invented:.0%} of the lists invented"
                means = [values.mean() for values in ends]
                ax.plot(x, means, color=colour, linestyle=style, linewidth=1.5, label=label)
                for at, values in zip(x, ends):
                    dots = {"color": colour, "markersize": 3.5, "alpha": 0.55}
                    ax.plot(np.full(len(values), at), values, "o", **dots)
        ax.set_title(title)
        ax.set_xlabel("share of writers who heed the list")
        ax.grid(axis="y")
        charts.in_percent(ax.xaxis, ax.yaxis)
        ax.set_ylim(-0.02, 1.02)
    charts.legend(fig)
    return fig


def price(
    studies: Mapping[Level, Study],
    x: Mapping[str, tuple[str, str]],
    y: tuple[str, str],
    decoding: str = "sampled",
) -> Figure:
    """What an arm lost on a set and metric (`y`) against what it gained or how far it moved (`x`: titles with
    set and metric, a panel each): a dot for each seed and level, both as changes since Init."""
    size = (3.4 * len(x) + 0.4, 3.4)
    fig, axes = plt.subplots(1, len(x), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for ax, (title, (set_, metric)) in zip(axes[0], x.items()):
        for arm, colour in charts.colours(("SFT", "RL")).items():
            changes = [
                [s.end(arm, *at) - s.end("Init", *at) for s in studies.values()]
                for at in ((set_, decoding, metric), (y[0], decoding, y[1]))
            ]
            points = [np.concatenate([one.to_numpy() for one in change]) for change in changes]
            ax.plot(*points, "o", color=colour, markersize=4.5, alpha=0.7, label=arm)
        ax.axhline(0, color=charts.QUIET, linewidth=0.8)
        ax.set_xlabel(title)
        ax.grid()
    axes[0, 0].set_ylabel("change on what was not trained")
    charts.legend(fig)
    return fig
