"""Runs at other learning rates, or with other parts trained: curves side by side, ends against the rate.

Paper: Figures 16, 17 and 19.

    beside({"tower frozen": runs.only({"tower-one": "1"})}, {"id": "held out"}, "within", {"1": "black"})
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from posttrain.analysis import charts
from posttrain.analysis.reading import Level
from posttrain.analysis.study import Results, Study

SHARES = {0.1: "1/10", 1 / 3: "1/3", 0.5: "1/2", 1.0: "1", 2.0: "2", 10.0: "10", 100.0: "100"}


def beside(
    studies: Mapping[str, Results],
    sets: Mapping[str, str],
    metric: str,
    palette: Mapping[str, str | tuple],
    decoding: str = "sampled",
) -> Figure:
    """Curves of one measure: a titled column for each of `studies`, a labelled row with one scale for each
    set. palette: a colour for each arm but Init."""
    fig, axes = charts.panels(list(studies), list(sets.values()))
    for row, set_ in zip(axes, sets):
        for ax, study in zip(row, studies.values()):
            ax.sharey(row[0])
            charts.curves(ax, study.along(set_, decoding), metric, palette=palette)
        row[0].autoscale(axis="y")
        row[0].set_ylim(0, max(0.01, row[0].get_ylim()[1]))
    charts.legend(fig)
    return fig


def joined(ax: Axes, ends: pd.DataFrame, label: str, colour: str, style: str = "o-") -> None:
    """Ends [seeds, places on the x axis]: seeds as dots joined by thin lines, their mean as a line."""
    ax.plot(ends.columns, ends.mean(), style, color=colour, markersize=5, linewidth=1.6, label=label)
    ax.plot(ends.columns, ends.T, style, color=colour, markersize=3.5, linewidth=0.6, alpha=0.4)
    charts.value_axis(ax)


def panel(ax: Axes, lines: Mapping[str, tuple[str, str, Mapping[float, pd.Series]]], init: pd.Series) -> None:
    """Ends against the learning rate, `joined`; Init dashed.

    lines: label -> colour, style with its marker ("o-"), and the ends by seed for each rate (a share of the
    chosen one)."""
    charts.init_line(ax, init.mean())
    for label, (colour, style, by_share) in lines.items():
        joined(ax, pd.DataFrame({share: by_share[share] for share in sorted(by_share)}), label, colour, style)
    ax.set_xscale("log")
    there = {share for *_, by_share in lines.values() for share in by_share}
    ticks = [near for near in SHARES if any(0.9 < near / share < 1.1 for share in there)]
    ax.set_xticks(ticks, [SHARES[near] for near in ticks])
    ax.minorticks_off()
    ax.set_xlabel("learning rate, of the chosen one")


def ends(
    study: Study, others: Results, set_: str, metric: str, decoding: str = "sampled"
) -> dict[str, dict[float, pd.Series]]:
    """Ends of SFT and RL by learning rate, a share of the study's own, lowest first; each by seed."""
    found = {}
    for arm, name in (("SFT", "sft"), ("RL", "ppo")):
        ends = {1.0: study.end(arm, set_, decoding, metric)}
        for record in others.records:
            if record["settings"]["algorithm"] == name:
                share = (
                    record["settings"][name]["learning_rate"] / study.settings[name][name]["learning_rate"]
                )
                ends[share] = others.end(record["arm"], set_, decoding, metric)
        found[arm] = {share: ends[share] for share in sorted(ends)}
    return found


def values(pairs: Mapping[Level, tuple[Study, Results]]) -> dict[str, float]:
    """Numbers for the prose, as in `reading.values`, at each rate: `sft_33_ood_h98` is the mean at a
    third of the chosen rate where 98 % heed, `sft_33_least_ood_h98` the lowest seed."""
    told = {}
    for (heed_, _), pair in pairs.items():
        for set_ in ("id", "ood"):
            for arm, by_share in ends(*pair, set_, "first_turns").items():
                for share, end in by_share.items():
                    at = f"{set_}_h{round(100 * heed_)}"
                    told[f"{arm.lower()}_{round(100 * share)}_{at}"] = float(end.mean())
                    told[f"{arm.lower()}_{round(100 * share)}_least_{at}"] = float(end.min())
    return told


def against_shares(
    studies: Mapping[str, tuple[Study, Results]],
    sets: Mapping[str, str],
    metric: str,
    decoding: str = "sampled",
) -> Figure:
    """Ends against the learning rate: a row for each pair of a study and the runs at its other rates, a
    column for each set. Seeds as dots joined by thin lines, means as lines; the rate as a share of the
    chosen one, Init dashed."""
    size = (3.2 * len(sets) + 0.4, 2.5 * len(studies) + 0.5)
    fig, axes = plt.subplots(
        len(studies), len(sets), figsize=size, sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    for row, (title, (study, others)) in zip(axes, studies.items()):
        for ax, set_ in zip(row, sets):
            by_arm = ends(study, others, set_, metric, decoding).items()
            lines = {arm: (charts.COLOURS[arm], "o-", by_share) for arm, by_share in by_arm}
            panel(ax, lines, study.end("Init", set_, decoding, metric))
        row[0].set_ylabel(title)
    for ax, label in zip(axes[0], sets.values()):
        ax.set_title(label)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    charts.legend(fig)
    return fig
