"""Figures that compare the arms at a glance: how far what was learned carries, and how it came.

Paper: Figures 5 and 8. Arms stand in one order everywhere (Init, SFT, RL), every seed is seen, and a panel
shares its axis with those it is to be compared with.

    distances({"GP-L": points}, CARDS)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator

from posttrain.analysis import charts
from posttrain.analysis.study import Study

CARDS = {  # sets of GeneralPoints, the nearest to the training first
    "seen": "hands of\nthe training",
    "same_numbers": "same numbers,\nother faces",
    "id": "other numbers,\nsame rule",
    "in_range_a": "rule 5/7/9,\nnumbers\nmostly trained",
    "ood": "rule 11/12/13,\nnumbers\nnever trained",
}
SYNONYMS = {"seen": "id_seen"}  # what navigation calls the cases of its training
LOST = 0.5  # share of answers in the format below which success says little of skill
HOLLOW = "less than half of the answers in the format"
APART = 0.22  # of two arms' dots over one label


def distances(
    studies: Mapping[str, Study],
    sets: Mapping[str, str],
    decoding: str = "sampled",
    metric: str = "first_try",
    what: str = "first answers that are right",
) -> Figure:
    """Success of Init, SFT and RL at their ends on sets ever further from the training, one panel a study:
    every seed a dot, their mean a line. sets: the studies' sets, with labels of one or more lines; what: what
    the metric is."""
    size = (4.6 * len(studies) + 1.0, 3.3)
    fig, axes = plt.subplots(1, len(studies), figsize=size, layout="constrained", squeeze=False)
    for ax, (title, study) in zip(axes[0], studies.items()):
        dots(ax, sets, lambda arm, set_, study=study: study.end(arm, set_, decoding, metric).to_numpy())
        if len(studies) > 1:
            ax.set_title(title)
    axes[0, 0].set_ylabel(what)
    charts.legend(fig)
    return fig


def dots(ax: Axes, sets: Mapping[str, str], ends: Callable[[str, str], Iterable[float]]) -> None:
    """`ends(arm, set)` of each seed as dots, their means as lines, over the labels of the sets."""
    for place, (arm, colour) in enumerate(charts.COLOURS.items()):
        x, means = np.arange(len(sets)) + (place - 1) * APART, []
        for at, set_ in zip(x, sets):
            values = np.asarray(ends(arm, set_), float)
            means.append(values.mean() if len(values) else np.nan)
            ax.plot(np.full(len(values), at), values, "o", color=colour, markersize=4, alpha=0.55, zorder=3)
        ax.plot(x, means, color=colour, linewidth=1.6, label=arm, zorder=2)
        ax.plot(x, means, "_", color=colour, markersize=11, markeredgewidth=2.2, zorder=4)
    ax.set_xticks(range(len(sets)), sets.values())
    ax.set_xlim(-0.5, len(sets) - 0.5)
    ax.set_ylim(bottom=-0.02 * ax.get_ylim()[1])  # a dot at nought is a whole dot
    ax.tick_params(axis="x", length=0)
    charts.value_axis(ax)


def growth(rows: Mapping[str, tuple[Study, str]], columns: Mapping[str, str]) -> Figure:
    """Success of sampled answers against compute, on a logarithmic axis: a row for each study with its
    metric, a column for each set. Lines are the seeds' means, thin lines the seeds; hollow where a seed has
    lost the format."""
    size = (2.9 * len(columns) + 0.6, 2.0 * len(rows) + 0.7)
    fig, axes = plt.subplots(
        len(rows), len(columns), figsize=size, sharey="row", layout="constrained", squeeze=False
    )
    for ax, label in zip(axes[0], columns.values()):
        ax.set_title(label)
    for row, (title, (study, metric)) in zip(axes, rows.items()):
        for ax, set_ in zip(row, columns):
            known = set_ if set_ in set(study.checkpoints["set"]) else SYNONYMS.get(set_, set_)
            _grow(ax, study.along(known, "sampled"), metric)
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
    charts.value_axis(ax)


def _hollow(ax: Axes, run: pd.DataFrame, x: str, y: str, colour: str) -> None:
    lost = run[run["strict"] < LOST]
    if len(lost):
        style = {"markerfacecolor": charts.PAPER, "markeredgecolor": colour, "markersize": 4.5, "zorder": 5}
        ax.plot(lost[x], lost[y], "o", linestyle="none", label=HOLLOW, **style)


def trails(
    study: Study, sets: Mapping[str, str], x: str, y: str, labels: tuple[str, str], against: str | None = None
) -> Figure:
    """Figure 8: how two measures of sampled answers go together along each run, a panel for each set. A thin
    line is a seed, from Init (square) to its end (dot); hollow where it has lost the format. `against`: the
    set on which x is measured, if it is another one."""
    size = (3.1 * len(sets) + 0.4, 3.5)
    fig, axes = plt.subplots(
        1, len(sets), figsize=size, sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    for ax, (set_, label) in zip(axes[0], sets.items()):
        keys = ["arm", "seed", "step"]
        across = study.along(against or set_, "sampled")[[*keys, x]].rename(columns={x: "x"})
        table = study.along(set_, "sampled").rename(columns={y: "y"}).merge(across, on=keys)
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
