"""How settings are chosen: the same number of trials for every arm, judged in distribution, one rule.

The trials are the runs of a profile whose seeds no published run uses (notebooks/profiles/tuning.yaml, where
the rule stood before the first of them ran). What is looked at besides chooses nothing.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from posttrain import store
from posttrain.analysis.claims import Measure, Outcomes
from posttrain.config import Profile, Run

JUDGED = {  # by the kind of task: the set and the measure that choose
    "general-points": ("seen", Measure("first_try", "sampled")),
    "navigation": ("id", Measure("first_turns", "sampled")),
}
BESIDE = ("id", "calibration")  # sets whose measures stand in the table
NEAR = 0.01  # of two trials not further apart the one with the lower learning rate is chosen


def changed(run: Run) -> dict[str, Any]:
    """A trial's learning rate, and what its profile says of its trainer: the settings in which trials
    differ."""
    trainer = getattr(run.settings, run.algorithm)
    said = {"learning_rate": trainer.learning_rate} | trainer.model_dump(exclude_unset=True)
    skipped = getattr(run.settings.environment, "skip_failed", False)
    return said | ({"skip_failed": True} if skipped else {})


def compared(profile: Profile) -> list[str]:
    """The studies whose trials choose; the others are pilots."""
    arms = {name: {arm.algorithm for arm in study.arms.values()} for name, study in profile.studies.items()}
    return [name for name, algorithms in arms.items() if algorithms >= {"sft", "ppo"}]


def trials(profile: Profile, study: str) -> pd.DataFrame:
    """A row for each trial of a study: arm, algorithm, settings (a mapping), seeds (how many of them are
    finished), chosen_by, the same measure on the sets of BESIDE, minutes; means over the seeds that are."""
    runs: dict[str, list[Run]] = {}
    for run in profile.runs():
        if run.study == study and run.algorithm != "init":
            runs.setdefault(run.arm, []).append(run)
    rows = []
    for arm, each in runs.items():
        set_, measure = JUDGED[each[0].task.removesuffix("-vision")]
        measured = [_measured(profile, run, measure) for run in each if store.find(profile, run)]
        mean = pd.DataFrame(measured).mean() if measured else pd.Series(dtype=float)
        row = {
            "arm": arm,
            "algorithm": each[0].algorithm,
            "settings": changed(each[0]),
            "seeds": len(measured),
        }
        row |= {"chosen_by": mean.get(set_), "minutes": mean.get("minutes")}
        rows.append(row | {name: mean.get(name) for name in BESIDE})
    return pd.DataFrame(rows)


def _measured(profile: Profile, run: Run, measure: Measure) -> dict[str, float]:
    stored = store.read(profile, run)
    hands = stored.hands.assign(arm=run.arm, seed=run.seed)
    outcomes = Outcomes(hands)
    there = hands.loc[hands["decoding"] == measure.decoding, "set"].unique()
    levels = {set_: outcomes.level(run.arm, run.seed, set_, measure) for set_ in there}
    return levels | {"minutes": stored.record["seconds"] / 60}


def chosen(table: pd.DataFrame, algorithm: str) -> str | None:
    """The arm that the rule chooses among those of an algorithm; None before all of them are finished on as
    many seeds."""
    mine = table[table["algorithm"] == algorithm]
    if mine.empty or mine["seeds"].nunique() > 1 or not mine["seeds"].iloc[0]:
        return None
    near = mine[mine["chosen_by"] >= mine["chosen_by"].max() - NEAR - 1e-12]
    rates = near["settings"].map(lambda said: said["learning_rate"])
    return near.loc[rates.idxmin(), "arm"]


FORMAT = {"general-points": "valid", "navigation": "strict"}  # by which the rule for Init counts


def pilots(profile: Profile) -> pd.DataFrame:
    """A row for each finished pilot, a run of a study whose arms are not compared: study, arm, seed, and, as
    lists over its checkpoints, steps, gflops, formatted (answers in the format in distribution), and what
    trials are judged by on the sets `id` and `calibration`; sampled."""
    rows, chosen_among = [], compared(profile)
    for run in (run for run in profile.runs() if run.study not in chosen_among):
        sets = set(run.settings.census.sets)
        if not store.find(profile, run) or not set(BESIDE) <= sets or "ood" in sets:
            continue  # what plays the other rule is no pilot
        kind = run.task.removesuffix("-vision")
        _, measure = JUDGED[kind]
        table = store.read(profile, run).checkpoints.query("decoding == 'sampled' and step > 0")
        judged = {name: table[table["set"] == name] for name in BESIDE}
        row = {"study": run.study, "arm": run.arm, "seed": run.seed}
        row |= {"steps": judged["id"]["step"].tolist(), "gflops": judged["id"]["gflops"].tolist()}
        row["formatted"] = judged["id"][FORMAT[kind]].tolist()
        rows.append(row | {name: one[measure.metric].tolist() for name, one in judged.items()})
    return pd.DataFrame(rows)
