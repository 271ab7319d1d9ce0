"""Which hands the arms solve: those whose numbers make 24 by adding and subtracting alone, and the others;
and of what shapes their formulas are.

Found after the runs of GP-L and GP-VL; the claims about it in data/claims.yaml are about later ones.

    by_kind(Book("cpu").study("gp-l"), ("seen", "id", "ood"))
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from posttrain.analysis import answers, charts
from posttrain.analysis.study import ARMS, Study
from posttrain.tasks import TASKS
from posttrain.verifiers import general_points
from posttrain.verifiers.answers import read

KINDS = {True: "24 by adding and subtracting", False: "24 only with × or ÷"}


def adds(numbers: Iterable[int], target: int = general_points.TARGET) -> bool:
    """Can `target` be made of all the numbers with + and - alone? (Brackets only turn signs.)"""
    numbers = list(numbers)
    signed = (signs for signs in product((1, -1), repeat=len(numbers)) if 1 in signs)
    return any(sum(sign * number for sign, number in zip(signs, numbers)) == target for signs in signed)


def kinds(hands: Iterable[str], rule: str) -> np.ndarray:
    """Can 24 be made of a hand ("8 K 3 3") by adding and subtracting alone, with the numbers of `rule`?"""
    codes, each = pd.factorize(np.asarray(hands, object))  # every arm and seed is asked the same hands
    return np.array([_adds(hand, rule) for hand in each], bool)[codes]


@cache
def _adds(hand: str, rule: str) -> bool:
    return adds(general_points.Rule.parse(rule).numbers(hand.split()))


def by_kind(study: Study, sets: Iterable[str], metric: str = "first_try") -> pd.DataFrame:
    """Sampled success at the arms' ends on both kinds of hands: set, adding, arm, seed, success, and share,
    that of the hands of a set that are of this kind."""
    rows = []
    for set_ in sets:
        rule = TASKS[study.task].sets[set_].rule
        for arm in charts.COLOURS:
            for seed, outcomes in zip(study.seeds, study.cases(arm, set_, "sampled")):
                for kind, hands in outcomes.groupby(kinds(outcomes["hand"], rule)):
                    row = {"set": set_, "adding": bool(kind), "arm": arm, "seed": seed}
                    rows.append(row | {"success": hands[metric].mean(), "share": len(hands) / len(outcomes)})
    return pd.DataFrame(rows)


def values(table: pd.DataFrame, tail: str = "") -> dict[str, float]:
    """`by_kind` for the prose, means of the seeds: `{arm}_{set}_adding` and `_other`, with a `tail`; nan for
    a kind of which there is no hand."""
    names = {arm: name for name, arm in ARMS.items()}
    means = table.pivot_table("success", ["arm", "set"], "adding").reindex(columns=list(KINDS))
    ends = {True: "adding", False: "other"}
    return {
        f"{names[arm]}_{set_}_{ends[kind]}{tail}": float(success)
        for kind, column in means.items()
        for (arm, set_), success in column.items()
    }


def figure(table: pd.DataFrame, sets: Mapping[str, str]) -> Figure:
    """`by_kind` as dots, a panel for each kind, the axis shared; sets: those of the table, with labels."""
    size = (5.0 * len(KINDS) + 0.6, 3.3)
    fig, axes = plt.subplots(1, len(KINDS), figsize=size, sharey=True, layout="constrained")
    for ax, (kind, title) in zip(axes, KINDS.items()):
        of = {
            key: rows["success"].to_numpy()
            for key, rows in table[table["adding"] == kind].groupby(["arm", "set"])
        }
        answers.dots(ax, sets, lambda arm, set_, of=of: of.get((arm, set_), ()))
        ax.set_title(title)
    axes[0].set_ylabel("first answers that are right")
    charts.legend(fig)
    return fig


def in_words(table: pd.DataFrame, sets: Mapping[str, str]) -> str:
    """`figure` for those who do not see it: means of the seeds on both kinds of hands."""
    means, said = table.groupby(["adding", "set", "arm"])["success"].mean(), []
    for kind, title in KINDS.items():
        for set_, label in sets.items():
            if (kind, set_) in means:
                ends = means[kind, set_]
                shares = ", ".join(f"{arm} {ends[arm]:.0%}" for arm in ARMS.values())
                said.append(f"{title}, {' '.join(label.split())}: {shares}")
    return f"First answers that are right. {'; '.join(said)}."


def shapes(said: pd.DataFrame, most: int = 6) -> pd.DataFrame:
    """The arms' first answers, as `told.kept` has them, by the shape of their formulas, in which every number
    is an n: the share of each arm's answers, the `most` most frequent of any arm first. Answers without a
    formula count among all."""
    first = said[said["answer"] == 1]
    found = first.assign(shape=first["text"].map(_shape))
    table = (
        found.groupby("arm")["shape"].value_counts(normalize=True, dropna=False).unstack("arm").fillna(0.0)
    )
    table = table[table.index.notna()][[arm for arm in charts.COLOURS if arm in table]]
    return table.loc[table.max(axis=1).sort_values(ascending=False, kind="stable").index[:most]]


def _shape(text: str) -> str | None:
    formula = read(text, general_points.FORM).fields["formula"] or ""
    return re.sub(r"\d+", "n", formula.partition("=")[0].replace(" ", "")) or None
