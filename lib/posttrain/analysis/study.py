"""Tables of finished runs as chapters read them: arms by name, compute in FLOPs, outcomes case by case.

Paper: Figures 5 to 9. Both arms start at Init, so Init is the first checkpoint of either; its compute is
charged to both. Numbers only: how they are worded is `posttrain.analysis.prose`, how they are drawn
`posttrain.analysis.charts`.

    book = Book("cpu")
    points = book.study("gp-l")
    points.end("RL", "ood", "sampled", "first_try")  # of each seed
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from posttrain import config, store
from posttrain.analysis import statistics
from posttrain.analysis.statistics import Interval
from posttrain.tasks import TASKS

ARMS = {"init": "Init", "sft": "SFT", "ppo": "RL"}
MAIN = ("gp-l", "gp-vl", "virl-l", "virl-vl")  # the studies that decide the claims about the four tasks
RATIOS = {"per_step": ("right", "answers"), "first_turns": ("first_turns", "turns")}  # of a route's counts
SEED = 0  # every interval draws anew from it, so one quantity has one interval


class Book:
    """What chapters read under a profile (a name of notebooks/profiles), and where they put what they make.

    profile: its settings; paper: the published numbers (data/paper.yaml); claims: what is tested, and how
    it is decided (data/claims.yaml). With `fresh` everything is read from and written under build/reproduce.
    """

    def __init__(self, profile: str, fresh: bool = False):
        self.profile, self.stale = config.load(profile, fresh), os.environ.get("STALE") == "show"
        self.figures, self._read = self.profile.root / "figures", {}
        tables = (config.ROOT / "data" / f"{name}.yaml" for name in ("paper", "claims"))
        self.paper, self.claims = map(config.files.read, tables)

    def results(self, study: str) -> Results:
        """All finished runs of a study. `StoreError` says how to carry out one that is missing."""
        return Results(study, *self._collected(study), self)

    def study(self, study: str) -> Study:
        """The same of a study with the arms init, sft and ppo. ValueError names one that is missing."""
        return Study(study, *self._collected(study), self)

    def _collected(self, study: str) -> store.Collected:
        """Read once: what a chapter draws and what decides its claims are often the same tables."""
        if study not in self._read:
            self._read[study] = store.collect(self.profile, study, self.stale)
        return self._read[study]

    def shelved(self, study: str) -> Results:
        """All runs of a study that lie in a folder of data/ (`smollm/results/gp-l`), of whatever profile."""
        folder = config.ROOT / "data" / study
        return Results(folder.name, *store.shelved(folder), self)

    def studies(self, titles: dict[str, str]) -> dict[str, Study]:
        """Those of the named studies (title -> name) that the profile has."""
        return {title: self.study(name) for title, name in titles.items() if name in self.profile.studies}

    def base(self, study: str) -> str:
        """Path or hub name of the model that the first seed of a study starts from."""
        return store.model_path(self.profile, next(run for run in self.profile.runs() if run.study == study))

    def foundations(self) -> dict[str, dict[int, dict]]:
        """Model cards of the pocket foundations by name and seed; none if the profile names a real model."""
        cards: dict[str, dict[int, dict]] = {name: {} for name in self.profile.foundations}
        for name, seed, _ in self.profile.foundation_list():
            if folder := store.find_foundation(self.profile, name, seed, weights=False):
                cards[name][seed] = store.read_record(folder / store.CARD)
        return {name: by_seed for name, by_seed in cards.items() if by_seed}

    def hours(self) -> dict[str, float]:
        """What the profile costs from nothing, in hours of one core by the stored clocks: all runs, all
        foundations, and one seed of the four tasks' main studies with the foundations it starts from."""
        runs, cards, main, models = {}, self.foundations(), {}, set()  # runs by identity: studies share some
        for run in self.profile.runs():
            if folder := store.find(self.profile, run):
                runs[run.identity] = store.read_record(folder / store.RECORD)["seconds"]
                if run.study in MAIN and run.seed == min(self.profile.seeds):
                    main[run.identity] = runs[run.identity]
                    models |= {run.foundation, getattr(run.model, "language", None)}
        pretrained = {
            name: sum(card["seconds"] for card in by_seed.values()) for name, by_seed in cards.items()
        }
        first = [cards[name][min(cards[name])]["seconds"] for name in models & set(cards)]
        seconds = {
            "runs": sum(runs.values()),
            "foundations": sum(pretrained.values()),
            "one_seed": sum(main.values()) + sum(first),
        }
        return {name: value / 3600 for name, value in seconds.items()}

    def printed(self, figure: str, study: str) -> dict[str, float]:
        """The paper's numbers of SFT, Init and RL in a figure ("fig06"), as fractions."""
        numbers = self.paper["figures"][figure]["printed"][study]
        return {arm: numbers[arm.lower()] for arm in ARMS.values()}

    def write(self, chapter: str, values: dict[str, Any] | list) -> None:
        """Put the numbers that prose quotes under figures/values."""
        store.write(self.figures / "values" / f"{chapter}.json", json.dumps(values, indent=1))


