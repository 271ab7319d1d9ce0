"""Exercises: the lines of a profile are accepted, train one seed and no longer than told; lines of Python
run."""

import re
import shutil
import sys

import numpy as np
import pytest
from posttrain import config, foundation, numerics, store
from posttrain.analysis import exercises as kept
from posttrain.foundation import corpus, documents
from posttrain.store import status

sys.path.insert(0, str(config.ROOT / "tools"))
import exercises  # noqa: E402

TOLD = re.compile(r"^(?:\d+\. |.* Each trains ).*[Aa]bout (\d+) minutes of one core", re.MULTILINE)
MOST = 3  # new runs of an exercise: an Init and what starts from it


def blocks(kind):
    """The lines of each block, and the minutes told before it or before those above it on its page; none
    where they are those that were measured."""
    found, page, minutes = [], None, None
    for one in exercises.listed():
        minutes = minutes if one.name.rpartition("-")[0] == page else None
        page, said = one.name.rpartition("-")[0], TOLD.findall(one.before)
        minutes = int(said[-1]) if said else None if "_minutes|" in one.before else minutes
        if one.kind == kind:
            found.append(pytest.param(one.lines, minutes, id=one.name))
    return found


def test_no_dropdown_holds_anything_but_its_lines():
    for one in exercises.listed():
        assert all(line.startswith("    ") for line in one.block.splitlines() if line), one.name


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """A copy of the folder of profiles, and the folder of the language model that one of them names."""
    (tmp_path / "build/models/smollm2-135m").mkdir(parents=True)
    (tmp_path / "build/models/smollm2-135m/config.json").write_text("{}")
    monkeypatch.setattr(config, "PROFILES", shutil.copytree(config.PROFILES, tmp_path / "profiles"))
    smollm = config.PROFILES / "smollm.yaml"
    smollm.write_text(smollm.read_text().replace("./build/models", f"{tmp_path}/build/models"))
    numerics.model_identity.cache_clear()
    yield config.PROFILES
    numerics.model_identity.cache_clear()  # a real folder of that name may lie where other tests look


@pytest.mark.parametrize(("lines", "told"), blocks("a profile"))
def test_lines_of_a_profile(lines, told, profiles):
    (profiles / "exercise.yaml").write_text(lines)
    profile = config.load("exercise")
    there = store.listed(profile)
    new = {run.identity: run for run in profile.runs() if store.find(profile, run, there) is None}
    assert 1 <= len(new) <= MOST, [run.name for run in new.values()]
    assert len({run.seed for run in new.values()}) == 1
    listed = profile.foundation_list()
    made = [name for name in listed if store.find_foundation(profile, *name[:2], weights=False) is None]
    assert len(made) <= 1, made
    if told is not None:
        expected = sum(status.status(profile, run, there).minutes for run in new.values())
        assert told == pytest.approx(expected, abs=1 + 0.1 * expected)


@pytest.mark.parametrize(("lines", "told"), blocks("Python"))
def test_lines_of_python(lines, told, profiles, monkeypatch, capsys):
    """They run; a foundation is not made, but its corpus is read."""
    (profiles / "whole.yaml").write_text("extends: cpu")
    for mixture in ("READING", "MIXTURE"):
        monkeypatch.setattr(corpus, mixture, dict(getattr(corpus, mixture)))
    read = []

    def make(*_):
        rng = np.random.default_rng(0)
        for mixture in (corpus.READING, corpus.MIXTURE):
            stream = documents.documents(rng, mixture)
            read.extend(next(stream).kind for _ in range(300))
        return {"gates": {"a gate": {"measured": 1.0}}}

    monkeypatch.setattr(foundation, "make", make)
    monkeypatch.setattr(foundation, "provide", make)
    exec(compile(lines, "exercise", "exec"), {})
    if read:
        assert "whole" in read or read.count("chat read") < 0.02 * len(read)
    else:
        assert "was taken for" in capsys.readouterr().out


def test_what_is_kept_came_of_the_lines_as_they_stand():
    table = kept.kept()
    lines = {one.name: one for one in exercises.listed()}
    real = config.ROOT / "build/models/smollm2-135m/config.json"  # made by `make runs PROFILE=smollm`
    for name, rows in table.groupby("exercise"):
        if "extends: smollm" in lines[name].lines and not real.is_file():
            continue
        runs = exercises.new_runs(exercises.profile_of(lines[name]))
        assert set(rows["identity"]) == {run.identity for run in runs}, f"{name}: make exercises"
        assert set(zip(rows["study"], rows["arm"], rows["seed"])) == {(r.study, r.arm, r.seed) for r in runs}


def test_only_what_is_not_kept_is_carried_out(tmp_path, monkeypatch, capsys):
    name, *others = kept.kept()["exercise"].unique()
    monkeypatch.setattr(kept, "FILE", shutil.copy(kept.FILE, tmp_path / "exercises.csv"))
    monkeypatch.setattr(exercises.arm, "carry_out", lambda *_: pytest.fail("it is kept"))
    assert exercises.main([name]) == 0 and not capsys.readouterr().out
    table = kept.kept()
    table[table["exercise"] != name].to_csv(kept.FILE, index=False)
    monkeypatch.setattr(exercises.store, "find", lambda *_: "there")
    monkeypatch.setattr(kept, "compared", lambda name, *_: table[table["exercise"] == name])
    assert exercises.main([name]) == 0 and name in capsys.readouterr().out
    assert name in set(kept.kept()["exercise"])


def test_an_exercise_whose_model_is_not_here_is_left_out(monkeypatch, capsys):
    def refuse(_):
        raise config.ConfigError("model: must be a folder")

    monkeypatch.setattr(exercises, "profile_of", refuse)
    assert exercises.main(["rule-generalization-1"]) == 0
    assert capsys.readouterr().err == "rule-generalization-1 is left out: model: must be a folder\n"


def test_an_exercise_that_there_is_not_is_refused(capsys):
    assert exercises.main(["no-such-1"]) == 2
    assert "no exercise no-such-1" in capsys.readouterr().err
