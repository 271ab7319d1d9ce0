"""What the claims of data/claims.yaml come to: each decided by the paper's measure and by a stricter one.

A claim holds only if two intervals lie on its side: the bootstrap over seeds and cases, and Student's t
interval over seeds of the whole chain (foundation, Init, arm). The tests are told apart in the file.

    verdicts(Book("cpu"))  # a row for each claim and measure, as figures/values/verdicts.json has it
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from posttrain.analysis import adding, statistics, study
from posttrain.analysis.statistics import Interval, Term
from posttrain.tasks import TASKS

STATES = ("holds", "reversed", "undecided", "no headroom")
END = -1  # the last checkpoint


class Measure(NamedTuple):
    """A column of an outcome, or a ratio of two; and a way of decoding."""

    metric: str
    decoding: str


def state(interval: Interval, seeds: Interval, direction: str, threshold: float = 0.0) -> str:
    """ "holds" where both intervals lie on the claimed side, "reversed" where both lie on the other one."""
    words = [statistics.decide(one, direction, threshold) for one in (interval, seeds)]
    return {("holds", "holds"): "holds", ("fails", "fails"): "reversed"}.get(tuple(words), "undecided")


class Outcomes:
    """The outcomes of a study's cases. hands: its table, with arm (as profiles name it), seed and step."""

    def __init__(self, hands: pd.DataFrame):
        self.hands, self.seeds = hands, sorted(hands["seed"].unique().tolist())
        self._rows = study.by_step(hands)
        self._cases = hands["hand"].to_numpy(object)
        self._columns: dict[str, np.ndarray] = {}

    def of_kind(self, kind: str | None) -> Outcomes:
        """Those of the hands that adding and subtracting solve ("adding"), of all others ("other"), of
        all."""
        if kind is None:
            return self
        points = TASKS["general-points"].sets
        rules = {name: points[name].rule for name in self.hands["set"].unique()}
        adds = self.hands.groupby("set")["hand"].transform(
            lambda hands: adding.kinds(hands, rules[hands.name])
        )
        return Outcomes(self.hands[adds == (kind == "adding")])

    def steps(self, arm: str, seed: int, set_: str, measure: Measure) -> list[int]:
        """The steps at which it was judged."""
        return list(self._by_step(arm, seed, set_, measure))

    def arms(self, set_: str) -> list[str]:
        """Those that were judged on a set."""
        return list(dict.fromkeys(arm for arm, _, name, _ in self._rows if name == set_))

    def _by_step(self, arm: str, seed: int, set_: str, measure: Measure) -> dict[int, np.ndarray]:
        key = arm, seed, set_, measure.decoding
        if key not in self._rows:
            raise ValueError(f"seed {seed} of {arm} was not judged on {set_}, {measure.decoding}")
        return self._rows[key]

    def _column(self, name: str) -> np.ndarray:
        if name not in self._columns:
            self._columns[name] = self.hands[name].to_numpy(float, na_value=np.nan)
        return self._columns[name]

    def counts(self, arm: str, seed: int, set_: str, measure: Measure, step: int = END) -> pd.DataFrame:
        """Columns count and of, a row a case: its label is the index."""
        cases, count, of = self._counts(arm, seed, set_, measure, step)
        return pd.DataFrame({"count": count, "of": of}, index=cases)

    def _counts(self, arm: str, seed: int, set_: str, measure: Measure, step: int) -> list[np.ndarray]:
        """Labels of the cases, what is counted, and of how many."""
        steps = self._by_step(arm, seed, set_, measure)
        rows = steps[max(steps) if step == END else step]
        count, of = study.RATIOS.get(measure.metric, (measure.metric, None))
        columns = self._cases, self._column(count), self._column(of) if of else np.ones(len(self._cases))
        return [column[rows] for column in columns]

    def level(self, arm: str, seed: int, set_: str, measure: Measure, step: int = END, among=None) -> float:
        """Success, over the cases `among`."""
        if among is None:
            _, count, of = self._counts(arm, seed, set_, measure, step)
            return float(count.sum() / of.sum())
        sums = self.counts(arm, seed, set_, measure, step).loc[among].sum()
        return float(sums["count"] / sums["of"])


class Part(NamedTuple):
    """A weight, and an arm at a checkpoint on a set; one a seed."""

    weight: float
    arm: str
    set: str
    step: int = END