class Results:
    """All finished runs of a study.

    records: what each run says of itself. checkpoints, training, hands: tidy tables with arm and seed; a row
    for each checkpoint, set and decoding (`checkpoint`: 1, 2, 3; `flops`), for each iteration, for each case.
    arms: their names in the profile -> here; seeds, run_ids, seconds (of all runs); note: what a figure's
    footer must say of them, empty if they are current and unedited.
    """

    def __init__(self, name, records, checkpoints, training, hands, book=None, arms=None):
        self.book, self.name, self.records, self.training, self.hands = book, name, records, training, hands
        self.arms: Mapping[str, str] = arms or {record["arm"]: record["arm"] for record in records}
        self.seeds = sorted(checkpoints["seed"].unique().tolist())
        self.run_ids = [f"{name}/{record['arm']}/{record['seed']}" for record in records]
        self.seconds = sum(record["seconds"] for record in records)
        self.note = ", ".join(sorted({record["note"] for record in records if record.get("note")}))
        ranks = checkpoints.groupby(["arm", "seed"])["step"].rank(method="dense")
        self.checkpoints = checkpoints.assign(checkpoint=ranks, flops=checkpoints["gflops"] * 1e9)
        self._last: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}  # of each set and decoding, by arm

    @property
    def task(self) -> str:
        """What its runs do, a name of `TASKS`."""
        return self.records[0]["settings"].get("task", "general-points")

    @property
    def facts(self) -> dict[str, Any]:
        """What pages say of all its runs: which they are, of how many seeds, and their seconds."""
        return {"run_ids": self.run_ids, "seeds": len(self.seeds), "train_seconds": self.seconds}

    def at(self, set_: str, decoding: str) -> pd.DataFrame:
        """Every checkpoint of one set and decoding."""
        table = self.checkpoints
        return table[(table["set"] == set_) & (table["decoding"] == decoding)]

    def along(self, set_: str, decoding: str) -> pd.DataFrame:
        """The same on the cases that a seed was asked at all of them. Between the ends there are fewer, and
        which ones makes more of a difference than much training: curves are drawn of these."""
        rows = self.at(set_, decoding)
        hands = self.hands[(self.hands["set"] == set_) & (self.hands["decoding"] == decoding)]
        times = hands.groupby(["seed", "hand"])["step"].transform("size")
        asked = hands[times == times.groupby(hands["seed"]).transform("max")]
        if len(asked) == len(hands):
            return rows
        each = asked.groupby(keys := ["arm", "seed", "step"])
        found = pd.DataFrame({"n": each.size(), **TASKS[self.task].sets[set_].summary(each)})
        return rows.drop(columns=found.columns).merge(found.reset_index(), on=keys).set_axis(rows.index)

    def end(self, arm: str, set_: str, decoding: str, metric: str) -> pd.Series:
        """A column of the arm's last checkpoint, by seed."""
        if (key := (set_, decoding)) not in self._last:
            last = self.at(*key).sort_values("step").groupby(["arm", "seed"]).tail(1)
            self._last[key] = {
                name: rows.set_index("seed").sort_index() for name, rows in last.groupby("arm", sort=False)
            }
        return self._last[key][arm][metric] if arm in self._last[key] else pd.Series(dtype=float)

    def ends(self, set_: str, decoding: str, metric: str) -> dict[str, pd.Series]:
        """The same of each arm."""
        return {arm: self.end(arm, set_, decoding, metric) for arm in self.arms.values()}

    def only(self, arms: Mapping[str, str]) -> Results:
        """These arms alone, in this order and by other names; of Init only its end, where others start."""
        records = [{**record, "arm": arms[record["arm"]]} for record in self.records if record["arm"] in arms]
        of = (self.checkpoints, self.training, self.hands)
        tables = [pd.concat([t[t["arm"] == arm].assign(arm=name) for arm, name in arms.items()]) for t in of]
        ends = tables[0].groupby(["arm", "seed"])["step"].transform("max")
        tables[0] = tables[0][(tables[0]["arm"] != "Init") | (tables[0]["step"] == ends)]
        return Results(self.name, records, *tables, self.book, arms)

    def end_values(self, sets: Iterable[str], metrics: Iterable[str]) -> dict[str, float]:
        """Columns of the last checkpoint for the prose, as `{arm}_{set}_{metric}_{decoding}` with the arm's
        name in the profile; those that were measured."""
        means = {
            f"{arm}_{set_}_{metric}_{decoding}".replace("-", "_"): float(
                self.end(name, set_, decoding, metric).mean()
            )
            for arm, name in self.arms.items()
            for set_ in sets
            for decoding in ("greedy", "sampled")
            for metric in metrics
        }
        return {key: value for key, value in means.items() if np.isfinite(value)}


