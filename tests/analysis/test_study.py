"""A study's tables as chapters read them, on the published runs."""

from dataclasses import asdict

import numpy as np
import pytest
from posttrain import runs
from posttrain.analysis import statistics
from posttrain.analysis import study as results
from posttrain.evaluation import CensusConfig
from posttrain import policy as models
from posttrain.trainers import ppo, sft


@pytest.fixture(scope="module")
def points():
    return results.Study(runs.profile("cpu"), "gp-l")


def test_init_is_the_first_checkpoint_of_both_arms_and_its_compute_is_theirs(points):
    assert (
        set(points.checkpoints["arm"]) == {"Init", "SFT", "RL"}
        and points.seeds == [0, 1, 2]
        and len(points.run_ids) == 9
    )
    spent = {
        record["seed"]: record["spent_gflops"] * 1e9 for record in points.records if record["arm"] == "init"
    }
    start = points.at("ood", "greedy").query("step == 0")
    assert len(start) == 9 and start["flops"].to_numpy() == pytest.approx(start["seed"].map(spent).to_numpy())
    assert np.array_equal(
        points.outcomes("Init", "ood", "greedy", "first_try"),
        points.outcomes("Init", "ood", "greedy", "first_try"),
    )
    for seed, row in zip(points.seeds, points.outcomes("Init", "id", "sampled", "within")):
        own = points.at("id", "sampled")
        assert row.mean() == pytest.approx(
            own[(own["arm"] == "Init") & (own["seed"] == seed)]["within"].item(), abs=1e-5
        )


def test_ends_are_the_last_checkpoints(points):
    last = points.last("greedy")
    for arm in ("SFT", "RL"):
        rows = last[(last["arm"] == arm) & (last["set"] == "ood")].sort_values("seed")
        assert points.outcomes(arm, "ood", "greedy", "first_try").mean(1) == pytest.approx(
            rows["first_try"].to_numpy(), abs=1e-5
        )
    estimates = points.estimates("ood", "greedy", "first_try", 0)
    assert list(estimates) == ["SFT", "Init", "RL"] and all(
        e.low <= e.estimate <= e.high for e in estimates.values()
    )


def test_claims_are_decided_by_their_own_rule(points):
    claims = results.data("claims")
    few = {**claims, "rule": {**claims["rule"], "samples": 200}}
    table, words = points.verdicts(few, 0)
    wanted = [c for c in claims["claims"] if c["id"].startswith("gp-l-") and c["test"] == "paired-difference"]
    assert table["claim"].tolist() == [c["statement"] for c in wanted] and set(words.values()) <= {
        "holds",
        "fails",
        "undecided",
    }
    claim = next(c for c in wanted if c["id"] == "gp-l-rl-above-sft-ood")
    difference = statistics.paired_difference(
        points.outcomes("RL", "ood", "greedy", "first_try"),
        points.outcomes("SFT", "ood", "greedy", "first_try"),
        samples=200,
        rng=1,
    )
    assert words["verdict_rl_above_sft_ood"] == statistics.decide(
        difference, claim["direction"], claim["threshold"]
    )
    assert sum("(decides)" in column for column in table.columns) == 1


def test_values_and_tables_for_the_prose(points):
    values = points.values(("first_try",), 200, 0)
    assert values["ppo_ood_first_greedy"] - values["init_ood_first_greedy"] == pytest.approx(
        values["ppo_ood_first_greedy_delta"]
    )
    assert values["seeds"] == 3 and values["run_ids"] == points.run_ids
    built = {
        "sft": asdict(sft.SFTConfig()),
        "ppo": asdict(ppo.PPOConfig()),
        "lora": asdict(models.LoraSettings()),
        "census": asdict(CensusConfig()),
    }
    assert results.defaults() == {
        **built,
        "census": {**built["census"], "verify_steps": None, "revised": None, "sets": None},
    }  # these three are the task's
    settings = points.hyperparameters(results.defaults())
    rate = settings.set_index("setting").loc["ppo.learning_rate"]
    assert (rate["RL"], rate["SFT"]) == (1e-3, "") and len(points.table()) == 9
    assert ("computed by" in points.table()) == any(
        "carried_over" in record for record in points.records
    )  # carried over a change of the code: it says so


def test_navigation_divides_sums_as_the_paper_does():
    walks = results.Study(runs.profile("cpu"), "virl-vl")
    assert walks.splits == {"id": "id", "rule-ood": "ood", "visual-ood": "cities"}
    own = walks.hands[
        (walks.hands["arm"] == "RL") & (walks.hands["set"] == "ood") & (walks.hands["decoding"] == "sampled")
    ]
    own = own[own["step"] == own.groupby("seed")["step"].transform("max")]
    per_seed = own.groupby("seed")[["right", "answers"]].sum()
    pooled = (per_seed["right"] / per_seed["answers"]).mean()
    assert walks.estimates("ood", "sampled", "per_step", 0)["RL"].estimate == pytest.approx(pooled)
    values = walks.values(("per_step",), 200, 0)
    assert values["ppo_ood_per_step_sampled"] == pytest.approx(pooled)
    difference, each = walks.difference("RL", "Init", "ood", "sampled", "per_step", 200, 0)
    assert (
        difference.estimate
        == pytest.approx(pooled - values["init_ood_per_step_sampled"])
        == pytest.approx(values["ppo_ood_per_step_sampled_delta"])
    )
    assert len(each) == 3 and each.mean() == pytest.approx(difference.estimate)
    last = walks.last("sampled")
    assert pooled == pytest.approx(
        last[(last["arm"] == "RL") & (last["set"] == "ood")]["per_step"].mean(), abs=1e-5
    )  # what the curves show
    settings = walks.hyperparameters(results.defaults()).set_index("setting")
    assert settings.loc["task", "RL"] == "navigation-vision" and settings.loc["census.revised", "SFT"] == [
        "id",
        "ood",
        "cities",
        "benchmark",
    ]
    assert (
        settings.loc["census.verify_steps", "RL"] == "the task's"
        and settings.loc["steps", "Init"] == 14
        and settings.loc["budget", "SFT"] == 6000
    )


def test_a_study_without_results_says_how_to_get_them(tmp_path):
    profile = runs.profile("cpu", fresh=True)
    with pytest.raises(FileNotFoundError, match="posttrain train --profile cpu"):
        results.Study(runs.Profile(profile.name, profile.settings, tmp_path), "gp-l")


def test_wrong_answers_by_seed_add_up_to_what_is_not_right():
    walks = results.Study(runs.profile("cpu"), "virl-l")
    table = walks.wrong({"id": "held out"}).set_index("arm")
    assert table["set"].tolist() == ["held out"] * 3 and list(table.columns[1:]) == [
        "wrong turns",
        "wrong elsewhere",
        "routes done",
    ]
    for arm in ("Init", "SFT", "RL"):
        counts = [
            [int(n) for n in table.loc[arm, column].replace(" of ", ", ").split(", ")]
            for column in ("wrong turns", "wrong elsewhere")
        ]
        first, points = (walks.outcomes(arm, "id", "greedy", column).sum(1) for column in ("first", "points"))
        assert (
            np.add(*(own[:-1] for own in counts)).tolist() == (points - first).tolist()
            and sum(own[-1] for own in counts) == points.sum()
        )
