"""The rule that chooses settings."""

import pandas as pd
import pytest
from posttrain import config
from posttrain.analysis import tuning

BUDGETS = {"gp-l": 6000, "gp-vl": 3000, "virl-l": 2000}  # GFLOP: a quarter of the first edition's


def table(*rows) -> pd.DataFrame:
    names = ["arm", "algorithm", "settings", "seeds", "chosen_by"]
    return pd.DataFrame(
        [(arm, kind, {"learning_rate": rate}, n, by) for arm, kind, rate, n, by in rows], columns=names
    )


def test_the_highest_is_chosen_and_near_it_the_lowest_rate():
    rows = [("a", "sft", 1e-4, 2, 0.1), ("b", "sft", 3e-4, 2, 0.295), ("c", "sft", 1e-3, 2, 0.3)]
    assert tuning.chosen(table(*rows), "sft") == "b"
    assert tuning.chosen(table(*rows[:1], ("b", "sft", 3e-4, 2, 0.285), rows[2]), "sft") == "c"
    twins = [("a", "ppo", 1e-3, 2, 0.2), ("b", "ppo", 1e-3, 2, 0.205)]  # as near and as slow: the first one
    assert tuning.chosen(table(*rows, *twins), "ppo") == "a"


@pytest.mark.parametrize("seeds", [(2, 1), (0, 0)])
def test_nothing_is_chosen_before_all_trials_are_there(seeds):
    rows = [("a", "sft", 1e-4, seeds[0], 0.1), ("b", "sft", 3e-4, seeds[1], 0.2)]
    assert tuning.chosen(table(*rows), "sft") is None
    assert tuning.chosen(table(), "sft") is None


def test_both_arms_get_as_many_trials_on_seeds_of_their_own():
    profile, published = config.load("tuning"), config.load("cpu")
    assert not set(profile.seeds) & {*published.seeds, 3, 4}
    assert tuning.compared(profile) == ["gp-l", "gp-vl", "virl-l"]
    for study in tuning.compared(profile):
        arms = [arm.algorithm for arm in profile.studies[study].arms.values()]
        assert arms.count("sft") == arms.count("ppo") == 8 and arms.count("init") == 1
        for run in (run for run in profile.runs() if run.study == study):
            assert set(run.settings.census.sets) <= {"seen", "id", "calibration"}
            trainer = getattr(run.settings, run.algorithm, None)  # Init has none of its own
            assert run.algorithm == "init" or "learning_rate" in trainer.model_fields_set
            assert run.algorithm == "init" or run.settings.budget_gflop == BUDGETS[study]


def test_pilots_are_told_step_by_step():
    told = tuning.pilots(config.load("tuning"))
    init = told[(told.study == "gp-l-init") & (told.seed == 100)].iloc[0]
    assert init.steps == [4, 8, 12, 16] and len(init.formatted) == len(init.id) == len(init.calibration) == 4
    assert all(0.5 < share <= 1 for share in init.formatted)
    budget = told[(told.study == "gp-l-budget") & (told.arm == "ppo")].iloc[0]
    assert len(budget.gflops) == 8 and budget.gflops[-1] > 24_000
    assert not {"gp-l", "gp-vl"} & set(told.study)
