"""What the foundation read, and what becomes of the arms: ends against the share of its writers who heeded
the list of actions that they showed, against what was gained and how far the arm moved, and against the rate.

    heed(levels(Book("cpu"), "virl-l-h"), {"first_turns": "correct turns"})
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from posttrain.analysis import charts, prose
from posttrain.analysis.study import ARMS, Book, Results, Study

Level = tuple[float, float]  # heed, share of invented lists
FALLEN = 20  # points of a percentage
ALIKE = 10  # points of a percentage, within which two arms' ends are alike


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


def values(studies: Mapping[Level, Study]) -> dict[str, float]:
    """Numbers for the prose: correct turns at the end, first answers sampled, means of the seeds; `low` and
    `high` are the least and the most heedful levels of those with most invented lists, `worst` is the one
    where RL lost most, `few` the most heedful of those with fewest, `twin` the nearest to it with most;
    `least` and `most` are means of a level; `fewer_` ones what a level with fewest has more than the one with
    most and the same heed (`pairs`), in points of a percentage. `_fell` counts the runs of all levels that
    lost more than FALLEN points, `count_` the seeds by which arm ends above the other (`compared`)."""
    share = max(invented for _, invented in studies)
    heeds = [heed for heed, invented in studies if invented == share]
    ends = {"levels": len(studies), "repetitions": sum(len(study.seeds) for study in studies.values())}
    for arm in ("SFT", "RL"):
        lost = np.concatenate([changes(one, arm, "ood", "first_turns") for one in studies.values()])
        ends[f"{arm.lower()}_fell"] = int((lost < -FALLEN).sum())
    change = {heed_: changes(studies[heed_, share], "RL", "ood", "first_turns").mean() for heed_ in heeds}
    few = min(studies, key=lambda level: (level[1], -level[0]))
    twin = min(heeds, key=lambda heed_: abs(heed_ - few[0]))
    named = {"low": min(heeds), "high": max(heeds), "worst": min(heeds, key=change.get), "twin": twin}
    ends["invented_few"] = few[1]

    def mean(level: Level, arm: str, set_: str, metric: str = "first_turns") -> float:
        return float(studies[level].end(ARMS[arm], set_, "sampled", metric).mean())

    for arm in ARMS:
        means = [mean(level, arm, "ood") for level in studies]
        ends |= {f"{arm}_ood_least": min(means), f"{arm}_ood_most": max(means)}
    for word, level in {**{word: (heed_, share) for word, heed_ in named.items()}, "few": few}.items():
        ends[f"heed_{word}"] = level[0]
        for arm in ARMS:
            ends |= {f"{arm}_{set_}_{word}": mean(level, arm, set_) for set_ in ("id", "ood")}
            ends |= {f"{arm}_{of}_{word}": mean(level, arm, "ood", of) for of in ("per_step", "fake")}
    pairs = [((h, few[1]), (h, share)) for h in heeds if (h, few[1]) in studies] or [(few, few)]
    ends["pairs"] = len(pairs)
    for arm in ARMS:
        for set_ in ("ood", "calibration"):
            more = [100 * (mean(a, arm, set_) - mean(b, arm, set_)) for a, b in pairs]
            ends |= {f"{arm}_{set_}_fewer_least": min(more), f"{arm}_{set_}_fewer_most": max(more)}
    counts = compared(studies)[["RL above", "alike", "SFT above"]].sum()
    return ends | {f"count_{name.lower().replace(' ', '_')}": int(count) for name, count in counts.items()}


def heed(
    studies: Mapping[Level, Study], metrics: Mapping[str, str], set_: str = "ood", decoding: str = "sampled"
) -> Figure:
    """The arms' ends at each level, a panel a metric: a dot for each seed, those of one seed joined by a thin
    line, means as bars. metrics: columns, with what to call them. Levels stand side by side, not to scale;
    where fewer lists were invented than at others, their share is said."""
    size = (3.2 * len(metrics) + 0.4, 3.4)
    fig, axes = plt.subplots(1, len(metrics), figsize=size, sharex=True, layout="constrained", squeeze=False)
    most = max(invented for _, invented in studies)
    names = [f"{100 * h:g} %" + f"\n({100 * i:g} %)" * (i < most) for h, i in studies]
    for ax, (metric, title) in zip(axes[0], metrics.items()):
        ends = {
            arm: [study.end(arm, set_, decoding, metric).to_numpy() for study in studies.values()]
            for arm in charts.COLOURS
        }
        places = {arm: np.arange(len(studies)) + beside for arm, beside in zip(ends, (-0.25, 0, 0.25))}
        for level in range(len(studies)):
            x = [place[level] for place in places.values()]
            ax.plot(x, [each[level] for each in ends.values()], color=charts.QUIET, linewidth=0.6, alpha=0.6)
        for arm, colour in charts.COLOURS.items():
            for x, values in zip(places[arm], ends[arm]):
                ax.plot(np.full(len(values), x), values, "o", color=colour, markersize=3.5, alpha=0.7)
            bars = {"color": colour, "markersize": 13, "markeredgewidth": 2.2, "label": arm}
            ax.plot(places[arm], [values.mean() for values in ends[arm]], "_", **bars)
        ax.set_title(title)
        ax.set_xticks(range(len(studies)), names)
        ax.set_xlim(-0.5, len(studies) - 0.5)
        ax.set_xlabel("writers who heed (lists invented)")
        charts.value_axis(ax)
        ax.set_ylim(-0.02, 1.02)
    charts.legend(fig)
    return fig


def changes(study: Study, arm: str, set_: str, metric: str, decoding: str = "sampled") -> np.ndarray:
    """What an arm's end has more than Init, by seed: in points of a percentage, or nats for a divergence."""
    more = study.end(arm, set_, decoding, metric) - study.end("Init", set_, decoding, metric)
    return (more if metric.startswith("kl") else 100 * more).to_numpy()


def compared(studies: Mapping[Level, Study]) -> pd.DataFrame:
    """A row for each level: by how many points of the relative turns SFT and RL end above Init, and RL above
    SFT, of each seed in its order; and in how many seeds the arms end more than ALIKE points apart."""
    rows = []
    for (heed_, invented), source in studies.items():
        sft, rl = (changes(source, arm, "ood", "first_turns") for arm in ("SFT", "RL"))
        apart = rl - sft
        row = {"writers who heed": f"{heed_:.0%}", "lists invented": f"{invented:.0%}"}
        for title, points in {"SFT − Init": sft, "RL − Init": rl, "RL − SFT": apart}.items():
            row[title] = " ".join(prose.signed(point, "+.0f") for point in points)
        counts = {"RL above": apart > ALIKE, "alike": abs(apart) <= ALIKE, "SFT above": apart < -ALIKE}
        rows.append(row | {name: int(count.sum()) for name, count in counts.items()})
    return pd.DataFrame(rows)


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
        for level, study in studies.items():  # of two lines of the legend one is SFT's, the other RL's
            for arm, colour in charts.colours(("SFT", "RL")).items():
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
            row[name] = float(pd.DataFrame({"x": one, "y": other}).corr("spearman").loc["x", "y"])
        rows.append(row)
    return pd.DataFrame(rows)
