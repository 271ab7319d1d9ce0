"""What runs said at their ends, side by side: the answers to one case and what the verifier said to them.

`side_by_side(table, telling(table))`, with a `table` that `told` made, is HTML: a column for each arm.
"""

from __future__ import annotations

from html import escape

import pandas as pd

from posttrain import store
from posttrain.analysis.study import ARMS
from posttrain.config import Profile


def told(profile: Profile, study: str, seed: int, set_: str, decoding: str = "sampled") -> pd.DataFrame:
    """The kept dialogues of a study's arms on a set, as `store.dialogues` has them, with the arm's name.

    Cases that not all arms were asked are left out. StoreError if a run is missing, ValueError if nothing is
    left."""
    tables = []
    for run in profile.runs():
        if run.study == study and run.seed == seed and run.arm in ARMS:
            kept = store.dialogues(profile, run)
            tables.append(kept.assign(arm=ARMS[run.arm]))
    table = pd.concat(tables, ignore_index=True)
    if len(table):
        table = table[(table["set"] == set_) & (table["decoding"] == decoding)]
        arms = table.groupby("hand")["arm"].transform("nunique")
        table = table[arms == len(tables)]
    if table.empty:
        raise ValueError(f"the runs of {study} kept no dialogues on {set_}, {decoding}; census: {{told: 12}}")
    return table.reset_index(drop=True)


def telling(table: pd.DataFrame) -> str:
    """The first case, in the order of the evaluation, that one arm solved and another did not; if all did
    alike the first of all."""
    solved = table.groupby(["hand", "arm"], sort=False)["correct"].any().unstack("arm")
    order = table["hand"].unique()
    return next((hand for hand in order if solved.loc[hand].nunique() > 1), order[0])


def side_by_side(table: pd.DataFrame, case: str, most: int | None = None) -> str:
    """HTML: the first dialogue of a case by each arm, every answer (or the first `most`) with the verifier's
    message below it."""
    columns = []
    for arm in ARMS.values():
        rows = table[(table["arm"] == arm) & (table["hand"] == case) & (table["dialogue"] == 1)]
        if rows.empty:
            continue
        said = []
        for row in rows.sort_values("answer").head(most or len(rows)).itertuples():
            verdict = "right" if row.correct else "wrong"
            said.append(
                f"<li><code>{escape(row.text.strip())}</code>"
                f"<span class='{verdict}'>{escape(row.message.strip() or verdict)}</span></li>"
            )
        columns.append(f"<div><p><strong>{arm}</strong></p><ol>{''.join(said)}</ol></div>")
    return f"<div class='told'>{''.join(columns)}</div>"
