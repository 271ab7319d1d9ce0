"""Runs: what changes an identity and what does not, and tables that appear whole or not at all."""

import json
import os
import shutil

import pandas as pd
import pytest
from posttrain import config, runs

STUDY = {
    "checkpoints": 2,
    "sft": {"batch_size": 8},
    "ppo": {"episodes": 8},
    "arms": {
        "init": {"algorithm": "init", "steps": 3},
        "sft": {"algorithm": "sft", "start": "init", "budget_gflop": 5},
        "ppo": {"algorithm": "ppo", "start": "init", "budget_gflop": 5, "ppo": {"epochs": 2}},
    },
}


def profile(root, **changes):
    return runs.Profile(
        "tiny", {"model": "/nowhere", "seeds": [0, 1], "studies": {"one": {**STUDY, **changes}}}, root
    )


def identities(made):
    return {run.name: run.identity for run in made.runs()}


def frame(**columns):
    return pd.DataFrame({name: [value] for name, value in columns.items()})


def tables(folder, steps=(0, 1)):
    made = runs.Tables(folder)
    for step in steps:
        for name in ("checkpoints", "training", "hands"):
            made.put(name, step, frame(kind=name, value=step / 4))
    return made


# --- identity -----------------------------------------------------------------------------------------------


def test_what_a_profile_says_is_a_list_of_runs(tmp_path):
    made = profile(tmp_path).runs()
    assert [run.name for run in made] == [
        f"one/{arm}/{seed}" for seed in (0, 1) for arm in ("init", "sft", "ppo")
    ]
    ppo = profile(tmp_path).run("one/ppo/1")
    assert (
        ppo.settings["ppo"] == {"episodes": 8, "epochs": 2}
        and ppo.settings["checkpoints"] == 2
        and "arms" not in ppo.settings
    )
    assert ppo.parent == profile(tmp_path).run("one/init/1") and ppo.parent.parent is None
    assert len({run.id for run in made}) == len({run.identity for run in made}) == 6
    assert identities(profile(tmp_path)) == identities(profile(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    "changes, changed",
    [
        ({"checkpoints": 3}, {"init", "sft", "ppo"}),
        (
            {"ppo": {"episodes": 16}},
            {"init", "sft", "ppo"},
        ),  # a study's settings are every arm's: cautious, never wrong
        (
            {"arms": {**STUDY["arms"], "sft": {"algorithm": "sft", "start": "init", "budget_gflop": 6}}},
            {"sft"},
        ),
        ({"arms": {**STUDY["arms"], "ppo": {**STUDY["arms"]["ppo"], "ppo": {"epochs": 3}}}}, {"ppo"}),
        (
            {"arms": {**STUDY["arms"], "init": {"algorithm": "init", "steps": 4}}},
            {"init", "sft", "ppo"},
        ),  # the children's start
        ({"arms": {**STUDY["arms"], "sft": {"algorithm": "sft", "budget_gflop": 5}}}, {"sft"}),
    ],
)
def test_settings_change_the_identity_of_the_arms_they_concern(tmp_path, changes, changed):
    before, after = identities(profile(tmp_path)), identities(profile(tmp_path, **changes))
    assert {name.split("/")[1] for name in before if before[name] != after[name]} == changed


def test_the_model_changes_the_identity(tmp_path):
    made = profile(tmp_path)
    other = runs.Profile("tiny", {**made.settings, "model": "/elsewhere"}, tmp_path)
    assert all(identities(made)[name] != identity for name, identity in identities(other).items())


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arms, complaint",
    [
        ({"sft": {"algorithm": "sft", "budgett": 5}}, "budgett"),
        ({"sft": {"budget_gflop": 5}}, "unknown algorithm"),
        ({"sft": None}, "unknown algorithm"),
        ({"sft": {"algorithm": "dpo"}}, "init, sft, ppo"),
        ({"sft": {"algorithm": "sft", "task": "chess"}}, "general-points, general-points-vision, navigation"),
        ({"sft": {"algorithm": "sft", "start": "init"}}, "no init arm"),
        (
            {"sft": {"algorithm": "sft", "task": "general-points-vision", "environment": {"pixels": 80}}},
            "judged on the default; set pixels in environment and in census",
        ),
        ({"a": {"algorithm": "sft"}, "b": {"algorithm": "ppo", "start": "a"}}, "no init arm"),
    ],
)
def test_a_profile_that_says_something_unknown_is_an_error(tmp_path, arms, complaint):
    with pytest.raises(ValueError, match=complaint):
        profile(tmp_path, arms=arms).runs()


def test_unknown_names_are_errors_that_say_what_there_is(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="one/ppo/0"):
        profile(tmp_path).run("one/dpo/0")
    monkeypatch.setattr(config, "PROFILES", tmp_path)
    (tmp_path / "little.yaml").write_text("model: x\nseeds: [0]\nstudies: {}\n")
    with pytest.raises(ValueError, match="little"):
        runs.profile("huge")
    with pytest.raises(ValueError, match="no study"):
        runs.collect(profile(tmp_path), "two")


def test_only_the_published_profile_writes_beside_the_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "PROFILES", tmp_path)
    for name in ("cpu", "smoke"):
        (tmp_path / f"{name}.yaml").write_text(
            "seeds: [0]\nmodel: a/b\nstudies: {s: {arms: {a: {algorithm: init, steps: 1}}}}\n"
        )
    assert (
        runs.profile("cpu").results == runs.ROOT / "data" / "results"
        and runs.profile("cpu").root == runs.ROOT
    )
    roots = {runs.profile("cpu", fresh=True).root, runs.profile("smoke").root}
    assert len(roots) == 2 and all(root.is_relative_to(runs.ROOT / "build") for root in roots)