def _terms(outcomes: Outcomes, parts: list[list[Part]], measure: Measure) -> list[Term]:
    """Terms of a contrast; parts: [term][seed]. Cases that all terms on a set have count."""
    tables = [
        [outcomes.counts(p.arm, seed, p.set, measure, p.step) for p, seed in zip(term, outcomes.seeds)]
        for term in parts
    ]
    labels: dict[str, pd.Index] = {}
    for term, each in zip(parts, tables):
        for part, table in zip(term, each):
            here = table.index.sort_values()
            labels[part.set] = here.intersection(labels.get(part.set, here))
    terms = []
    for term, each in zip(parts, tables):
        kept = [table.loc[labels[term[0].set]] for table in each]
        count, of = (np.stack([table[column].to_numpy() for table in kept]) for column in ("count", "of"))
        terms.append(Term(count, of, term[0].set, np.array([part.weight for part in term])))
    return terms


def _everywhere(outcomes: Outcomes, weight: float, arm: str, set_: str) -> list[Part]:
    """An arm at its end; Init is where the SFT arm starts, if there is one of this name."""
    start = arm == "init" and "sft" in outcomes.arms(set_)
    part = Part(weight, "sft", set_, 0) if start else Part(weight, arm, set_)
    return [part] * len(outcomes.seeds)


def matched(outcomes: Outcomes, set_: str, measure: Measure) -> list[list[Part]] | None:
    """SFT where it first solves as many seen hands as RL does at its end, as two terms: the checkpoints
    before and behind, weighted. None where a seed's SFT never comes there."""
    before, behind = [], []
    for seed in outcomes.seeds:
        steps = outcomes.steps("sft", seed, "seen", measure)
        among = outcomes.counts("ppo", seed, "seen", measure).index
        for step in steps:
            among = among.intersection(outcomes.counts("sft", seed, "seen", measure, step).index)
        levels = [outcomes.level("sft", seed, "seen", measure, step, among) for step in steps]
        aim = outcomes.level("ppo", seed, "seen", measure, among=among)
        at = next((i for i, level in enumerate(levels) if level >= aim), None)
        if at is None:
            return None
        share = 1.0 if at == 0 else (aim - levels[at - 1]) / (levels[at] - levels[at - 1])
        before.append(Part(-(1 - share), "sft", set_, steps[max(at - 1, 0)]))
        behind.append(Part(-share, "sft", set_, steps[at]))
    return [before, behind]


ARMS = {name: arm for arm, name in study.ARMS.items()}  # other arms are called as profiles call them
SIDES = {"minuend": 1.0, "subtrahend": -1.0}


def _parts(outcomes: Outcomes, claim: dict, measure: Measure) -> list[list[Part]] | None:
    if claim["test"] == "matched":
        other = matched(outcomes, claim["set"], measure)
        return other and [_everywhere(outcomes, 1.0, "ppo", claim["set"]), *other]
    signs = {ARMS.get(claim[part], claim[part]): sign for part, sign in SIDES.items()}
    parts = [_everywhere(outcomes, sign, arm, claim["set"]) for arm, sign in signs.items()]
    if claim["test"] == "gap":
        parts += [_everywhere(outcomes, -sign, arm, claim["other"]) for arm, sign in signs.items()]
    return parts


def decide(outcomes: Outcomes, claim: dict, name: str, measure: Measure, rules: dict) -> dict[str, Any]:
    """One claim by one measure (`name`: paper or strict), as a row; `rules`: data/claims.yaml."""
    threshold = claim.get("threshold", 0.0)
    outcomes = outcomes.of_kind(claim.get("kind"))
    row = {
        "claim": claim["id"],
        "measure": name,
        "metric": measure.metric,
        "decoding": measure.decoding,
        **dict.fromkeys(("estimate", "low", "high", "seeds_low", "seeds_high")),
        "seeds": len(outcomes.seeds),
        "init": None,
        "state": "undecided",
    }
    if claim["test"] == "level":
        told = level(outcomes, claim["set"], measure, claim.get("arm"))
    else:
        at = rules["headroom"]["at"][task(claim["id"], rules["measures"]).split("-")[0]][claim["set"]]
        init = claim.get("init", "init")
        row["init"] = float(np.mean([outcomes.level(init, s, at, measure) for s in outcomes.seeds]))
        if not rules["headroom"]["floor"] <= row["init"] <= rules["headroom"]["ceiling"]:
            row["state"] = "no headroom"
        if (parts := _parts(outcomes, claim, measure)) is None:
            return row
        told = statistics.contrast(_terms(outcomes, parts, measure), 0, rules["rule"]["samples"])
    interval, each = told
    row |= zip(("estimate", "low", "high"), interval)
    if len(each) > 1:
        seeds = statistics.seeds_interval(each)
        row |= {"seeds_low": seeds.low, "seeds_high": seeds.high}
        if row["state"] != "no headroom" and len(each) >= claim.get("seeds", rules["rule"]["seeds"]):
            row["state"] = state(interval, seeds, claim["direction"], threshold)
    return row


