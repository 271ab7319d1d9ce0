"""What came of the exercises: small runs beside the chapter's own at the same compute, asked the same cases.

data/exercises.csv has a row for each set of an exercise's run (sampled answers, at the run's end): exercise,
study, arm, seed, identity, gflops, seconds, set, cases, then the measures of MEASURES, and beside each, with
``chapter_`` before its name, the same of the chapter's arm, at its checkpoint nearest in compute. Empty where
the task has no such measure, the chapter no such arm, or its arm was not asked any of these cases.

    values("rule-generalization")["exercise_1_sft_ood_first_try"]
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from posttrain import config, store
from posttrain.config import ROOT, Profile, Run
from posttrain.tasks import TASKS

FILE = ROOT / "data" / "exercises.csv"
MEASURES = ("first_try", "within", "strict", "rule_following", "recognized", "first_turns", "per_step")
MEASURED = [*MEASURES, *(f"chapter_{name}" for name in MEASURES)]
COLUMNS = ["exercise", "study", "arm", "seed", "identity", "gflops", "seconds", "set", "cases", *MEASURED]


def kept() -> pd.DataFrame:
    """All rows of the file; none where it is not there."""
    if FILE.is_file():
        return pd.read_csv(FILE, dtype={"identity": str})
    return pd.DataFrame(columns=COLUMNS).astype(dict.fromkeys(MEASURED, float))


def compared(exercise: str, profile: Profile, run: Run) -> pd.DataFrame:
    """A finished run's rows, beside the run of this name in the profile that its own extends, if it has one.
    StoreError where it is not finished."""
    mine, gflops, record = _sampled(profile, run)
    book = config.load(profile.extends or "cpu")
    beside = next((one for one in book.runs() if one.name == run.name), None)
    theirs = _sampled(book, beside, gflops)[0] if beside else mine.iloc[:0]
    rows = []
    for set_, cases in mine.groupby("set", sort=False):
        other = theirs[theirs["set"] == set_]
        common = set(cases["hand"]) & set(other["hand"])
        judge = TASKS[run.task].sets[set_].summary
        asked = [table[table["hand"].isin(common)] if common else table for table in (cases, other)]
        row = {"exercise": exercise, "study": run.study, "arm": run.arm, "seed": run.seed}
        row |= {"identity": run.identity, "gflops": gflops, "seconds": record["seconds"]}
        row |= {"set": set_, "cases": len(asked[0])} | _chosen(judge(asked[0]))
        if common:
            row |= {f"chapter_{name}": value for name, value in _chosen(judge(asked[1])).items()}
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def _sampled(
    profile: Profile, run: Run, gflops: float | None = None
) -> tuple[pd.DataFrame, float, dict[str, Any]]:
    """Sampled answers, case by case, of the checkpoint that is nearest in compute, or of the last."""
    record, checkpoints, _, hands, _ = store.read(profile, run)
    spent = checkpoints.groupby("step")["gflops"].first()
    step = spent.index.max() if gflops is None else (spent - gflops).abs().idxmin()
    table = hands[(hands["step"] == step) & (hands["decoding"] == "sampled")]
    return table, float(spent[step]), record


def _chosen(summary: dict[str, float]) -> dict[str, float]:
    return {name: summary[name] for name in MEASURES if name in summary}


def values(chapter: str) -> dict[str, float]:
    """What a chapter's prose says of its exercises, by name: `exercise`, number, arm, set and measure, joined
    by underscores; with `_chapter` behind them of the chapter's own arm; `exercise_1_minutes` of all runs."""
    found: dict[str, float] = {}
    rows = kept()
    rows = rows[rows["exercise"].str.rpartition("-")[0] == chapter] if len(rows) else rows
    for row in rows.to_dict("records"):
        number = row["exercise"].rpartition("-")[2]
        at = f"exercise_{number}_{row['arm']}_{row['set']}".replace("-", "_")
        for name in MEASURES:
            for key, value in ((name, row[name]), (f"{name}_chapter", row[f"chapter_{name}"])):
                if pd.notna(value):
                    found[f"{at}_{key}"] = float(value)
    clocks = rows.drop_duplicates("identity")
    for name, each in clocks.groupby("exercise"):
        found[f"exercise_{name.rpartition('-')[2]}_minutes"] = float(each["seconds"].sum() / 60)
    return found
