"""What came of an exercise is read beside the chapter's own run, on the same cases, and quoted by name."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from posttrain import config
from posttrain.analysis import exercises

RUNS = ("gp-vl-rl/half/0", "virl-l-h98-i50/sft/1")


@pytest.fixture(scope="module", params=RUNS)
def run(request):
    profile = config.load("cpu")
    return profile, profile.run(request.param)


def measures(table, prefix=""):
    return table[[prefix + name for name in exercises.MEASURES]].set_axis(exercises.MEASURES, axis=1)


def test_a_published_run_beside_itself_is_the_same(run):
    table = exercises.compared("some-1", *run)
    pd.testing.assert_frame_equal(measures(table), measures(table, "chapter_"))
    assert list(table.columns) == list(exercises.kept().columns) and (table["cases"] > 5).all()
    stored = exercises.store.read(*run).checkpoints
    end = stored[(stored["step"] == stored["step"].max()) & (stored["decoding"] == "sampled")]
    assert end.set_index("set")["first_try"].to_dict() == pytest.approx(
        table.set_index("set")["first_try"].to_dict(), abs=1e-5
    )


def test_other_cases_are_not_compared(run, monkeypatch):
    sampled = exercises._sampled

    def elsewhere(profile, run, gflops=None):
        table, *others = sampled(profile, run, gflops)
        return table.assign(hand="other " + table["hand"]) if gflops else table, *others

    monkeypatch.setattr(exercises, "_sampled", elsewhere)
    table = exercises.compared("some-1", *run)
    assert measures(table, "chapter_").isna().all(axis=None) and not measures(table).isna().all(axis=None)


def test_an_arm_that_the_chapter_has_not_stands_alone(run, monkeypatch):
    profile, mine = run
    without = SimpleNamespace(runs=lambda: [one for one in profile.runs() if one.name != mine.name])
    monkeypatch.setattr(exercises.config, "load", lambda _: without)
    table = exercises.compared("some-1", *run)
    assert measures(table, "chapter_").isna().all(axis=None) and not measures(table).isna().all(axis=None)


def test_values_are_those_of_one_chapter(tmp_path, monkeypatch):
    monkeypatch.setattr(exercises, "FILE", tmp_path / "exercises.csv")
    assert exercises.values("some") == {}
    rows = [
        {
            "exercise": name,
            "arm": arm,
            "identity": f"{name}{arm}",
            "seconds": 90,
            "set": set_,
            "first_try": 0.25,
        }
        | {"chapter_first_try": chapter}
        for name, arm, set_, chapter in (
            ("some-1", "rl-one", "id", 0.5),
            ("some-1", "rl-one", "ood", np.nan),
            ("some-1", "init", "id", 0.5),
            ("some-other-1", "sft", "id", 0.5),
        )
    ]
    pd.DataFrame(rows).reindex(columns=exercises.kept().columns).to_csv(exercises.FILE, index=False)
    assert exercises.values("some") == {
        "exercise_1_rl_one_id_first_try": 0.25,
        "exercise_1_rl_one_id_first_try_chapter": 0.5,
        "exercise_1_rl_one_ood_first_try": 0.25,
        "exercise_1_init_id_first_try": 0.25,
        "exercise_1_init_id_first_try_chapter": 0.5,
        "exercise_1_minutes": 3,
    }