def level(
    outcomes: Outcomes, set_: str, measure: Measure, of: str | None = None
) -> tuple[Interval, np.ndarray]:
    """Success of an arm, or of all arms, seeds together (Wilson: it has a width at 0), and of each seed."""
    arms = [of] if of else outcomes.arms(set_)
    tables = [outcomes.counts(arm, seed, set_, measure) for arm in arms for seed in outcomes.seeds]
    right, cases = sum(t["count"].sum() for t in tables), sum(t["of"].sum() for t in tables)
    each = [np.mean([outcomes.level(arm, seed, set_, measure) for arm in arms]) for seed in outcomes.seeds]
    return statistics.wilson(round(right), round(cases)), np.array(each)


def task(claim: str, tasks: Iterable[str]) -> str:
    """The one of `tasks` (gp-l, gp-vl, virl-l, virl-vl) that begins a claim's id; ValueError if none does."""
    tasks = list(tasks)
    if not (found := [name for name in tasks if claim.startswith(f"{name}-")]):
        raise ValueError(f"the claim {claim!r} begins with no task; tasks are {', '.join(tasks)}")
    return max(found, key=len)


def study_of(claim: dict, rules: dict) -> str:
    """The study that a claim is about: its task's, unless the claim says another one."""
    return claim.get("study") or task(claim["id"], rules["measures"])


def measures(claim: dict, rules: dict) -> dict[str, Measure]:
    """The measures that decide a claim, by name."""
    said = claim.get("measures", rules["measures"][task(claim["id"], rules["measures"])])
    return {name: Measure(*words.split()) for name, words in said.items()}


def arms_of(claim: dict) -> set[str]:
    """The arms that a claim names, as profiles call them."""
    named = (claim[part] for part in (*SIDES, "arm", "init") if part in claim)
    return {ARMS.get(arm, arm) for arm in named}


def verdicts(book: Any, studies: list[str] | None = None) -> list[dict[str, Any]]:
    """A row for each claim and measure of the studies (those of `book`'s profile), in the file's order.
    Claims about arms that the profile does not have are left out."""
    rules, rows = book.claims, []
    claimed = {study_of(claim, rules) for claim in rules["claims"]}  # other studies need not be read
    there = [name for name in book.profile.studies if studies is None or name in studies]
    outcomes = {name: Outcomes(book.results(name).hands) for name in there if name in claimed}
    for claim in rules["claims"]:
        name = study_of(claim, rules)
        if name in outcomes and arms_of(claim) <= book.profile.studies[name].arms.keys():
            for word, measure in measures(claim, rules).items():
                rows.append({"task": name, **decide(outcomes[name], claim, word, measure, rules)})
    return rows


def spread(outcomes: Outcomes, claim: dict, measure: Measure) -> np.ndarray:
    """What each seed alone says of a claim, on its own cases; empty where it is not matched."""
    outcomes = outcomes.of_kind(claim.get("kind"))
    parts = _parts(outcomes, claim, measure) or []
    told = [
        sum(p.weight * outcomes.level(p.arm, seed, p.set, measure, p.step) for p in one)
        for seed, one in zip(outcomes.seeds, zip(*parts))
    ]
    return np.array(told)


def power(outcomes: Outcomes, claims: list[dict], rules: dict, seeds: int = 5) -> pd.DataFrame:
    """The least difference that Student's t interval over `seeds` chains would decide, from the deviation
    between the chains at hand: claim, measure, mean, deviation, decidable; claims of a level left out."""
    rows = []
    for claim in (claim for claim in claims if claim["test"] != "level"):
        for name, measure in measures(claim, rules).items():
            each = spread(outcomes, claim, measure)
            if len(each) > 1:
                row = {
                    "claim": claim["id"],
                    "measure": name,
                    "mean": each.mean(),
                    "deviation": each.std(ddof=1),
                }
                rows.append({**row, "decidable": statistics.seeds_half(row["deviation"], seeds)})
    return pd.DataFrame(rows)


def chains(mean: float, deviation: float, most: int = 1000) -> int | None:
    """How many chains, five at least, the t interval needs to decide a difference of this mean and deviation
    between chains; None if `most` are not enough."""
    return next((n for n in range(5, most + 1) if statistics.seeds_half(deviation, n) < abs(mean)), None)
