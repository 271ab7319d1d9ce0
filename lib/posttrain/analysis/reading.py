"""What the foundation read, and what becomes of the arms: ends against the share of its writers who heeded
the list of actions that they showed, against what was gained and how far the arm moved, and against the rate.

    heed(levels(Book("cpu"), "virl-l-h"), {"first_turns": "turns right"})
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats

from posttrain.analysis import charts
from posttrain.analysis.study import ARMS, Book, Results, Study

Level = tuple[float, float]  # heed, share of invented lists
FALLEN = 20  # points of a percentage


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


def other_rates(book: Book, studies: Mapping[Level, Study]) -> dict[Level, tuple[Study, Results]]:
    """Levels that have runs at other learning rates, with both (`virl-l-h98-i50` and `virl-l-h98-rates`)."""
    found = {}
    for level, own in studies.items():
        name, said = f"{own.name.rpartition('-')[0]}-rates", book.profile.studies
        if name in said and said[name].foundation == said[own.name].foundation:
            found[level] = own, book.results(name)
    return found


def values(studies: Mapping[Level, Study], others: Mapping[Level, tuple[Study, Results]]) -> dict[str, float]:
    """Numbers for the prose: turns right at the end, first answers sampled, means of the seeds; `low` and
    `high` are the least and the most heedful levels of those with most invented lists; `_fell` counts the
    runs of all levels, or of the highest, that lost more than FALLEN points."""
    share = max(invented for _, invented in studies)
    heeds = [heed for heed, invented in studies if invented == share]
    ends = {"levels": len(studies), "repetitions": sum(len(study.seeds) for study in studies.values())}
    for name in ("SFT", "RL"):
        fell = {at: (changes(one, name, "ood", "first_turns") < -FALLEN).sum() for at, one in studies.items()}
        ends[f"{name.lower()}_fell"] = int(sum(fell.values()))
        ends[f"{name.lower()}_fell_high"] = int(fell[max(heeds), share])
    for word, level in (("low", (min(heeds), share)), ("high", (max(heeds), share))):
        ends[f"heed_{word}"] = level[0]
        for arm, name in ARMS.items():
            for set_ in ("id", "ood"):
                turns = studies[level].end(name, set_, "sampled", "first_turns")
                ends[f"{arm}_{set_}_{word}"] = float(turns.mean())
            ends[f"{arm}_fake_{word}"] = float(studies[level].end(name, "ood", "sampled", "fake").mean())
    for (heed, _), (_, results) in others.items():
        for record in results.records:
            for set_ in ("id", "ood"):
                turns = results.end(record["arm"], set_, "sampled", "first_turns")
                key = f"{record['arm'].replace('-', '_')}_{set_}_h{100 * heed:.0f}"
                ends[key] = float(turns.mean())
    return ends


def heed(
    studies: Mapping[Level, Study], metrics: Mapping[str, str], set_: str = "ood", decoding: str = "sampled"
) -> Figure:
    """The arms' ends at each share of writers who heeded the list, a panel a metric: seeds as dots side by
    side, means as lines, dashed where fewer lists were invented. metrics: columns, with what to call them."""
    size = (3.2 * len(metrics) + 0.4, 3.4)
    fig, axes = plt.subplots(1, len(metrics), figsize=size, sharex=True, layout="constrained", squeeze=False)
    heeds = sorted({heed for heed, _ in studies})
    shares = sorted({invented for _, invented in studies}, reverse=True)
    for ax, (metric, title) in zip(axes[0], metrics.items()):
        for beside, (arm, colour) in zip((-0.17, 0, 0.17), charts.COLOURS.items()):
            for invented, style in zip(shares, ("-", (0, (3, 2)), ":")):
                at = {i + beside: (h, invented) for i, h in enumerate(heeds) if (h, invented) in studies}
                ends = [studies[level].end(arm, set_, decoding, metric).to_numpy() for level in at.values()]
                label = arm if invented == shares[0] else f"{arm}, {invented:.0%} of the lists invented"
                line = {"color": colour, "linestyle": style, "linewidth": 1.5, "label": label}
                ax.plot(list(at), [values.mean() for values in ends], **line)
                for x, values in zip(at, ends):
                    dots = {"color": colour, "markersize": 3.5, "alpha": 0.55}
                    ax.plot(np.full(len(values), x), values, "o", **dots)
        ax.set_title(title)
        ax.set_xticks(range(len(heeds)), [f"{100 * heed:g} %" for heed in heeds])
        ax.set_xlim(-0.5, len(heeds) - 0.5)
        ax.set_xlabel("share of writers who heed the list")
        ax.grid(axis="y")
        charts.in_percent(ax.yaxis)
        ax.set_ylim(-0.02, 1.02)
    charts.legend(fig)
    return fig


def changes(study: Study, arm: str, set_: str, metric: str, decoding: str = "sampled") -> np.ndarray:
    """What an arm's end has more than Init, by seed: in points of a percentage, or nats for a divergence."""
    more = study.end(arm, set_, decoding, metric) - study.end("Init", set_, decoding, metric)
    return (more if metric.startswith("kl") else 100 * more).to_numpy()


def price(
    studies: Mapping[Level, Study], x: Mapping[str, tuple[str, str]], y: tuple[str, str], label: str
) -> Figure:
    """What an arm lost on a set and metric (`y`, called `label`) against what it gained or how far it moved
    (`x`: titles with set and metric, a panel each), both as `changes` since Init. A dot for each seed,
    another shape for each share of writers who heed, hollow where fewer lists were invented."""
    size = (3.4 * len(x) + 0.4, 3.4)
    fig, axes = plt.subplots(1, len(x), figsize=size, sharey=True, layout="constrained", squeeze=False)
    shapes = dict(zip(sorted({heed for heed, _ in studies}), "sDov^"))
    most = max(invented for _, invented in studies)
    for ax, (title, at) in zip(axes[0], x.items()):
        for arm, colour in charts.colours(("SFT", "RL")).items():
            for level, study in studies.items():
                name, style = f"{arm}, {level[0]:.0%} heed", {"markersize": 4.5, "alpha": 0.7}
                if level[1] < most:
                    name, style["fillstyle"] = f"{name}, {level[1]:.0%} invented", "none"
                points = changes(study, arm, *at), changes(study, arm, *y)
                ax.plot(*points, shapes[level[0]], color=colour, label=name, **style)
        ax.axhline(0, color=charts.QUIET, linewidth=0.8)
        ax.set_xlabel(title)
        ax.grid()
    axes[0, 0].set_ylabel(label)
    charts.legend(fig)
    return fig


def ranks(
    studies: Mapping[Level, Study], x: Mapping[str, tuple[str, str]], y: tuple[str, str]
) -> pd.DataFrame:
    """Spearman's rank correlation in the panels of `price`, over all seeds and levels: a row a panel, a
    column for each arm and one for both."""
    rows = []
    for title, at in x.items():
        row: dict[str, str | float] = {"": title}
        for name, arms in {"SFT": ["SFT"], "RL": ["RL"], "both": ["SFT", "RL"]}.items():
            each = [(changes(s, arm, *at), changes(s, arm, *y)) for s in studies.values() for arm in arms]
            one, other = (np.concatenate(side) for side in zip(*each))
            row[name] = float(stats.spearmanr(one, other).statistic)
        rows.append(row)
    return pd.DataFrame(rows)


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
