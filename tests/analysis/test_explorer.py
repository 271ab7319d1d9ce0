"""The explorer's data are the stored outcomes: one hand's letters say what the tables say."""

import json
import re

import pandas as pd
import pytest
from matplotlib import pyplot as plt
from posttrain import formulas
from posttrain.analysis import explorer
from posttrain.environments.general_points import hands

SETS = {"id": ("held-out <hands>", "10"), "ood": ("another rule", "11/12/13")}
HANDS = ["2 4 6 9", "A 5 J Q", "4 4 Q Q", "7 7 9 K", "3 8 J K"]


@pytest.fixture
def points(toy):
    shares = {("Init", "id"): {"first_try": 0.2}, ("SFT", "id"): {"first_try": [0.4, 0.8]}}
    small = toy({**shares, ("RL", "ood"): {"first_try": 1.0}}, cases=5)
    small.hands["hand"] = small.hands["hand"].map({f"hand {i:02}": hand for i, hand in enumerate(HANDS)})
    small.hands["fake"] = 0.0
    # Between the ends only some hands are asked.
    more = small.hands.query("arm == 'RL' and step == 5").assign(step=3)
    small.hands = pd.concat([small.hands, more[more["hand"].isin(HANDS[:2])]], ignore_index=True)
    return small


def shares(letters):
    return [None if letter == " " else (ord(letter) - 33) / explorer.LEVELS for letter in letters]


def test_a_letter_is_the_mean_of_the_seeds(points):
    told = explorer.outcomes(points, SETS)
    one = told["sets"]["id"]
    assert set(one["hands"]) == set(HANDS) and set(one["hands"][:2]) == set(HANDS[:2]), "asked always: first"
    by_hand = dict(zip(one["hands"], shares(one["shares"]["first_try"]["SFT"][-1])))
    assert [by_hand[hand] for hand in HANDS] == pytest.approx([1, 1, 0.5, 0.5, 0])
    assert {arm: len(texts) for arm, texts in one["shares"]["fake"].items()} == {"Init": 1, "SFT": 2, "RL": 3}
    between = shares(one["shares"]["fake"]["RL"][1])
    assert between == [0, 0, None, None, None]
    assert told["compute"] == {"Init": [0], "SFT": [0, 5], "RL": [0, 5]} and told["seeds"] == 2


def test_a_known_hand_is_one_that_is_solved_every_second_time(points):
    known = explorer.known(points, SETS)
    assert known["sft_id_known"] == 0.8 and known["init_id_known"] == 0.2 and known["ppo_ood_known"] == 1
    assert len(known) == 6


def test_a_hand_has_the_numbers_of_its_rule_and_solutions(points):
    one = explorer.outcomes(points, SETS)["sets"]["ood"]
    at = one["hands"].index("A 5 J Q")
    assert one["numbers"][at] == (1, 5, 11, 12)
    count, *found = one["solutions"][at]
    assert count == len(formulas.solve([1, 5, 11, 12])) and len(found) == min(count, explorer.EXAMPLES)
    assert all(formulas.evaluate(text) == 24 for text in found)


def test_the_fragment_holds_its_data_and_no_markup_of_theirs(points):
    told = explorer.outcomes(points, SETS)
    text = explorer.fragment(told)
    assert "held-out &lt;hands&gt;" in text and "held-out <hands>" not in text
    (data,) = re.findall(r"<script type='application/json'[^>]*>(.*?)</script>", text)
    assert json.loads(data) == json.loads(json.dumps(told))


def test_the_picture_has_a_cell_a_hand_in_one_order(points):
    figure = explorer.overview(points, {"id": "held out", "ood": "another rule"})
    assert [ax.get_title() for ax in figure.axes[:3]] == ["Init: 20%", "SFT: 60%", "RL: 40%"]
    assert figure.axes[1].images[0].get_array().compressed()[:5] == pytest.approx([1, 1, 0.5, 0.5, 0])
    plt.close(figure)


@pytest.fixture
def asked():
    """A table of every hand, small: what each arm's answers to a hand came to."""
    rows = [
        {"set": set_, "hand": hand, "arm": arm, "first_try": share, "rule_following": 1.0, "fake": 0.0}
        for arm, share in (("Init", 0.125), ("SFT", 0.5), ("RL", 1.0))
        for set_, hand in zip(("id", "seen", "same_numbers", "ood", "ood"), HANDS)
    ]
    return pd.DataFrame(rows)


def test_every_hand_is_there_at_the_end_alone(asked):
    told = explorer.every(asked, {"Init": [5], "SFT": [5, 9], "RL": [5, 7, 9]})
    ten, faces = told.values()
    assert ten["hands"] == [HANDS[1], HANDS[2], HANDS[0]] and faces["hands"] == sorted(HANDS[3:])
    assert ten["kinds"] == list(explorer.WHOLE.values())[:3] and ten["numbers"][0] == (1, 5, 10, 10)
    letters = ten["shares"]["first_try"]
    assert [shares(text) for text in letters["SFT"]] == [[None] * 3, [pytest.approx(0.5)] * 3]
    assert (
        len(letters["Init"]) == 1 and letters["RL"][:2] == ["   "] * 2 and shares(letters["RL"][2]) == [1] * 3
    )


def test_the_table_of_every_hand_has_all_that_can_be_solved():
    table = pd.read_parquet(explorer.EVERY)
    for sets, rule, faces in (
        (explorer.RULES["10"], "10", False),
        (explorer.RULES["11/12/13"], "11/12/13", True),
    ):
        expected = {" ".join(hand) for hand in hands(rule, faces=faces)}
        for _, rows in table[table["set"].isin(sets)].groupby("arm"):
            assert set(rows["hand"]) == expected and len(rows) == len(expected)
    assert table["first_try"].between(0, 1).all() and set(table["arm"]) == {"Init", "SFT", "RL"}
