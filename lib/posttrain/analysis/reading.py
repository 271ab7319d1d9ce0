"""What the foundation read, and what becomes of the arms: ends against the share of its writers who heeded
the list of actions that they showed, against what was gained and how far the arm moved, and against the rate.

    heed(levels(Book("cpu"), "virl-l-h"), {"first_turns": "turns right"})
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from posttrain.analysis import charts
from posttrain.analysis.study import ARMS, Book, Results, Study

Level = tuple[float, float]  # heed, share of invented lists


def levels(book: Book, prefix: str) -> dict[Level, Study]:
    """The studies whose names begin so and that have all three arms, by what their foundations read: how
    often its writers heeded the list of actions they show, and how many of the lists were invented."""
    found: dict[Level, Study] = {}
    for name, study in book.profile.studies.items():
        foundation = book.profile.foundations.get(study.foundation)
        foundation = book.profile.foundations.get(getattr(foundation, "language", ""), foundation)
        if foundation is not None and name.startswith(prefix) and set(study.arms) >= set(ARMS):
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


def rates(
    studies: Mapping[str, tuple[Study, Results]],
    sets: Mapping[str, str],
    metric: str,
    decoding: str = "sampled",
) -> Figure:
    """Ends against the learning rate: a row for each pair of a study and the runs at its other rates, a
    column for each set. Seeds as dots, means as lines; the rate as a share of the chosen one, Init dashed."""
    size = (3.2 * len(sets) + 0.4, 2.5 * len(studies) + 0.5)
    fig, axes = plt.subplots(
        len(studies), len(sets), figsize=size, sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    for row, (title, (study, others)) in zip(axes, studies.items()):
        for ax, set_ in zip(row, sets):
            ax.axhline(
                study.end("Init", set_, decoding, metric).mean(),
                color=charts.COLOURS["Init"],
                linestyle=(0, (4, 2)),
                linewidth=1.2,
                label="Init",
            )
            for arm, name in (("SFT", "sft"), ("RL", "ppo")):
                own = study.settings[name][name]["learning_rate"]
                ends = {1.0: study.end(arm, set_, decoding, metric)}
                for record in others.records:
                    if record["settings"]["algorithm"] == name:
                        share = record["settings"][name]["learning_rate"] / own
                        ends[share] = others.end(record["arm"], set_, decoding, metric)
                x = sorted(ends)
                colour = charts.COLOURS[arm]
                ax.plot(x, [ends[at].mean() for at in x], color=colour, linewidth=1.6, label=arm)
                for at in x:
                    dots = {"color": colour, "markersize": 4, "alpha": 0.6}
                    ax.plot(np.full(len(ends[at]), at), ends[at], "o", **dots)
            ax.grid(axis="y")
            charts.in_percent(ax.yaxis)
        row[0].set_ylabel(title)
    for ax, label in zip(axes[0], sets.values()):
        ax.set_title(label)
    for ax in axes[-1]:
        ax.set_xscale("log")
        ax.set_xticks([0.1, 1 / 3, 1], ["a tenth", "a third", "chosen"])
        ax.minorticks_off()
        ax.set_xlabel("learning rate")
    charts.legend(fig)
    return fig
