"""Claims: states, contrasts, matched comparisons, headroom, on tables that are made up here."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from posttrain import config
from posttrain.analysis import claims, statistics
from posttrain.analysis.claims import Measure, Outcomes
from posttrain.analysis.statistics import Interval, Term
from posttrain.config import TASKS

RULES = {
    "rule": {"samples": 400, "seeds": 5},
    "headroom": {
        "floor": 0.02,
        "ceiling": 0.95,
        "at": {"gp": {"id": "seen", "ood": "calibration", "seen": "seen"}},
    },
    "measures": {"gp-l": {"paper": "within sampled", "strict": "first_try sampled"}},
}
PASS = Measure("first_try", "sampled")
SECOND = yaml.safe_load((config.ROOT / "data" / "claims.yaml").read_text())


def table(levels: dict, cases: int = 200, seeds: int = 5, noise: float = 0.0) -> Outcomes:
    """levels: (arm, set) -> success at each step (a list by step, or one number at step 0)."""
    rng, rows = np.random.default_rng(0), []
    for (arm, set_), curve in levels.items():
        for step, share in enumerate(curve if isinstance(curve, list) else [curve]):
            for seed in range(seeds):
                here = np.clip(share + noise * rng.standard_normal(), 0, 1)
                for case in range(cases):
                    value = float(case < round(here * cases))
                    rows.append((f"{set_} {case:04}", value, value, arm, seed, set_, "sampled", step))
    names = ["hand", "first_try", "within", "arm", "seed", "set", "decoding", "step"]
    return Outcomes(pd.DataFrame(rows, columns=names))


def claim(**more) -> dict:
    base = {"id": "gp-l-x", "test": "difference", "set": "ood", "direction": "above"}
    return {**base, "minuend": "RL", "subtrahend": "SFT", **more}


def arms(**ood) -> dict:
    return {
        ("init", "seen"): 0.1,
        ("init", "calibration"): 0.1,
        ("sft", "ood"): [0.1, ood.get("sft", 0.02)],
        ("ppo", "ood"): [0.1, ood.get("rl", 0.2)],
    }


@pytest.mark.parametrize(
    "both, expected",
    [
        (((0.1, 0.05, 0.2), (0.1, 0.01, 0.2)), "holds"),
        (((0.1, 0.05, 0.2), (0.1, -0.01, 0.2)), "undecided"),  # the seeds say no more than that
        (((0.1, -0.05, 0.2), (0.1, 0.01, 0.2)), "undecided"),
        (((-0.1, -0.2, -0.01), (-0.1, -0.2, -0.02)), "reversed"),
        (((0.1, 0.0, 0.2), (0.1, 0.01, 0.2)), "undecided"),  # on the threshold
    ],
)
def test_two_intervals_decide(both, expected):
    intervals = [Interval(*one) for one in both]
    assert claims.state(*intervals, "above") == expected
    mirrored = [Interval(-e, -high, -low) for e, low, high in intervals]
    assert claims.state(*mirrored, "below") == expected


def test_a_difference_that_all_seeds_show_holds():
    row = claims.decide(table(arms(), noise=0.01), claim(), "strict", PASS, RULES)
    assert row["state"] == "holds" and row["low"] < row["estimate"] < row["high"]
    assert abs(row["estimate"] - 0.18) < 0.02 and row["seeds"] == 5 and abs(row["init"] - 0.1) < 0.01
    assert claims.decide(table(arms(sft=0.3)), claim(), "strict", PASS, RULES)["state"] == "reversed"
    assert claims.decide(table(arms(sft=0.2)), claim(), "strict", PASS, RULES)["state"] == "undecided"


def test_few_seeds_decide_nothing():
    assert claims.decide(table(arms(), seeds=4), claim(), "strict", PASS, RULES)["state"] == "undecided"


@pytest.mark.parametrize("init", [0.0, 0.99])
def test_without_headroom_there_is_no_verdict(init):
    levels = arms() | {("init", "calibration"): init}
    assert claims.decide(table(levels), claim(), "strict", PASS, RULES)["state"] == "no headroom"


def test_a_gap_compares_two_sets():
    levels = arms() | {
        ("sft", "seen"): [0.1, 0.57],
        ("sft", "id"): [0.1, 0.04],
        ("ppo", "seen"): [0.1, 0.18],
        ("ppo", "id"): [0.1, 0.1],
    }
    said = claim(test="gap", minuend="SFT", subtrahend="RL", set="seen", other="id")
    row = claims.decide(table(levels), said, "strict", PASS, RULES)
    assert row["state"] == "holds" and abs(row["estimate"] - (0.53 - 0.08)) < 1e-9


def test_matched_takes_sft_where_it_solves_as_many_seen_hands():
    levels = {
        ("init", "seen"): 0.1,
        ("sft", "seen"): [0.1, 0.15, 0.25, 0.6],
        ("ppo", "seen"): [0.1, 0.2],  # half way between the second and the third checkpoint of SFT
        ("sft", "id"): [0.1, 0.08, 0.04, 0.02],
        ("ppo", "id"): [0.1, 0.1],
    }
    outcomes = table(levels)
    before, behind = claims.matched(outcomes, "id", PASS)
    assert {(p.step, round(p.weight, 6)) for p in before} == {(1, -0.5)}
    assert {(p.step, round(p.weight, 6)) for p in behind} == {(2, -0.5)}
    row = claims.decide(outcomes, claim(test="matched", set="id"), "strict", PASS, RULES)
    assert abs(row["estimate"] - (0.1 - 0.06)) < 1e-9 and row["state"] == "holds"
    never = table(levels | {("sft", "seen"): [0.1, 0.12, 0.13, 0.15]})
    row = claims.decide(never, claim(test="matched", set="id"), "strict", PASS, RULES)
    assert claims.matched(never, "id", PASS) is None
    assert row["state"] == "undecided" and row["estimate"] is None


def test_matched_uses_the_cases_that_all_checkpoints_have():
    """Between the first and the last checkpoint fewer cases may have been played."""
    rows = []
    for step, (cases, right) in enumerate([(20, 2), (10, 3), (20, 12)]):
        rows += [(f"{i:02}", float(i < right), "sft", s, step) for i in range(cases) for s in (0, 1)]
    rows += [(f"{i:02}", float(i < 4), "ppo", s, 1) for i in range(20) for s in (0, 1)]
    hands = pd.DataFrame(rows, columns=["hand", "first_try", "arm", "seed", "step"])
    outcomes = Outcomes(hands.assign(set="seen", decoding="sampled"))
    before, behind = claims.matched(outcomes, "seen", PASS)
    assert before[0].step == 1 and behind[0].step == 2
    terms = claims._terms(outcomes, [before, behind], PASS)
    assert terms[0].counts.shape == terms[1].counts.shape == (2, 10)


def test_all_arms_and_seeds_together_make_a_level():
    levels = {(arm, "id"): 0.0 for arm in ("ppo-half", "ppo-one")}
    said = claim(test="level", set="id", direction="below", threshold=0.01)
    row = claims.decide(table(levels, cases=281), said, "paper", Measure("within", "sampled"), RULES)
    assert row["estimate"] == 0 and 0 < row["high"] < 0.01 and row["state"] == "holds"


def test_a_ratio_divides_sums():
    rows = [("a", 1, 4), ("b", 3, 4), ("c", 2, 2)]
    hands = pd.DataFrame(
        [(h, r, n, arm, 0, "ood", "sampled", 0) for h, r, n in rows for arm in ("sft",)],
        columns=["hand", "first_turns", "turns", "arm", "seed", "set", "decoding", "step"],
    )
    assert Outcomes(hands).level("sft", 0, "ood", Measure("first_turns", "sampled")) == 0.6


def test_a_set_that_was_not_judged_is_named():
    with pytest.raises(ValueError, match="seed 0 of ppo was not judged on id, sampled"):
        table(arms()).level("ppo", 0, "id", PASS)


def test_a_contrast_is_the_paired_difference_and_covers():
    rng = np.random.default_rng(1)
    ours, theirs = rng.random((2, 6, 150))
    ones = np.ones_like(ours)
    terms = [Term(ours, ones, "id"), Term(theirs, ones, "id", -1.0)]
    interval, each = statistics.contrast(terms, 0, 2000)
    before = statistics.bootstrap(ours - theirs, 0, 2000)
    assert np.allclose(each, (ours - theirs).mean(1)) and np.isclose(interval.estimate, before.estimate)
    assert np.allclose(interval, before, atol=0.01)
    ratio, _ = statistics.contrast([Term(ours, theirs, "id")], 0, 2000)
    assert np.allclose(ratio, statistics.bootstrap(ours, 0, 2000, of=theirs), atol=0.03)


@pytest.mark.parametrize(
    "terms",
    [
        [],
        [Term(np.ones((2, 3)), np.ones((2, 3)), "id"), Term(np.ones((2, 4)), np.ones((2, 4)), "id")],
        [Term(np.ones((2, 3)), np.ones((2, 3)), "id"), Term(np.ones((3, 3)), np.ones((3, 3)), "ood")],
        [Term(np.ones((2, 3)), np.zeros((2, 3)), "id")],
        [Term(np.full((2, 3), np.nan), np.ones((2, 3)), "id")],
    ],
)
def test_a_contrast_that_cannot_be(terms):
    with pytest.raises(ValueError):
        statistics.contrast(terms, 0)


def test_a_claim_may_name_other_arms_and_ask_for_fewer_seeds():
    """An ablation: arms as its profile calls them, Init by its own evaluation, three chains."""
    rng, tables = np.random.default_rng(0), []
    for arm, share in {"init": 0.3, "three": 0.5, "one": 0.1}.items():
        for seed in range(3):
            for set_ in ("ood", "calibration"):
                right = rng.random(200) < share + 0.01 * seed
                hands = pd.DataFrame(
                    {"hand": [f"{i:03}" for i in range(200)], "first_try": right.astype(float)}
                )
                where = {"set": set_, "decoding": "sampled", "step": 5, "arm": arm, "seed": seed}
                tables.append(hands.assign(within=right.astype(float), **where))
    outcomes = Outcomes(pd.concat(tables, ignore_index=True))
    rules = {**SECOND, "rule": {**SECOND["rule"], "samples": 500}}
    said = {"id": "gp-l-steps-x", "test": "difference", "set": "ood", "direction": "above", "seeds": 3}
    for minuend, subtrahend, wanted in (("three", "one", "holds"), ("one", "Init", "reversed")):
        claim = {**said, "minuend": minuend, "subtrahend": subtrahend}
        row = claims.decide(outcomes, claim, "strict", Measure("first_try", "sampled"), rules)
        assert row["state"] == wanted and row["init"] == pytest.approx(0.31, abs=0.05)
    few = {**claim, "seeds": 5}
    assert (
        claims.decide(outcomes, few, "strict", Measure("first_try", "sampled"), rules)["state"] == "undecided"
    )


def test_a_claim_can_be_about_one_kind_of_hands():
    """RL solves all hands that adding solves, and no other."""
    hands, tables = ["A 6 7 10", "A 2 3 4", "9 9 3 3", "3 3 8 8"], []  # the first and the third add up
    for arm, right in (("init", [1, 1, 0, 0]), ("ppo", [1, 0, 1, 0])):
        for seed in (0, 1, 2):
            for set_ in ("id", "seen"):
                where = {"arm": arm, "seed": seed, "set": set_, "decoding": "sampled", "step": 1}
                tables.append(pd.DataFrame({"hand": hands, "first_try": right}).assign(**where))
    outcomes = Outcomes(pd.concat(tables, ignore_index=True))
    measure = Measure("first_try", "sampled")
    for kind, gain in (("adding", 0.5), ("other", -0.5)):
        one = outcomes.of_kind(kind)
        assert one.level("ppo", 0, "id", measure) == (kind == "adding")
        claim = {
            "id": "gp-l-x",
            "test": "difference",
            "minuend": "RL",
            "subtrahend": "Init",
            "set": "id",
            "kind": kind,
        }
        row = claims.decide(outcomes, claim | {"direction": "above", "seeds": 3}, "strict", measure, SECOND)
        assert row["estimate"] == pytest.approx(gain) and row["init"] == 0.5
        assert claims.spread(outcomes, claim, measure) == pytest.approx([gain] * 3)
        level = {"id": "gp-l-y", "test": "level", "set": "id"}  # no difference, so nothing to decide
        two = [one | {"measures": {"strict": "first_try sampled"}} for one in (claim, level)]
        assert claims.power(outcomes, two, SECOND)["claim"].tolist() == ["gp-l-x"]


def test_the_second_editions_claims_are_well_formed():
    ids = [said["id"] for said in SECOND["claims"]]
    assert len(set(ids)) == len(ids) >= 35
    sets = {name for task in TASKS.values() for name in (*task.sets, *task.more)}
    studies = {**config.read("cpu")["studies"], **config.read("second")["studies"]}
    for said in SECOND["claims"]:
        assert set(said) <= {
            *("id", "figure", "test", "minuend", "subtrahend", "set", "other", "direction"),
            *("threshold", "published", "measures", "statement", "study", "seeds", "kind", "init", "arm"),
        }
        assert said["test"] in ("difference", "gap", "matched", "level") and said["set"] in sets
        assert said["direction"] in ("above", "below") and ("other" in said) == (said["test"] == "gap")
        assert set(claims.measures(said, SECOND)) == {"paper", "strict"}
        if "study" in said:
            arms = studies[said["study"]]["arms"]
            assert claims.arms_of(said) <= arms.keys() and ("arm" not in said or said["test"] == "level")
            assert said["test"] == "level" or said.get("init", "init") in arms  # where headroom is read
        name, look = claims.task(said["id"], SECOND["measures"]).split("-")
        task = TASKS[{"gp": "general-points", "virl": "navigation"}[name] + "-vision" * (look == "vl")]
        judged = {said["set"], said.get("other", said["set"])}
        if said["test"] != "level":
            judged.add(SECOND["headroom"]["at"][name][said["set"]])
        assert judged <= {*task.sets, *task.more}


def test_claims_about_arms_that_a_profile_lacks_are_left_out():
    arms = {"init": {}, "ppo": {}}
    said = [claim(id="gp-l-one", minuend="RL", subtrahend="Init"), claim(id="gp-l-two")]
    levels = {("ppo", "ood"): 0.5, ("init", "ood"): 0.3, ("init", "calibration"): 0.3}
    profile = SimpleNamespace(studies={"gp-l": SimpleNamespace(arms=arms)})
    book = SimpleNamespace(claims={**RULES, "claims": said}, profile=profile, results=lambda _: table(levels))
    assert {row["claim"] for row in claims.verdicts(book)} == {"gp-l-one"}


def test_a_level_may_be_one_arms():
    levels = {("one", "id"): 0.05, ("two", "id"): 0.5}
    said = claim(test="level", set="id", direction="below", threshold=0.1)
    for arm, state in (("one", "holds"), ("two", "reversed")):
        row = claims.decide(table(levels), said | {"arm": arm}, "strict", PASS, RULES)
        assert row["state"] == state


def test_how_many_chains_a_difference_needs():
    assert claims.chains(0.5, 0.1) == 5 and claims.chains(0.01, 1.0) is None
    n = claims.chains(-0.17, 0.27)
    each = np.random.default_rng(0).standard_normal(n)
    each = (each - each.mean()) / each.std(ddof=1) * 0.27 - 0.17
    assert n > 5 and statistics.seeds_interval(each).high < 0 and claims.chains(-0.17, 0.27, n - 1) is None