# --- tables -------------------------------------------------------------------------------------------------


def test_a_step_written_again_replaces_its_rows(tmp_path):
    made = runs.Tables(tmp_path / "t")
    assert made.get("training").empty and made.steps("training") == []
    for step, value in ((10, 1.0), (2, 2.0), (10, 3.0)):
        made.put("training", step, frame(value=value))
    made.put("checkpoints", 7, frame(value=9.0))
    assert made.steps("training") == [2, 10] and made.get("training").values.tolist() == [[2.0, 2], [3.0, 10]]
    assert made.get("training", until=9).value.tolist() == [2.0]
    (tmp_path / "t" / ".training-00000011").write_bytes(b"half a file")  # what a kill leaves
    assert made.steps("training") == [2, 10]


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file"
    runs.write(path, "first")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        runs.write(path, "second")
    assert path.read_text() == "first"


def test_published_tables_read_back(tmp_path):
    made = profile(tmp_path)
    run = made.run("one/ppo/0")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    folder = runs.publish(run, made.results, tables(tmp_path / "t"), {"seconds": 1.5}, adapter)
    record, *read = runs.read(run, made.results)
    assert folder == made.results / run.id and (folder / "adapter" / "adapter_config.json").is_file()
    assert (
        record["id"] == run.id
        and record["parent"] == run.parent.id
        and record["seconds"] == 1.5
        and record["settings"] == run.settings
    )
    assert "/nowhere" not in (folder / "run.json").read_text().replace(
        f'"{run.model_identity}"', ""
    )  # no path of this machine
    for name, table in zip(("checkpoints", "training", "hands"), read):
        # A training table counts its own iterations, whatever the checkpoint that its rows were stored with.
        assert table.values.tolist() == (
            [[name, 0.0], [name, 0.25]] if name == "training" else [[name, 0.0, 0], [name, 0.25, 1]]
        )
    # Publishing again replaces the folder, stale files included.
    (folder / "stale").touch()
    runs.publish(run, made.results, tables(tmp_path / "t2", steps=(5,)), {})
    assert (
        runs.read(run, made.results)[1].step.tolist() == [5]
        and not (folder / "stale").exists()
        and not (folder / "adapter").exists()
    )


def test_half_written_results_do_not_count(tmp_path, monkeypatch):
    made = profile(tmp_path)
    run = made.run("one/sft/0")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    rows = runs.Tables(tmp_path / "t")
    with pytest.raises(KeyboardInterrupt):
        runs.publish(run, made.results, rows, {})
    monkeypatch.undo()
    (made.results / run.id).mkdir()  # nor does a folder without its record, which is written last
    with pytest.raises(FileNotFoundError, match=f"posttrain train --profile tiny --run {run.name}"):
        runs.read(run, made.results)
    assert all(problem.startswith("missing") for problem in runs.verify(made)) and len(runs.verify(made)) == 6
    runs.publish(run, made.results, tables(tmp_path / "u"), {})
    assert len(runs.read(run, made.results)[1]) == 2 and len(list(made.results.iterdir())) == 1


def test_verify_reports_missing_and_stale(tmp_path):
    made = profile(tmp_path)
    for run in made.runs():
        runs.publish(run, made.results, tables(tmp_path / "t"), {})
    assert runs.verify(made) == []
    records, checkpoints, training, hands = runs.collect(made, "one")
    assert len(records) == 6 and list(checkpoints.columns) == ["kind", "value", "step", "arm", "seed", "run"]
    assert checkpoints.groupby(["arm", "seed"]).size().to_dict() == {
        (arm, seed): 2 for arm in ("init", "sft", "ppo") for seed in (0, 1)
    }
    shutil.rmtree(made.results / made.run("one/ppo/1").id)
    changed = profile(
        tmp_path, arms={**STUDY["arms"], "sft": {"algorithm": "sft", "start": "init", "budget_gflop": 6}}
    )
    problems = runs.verify(changed)
    assert sorted(p.split(":")[0].split(" ")[0] for p in problems) == ["missing"] * 3 + ["stale"] * 2
    assert (
        f"missing: {made.run('one/ppo/1').id}" in problems
        and f"stale (made by other code or settings): {made.run('one/sft/0').id}" in problems
    )


def test_verify_reports_a_stale_foundation(tmp_path):
    made = runs.Profile("tiny", {"seeds": [], "studies": {}}, tmp_path)
    for seed, identity in (
        (0, runs.foundation_identity(json.dumps({"seed": 0}, sort_keys=True))),
        (1, "0123456789"),
    ):
        card = made.models / f"pocket-text-{seed}" / "card.json"
        card.parent.mkdir(parents=True)
        card.write_text(json.dumps({"config": {"seed": seed}, "identity": identity}))
    assert runs.verify(made) == ["stale foundation: pocket-text-1"]
    # A tower is current only before the text foundation that it was trained with.
    for seed, text in ((0, {"seed": 0}), (2, {"seed": 2})):
        settings = {"corpus": "cards", "language": "pocket-text", "seed": seed, "text": text}
        card = made.models / f"pocket-cards-{seed}" / "card.json"
        card.parent.mkdir(parents=True)
        card.write_text(
            json.dumps(
                {
                    "config": settings,
                    "identity": runs.foundation_identity(json.dumps(settings, sort_keys=True)),
                }
            )
        )
    assert runs.verify(made) == [
        "stale foundation: pocket-cards-2 was trained before another pocket-text-2",
        "stale foundation: pocket-text-1",
    ]
