"""Every hand of a study: a picture of all of them at the end, and a fragment of HTML in which one looks.

The outcomes are the stored ones, means over draws and seeds; nothing is simulated.

    told = explorer.outcomes(points, SETS)
    HTML(explorer.fragment(told))
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from posttrain import formulas
from posttrain.analysis import charts
from posttrain.analysis.study import ARMS, Study
from posttrain.config import ROOT
from posttrain.verifiers.general_points import Rule

MEASURES = {  # columns, and what they are called
    "first_try": "solved at the first answer",
    "rule_following": "the stated numbers follow the rule",
    "fake": "right under the old rule only",
}
LEVELS = 90  # a share is written as one printable letter, from "!" for 0 to "{" for 1; " ": not asked
EVERY = ROOT / "data" / "every-hand.parquet"  # tools/every_hand.py makes it
WHOLE = {  # sets whose hands are all in it, and what they are called beside the rule
    "seen": "a hand of the training",
    "same_numbers": "its numbers were trained, with other faces",
    "id": "its numbers were held out",
    "ood": "with J, Q or K: all other hands are as under the rule 10",
}
RULES = {"10": ["seen", "same_numbers", "id"], "11/12/13": ["ood"]}
EXAMPLES = 3  # solutions that are shown, the shortest ones
COLUMNS = 40  # hands beside each other in the picture


def _letters(shares: pd.Series) -> str:
    codes = [32 if np.isnan(x) else 33 + round(x * LEVELS) for x in shares]
    return "".join(map(chr, codes))


def _shares(study: Study, arm: str, set_: str, measure: str) -> pd.DataFrame:
    """[hands, checkpoints]: means over seeds, checkpoint by checkpoint; none where a hand was not asked."""
    table = study.hands
    table = table[(table["arm"] == ("SFT" if arm == "Init" else arm)) & (table["set"] == set_)]
    table = table[table["decoding"] == "sampled"]
    ranks = table.groupby("seed")["step"].rank(method="dense").astype(int)
    table = table.assign(checkpoint=ranks, share=table[measure].astype(float))
    shares = table.pivot_table("share", "hand", "checkpoint")
    return shares.iloc[:, :1] if arm == "Init" else shares


def outcomes(study: Study, sets: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """What a page needs. sets: name -> title and rule.

    For each set its hands (those that every checkpoint was asked come first), their numbers and solutions
    (how many, then some), and for each measure and arm a text a checkpoint, with a letter a hand. compute: of
    the checkpoints, in GFLOP.
    """
    told: dict[str, Any] = {"arms": list(ARMS.values()), "measures": MEASURES, "levels": LEVELS, "sets": {}}
    told["seeds"] = len(study.seeds)
    for set_, (title, rule) in sets.items():
        asked = _shares(study, "RL", set_, "first_try").notna().sum(axis=1)
        hands = asked.sort_index().sort_values(ascending=False, kind="stable").index
        shares = {
            measure: {
                arm: [
                    _letters(column)
                    for _, column in _shares(study, arm, set_, measure).reindex(hands).items()
                ]
                for arm in ARMS.values()
            }
            for measure in MEASURES
        }
        told["sets"][set_] = {"title": title, **_described(list(hands), rule), "shares": shares}
    compute = study.checkpoints.groupby(["arm", "checkpoint"])["gflops"].mean().round()
    told["compute"] = {arm: compute[arm].astype(int).tolist() for arm in ARMS.values()}
    return told


def _described(hands: list[str], rule: str) -> dict[str, Any]:
    numbers = [Rule.parse(rule).numbers(hand.split()) for hand in hands]
    solutions = [sorted(formulas.solve(list(one)), key=len) for one in numbers]
    shown = [[len(found), *found[:EXAMPLES]] for found in solutions]
    return {"hands": hands, "numbers": numbers, "solutions": shown}


def every(table: pd.DataFrame, compute: Mapping[str, list[int]]) -> dict[str, Any]:
    """Sets of every hand that can be solved under a rule, as `outcomes` has them, and of which of WHOLE each
    is; at the end alone. table: that of EVERY; compute: of the checkpoints, by arm."""
    told = {}
    for rule, sets in RULES.items():
        asked = table[table["set"].isin(sets)].set_index(["arm", "hand"])
        hands = (
            asked.loc["Init"]
            .sort_index()
            .sort_values("set", key=lambda of: of.map(sets.index), kind="stable")
        )
        shares = {
            measure: {
                arm: [" " * len(hands)] * (len(compute[arm]) - 1)
                + [_letters(asked.loc[arm, measure].reindex(hands.index))]
                for arm in ARMS.values()
            }
            for measure in MEASURES
        }
        told[f"every {rule}"] = {
            "title": f"every hand, rule {rule}",
            **_described(list(hands.index), rule),
            "kinds": [WHOLE[of] for of in hands["set"]],
            "shares": shares,
        }
    return told


def known(study: Study, sets: Iterable[str]) -> dict[str, float]:
    """For the prose, `{arm}_{set}_known`: the share of hands of which at least half of the sampled first
    answers are right at the end, over all draws and repetitions."""
    return {
        f"{name}_{set_}_known": float((_shares(study, arm, set_, "first_try").iloc[:, -1] >= 0.5).mean())
        for name, arm in ARMS.items()
        for set_ in sets
    }


def fragment(told: Mapping[str, Any]) -> str:
    """The explorer as HTML; book/explore/hands.js brings it to life, and without it only a sentence stands
    there."""
    choices = options({name: one["title"] for name, one in told["sets"].items()})
    last = max(map(len, told["compute"].values())) - 1
    return (
        "<p id='explorer-still'>Here one looks at single hands, with JavaScript; the picture above shows the "
        "ends.</p><div id='explorer' hidden><div class='play-line'>"
        f"<label>Hands <select id='explorer-set'>{choices}</select></label> "
        f"<label>Colour <select id='explorer-measure'>{options(told['measures'])}</select></label> "
        f"<label>Training <input type='range' id='explorer-time' min='0' max='{last}' value='{last}'></label>"
        "</div><div id='explorer-arms'></div><p><label>Hand <select id='explorer-hand'></select></label></p>"
        "<div id='explorer-about' aria-live='polite'></div></div>"
        f"{script('explorer-data', told, 'hands.js')}"
    )


def options(shown: Mapping[Any, str]) -> str:
    """Choices of a page: values, with what they are called."""
    return "".join(f"<option value='{key}'>{html.escape(text)}</option>" for key, text in shown.items())


def script(name: str, told: Any, file: str) -> str:
    """Data that stand in a page under the id `name`, and the book's script that reads them."""
    data = json.dumps(told, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return (
        f"<script type='application/json' id='{name}'>{data}</script>"
        f"<script src='../_static/{file}'></script>"
    )


def overview(study: Study, sets: Mapping[str, str]) -> Figure:
    """All hands at the end: a row a set (with its label), a column an arm, a cell a hand, in the same place
    everywhere; the darker the more often it is solved."""
    ends = {
        (set_, arm): _shares(study, arm, set_, "first_try").iloc[:, -1]
        for set_ in sets
        for arm in ARMS.values()
    }
    rows = {set_: int(np.ceil(len(ends[set_, "Init"]) / COLUMNS)) for set_ in sets}
    fig, axes = plt.subplots(
        len(sets),
        len(ARMS),
        figsize=(9, 0.12 * sum(rows.values()) + 0.45 * len(sets)),
        layout="constrained",
        height_ratios=list(rows.values()),
        squeeze=False,
    )
    colours = charts.colours(ARMS.values())
    for line, (set_, label) in zip(axes, sets.items()):
        order = sum(ends[set_, arm] for arm in ARMS.values()).sort_values(ascending=False).index
        for ax, arm in zip(line, ARMS.values()):
            cells = np.full(rows[set_] * COLUMNS, np.nan)
            cells[: len(order)] = ends[set_, arm].loc[order]
            shown = LinearSegmentedColormap.from_list(arm, ["#f0f0f0", colours[arm]])
            ax.imshow(cells.reshape(-1, COLUMNS), cmap=shown, vmin=0, vmax=1, aspect="auto")
            ax.set(xticks=[], yticks=[], title=f"{arm}: {np.nanmean(cells):.0%}")
            ax.title.set_fontsize(9)
            for side in ax.spines.values():
                side.set_visible(False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    return fig
