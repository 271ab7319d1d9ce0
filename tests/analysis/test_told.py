"""Dialogues side by side, from tables made up here; of a study carried out: tests/trainers/test_second.py."""

import pandas as pd
import pytest
from posttrain import config, store
from posttrain.analysis.told import common, failures, kept, revised, side_by_side, solved, telling, told


def table(*rows) -> pd.DataFrame:
    names = ["arm", "hand", "dialogue", "answer", "text", "message", "correct"]
    return pd.DataFrame(rows, columns=names)


TOLD = table(
    ("Init", "A 2", 1, 1, "(1+2)", "Wrong: 3.", False),
    ("RL", "A 2", 1, 1, "<b>(2+1)", "Wrong & 3.", False),
    ("Init", "3 8", 1, 1, "3+8", "Wrong: 11.", False),
    ("Init", "3 8", 1, 2, "8-3", "Wrong: 5.", False),
    ("RL", "3 8", 1, 1, "3*8", "Correct.", True),
    ("RL", "3 8", 2, 1, "another draw", "Correct.", True),
)


def test_the_telling_case_is_the_first_on_which_the_arms_differ():
    assert telling(TOLD) == "3 8"
    assert telling(TOLD[TOLD.hand == "A 2"]) == "A 2"


def test_answers_and_messages_stand_below_each_other_and_text_is_escaped():
    text = side_by_side(TOLD, "3 8")
    assert text.index("3+8") < text.index("8-3") < text.index("3*8") and "another draw" not in text
    assert text.count("<li>") == 3 and text.count("class='right'") == 1
    assert "&lt;b&gt;(2+1)" in side_by_side(TOLD, "A 2") and "Wrong &amp; 3." in side_by_side(TOLD, "A 2")


def test_stale_dialogues_are_told_where_they_are_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(store, "dialogues", lambda profile, run, stale: asked.append(stale) or TOLD[:0])
    for stale in (False, True):
        with pytest.raises(ValueError, match="kept no dialogues on ood"):
            told(config.load("cpu"), "gp-l", 0, "ood", stale)
    assert asked == [False] * 3 + [True] * 3


def test_a_case_of_several_dialogues_is_solved_if_all_are(said):
    """A route has a dialogue for each of its points."""
    right = solved(common(said.query("set == 'ood' and seed == 3")))
    assert right.index.tolist() == ["Alderby, held_out, 141", "Alderby, held_out, 7"]
    assert right["Init"].all() and right["RL"].all() and not right["SFT"].any()
    assert common(said[said["arm"] != "RL"]).empty


def test_a_run_that_kept_nothing_leaves_numbers_whole(said, monkeypatch):
    profile = config.load("smoke")
    whole = said.drop(columns=["arm", "seed"])
    for without in ({"sft"}, {"init", "sft", "ppo"}):

        def dialogues(profile, run, stale, without=without):
            return pd.DataFrame() if run.arm in without else whole

        monkeypatch.setattr(store, "dialogues", dialogues)
        table = kept(profile, "virl-l")
        assert set(table.get("arm", ())) == {"Init", "RL"} - ({"Init", "RL"} if "ppo" in without else set())
        if len(table):
            assert table["dialogue"].dtype == whole["dialogue"].dtype and common(table).empty


def test_failures_are_counted_by_kind_with_the_first_of_the_most_frequent():
    outcomes = ["not a formula", "wrong value", "wrong value", "wrong numbers", "correct", "correct"]
    counted = failures(TOLD.assign(outcome=outcomes))
    assert counted["what was wrong"].tolist() == ["wrong value", "not a formula"], "the second answer is none"
    assert counted.iloc[0].tolist()[1:3] == ["1 of 2", "1 of 3"] and counted.iloc[1].tolist()[1:3] == [
        "1 of 2",
        "0 of 3",
    ]
    assert counted["for instance"].tolist()[1] == "``(1+2)``"
    odd = TOLD.assign(outcome="wrong value", correct=False, text="a|b`c\n" + "x" * 400)
    text = failures(odd)["for instance"][0]
    assert text.startswith("``a\\|b'c xx") and "x … x" in text and len(text) < 260
    assert failures(TOLD.assign(outcome="correct", correct=True)).empty


def test_first_and_later_answers_are_told_apart():
    rows = [("RL", 1, "correct"), ("RL", 1, "no answer"), ("RL", 2, "no answer"), ("RL", 3, "wrong value")]
    said = pd.DataFrame([*rows, ("SFT", 1, "wrong value")], columns=["arm", "answer", "outcome"])
    shares = revised(said)
    assert list(shares) == ["arm", "answer", "answers", "right", "no answer", "wrong value"]
    assert shares.values.tolist() == [
        ["RL", "first", 2, "50%", "50%", "0%"],
        ["RL", "later", 2, "0%", "50%", "50%"],
        ["SFT", "first", 1, "0%", "0%", "100%"],
    ]