class Study(Results):
    """A study with the arms Init, SFT and RL: Init is the others' start, and their flops hold its own."""

    def __init__(self, name, records, checkpoints, training, hands, book=None):
        if missing := [arm for arm in ARMS if arm not in {record["arm"] for record in records}]:
            told = f"the study {name} has no arm {' and no arm '.join(missing)}"
            raise ValueError(f"{told}: read it with Book.results, or name its arms {', '.join(ARMS)}")
        tables = [table.assign(arm=table["arm"].map(ARMS)) for table in (checkpoints, training, hands)]
        for i in (0, 2):  # checkpoints and hands
            start = tables[i][(tables[i]["arm"] == "SFT") & (tables[i]["step"] == 0)].assign(arm="Init")
            tables[i] = pd.concat([tables[i][tables[i]["arm"] != "Init"], start], ignore_index=True)
        super().__init__(name, records, *tables, book, ARMS)
        init = {record["seed"]: record["spent_gflops"] for record in records if record["arm"] == "init"}
        with_init = self.checkpoints["gflops"] + self.checkpoints["seed"].map(init)
        self.checkpoints = self.checkpoints.assign(flops=with_init * 1e9)
        self.settings = {record["arm"]: record["settings"] for record in records}

    def outcomes(self, arm: str, set_: str, decoding: str, metric: str) -> np.ndarray:
        """Array [seeds, cases] of an arm's outcomes at its last (Init: first) checkpoint."""
        values = self.hands[metric].to_numpy(float, na_value=np.nan)
        return np.stack([values[rows] for rows in self._ends(arm, set_, decoding)])

    def cases(self, arm: str, set_: str, decoding: str) -> list[pd.DataFrame]:
        """The same rows of `hands`, a table for each seed."""
        return [self.hands.iloc[rows] for rows in self._ends(arm, set_, decoding)]

    def _ends(self, arm: str, set_: str, decoding: str) -> list[np.ndarray]:
        name, step = ("SFT", 0) if arm == "Init" else (arm, -1)
        return [list(self._cases[name, seed, set_, decoding].values())[step] for seed in self.seeds]

    @cached_property
    def _cases(self) -> dict[tuple, dict[int, np.ndarray]]:
        return by_step(self.hands)

    def estimates(self, set_: str, decoding: str, metric: str) -> dict[str, Interval]:
        """Init, SFT and RL with bootstrap intervals."""
        count, of = RATIOS.get(metric, (metric, None))
        told = {}
        for arm in ARMS.values():
            counted_of = self.outcomes(arm, set_, decoding, of) if of else None
            told[arm] = statistics.bootstrap(self.outcomes(arm, set_, decoding, count), SEED, of=counted_of)
        return told

    def hyperparameters(self) -> pd.DataFrame:
        """Every setting that decides the arms' numbers, defaults filled in, and what it means."""
        columns, meanings = {}, {"seeds": "Seeds of its runs."}
        for run in self.book.profile.runs():
            if run.study == self.name and run.seed == self.seeds[0]:
                columns[ARMS[run.arm]] = _flat({"seeds": self.seeds, **run.resolved()})
                meanings |= run.settings.sentences()
        names = dict.fromkeys(name for column in columns.values() for name in column)
        said = {arm: [column.get(name, "") for name in names] for arm, column in columns.items()}
        return pd.DataFrame({"setting": list(names), **said, "meaning": [meanings[n] for n in names]})


def by_step(hands: pd.DataFrame) -> dict[tuple, dict[int, np.ndarray]]:
    """(arm, seed, set, decoding) -> step, the first first -> rows of `hands`, in the order of the cases."""
    names = ("arm", "seed", "set", "decoding", "step", "hand")
    columns = [pd.factorize(hands[name], sort=name in ("step", "hand")) for name in names]
    key = np.zeros(len(hands), np.int64)  # one for all columns: a sort of six takes three times as long
    for codes, labels in columns:
        key = key * len(labels) + codes
    order, cases = np.argsort(key, kind="stable"), len(columns[-1][1])
    ends = np.flatnonzero(np.diff(key[order] // cases)) + 1
    found: dict[tuple, dict[int, np.ndarray]] = {}
    named = [(codes, labels.tolist()) for codes, labels in columns[:-1]]
    for rows in np.split(order, ends):
        *group, step = (labels[codes[rows[0]]] for codes, labels in named)
        found.setdefault(tuple(group), {})[step] = rows
    return found


def _flat(settings: dict, path: str = "") -> dict[str, str]:
    """Settings by their paths, as a profile has them."""
    cells = {}
    for name, value in settings.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        cells |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: shown}
    return cells
