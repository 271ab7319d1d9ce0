"""The store: what is found by identity, what is noticed when it was edited, and what two processes do at
once."""

import json
import os
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest
from posttrain import config, numerics, store
from posttrain.config import ROOT
from posttrain.store import status

STUDY = {
    "environment": {"rule": "10"},
    "checkpoints": 2,
    "arms": {
        "init": {"algorithm": "init", "steps": 3},
        "sft": {"algorithm": "sft", "start": "init", "budget_gflop": 5},
        "ppo": {"algorithm": "ppo", "start": "init", "budget_gflop": 5},
    },
}
SETTINGS = {"seeds": [0, 1], "foundations": {"pocket-text": {"steps": 500}}, "studies": {"one": STUDY}}


def tiny(root, fresh=True, **changes):
    return config.check("tiny", {**SETTINGS, **changes}, fresh, root=root)


def changed(path, value):
    """SETTINGS with one setting of an arm, "sft.budget_gflop", at another value."""
    arm, *keys = path.split(".")
    content = json.loads(json.dumps(SETTINGS))
    place = content["studies"]["one"]["arms"][arm]
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    place[keys[-1]] = value
    return content


def frame(**columns):
    return pd.DataFrame({name: [value] for name, value in columns.items()})


def published(profile, name="one/init/0", steps=(0, 1), **facts):
    """A run with made-up tables, published."""
    run = profile.run(name)
    tables = store.Tables(profile.state / run.identity)
    for step in steps:
        for table in ("checkpoints", "training", "hands"):
            tables.put(table, step, frame(kind=table, value=step / 4))
    return store.publish(profile, run, tables, {"seconds": 90.0, **facts})


def card(profile, name="pocket-text", seed=0, weights=b"weights"):
    folder = profile.models / f"{name}-{seed}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    settings = profile.foundation(name, seed)
    content = {"identity": settings.identity, "settings": settings.resolved(), "text": None, "gates": {}}
    store.seal(folder, store.CARD, {**content, "versions": numerics.foundation_versions(settings.corpus)})
    return folder


def identities(profile):
    return {run.name: run.identity for run in profile.runs()}


# --- identity -----------------------------------------------------------------------------------------------


def test_names_and_places_are_not_in_an_identity(tmp_path):
    renamed = {
        **SETTINGS,
        "studies": {
            "other": {
                **STUDY,
                "arms": {
                    f"my-{a}": {**c, **({"start": "my-init"} if "start" in c else {})}
                    for a, c in STUDY["arms"].items()
                },
            }
        },
    }
    assert list(identities(tiny(tmp_path)).values()) == list(
        identities(config.check("x", renamed, root=tmp_path / "y")).values()
    )
    assert len(set(identities(tiny(tmp_path)).values())) == 6


@pytest.mark.parametrize(
    "path, value, arms",
    [
        ("sft.budget_gflop", 6, {"sft"}),
        ("sft.sft.adam_beta2", 0.9, {"sft"}),
        ("ppo.ppo.gamma", 0.5, {"ppo"}),
        ("ppo.environment.feedback", "none", {"ppo"}),
        ("ppo.census.limit", 7, {"ppo"}),
        ("init.steps", 4, {"init", "sft", "ppo"}),  # the others' start
        ("init.lora.rank", 4, {"init", "sft", "ppo"}),
        ("ppo.ppo.gamma", 0.9, set()),  # the default, said aloud
        ("sft.bf16", False, set()),
    ],
)
def test_a_setting_changes_the_arms_that_it_concerns(tmp_path, path, value, arms):
    before, after = (
        identities(tiny(tmp_path)),
        identities(config.check("tiny", changed(path, value), True, root=tmp_path)),
    )
    assert {name.split("/")[1] for name in before if before[name] != after[name]} == arms


TASKS = ("general-points", "general-points-vision", "navigation", "navigation-vision")
EYES = {
    "pocket-text": {"steps": 500},
    "eyes": {"corpus": "cards", "language": "pocket-text", "steps": 60},
    "pocket-directions": {"corpus": "directions", "steps": 500},
    "streets": {"corpus": "streets", "language": "pocket-directions", "steps": 60},
}
FOUNDATIONS = dict(zip(TASKS, EYES))


