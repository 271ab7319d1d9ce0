"""The tool that keeps results over a refactoring: what is the same is carried, all else stays as it was."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import carry_over as tool  # noqa: E402


def measured(old: bool, **changes):
    """What `_measured` says: two seeds of one study's arms, and their foundation; `changes` are of the new code's outcomes."""
    name = "old" if old else "new"
    run = lambda arm, seed: {
        "id": f"one-{arm}-s{seed}-{name}",
        "identity": f"{name}{arm}{seed}",
        "settings": {"budget": 5},
        "model": f"{name}-model",
        "foundation": f"pocket-{seed}",
        "digest": f"digest of {arm}" if seed == 0 else None,
    }
    found = {
        "seed": 0,
        "runs": {f"one/{arm}/{seed}": run(arm, seed) for seed in (0, 1) for arm in ("init", "sft")},
        "foundations": {
            f"pocket-{seed}": {"identity": f"{name}-foundation-{seed}", "digest": f"weights {seed}"}
            for seed in (0, 1)
        },
    }
    for (kind, key, field), value in (changes.get("changes") or {}).items():
        found[kind][key][field] = value
    return found


@pytest.fixture
def carry(tmp_path, monkeypatch, capsys):
    """carry(changes, apply) -> what was printed; results and cards of the old code lie under tmp_path/data."""
    for seed in (0, 1):
        card = tmp_path / "data" / "models" / f"pocket-{seed}" / "card.json"
        card.parent.mkdir(parents=True)
        card.write_text(json.dumps({"identity": f"old-foundation-{seed}", "config": {}}))
    for entry in measured(True)["runs"].values():
        folder = tmp_path / "data" / "results" / entry["id"]
        folder.mkdir(parents=True)
        parent = entry["id"].replace("sft", "init") if "sft" in entry["id"] else None
        (folder / "run.json").write_text(json.dumps({**entry, "parent": parent}))
        (folder / "hands.parquet").write_bytes(b"table")
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool.subprocess, "run", lambda command, **how: SimpleNamespace(stdout="abc1234\n"))

    asked = []  # what was carried out, a list for each time

    def run(changes=None, apply=True):
        monkeypatch.setattr(
            tool,
            "_measured",
            lambda tree, models, only: (
                asked.append(only),
                measured(tree != tmp_path, changes=changes if tree == tmp_path else {}),
            )[1],
        )
        assert tool.carry_over("HEAD~1", apply) == 0
        return capsys.readouterr().out

    run.asked = asked
    return run


def names(tmp_path):
    return sorted(path.parent.name for path in (tmp_path / "data" / "results").glob("*/run.json"))


def test_what_is_the_same_gets_the_new_identity_and_says_from_where(carry, tmp_path):
    assert "6 carried over" in carry()
    assert names(tmp_path) == [f"one-{arm}-s{seed}-new" for arm in ("init", "sft") for seed in (0, 1)]
    record = json.loads((tmp_path / "data" / "results" / "one-sft-s1-new" / "run.json").read_text())
    assert (record["id"], record["identity"], record["parent"], record["model_identity"]) == (
        "one-sft-s1-new",
        "newsft1",
        "one-init-s1-new",
        "new-model",
    )
    assert record["carried_over"] == [{"from": "oldsft1", "commit": "abc1234"}]
    assert (
        json.loads((tmp_path / "data" / "models" / "pocket-0" / "card.json").read_text())["identity"]
        == "new-foundation-0"
    )


def test_only_what_became_stale_is_carried_out(carry, tmp_path):
    same = {("runs", f"one/init/{seed}", "id"): f"one-init-s{seed}-old" for seed in (0, 1)}
    same |= {("foundations", f"pocket-{seed}", "identity"): f"old-foundation-{seed}" for seed in (0, 1)}
    assert "2 carried over" in carry(same)
    assert carry.asked == [
        [],
        [],
        ["one/sft/0"],
        ["one/sft/0"],
    ]  # what there is, twice; then one seed for its arm, twice
    assert names(tmp_path) == ["one-init-s0-old", "one-init-s1-old", "one-sft-s0-new", "one-sft-s1-new"]


def test_without_apply_nothing_is_touched(carry, tmp_path):
    assert "6 could be carried over" in carry(apply=False)
    assert all(name.endswith("-old") for name in names(tmp_path))


@pytest.mark.parametrize(
    "changes, stay",
    [
        (
            {("runs", "one/sft/0", "digest"): "another"},
            ["one-sft-s0-old", "one-sft-s1-old"],
        ),  # what the first seed shows holds for the arm
        ({("runs", "one/sft/1", "settings"): {"budget": 6}}, ["one-sft-s1-old"]),
        ({("foundations", "pocket-1", "digest"): "other weights"}, ["one-init-s1-old", "one-sft-s1-old"]),
    ],
)
def test_what_differs_stays_stale(carry, tmp_path, changes, stay):
    said = carry(changes)
    assert [name for name in names(tmp_path) if name.endswith("-old")] == stay and "differs" in said
