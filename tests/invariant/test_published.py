"""Which arms of the published profile have a golden, and what `make invariant` says where one has none. What
the goldens hold is compared by `make invariant` alone: it takes minutes."""

import pytest

from tests.invariant import goldens, published, record


def test_which_published_arms_have_no_golden():
    """The rule: every foundation and every arm has one, but for arms whose foundation keeps only its card,
    and for those that are owed."""
    known = published.everything()
    stored = {path.stem for path in published.FOLDER.glob("*.json")}
    assert stored <= set(known)
    # As they are said, no more and no less: what is recorded is owed no longer.
    assert {name.partition(".")[0] for name in published.missing()} == published.OWED
    profile = published.lib.config.load(published.PROFILE)
    cards = {name for name, foundation in profile.foundations.items() if foundation.kept == "card"}
    studies = {name for name, study in profile.studies.items() if study.foundation in cards}
    assert {name.partition("/")[0] for name in published.left_out()} == studies
    arms = {f"{name}.{arm}" for name, study in profile.studies.items() for arm in study.arms}
    assert {name for name in known if "." in name} == {a for a in arms if a.partition(".")[0] not in studies}


@pytest.fixture
def three(monkeypatch, tmp_path):
    """Goldens of which one is as recorded, one has moved and one was never recorded."""
    values = {"same": 1, "moved": 2, "absent": 3}
    made = {
        name: goldens.Golden(("ppo",), lambda value=value: {"exact": {"n": value}})
        for name, value in values.items()
    }
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    monkeypatch.setattr(published, "everything", lambda: made)
    for name in ("same", "moved"):
        goldens.write(name, ("ppo",), {"exact": {"n": 1}}, published.lib.numerics.VERSIONS, tmp_path)
    return made


def test_what_was_never_recorded_is_said_and_the_others_are_compared(three, capsys):
    assert published.main([]) == 1
    out, err = capsys.readouterr()
    assert [line.split(" (")[0] for line in out.splitlines()] == [
        "same: same",
        "moved: moved: n: 2 instead of 1",
        "absent: never recorded",
    ]
    assert "1 of 3 moved" in err and f"1 of 3 were never recorded: `{published.RECORD} --missing`" in err
    assert published.main(["same"]) == 0 and published.main(["absent"]) == 1
    assert published.main(["other"]) == 2


def test_a_version_that_stands_is_no_other_version(three, monkeypatch, capsys):
    monkeypatch.setitem(published.lib.numerics.VERSIONS, "ppo", 2)
    assert published.main(["same"]) == 1 and "another version of ppo" in capsys.readouterr().out
    monkeypatch.setitem(published.lib.numerics.STANDS, ("ppo", 2), 1)
    assert published.main(["same"]) == 0
    monkeypatch.setitem(published.lib.numerics.VERSIONS, "ppo", 3)
    assert published.main(["same"]) == 1


def test_missing_goldens_are_recorded_and_the_others_left(three, monkeypatch, capsys):
    monkeypatch.setattr(record, "dirty", lambda: [])
    monkeypatch.setattr("sys.argv", ["record", "--published", "--missing"])
    assert record.main() == 0 and capsys.readouterr().out.startswith("absent: recorded")
    assert published.main(["absent", "same"]) == 0 and published.main(["moved"]) == 1