@pytest.fixture
def every_task(tmp_path):
    """A study of each task, from the foundation that can do it."""
    studies = {task: {**STUDY, "task": task, "foundation": name} for task, name in FOUNDATIONS.items()}
    for task in TASKS[2:]:
        studies[task]["environment"] = {}
    return tiny(tmp_path, seeds=[0], foundations=EYES, studies=studies)


def _everything(profile):
    """Identities of every run, by task/arm, and of every foundation."""
    runs = {f"{run.task}/{run.arm}": run.identity for run in profile.runs()}
    return runs | {name: profile.foundation(name, 0).identity for name in EYES}


@pytest.mark.parametrize(
    "part, tasks, arms, foundations",
    [
        ("general-points", TASKS[:2], "init sft ppo", "pocket-text eyes"),
        ("navigation", TASKS[2:], "init sft ppo", "pocket-directions streets"),
        ("pictures", TASKS[1::2], "init sft ppo", "eyes streets"),
        ("chat", TASKS, "init sft ppo", "eyes streets"),
        ("rollout", TASKS, "init sft ppo", ""),
        ("sft", TASKS, "init sft ppo", ""),  # PPO starts from Init
        ("ppo", TASKS, "ppo", ""),
        ("census", TASKS, "init sft ppo", ""),
        ("foundation", TASKS, "init sft ppo", " ".join(EYES)),
    ],
)
def test_raising_a_version_supersedes_what_uses_its_part(
    every_task, monkeypatch, part, tasks, arms, foundations
):
    before, record = _everything(every_task), every_task.runs()[0].record()
    monkeypatch.setitem(numerics.VERSIONS, part, numerics.VERSIONS[part] + 1)
    after = _everything(every_task)
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {f"{task}/{arm}" for task in tasks for arm in arms.split()} | set(foundations.split())
    if part == "general-points":  # the first study's; what was raised is told from the version that stood
        told = status.differences(record, every_task.runs()[0].record())
        assert told.startswith("version of general-points 1 -> 3")


def test_every_version_is_some_run_s_or_foundation_s():
    used = {part for task in TASKS for kind in ("sft", "ppo") for part in numerics.run_versions(task, kind)}
    used |= {part for corpus in numerics.CORPORA for part in numerics.foundation_parts(corpus)}
    assert used == set(numerics.VERSIONS)


def test_only_the_version_that_moved_nothing_stands_for_an_older_one(monkeypatch):
    assert all(numerics.VERSIONS[part] >= version > old for (part, version), old in numerics.STANDS.items())
    monkeypatch.setattr(numerics, "VERSIONS", {"ppo": 1})
    monkeypatch.setattr(numerics, "STANDS", {("ppo", 2): 1, ("ppo", 3): 2, ("ppo", 5): 4})
    held = []
    for version in range(1, 6):
        numerics.VERSIONS["ppo"] = version
        held.append(numerics.versions("ppo")["ppo"])
    assert held == [1, 1, 1, 4, 4]
    assert [numerics.stands("ppo", v) for v in (None, 1, 2, 3, 4, 5)] == [False] * 4 + [True] * 2


def test_a_foundation_holds_what_poses_its_prompts_only_once_it_is_raised(monkeypatch):
    assert numerics.foundation_versions("numbers") == {"foundation": 1}  # as the stored cards have it
    assert numerics.foundation_versions("streets") == {"foundation": 1, "pictures": 1}
    monkeypatch.setitem(numerics.VERSIONS, "general-points", 3)
    assert numerics.foundation_versions("numbers") == {"foundation": 1, "general-points": 3}
    assert numerics.foundation_versions("cards") == {"foundation": 1, "general-points": 3, "pictures": 1}
    assert numerics.foundation_versions("directions") == {"foundation": 1}


def test_a_foundation_is_told_by_its_settings_and_a_tower_by_its_text_too(tmp_path, monkeypatch):
    towers = {
        "pocket-text": {"steps": 500},
        "eyes": {"corpus": "cards", "language": "pocket-text", "steps": 60},
    }
    first = tiny(tmp_path, foundations=towers)
    other = tiny(tmp_path, foundations={**towers, "pocket-text": {"steps": 501}})
    assert [n for n, _, _ in first.foundation_list()] == ["pocket-text"] * 2  # no run starts from the tower
    assert (
        first.foundation("eyes", 0).identity
        != other.foundation("eyes", 0).identity
        != other.foundation("eyes", 1).identity
    )
    before = [first.foundation(name, 0).identity for name in ("pocket-text", "eyes")]
    monkeypatch.setitem(numerics.VERSIONS, "pictures", 99)
    assert [first.foundation(name, 0).identity == b for name, b in zip(("pocket-text", "eyes"), before)] == [
        True,
        False,
    ]


