"""Figures of the first page: how success falls with the distance from what was trained, and the verdicts.

distances({"GP-L": points}, CARDS)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from posttrain.analysis import charts
from posttrain.analysis.study import Study

CARDS = {  # sets of GeneralPoints, the nearest to the training first
    "id_seen": "hands of\nthe training",
    "id": "held-out\nnumbers,\nsame rule",
    "in_range_a": "rule 5/7/9,\nnumbers\ntrained",
    "ood": "rule 11/12/13,\nnumbers\nnever trained",
}
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
        for place, (arm, colour) in enumerate(charts.colours(("Init", "SFT", "RL")).items()):
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
        ax.set_ylim(bottom=0)
        ax.tick_params(axis="x", length=0)
        if len(studies) > 1:
            ax.set_title(title)
        ax.grid(axis="y")
        ax.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g} %")
    axes[0, 0].set_ylabel("first answers that are right")
    charts.legend(fig)
    return fig
