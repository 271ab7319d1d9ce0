"""All verdicts on one page: a row for each claim, a column for each task, both measures in a cell.

The first page shows it: `matrix(claims.verdicts(book))` is HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from posttrain.analysis import claims, prose
from posttrain.analysis.statistics import Interval

TASKS = {
    "gp-l": "cards, text",
    "gp-vl": "cards, pictures",
    "virl-l": "city, text",
    "virl-vl": "city, pictures",
}
ROWS = {  # what a claim's id asks, behind its task
    "rl-gains-id": "RL gains in distribution",
    "sft-gains-seen": "SFT gains on what it was trained on",
    "sft-gains-id": "SFT gains on held-out cases, same rule",
    "sft-memorizes": "SFT's gap from seen to held-out cases is wider than RL's",
    "rl-gains-ood": "RL gains under another rule",
    "sft-loses-ood": "SFT loses under another rule",
    "rl-above-sft-ood": "RL ends above SFT under another rule",
    "rl-above-sft-matched-id": "at equal success on seen hands RL is above SFT on held-out ones",
    "rl-above-sft-matched-in-range": "… and under a rule whose numbers were trained",
    "rl-above-sft-matched-ood": "… and under the rule 11/12/13",
    "rl-gains-visual": "RL gains on another look (suits, cities)",
    "sft-loses-visual": "SFT loses on another look",
    "rl-above-sft-visual": "RL ends above SFT on another look",
    "rl-raises-recognition-id": "RL raises recognition of the cards",
    "sft-lowers-recognition-id": "SFT lowers recognition of the cards",
    "base-rl-needs-sft": "RL without SFT learns nothing",
}
SIGNS = dict(zip(claims.STATES, ("✓", "✗", "?", "–")))
MEASURES = {"paper": "by the paper's measure", "strict": "by the stricter measure"}


def _mark(row: Mapping[str, Any]) -> str:
    """One verdict as a sign that says the rest when it is pointed at, or read out."""
    said = f"{MEASURES[row['measure']]}: {row['state']}"
    if row["estimate"] is not None:
        said += f", {prose.interval(Interval(row['estimate'], row['low'], row['high']))}"
    if row["seeds_low"] is not None:  # of one repetition there is no such interval
        said += f"; over repetitions {prose.bounds(row['seeds_low'], row['seeds_high'])}"
    name = row["state"].replace(" ", "-")
    told = f'class="{name}" role="img" aria-label="{escape(said)}" title="{escape(said)}"'
    return f"<span {told}>{SIGNS[row['state']]}</span>"


def matrix(rows: Iterable[Mapping[str, Any]]) -> str:
    """`claims.verdicts` as an HTML table; rows and columns without a verdict are left out."""
    cells: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        task = claims.task(row["claim"], TASKS)
        asked = row["claim"].removeprefix(f"{task}-")
        if asked in ROWS:
            cells.setdefault(asked, {}).setdefault(task, []).append(_mark(row))
    tasks = [task for task in TASKS if any(task in found for found in cells.values())]
    head = "".join(f"<th scope='col'>{TASKS[task]}</th>" for task in tasks)
    lines = [
        "<table class='verdicts'>",
        f"<thead><tr><th scope='col'>claim</th>{head}</tr></thead>",
        "<tbody>",
    ]
    for asked in (name for name in ROWS if name in cells):
        marks = "".join(f"<td>{' '.join(cells[asked].get(task, ()))}</td>" for task in tasks)
        lines.append(f"<tr><th scope='row'>{escape(ROWS[asked])}</th>{marks}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def legend() -> str:
    """What the signs mean, as a sentence."""
    signs = ", ".join(f"{sign} {state}" for state, sign in SIGNS.items())
    told = "Of two signs the first is by the paper's measure, the second by the stricter one."
    return f"{signs}; an empty field: not asked. {told}"
