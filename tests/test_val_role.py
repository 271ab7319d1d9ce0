"""Numbers in prose: what the {val} role looks up, how it shows it, and what it refuses."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
import values  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    content = {"hands": 1362, "rl": {"ood": 0.1234, "best": {"seed": 2}}, "rl.flat": 7, "hidden": None}
    (tmp_path / "rule-generalization.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("foundation.loss", ("foundation", "loss", "")),
        ("rule-generalization.rl.ood|.1%", ("rule-generalization", "rl.ood", ".1%")),
        (" foundation.loss | .2f ", ("foundation", "loss", ".2f")),
    ],
)
def test_split(text, parts):
    assert values.split(text) == parts


@pytest.mark.parametrize("text", ["", "foundation", "foundation.", ".loss", "|.1%"])
def test_split_refuses_incomplete_names(text):
    with pytest.raises(values.ValueMissing):
        values.split(text)


@pytest.mark.parametrize(
    ("key", "value"), [("hands", 1362), ("rl.ood", 0.1234), ("rl.best.seed", 2), ("rl.flat", 7)]
)
def test_look_up_flat_and_nested(folder, key, value):
    assert values.look_up(folder, "rule-generalization", key) == value


def test_a_verdict_is_found_by_claim_and_measure(tmp_path):
    rows = [
        {"claim": "gp-l-one", "measure": name, "state": name * 2, "init": 0.25}
        for name in ("paper", "strict")
    ]
    (tmp_path / "verdicts.json").write_text(json.dumps(rows))
    assert values.look_up(tmp_path, "verdicts", "gp-l-one.strict.state") == "strictstrict"
    assert values.look_up(tmp_path, "verdicts", "gp-l-one.paper.init") == 0.25
    for key in ("gp-l-one.strict.nothing", "gp-l-two.strict.state", "state"):
        with pytest.raises(values.ValueMissing, match=f"no '{key}' in verdicts.json"):
            values.look_up(tmp_path, "verdicts", key)


def test_what_a_copy_has_no_study_for_is_a_dash(tmp_path):
    (tmp_path / "gone.json").write_text('{"absent": true}')
    assert values.show(values.look_up(tmp_path, "gone", "sft.ood"), ".1%") == "–"


@pytest.mark.parametrize("key", ["nothing", "rl.nothing", "hands.more"])
def test_missing_key_names_key_and_notebook(folder, key):
    with pytest.raises(
        values.ValueMissing, match=rf"{key}.*notebooks/rule-generalization\.ipynb should write it"
    ):
        values.look_up(folder, "rule-generalization", key)


def test_missing_file_names_key_and_notebook(folder):
    with pytest.raises(
        values.ValueMissing, match=r"gallery\.json.*'hands'.*notebooks/gallery\.ipynb should write it"
    ):
        values.look_up(folder, "gallery", "hands")


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (1362, "", "1,362"),
        (0.12345, "", "0.123"),
        (0.12345, ".1%", "12.3%"),
        (3, ".1f", "3.0"),
        ("pocket-text", "", "pocket-text"),
    ],
)
def test_show(value, spec, text):
    assert values.show(value, spec) == text


@pytest.mark.parametrize(
    ("value", "spec"), [(None, ""), (True, ""), ([1], ""), ({}, ""), ("text", ".1%"), (1, "?")]
)
def test_show_refuses(value, spec):
    with pytest.raises(values.ValueMissing):
        values.show(value, spec)
