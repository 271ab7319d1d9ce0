"""What runs said at their ends, side by side: the answers to one case and what the verifier said to them.

`side_by_side(table, telling(table))`, with a `table` that `told` made, is HTML: a column for each arm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

import pandas as pd

from posttrain import store
from posttrain.analysis.study import ARMS
from posttrain.config import Profile


def kept(
    profile: Profile,
    study: str,
    seeds: Iterable[int] | None = None,
    stale: bool = False,
    arms: Mapping[str, str] = ARMS,
) -> pd.DataFrame:
    """All dialogues that a study's arms kept, as `store.dialogues` has them, with the arm's name and the
    seed; empty if nothing was kept. StoreError, and `stale`, as there."""
    tables = []
    for run in profile.runs():
        if run.study == study and run.arm in arms and (seeds is None or run.seed in seeds):
            said = store.dialogues(profile, run, stale)
            if len(said):  # columns of an empty one would turn numbers into others
                tables.append(said.assign(arm=arms[run.arm], seed=run.seed))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def told(profile: Profile, study: str, seed: int, set_: str, stale: bool = False) -> pd.DataFrame:
    """The kept sampled dialogues of a study's arms on a set.

    Cases that not all arms were asked are left out. StoreError, and `stale`, as in `store.dialogues`;
    ValueError if nothing is left."""
    table = kept(profile, study, [seed], stale)
    if len(table):
        table = common(table[(table["set"] == set_) & (table["decoding"] == "sampled")])
    if table.empty:
        raise ValueError(f"the runs of {study} kept no dialogues on {set_}, sampled; census: {{told: 12}}")
    return table.reset_index(drop=True)


def common(table: pd.DataFrame) -> pd.DataFrame:
    """Without the cases that not all arms were asked: arms of one seed, with the same decoding."""
    arms = table.groupby(["set", "decoding", "seed", "hand"])["arm"].transform("nunique")
    return table[arms == len(ARMS)]


def solved(table: pd.DataFrame) -> pd.DataFrame:
    """[cases, arms]: whether every dialogue of a case was right in the end (a route has one for each of its
    points). Cases in the order of the evaluation."""
    right = table.groupby(["hand", "arm", "dialogue"], sort=False)["correct"].any()
    return right.groupby(["hand", "arm"], sort=False).all().unstack("arm").loc[table["hand"].unique()]


def telling(table: pd.DataFrame) -> str:
    """The first case, in the order of the evaluation, that one arm solved and another did not; if all did
    alike the first of all."""
    right = solved(table)
    differ = right.nunique(axis=1) > 1
    return (right[differ] if differ.any() else right).index[0]


def failures(table: pd.DataFrame, longest: int = 240) -> pd.DataFrame:
    """First answers that were wrong, by what the verifier found wrong with them: how many of each arm, of how
    many, the most frequent kind first; and the first such answer of the arm that has most of them, without
    its middle if it has more than `longest` characters."""
    first = table[table["answer"] == 1]
    of, rows = first["arm"].value_counts(sort=False), []
    for kind, wrong in first[~first["correct"].astype(bool)].groupby("outcome"):
        counts = wrong["arm"].value_counts()
        text = " ".join(wrong[wrong["arm"] == counts.index[0]].iloc[0]["text"].split())
        text = text if len(text) <= longest else f"{text[: longest // 3]} … {text[-2 * longest // 3 :]}"
        row = {arm: f"{counts.get(arm, 0)} of {n}" for arm, n in of.items()}
        rows.append((len(wrong), {"what was wrong": kind, **row, "for instance": _cell(text)}))
    rows.sort(key=lambda row: -row[0])
    return pd.DataFrame([row for _, row in rows], columns=["what was wrong", *of.index, "for instance"])


def revised(table: pd.DataFrame) -> pd.DataFrame:
    """How first answers and later ones of a dialogue come out: a row for each arm and the two, how many there
    are, and what share of them the verifier found to be what, the right ones first."""
    place = table["answer"].gt(1).map({False: "first", True: "later"}).rename("answer")
    counts = table.groupby(["arm", place], sort=False)["outcome"].value_counts().unstack(fill_value=0)
    kinds = counts.sum().drop("correct", errors="ignore").sort_values(ascending=False).index
    of = counts.sum(axis=1)
    shares = counts.reindex(columns=["correct", *kinds], fill_value=0).div(of, axis=0)
    order = [(arm, which) for arm in table["arm"].unique() for which in ("first", "later")]
    shown = shares.rename(columns={"correct": "right"}).map("{:.0%}".format)
    shown.insert(0, "answers", of)
    return shown.reindex([key for key in order if key in shown.index]).rename_axis(columns=None).reset_index()


def _cell(text: str) -> str:
    """Text of a model as code in a cell of a Markdown table: neither bars nor quotes of it end the cell."""
    return "``" + text.replace("`", "'").replace("|", "\\|") + "``" if text else ""


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
