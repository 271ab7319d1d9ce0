"""A study's published tables in the form that chapters want: arms by their names, compute in FLOPs, outcomes to be paired, verdicts.

Paper: Figures 5 and 6. Both arms start at Init, so Init is the first checkpoint of either; its compute is charged to both.
"""

from __future__ import annotations

from functools import cached_property
from typing import Iterable

import numpy as np
import pandas as pd
import yaml

from posttrain import config, runs
from posttrain.analysis import statistics

ARMS = {"init": "Init", "sft": "SFT", "ppo": "RL"}
METRICS = {"first_try": "first_try", "within_k": "within", "per_step": "per_step", "recognized": "recognized"}


class Study:
    """All finished runs of a study with the arms init, sft, ppo. FileNotFoundError if one is missing.

    records; checkpoints (arm: Init, SFT, RL; `flops`: with Init's; `checkpoint`: 1, 2, …), training, hands; seeds, run_ids, seconds.
    """

    def __init__(self, profile: runs.Profile, name: str):
        self.profile, self.name = profile, name
        self.records, checkpoints, self.training, self.hands = runs.collect(profile, name)
        checkpoints["arm"], self.hands["arm"] = checkpoints["arm"].map(ARMS), self.hands["arm"].map(ARMS)
        self.seeds = sorted(checkpoints["seed"].unique().tolist())
        self.run_ids, self.seconds = (
            [record["id"] for record in self.records],
            sum(record["seconds"] for record in self.records),
        )
        start = checkpoints[(checkpoints["arm"] == "SFT") & (checkpoints["step"] == 0)]
        checkpoints = pd.concat([checkpoints[checkpoints["arm"] != "Init"], start.assign(arm="Init")])
        checkpoints["checkpoint"] = checkpoints.groupby(["arm", "seed"])["step"].rank(method="dense")
        init = {record["seed"]: record["spent_gflops"] for record in self.records if record["arm"] == "init"}
        self.checkpoints = checkpoints.assign(
            flops=(checkpoints["gflops"] + checkpoints["seed"].map(init)) * 1e9
        )

    @property
    def splits(self) -> dict[str, str]:
        """Splits of data/claims.yaml -> the task's sets."""
        sight = {
            "general-points-vision": {"visual-ood": "visual"},
            "navigation-vision": {"visual-ood": "cities"},
        }
        return {"id": "id", "rule-ood": "ood", **sight.get(self.settings["ppo"].get("task"), {})}

    @property
    def settings(self) -> dict[str, dict]:
        """Settings by algorithm."""
        return {record["settings"]["algorithm"]: record["settings"] for record in self.records}

    def table(self) -> pd.DataFrame:
        """One row a run: what the page's first table shows. Runs kept over a change of the code (tools/carry_over.py) name the commit that made them."""
        carried = any("carried_over" in r for r in self.records)
        return pd.DataFrame(
            [
                {
                    "run": r["id"],
                    "seed": r["seed"],
                    "minutes": round(r["seconds"] / 60, 1),
                    "model": r["parameters"],
                    **(
                        {"computed by": r.get("carried_over", [{"commit": "this code"}])[0]["commit"]}
                        if carried
                        else {}
                    ),
                }
                for r in self.records
            ]
        )

    def at(self, set_: str, decoding: str) -> pd.DataFrame:
        return self.checkpoints[
            (self.checkpoints["set"] == set_) & (self.checkpoints["decoding"] == decoding)
        ]

    def last(self, decoding: str) -> pd.DataFrame:
        """The last checkpoint of each arm and seed, every set."""
        return (
            self.checkpoints[self.checkpoints["decoding"] == decoding]
            .sort_values("step")
            .groupby(["arm", "seed", "set"])
            .tail(1)
        )

    def outcomes(self, arm: str, set_: str, decoding: str, metric: str) -> np.ndarray:
        """Array [seeds, cases] of an arm's outcomes at its last (Init: first) checkpoint."""
        values, end = self.hands[metric].to_numpy(float, na_value=np.nan), 0 if arm == "Init" else -1
        return np.stack(
            [
                values[self._places["SFT" if arm == "Init" else arm, seed, set_, decoding][end]]
                for seed in self.seeds
            ]
        )

    @cached_property
    def _places(self) -> dict[tuple, list[np.ndarray]]:
        """(arm, seed, set, decoding) -> for each step the rows of `hands`, in the order of the cases."""
        columns = [
            pd.factorize(self.hands[name], sort=name in ("step", "hand"))
            for name in ("hand", "step", "decoding", "set", "seed", "arm")
        ]
        order = np.lexsort([codes for codes, _ in columns])
        codes = np.stack([codes[order] for codes, _ in columns[1:]])
        found: dict[tuple, list[np.ndarray]] = {}
        for places in np.split(order, np.flatnonzero((codes[:, 1:] != codes[:, :-1]).any(0)) + 1):
            found.setdefault(tuple(names[codes[places[0]]] for codes, names in columns[:1:-1]), []).append(
                places
            )
        return found

    def estimates(self, set_: str, decoding: str, metric: str, rng) -> dict[str, statistics.Interval]:
        """SFT, Init and RL, in the paper's order, with bootstrap intervals."""
        if metric == "per_step":
            return {
                arm: statistics.pooled_ratio(*self._steps(arm, set_, decoding), rng=rng)
                for arm in ("SFT", "Init", "RL")
            }
        return {
            arm: statistics.bootstrap(self.outcomes(arm, set_, decoding, metric), rng=rng)
            for arm in ("SFT", "Init", "RL")
        }

    def _steps(self, arm: str, set_: str, decoding: str) -> list[np.ndarray]:
        """What the paper's accuracy per step divides: right answers and answers up to the first failed point, [seeds, routes] each."""
        return [self.outcomes(arm, set_, decoding, column) for column in ("right", "answers")]

    def _each(self, arm: str, set_: str, decoding: str, metric: str) -> np.ndarray:
        """The measure of each seed."""
        if metric == "per_step":
            right, answers = self._steps(arm, set_, decoding)
            return right.sum(1) / answers.sum(1)
        return self.outcomes(arm, set_, decoding, metric).mean(1)

    def difference(
        self, minuend: str, subtrahend: str, set_: str, decoding: str, metric: str, samples: int, rng
    ) -> tuple[statistics.Interval, np.ndarray]:
        """minuend - subtrahend, case by case and seed by seed, and its value for each seed. per_step divides a seed's sums over its routes, as the paper does."""
        if metric == "per_step":
            a, b = (self._steps(arm, set_, decoding) for arm in (minuend, subtrahend))
            interval = statistics.pooled_ratio(*a, samples=samples, rng=rng, minus=tuple(b))
        else:
            interval = statistics.paired_difference(
                *(self.outcomes(arm, set_, decoding, metric) for arm in (minuend, subtrahend)),
                samples=samples,
                rng=rng,
            )
        return interval, self._each(minuend, set_, decoding, metric) - self._each(
            subtrahend, set_, decoding, metric
        )

    def verdicts(self, claims: dict, rng) -> tuple[pd.DataFrame, dict[str, str]]:
        """The study's paired claims of data/claims.yaml, decided: a table, one row a claim, and {verdict_…: word} for the prose."""
        rows, values = [], {}
        for claim in (
            c
            for c in claims["claims"]
            if c["test"] == "paired-difference" and c["id"].startswith(f"{self.name}-")
        ):
            row = {"claim": claim["statement"]}
            for metric, decoding in (
                (claim["metric"], claim["decoding"]),
                *(b.split() for b in claim["beside"]),
            ):
                difference, each = self.difference(
                    claim["minuend"],
                    claim["subtrahend"],
                    self.splits[claim["split"]],
                    decoding,
                    METRICS[metric],
                    claims["rule"]["samples"],
                    rng,
                )
                verdict = statistics.decide(difference, claim["direction"], claim["threshold"])
                decisive = (metric, decoding) == (claim["metric"], claim["decoding"])
                mark = "**" if decisive else ""
                row[f"{metric.replace('_', ' ')}, {decoding}{' (decides)' if decisive else ''}"] = (
                    f"{difference:.1%} {mark}{verdict}{mark}"
                )
                if decisive:
                    values[f"verdict_{claim['id'].removeprefix(f'{self.name}-').replace('-', '_')}"] = verdict
                    row["t over seeds"] = (
                        f"{statistics.seeds_interval(each):.1%}" if len(self.seeds) > 1 else "one seed"
                    )
            rows.append(row)
        return pd.DataFrame(rows), values

    def values(self, metrics: Iterable[str], samples: int, rng) -> dict[str, float]:
        """Every end for the prose: {arm}_{set}_{metric}_{decoding}, and with _delta, _delta_low, _delta_high what changed since Init."""
        found: dict[str, float] = {}
        for arm, label in (("init", "Init"), ("sft", "SFT"), ("ppo", "RL")):
            for set_ in self.splits.values():
                for decoding in ("greedy", "sampled"):
                    for metric in metrics:
                        key = f"{arm}_{set_}_{metric.removesuffix('_try')}_{decoding}"
                        found[key] = float(self._each(label, set_, decoding, metric).mean())
                        if arm != "init":
                            delta, _ = self.difference(label, "Init", set_, decoding, metric, samples, rng)
                            found |= {
                                f"{key}_delta": delta.estimate,
                                f"{key}_delta_low": delta.low,
                                f"{key}_delta_high": delta.high,
                            }
        return found | {
            "seeds": len(self.seeds),
            "budget_gflops": float(self.settings["ppo"]["budget"]),
            "train_seconds": self.seconds,
            "run_ids": self.run_ids,
        }

    def wrong(self, names: dict[str, str]) -> pd.DataFrame:
        """Navigation, sets by their names: each seed's wrong first answers (greedy, at the end) where one turns and elsewhere, and its finished routes, "of" as many in all."""
        rows = []
        for set_, name in names.items():
            for arm in ("Init", "SFT", "RL"):
                points, first, turns, turned = (
                    self.outcomes(arm, set_, "greedy", column).sum(1).astype(int)
                    for column in ("points", "first", "turns", "first_turns")
                )
                routes = self.outcomes(arm, set_, "greedy", "within")
                counts = {
                    "wrong turns": (turns - turned, turns.sum()),
                    "wrong elsewhere": (points - turns - (first - turned), (points - turns).sum()),
                    "routes done": (routes.sum(1).astype(int), routes.size),
                }
                rows.append(
                    {
                        "set": name,
                        "arm": arm,
                        **{what: f"{', '.join(map(str, own))} of {of}" for what, (own, of) in counts.items()},
                    }
                )
        return pd.DataFrame(rows)

    def hyperparameters(self) -> pd.DataFrame:
        """Every setting that decides the arms' numbers, defaults filled in, and what it means."""
        columns, meanings = {}, {"seeds": "Seeds of its runs."}
        for run in config.load(self.profile.name).runs():
            if run.study == self.name and run.seed == self.seeds[0]:
                columns[ARMS[run.arm]] = _flat({"seeds": self.seeds, **run.resolved()})
                meanings |= run.settings.sentences()
        names = dict.fromkeys(name for column in columns.values() for name in column)
        said = {arm: [column.get(name, "") for name in names] for arm, column in columns.items()}
        return pd.DataFrame({"setting": list(names), **said, "meaning": [meanings[name] for name in names]})


def _flat(settings: dict, path: str = "") -> dict[str, str]:
    """Settings by their paths, as a profile has them."""
    found = {}
    for name, value in settings.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
        found |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: shown}
    return found


def data(name: str) -> dict:
    """A file of data/: "paper" (the published numbers) or "claims" (what is tested, and how it is decided)."""
    return yaml.safe_load((runs.ROOT / "data" / f"{name}.yaml").read_text())