@pytest.mark.parametrize("whole", [True, False])
def test_a_real_model_is_told_by_its_content(tmp_path, whole):
    first, second = tmp_path / "a", tmp_path / "b"
    weights = "model.safetensors" if whole else "pytorch_model.bin"
    for folder in (first, second):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / weights).write_bytes(b"1")
    assert numerics.model_identity(str(first)) == numerics.model_identity(str(second))
    (second / weights).write_bytes(b"2")
    numerics.model_identity.cache_clear()
    assert numerics.model_identity(str(first)) != numerics.model_identity(str(second))
    assert numerics.model_identity("nobody/nothing") == "nobody/nothing@main"


# --- writing, finding ---------------------------------------------------------------------------------------


def test_a_step_written_again_replaces_itself_and_nothing_partial_stays(tmp_path, monkeypatch):
    tables = store.Tables(tmp_path)
    tables.put("hands", 0, frame(value=1))
    tables.put("hands", 0, frame(value=2))
    tables.put("hands", 2, frame(value=3))
    assert tables.get("hands")["value"].tolist() == [2, 3] and tables.steps("hands") == [0, 2]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        tables.put("hands", 3, frame(value=4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hands-00000000.parquet", "hands-00000002.parquet"]


def test_a_folder_takes_the_place_of_another_only_when_it_was_filled(tmp_path):
    folder = tmp_path / "above" / "one"
    for content in ("a", "b"):
        with store.replacing(folder) as partial:
            (partial / "file").write_text(content)
    with pytest.raises(OSError), store.replacing(folder) as partial:
        (partial / "other").write_text("c")
        raise OSError
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("file", "b")]
    with store.replacing(folder) as partial:
        assert not list(partial.iterdir())
    assert list(folder.parent.iterdir()) == [folder] and not list(folder.iterdir())


def test_a_run_is_published_whole_and_found_by_its_identity(tmp_path):
    profile = tiny(tmp_path)
    assert store.find(profile, profile.run("one/init/0")) is None
    folder = published(profile)
    assert folder == tmp_path / "data/results/one/init/0" == store.find(profile, profile.run("one/init/0"))
    assert not [p for p in folder.parent.iterdir() if p.name.startswith(".")]
    stored = store.read(profile, profile.run("one/init/0"))
    assert (
        stored.checkpoints["value"].tolist() == [0.0, 0.25]
        and stored.note == ""
        and stored.record["seconds"] == 90
    )
    # Another study of the same settings finds it too; another seed does not.
    other = config.check("other", {**SETTINGS, "studies": {"two": STUDY}}, True, root=tmp_path)
    assert (
        store.find(other, other.run("two/init/0")) == folder
        and store.find(other, other.run("two/init/1")) is None
    )


def test_a_run_that_was_killed_while_it_was_published_is_not_there(tmp_path):
    profile = tiny(tmp_path)
    folder = published(profile)
    folder.rename(folder.with_name(".0.new"))
    assert store.find(profile, profile.run("one/init/0")) is None
    assert status.status(profile, profile.run("one/init/0")).word == "missing"
    assert published(profile) == folder and not list(folder.parent.glob(".0.*"))


def test_a_profile_takes_what_is_published_unless_all_is_made_anew():
    settings = {"extends": "cpu", "studies": {"gp-vl": {"arms": {"ppo": {"ppo": {"gamma": 0.5}}}}}}
    merged = config.merged(config.read("cpu"), {k: v for k, v in settings.items() if k != "extends"})
    mine, fresh = config.check("mine", merged), config.check("mine", merged, True)
    to_make = [run.name for run in mine.runs() if store.find(mine, run) is None]
    assert to_make == [f"gp-vl/ppo/{seed}" for seed in mine.seeds]
    assert all(store.find(fresh, run) is None for run in fresh.runs()) and mine.root != fresh.root
    assert status.status(mine, mine.run("gp-vl/init/0")).word == "current"
    state = status.status(mine, mine.run("gp-vl/ppo/0"))
    assert state.word == "missing" and 1 < state.minutes < 100  # expected from the published one
    gpu = config.load("gpu")
    assert {status.status(gpu, run).minutes for run in gpu.runs()} == {None}  # another model altogether


def test_what_a_killed_run_left_is_no_measure_of_minutes(tmp_path, monkeypatch):
    cpu = config.load("cpu")
    run, folder = cpu.run("gp-l/sft/0"), tmp_path / "data/results/gp-l/sft"
    for name, seconds in (("0", 600.0), (".1.new", 0.0)):
        (folder / name).mkdir(parents=True)
        (folder / name / store.RECORD).write_text(json.dumps({"seconds": seconds, "settings": {}}))
    monkeypatch.setattr(status, "ROOT", tmp_path)
    assert status._expected(run) == 10


def test_everything_published_is_current_and_unedited():
    profile = config.load("cpu")
    assert status.verify(profile) == [] and status.obstacles(profile) == []
    assert {status.status(profile, run).word for run in profile.runs()} == {"current"}
    folders = {path.parent for path in ROOT.glob(f"data/results/*/*/*/{store.RECORD}")}
    assert folders == {store.find(profile, run) for run in profile.runs()}, "studies share some runs"


# --- what was edited ----------------------------------------------------------------------------------------


def _digit(path):
    text = path.read_text()
    place = max(i for i, letter in enumerate(text) if letter.isdigit())
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def _gone(path):
    path.unlink()


def _grown(path):
    path.write_bytes(path.read_bytes() + b"\n")


def _empty(path):
    path.write_bytes(b"")


RUN_FILES = ("run.json", "checkpoints.csv", "training.csv", "hands.parquet")
EDITS = [
    (file, edit)
    for file in RUN_FILES
    for edit in (_digit, _cut, _zeros, _gone, _grown, _empty)
    if (file, edit) not in {("hands.parquet", _digit), ("run.json", _grown)}
]


@pytest.mark.parametrize("file, edit", EDITS)
def test_an_edited_run_is_named_and_no_book_is_built_from_it(tmp_path, file, edit):
    profile = tiny(tmp_path)
    folder = published(profile)
    assert not [p for p in status.verify(profile) if "one/init/0" in p]
    edit(folder / file)
    named = [
        problem
        for problem in status.verify(profile)
        if str(folder) in problem or problem.startswith("one/init/0: ")
    ]
    assert named and all("\n" not in problem for problem in named)
    run = profile.run("one/init/0")
    assert any(str(folder) in problem for problem in status.obstacles(profile)), "never made over"
    with pytest.raises(store.StoreError):
        store.read(profile, run)
    assert status.there(profile, run, stale=True)
    if not store.find(profile, run):
        assert str(folder) in status.status(profile, run).why
        if not (folder / store.RECORD).exists() or edit is not _digit:
            with pytest.raises(store.StoreError, match="cannot be read"):
                store.read(profile, run, stale=True)


def test_the_record_of_another_run_is_noticed(tmp_path):
    profile = tiny(tmp_path)
    first, second = published(profile), published(profile, "one/init/1", steps=(0, 2))
    shutil.copy(second / store.RECORD, first / store.RECORD)
    assert any(str(first) in problem for problem in status.verify(profile))
    shutil.rmtree(first)
    shutil.copytree(second, first)  # whole, but in another's place
    assert any("it is the record of one/init/1" in problem for problem in status.verify(profile))


def test_a_record_that_was_sealed_again_after_an_edit_is_noticed(tmp_path):
    profile = tiny(tmp_path)
    folder = published(profile)
    record = store.read_record(folder / store.RECORD)
    record["settings"]["lora"]["rank"] = 8
    store.seal(folder, store.RECORD, {k: v for k, v in record.items() if k not in ("files", "seal")})
    assert any("its identity is not that of its settings" in problem for problem in status.verify(profile))


@pytest.mark.parametrize(
    "file, edit", [(f, e) for f in (store.CARD, "model.safetensors") for e in (_cut, _zeros, _gone, _empty)]
)
def test_an_edited_foundation_is_named_and_no_run_starts_from_it(tmp_path, file, edit):
    profile = tiny(tmp_path)
    folder = card(profile)
    assert not [p for p in status.verify(profile) if str(folder) in p]
    edit(folder / file)
    assert [p for p in status.verify(profile) if str(folder) in p or p.startswith("pocket-text-0: ")]
    assert any(str(folder) in problem for problem in status.obstacles(profile)), "never made over"
    with pytest.raises(store.StoreError, match="model.safetensors|there is no foundation"):
        store.model_path(profile, profile.run("one/init/0"))


def test_what_lies_about_is_named(tmp_path):
    profile = tiny(tmp_path)
    published(profile)
    shutil.copytree(profile.results / "one/init/0", profile.results / "one/old-arm/0")
    (profile.results / "one/init/0/notes.txt").write_text("mine")
    (profile.results / "one/init/0/folder").mkdir()
    (profile.results / "one/init/0/link").symlink_to("/no/such/place")
    for place in ("a.txt", "one/b.txt", "one/init/c.txt"):
        (profile.results / place).write_text("mine")
    problems = "\n".join(status.verify(profile))
    assert "no run of this profile" in problems
    for name in ("notes.txt", "folder", "link"):
        assert f"{name}: no part of it; remove it" in problems
    for name in "abc":
        assert f"{name}.txt: no folder of a run; remove it" in problems


@pytest.mark.parametrize("place", ["results/one/init/0/checkpoints.csv", "models/pocket-text-0/card.json"])
def test_edits_in_what_other_profiles_keep_are_named_by_the_published_one(tmp_path, monkeypatch, place):
    """The book shows some of it: trials, a real model."""
    monkeypatch.setattr(status, "ROOT", tmp_path)
    monkeypatch.setattr("posttrain.config.profiles.ROOT", tmp_path)
    beside, own = tiny(tmp_path / "x", kept="tuning", fresh=False), tiny(tmp_path, fresh=False)
    published(beside)
    card(beside)
    assert beside.data == tmp_path / "data/tuning" and own.data == tmp_path / "data"
    assert status.obstacles(own) == []
    path = beside.data / place
    path.write_bytes(path.read_bytes()[:-40])
    for problems in (status.obstacles(own), status.verify(own)):
        assert sum(f"{path}: " in problem for problem in problems) == 1


def test_a_record_that_lacks_what_decides_is_named(tmp_path):
    profile = tiny(tmp_path)
    folder = published(profile)
    record = store.read_record(folder / store.RECORD)
    store.seal(folder, store.RECORD, {"identity": record["identity"], "settings": {}})
    assert any("run.json: it says no seed" in problem for problem in status.verify(profile))


# --- superseded ---------------------------------------------------------------------------------------------


def test_a_superseded_run_says_by_what(tmp_path, monkeypatch):
    profile = tiny(tmp_path)
    published(profile)
    longer = config.check("tiny", changed("init.steps", 6), True, root=tmp_path)
    assert status.status(longer, longer.run("one/init/0"))[:2] == ("superseded", "steps 3 -> 6")
    monkeypatch.setitem(numerics.VERSIONS, "sft", 7)
    newer = tiny(tmp_path)
    assert status.status(newer, newer.run("one/init/0"))[:2] == ("superseded", "version of sft 1 -> 7")
    assert "superseded" in "".join(status.verify(newer))
    run = newer.run("one/init/0")
    with pytest.raises(store.StoreError, match="has no results"):
        store.read(newer, run)
    assert store.read(newer, run, stale=True).note == "superseded"
    with pytest.raises(store.StoreError, match="has no results"):
        store.dialogues(newer, run)
    assert store.dialogues(newer, run, stale=True).empty, "this run kept none"


def test_superseded_results_of_the_published_profile_stop_the_book(monkeypatch):
    monkeypatch.setitem(numerics.VERSIONS, "ppo", 2)
    profile = config.load("cpu")
    problems, trained = status.obstacles(profile), sum(run.algorithm == "ppo" for run in profile.runs())
    assert (
        sum("version of ppo 1 -> 2" in p for p in problems) == trained > 20 and "STALE=show" in problems[-1]
    )


def test_tables_of_a_study(tmp_path):
    profile = tiny(tmp_path)
    for run in profile.runs():
        published(profile, run.name)
    records, checkpoints, training, hands = store.collect(profile, "one")
    assert (
        len(records) == 6
        and set(checkpoints["arm"]) == {"init", "sft", "ppo"}
        and set(hands["seed"]) == {0, 1}
    )
    assert (
        checkpoints["run"] == "one/" + checkpoints["arm"] + "/" + checkpoints["seed"].astype(str)
    ).all() and len(training) == 12
    with pytest.raises(store.StoreError, match="no study 'two'"):
        store.collect(profile, "two")


def test_tables_whose_columns_differ_are_joined(tmp_path):
    """An arm that answers once has flags, one that answers often has shares."""
    flags = pd.DataFrame({"hand": ["a", "b"], "right": [True, False]})
    parts = [flags, flags.assign(right=[0.25, 1.0]), flags.assign(more=[1, 2])]
    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    for part, path in zip(parts, paths):
        part.to_parquet(path)
    rows = store.files.joined(paths)
    assert rows["right"].tolist() == [1, 0, 0.25, 1, 1, 0] and rows.index.tolist() == [0, 0, 1, 1, 2, 2]
    assert rows["more"].dropna().tolist() == [1, 2]


def test_tables_that_were_edited_by_hand_are_read(tmp_path):
    """`STALE=show` shows them: without the last end of a line, with others' ends, with empty lines."""
    texts = ["a,b\n1,2\n3,4\n", "a,b\r\n5,6\r\n7,8", "a,b\n\n9,10\n\n"]
    paths = [tmp_path / f"{number}.csv" for number in range(3)]
    for text, path in zip(texts, paths):
        path.write_bytes(text.encode())
    rows = store.files.joined(paths)
    assert rows["a"].tolist() == [1, 3, 5, 7, 9] and rows.index.tolist() == [0, 0, 1, 1, 2]


def test_a_run_that_lost_a_table_is_not_shown_either(tmp_path):
    profile = tiny(tmp_path)
    (published(profile) / "hands.parquet").unlink()
    for stale in (False, True):
        with pytest.raises(store.StoreError, match="hands.parquet: missing"):
            store.read(profile, profile.run("one/init/0"), stale)


def test_what_other_profiles_keep_is_in_what_a_book_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(status, "ROOT", tmp_path)
    monkeypatch.setattr("posttrain.config.profiles.ROOT", tmp_path)
    beside, own = tiny(tmp_path / "x", kept="tuning", fresh=False), tiny(tmp_path, fresh=False)
    (tmp_path / "data").mkdir()
    seen = [status.digest(own)]
    for make in (lambda: published(beside), lambda: card(beside), lambda: published(own)):
        make()
        seen.append(status.digest(own))
    assert len(set(seen)) == 4


def test_tables_of_a_folder_whose_profile_is_not_asked(tmp_path):
    profile = tiny(tmp_path)
    for run in profile.runs():
        published(profile, run.name)
    folder = profile.results / "one"
    for own, asked in zip(store.shelved(folder), store.collect(profile, "one")):
        if isinstance(own, list):
            key = lambda record: (record["arm"], record["seed"])  # noqa: E731
            assert sorted(own, key=key) == sorted(asked, key=key)
        else:
            rows = [table.sort_values(["run"], kind="stable", ignore_index=True) for table in (own, asked)]
            pd.testing.assert_frame_equal(*rows)
    (folder / ".ppo.old").mkdir()
    (folder / "init" / ".0.new").mkdir()
    assert len(store.shelved(folder)[0]) == 6
    (folder / "ppo" / "1" / "training.csv").write_text("iteration,loss\n1,2\n")
    with pytest.raises(store.StoreError, match="training.csv"):
        store.shelved(folder)
    with pytest.raises(store.StoreError, match="holds no runs"):
        store.shelved(profile.results / "two")


# --- two processes ------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from posttrain import store
with store.locked(Path(sys.argv[1]), "0123", "one/init/0"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_the_second_process_waits_and_a_killed_one_holds_nothing(tmp_path, capfd):
    def hold(seconds):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "held\n"
        return process

    process, began = hold(1.0), time.monotonic()
    with store.locked(tmp_path, "0123", "two/init/0"):
        assert time.monotonic() - began > 0.5
    assert "two/init/0: another process is making it; waiting" in capfd.readouterr().err
    process.wait()
    process = hold(60)
    process.kill()
    process.wait()
    with store.locked(tmp_path, "0123", "two/init/0"):
        pass
