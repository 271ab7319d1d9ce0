"""The code does what was recorded, or a version says that it does not. What each golden guards is in its
file; README.md says the tolerances.
"""

import json

import pytest

from tests.invariant import goldens, record, trajectories
from tests.invariant.library import numerics

EVERYTHING = record.everything()
AGAIN = "python -m tests.invariant.record"
COMPUTED: dict = {}


def outcome(name: str) -> list[str]:
    """What moved in a golden, computed once a session."""
    if name not in COMPUTED:
        golden = EVERYTHING[name]
        COMPUTED[name] = goldens.moved(golden, goldens.read(name), golden.compute())
    return COMPUTED[name]


def advice(name: str, golden: goldens.Golden) -> str:
    """Which version to raise: of the parts whose own golden moved too, or of one of all."""
    parts = golden.parts
    if len(parts) > 1:
        parts = [p for p in parts if p in EVERYTHING and outcome(p)] or parts
    which = parts[0] if len(parts) == 1 else f"one or more of {', '.join(parts)}"
    return (
        f"golden {name} moved. If the change is meant, raise {which} in lib/posttrain/numerics.py and record "
        f"with: {AGAIN}"
    )


@pytest.mark.parametrize("name", EVERYTHING)
def test_golden(name):
    golden, recorded = EVERYTHING[name], goldens.read(name)
    assert recorded is not None, f"golden {name} was never recorded: {AGAIN} {name}"
    raised = [part for part in golden.parts if recorded["versions"].get(part) != numerics.VERSIONS[part]]
    assert not raised, (
        f"golden {name} was recorded with another version of {', '.join(raised)} than "
        f"lib/posttrain/numerics.py says: record it anew with: {AGAIN} {name}"
    )
    if lines := outcome(name):
        pytest.fail("\n  ".join([advice(name, golden), *lines[:12]]), pytrace=False)


def test_the_files_are_those_of_the_goldens():
    stored = {path.stem for path in goldens.FOLDER.glob("*.json")}
    assert stored == set(EVERYTHING)
    assert {part for golden in EVERYTHING.values() for part in golden.parts} == set(numerics.VERSIONS)
    assert sum(path.stat().st_size for path in goldens.FOLDER.rglob("*.json")) < 400_000


def test_a_run_s_golden_guards_what_its_identity_holds():
    """And what the identity of the Init holds that it starts from."""
    for study, (_, settings) in trajectories.STUDIES.items():
        task = settings.get("task", "general-points")
        init = set(numerics.run_versions(task, "init"))
        for algorithm in trajectories.ALGORITHMS:
            held = init | set(numerics.run_versions(task, algorithm))
            assert set(EVERYTHING[f"{study}.{algorithm}"].parts) == held


def test_what_counts_as_moved():
    golden = goldens.Golden(("sft",), dict, 1e-3, 1e-4)
    old = {"exact": {"n": [1, 2]}, "here": {"ids": "a"}, "floats": {"x": [1.0, 2.0]}, "after": {"y": [3.0]}}

    def new(**other):
        return goldens.moved(golden, old, json.loads(json.dumps({**old, **other})), strict=True)

    assert new() == []
    assert new(floats={"x": [1.00001, 2.0]}) == [] and "drift" in new(floats={"x": [1.01, 2.0]})[0]
    assert new(floats={"x": [1.0001, 2.0002]})  # below the largest allowed, above the mean
    assert new(floats={"x": [1.0]}) and new(floats={}) and new(floats={"x": [1.0, float("nan")]})
    assert new(exact={"n": [1, 3]}) and new(exact={}) and new(exact={"n": [1, 2], "m": 0})
    assert new(here={"ids": "b"}) and new(after={"y": [4.0]})
    elsewhere = {**old, "here": {"ids": "b"}, "after": {"y": [4.0]}}
    assert goldens.moved(golden, old, elsewhere, strict=False) == []
    assert goldens.moved(
        golden, old, {**elsewhere, "here": old["here"]}, strict=False
    )  # the ids came out alike


def test_a_raised_version_asks_for_a_new_recording(monkeypatch):
    monkeypatch.setitem(numerics.VERSIONS, "chat", 99)
    with pytest.raises(AssertionError, match="another version of chat .* record it anew"):
        test_golden("chat")


def test_a_moved_golden_says_which_version_to_raise(monkeypatch):
    monkeypatch.setitem(COMPUTED, "chat", ["x: 1 instead of 2"])
    with pytest.raises(
        pytest.fail.Exception, match=r"(?s)raise chat in lib/posttrain/numerics.py .*x: 1 instead"
    ):
        test_golden("chat")
    for name in ("general-points.sft", "general-points", "rollout", "sft", "census"):
        monkeypatch.setitem(COMPUTED, name, ["moved"] if name in ("general-points.sft", "sft") else [])
    monkeypatch.setitem(COMPUTED, "chat", [])
    with pytest.raises(pytest.fail.Exception, match="raise sft in lib"):  # the only component that moved
        test_golden("general-points.sft")


def test_recording_refuses_a_dirty_tree_and_a_move_without_a_version(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "dirty", lambda: ["lib/posttrain/prompts.py"])
    monkeypatch.setattr("sys.argv", ["record", "chat"])
    assert record.main() == 2 and "commit first: lib/posttrain/prompts.py" in capsys.readouterr().err
    values = [{"exact": {"n": 1}}, {"exact": {"n": 2}}]
    golden = goldens.Golden(("chat",), lambda: values[0])
    assert record.record("some", golden, False, tmp_path) is None
    assert record.record("some", golden, False, tmp_path) is None  # nothing moved
    golden = goldens.Golden(("chat",), lambda: values[1])
    assert "no version of chat was raised" in record.record("some", golden, False, tmp_path)
    monkeypatch.setitem(numerics.VERSIONS, "chat", 2)
    assert record.record("some", golden, False, tmp_path) is None
    stored = goldens.read("some", tmp_path)
    assert stored["exact"] == {"n": 2} and stored["versions"] == {"chat": 2} and len(stored["commit"]) == 12
