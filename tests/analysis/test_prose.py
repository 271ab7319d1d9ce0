"""Words and tables: what each sentence says of numbers on either side, and what tables hold."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from posttrain.analysis import prose
from posttrain.analysis.statistics import Interval


def test_an_interval_reads_well():
    interval = Interval(0.15, 0.121, 0.182)
    assert prose.interval(interval) == "15.0 % [12.1 %, 18.2 %]"
    assert prose.interval(interval, ".3g") == "0.15 [0.121, 0.182]"
    assert prose.interval(Interval(-0.03, -0.05, 0.01), "+.1%") == "-3.0 % [-5.0 %, +1.0 %]"


def test_the_side_that_a_bound_lies_on_is_never_rounded_away():
    assert prose.interval(Interval(0.005, 0.0004, 0.01)) == "0.5 % [0.04 %, 1.0 %]"
    assert prose.interval(Interval(0, -0.00002, 0)) == "0.0 % [-0.002 %, 0.0 %]"
    assert prose.interval(Interval(-1e-17, -0.1, 0.1)) == "0.0 % [-10.0 %, 10.0 %]", "a sum that is nought"


def test_spread_and_percentages():
    assert prose.spread(pd.Series([0.1, 0.3])) == "20.0% (10.0% to 30.0%)"
    assert prose.spread(pd.Series([0.1])) == "10.0%"
    table = prose.percentages(pd.DataFrame({"policy": ["blind"], "turns": [float("nan")], "route": [1.0]}))
    assert table.iloc[0].tolist() == ["blind", "", "100.0%"]


def test_a_verdict_shows_both_intervals_and_init():
    claims = {"claims": [{"id": "one", "statement": "It grows."}, {"id": "two", "statement": "It shrinks."}]}
    row = {"claim": "one", "measure": "paper", "metric": "first_try", "decoding": "sampled", "state": "holds"}
    row |= {"estimate": 0.1, "low": 0.05, "high": 0.15, "seeds_low": 0.01, "seeds_high": 0.19, "init": 0.3}
    none = dict.fromkeys(("estimate", "low", "high", "seeds_low", "seeds_high", "init"))
    rows = [
        row,
        {**row, "measure": "strict", "init": None},
        {**row, **none, "claim": "two", "state": "undecided"},
    ]
    table = prose.decided(rows, claims)
    holds = "**holds** 10.0 % [5.0 %, 15.0 %], over repetitions [1.0 %, 19.0 %]"
    assert table.values.tolist() == [
        ["It grows.", f"{holds}; room 30%", holds],
        ["It shrinks.", "**undecided**", ""],
    ]
    assert table.columns.tolist() == ["claim", *(f"{m}: first try, sampled" for m in ("paper", "strict"))]
    rows[2] |= {"metric": "within", "estimate": -0.1, "low": -0.2, "high": 0.1}
    several = prose.decided(rows, claims).set_index("claim")
    assert several.columns.tolist() == ["paper", "strict: first try, sampled"]
    assert several["paper"]["It grows."] == f"{holds}; room 30% (first try, sampled)"
    assert several["paper"]["It shrinks."] == "**undecided** −10.0 % [−20.0 %, 10.0 %] (within, sampled)"


@pytest.mark.parametrize("content", ["a *word*", pd.DataFrame({"a": [1], "b": ["x"]})])
def test_what_is_shown_is_markdown(content, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    prose.show(content)
    assert shown[0].data == (
        "a *word*" if isinstance(content, str) else "|   a | b   |\n|----:|:----|\n|   1 | x   |"
    )


@pytest.mark.parametrize(("end", "lost"), [(0.4, True), (0.9, False)])
def test_lost_names_are_explained_only_if_they_are_lost(toy, end, lost):
    study = toy(
        {("Init", "id"): {"recognized": 0.5}, ("RL", "id"): {"recognized": [end, end], "strict": [1, 0.5]}}
    )
    text = prose.landmarks(study)
    assert ("no reward pays for the name" in text) == lost
    assert text.endswith(f"{end:.0%} (in the format: 100%), {end:.0%} (in the format: 50%).")


def test_no_line_ends_between_a_number_and_its_sign(monkeypatch):
    said = []
    monkeypatch.setattr("IPython.display.display", said.append)
    prose.show(pd.DataFrame({"claim": ["holds 5.1 % [4.0 %, 6.5 %], and a % alone"]}))
    assert "5.1\u00a0% [4.0\u00a0%, 6.5\u00a0%], and a % alone" in said[0].data


def test_ends_show_mean_and_range_of_the_last_checkpoints(toy):
    study = toy({("Init", "id"): {"first_try": 0.1}, ("SFT", "id"): {"first_try": [0.2, 0.4]}})
    table = prose.ends(study, {"id": "held out"}, [("greedy", "first_try", "first")], "hands")
    assert list(table) == ["hands", "measure", "Init", "SFT", "RL"]
    assert table.iloc[0].tolist()[:4] == [
        "held out",
        "first",
        "10.0% (10.0% to 10.0%)",
        "30.0% (20.0% to 40.0%)",
    ]


def test_recognition_beside_the_format(toy):
    study = toy(
        {("SFT", "id"): {"recognized": 0.2, "strict": 0.3}, ("RL", "id"): {"recognized": 0, "first_try": 0}}
    )
    table = prose.lowest_recognition(study, "id").set_index(["arm", "repetition"])
    assert table.loc[("SFT", 2), "checkpoint"] == "1 of 1"
    assert (
        table.loc[("SFT", 2), "recognized then"] == "20.0%" == table.loc[("SFT", 2), "recognized at the end"]
    )
    assert table.loc[("SFT", 1), "in the format at the end"] == "30.0%"
    among = prose.among_recognized(study, {"id": "held out"}).set_index("arm")
    assert among.loc["Init", "right, of those recognized"] == 1 and among.loc["SFT", "recognized"] == 0.2
    assert among.loc["RL"].isna()["right, of those recognized"]


def test_of_hands_that_are_recognized_in_some_draws_those_draws_count():
    shares = {"strict": [1, 1], "recognized": [1, 0.25], "first_try": [0.5, 0.125]}
    study = SimpleNamespace(outcomes=lambda arm, set_, decoding, column: np.array([shares[column]], float))
    among = prose.among_recognized(study, {"id": "held out"})
    assert among["right, of those recognized"].tolist() == [0.5] * 3


def test_runs_are_listed(toy):
    table = prose.runs(toy({("SFT", "id"): {}}))
    assert len(table) == 6 and table.iloc[0].tolist() == ["gp-l/init/0", 1.5, 7, "abc1234"]


def test_a_figure_in_words(toy):
    ends = {("Init", "id"): {"first_try": 0.1}, ("SFT", "id"): {"first_try": [0.2, 0.4]}, ("RL", "ood"): {}}
    said = prose.in_words(toy(ends), {"id": "other\nnumbers", "seen": "not asked"}, {"first_try": "right"})
    assert said == "At the end. right, other numbers: Init 10%, SFT 30%, RL 50%."
    one = toy(ends).only({"SFT": "fine-tuned"})
    assert (
        prose.in_words(one, {"id": "id"}, {"first_try": "right"}) == "At the end. right, id: fine-tuned 30%."
    )
    assert list(prose.ends(one, {"id": "id"}, [("greedy", "first_try", "first")])) == [
        *("set", "measure", "fine-tuned")
    ]
    assert one.end_values(["id", "seen"], ["first_try"]) == {
        "SFT_id_first_try_greedy": pytest.approx(0.3),
        "SFT_id_first_try_sampled": pytest.approx(0.3),
    }


def test_a_dialogue_in_words():
    wrong = SimpleNamespace(reward=-1.0, correct=False, message="the formula makes 26")
    right = SimpleNamespace(reward=5, correct=True, message="")
    said = prose.judged({"10+7+4+5": wrong, "(7-5)*10+4": right}, "The cards")
    assert said == (
        "The cards. Answer 1, 10+7+4+5, is paid −1: the formula makes 26. "
        "Answer 2, (7-5)*10+4, is paid +5: right."
    )
    assert prose.signed(-0.5, "+.1f") == "−0.5" and prose.signed(2) == "+2"


def test_iterations_tell_where_there_was_nothing_to_learn_from():
    some = pd.DataFrame({"first_try": [0.25, 0.5], "entropy": [0.5, 0.25], "spread": [0.0, 2.5]})
    table = prose.iterations(
        {"RL": some, "last": some[1:]}, {"first_try": "right", "entropy": "nats", "spread": "spread"}, "arm"
    )
    assert table.iloc[0].tolist() == ["RL", "38%", "0.38", "1.25", "1 of 2"]
    assert table.loc[1, "without any spread"] == "0 of 1" and list(table)[:3] == ["arm", "right", "nats"]
    assert "without any spread" not in prose.iterations({"RL": some}, {"entropy": "nats"}, "arm")


def test_the_first_and_the_last_ten_iterations_are_those_of_each_run():
    lengths = {("sft", 0): 0, ("ppo", 0): 25, ("ppo", 1): 12}
    rows = [{"arm": a, "seed": s, "iteration": i + 1} for (a, s), n in lengths.items() for i in range(n)]
    found = prose.tens(pd.DataFrame(rows))
    told = {
        when: [part["iteration"].tolist() for _, part in ten.groupby("seed")] for when, ten in found.items()
    }
    first = list(range(1, 11))
    assert told == {"first ten": [first, first], "last ten": [list(range(16, 26)), list(range(3, 13))]}


def test_how_a_table_of_verdicts_is_read():
    rule = {"rule": {"level": 0.9, "seeds": 5}, "headroom": {"floor": 0.02, "ceiling": 0.95}}
    one, two = ({"id": f"gp-{i}", "test": test} for i, test in enumerate(("difference", "level")))
    claims = {**rule, "claims": [one | {"seeds": 3}, two, {"id": "virl-0", "test": "gap"}]}
    said = prose.how_decided([{"claim": "gp-0"}], claims)
    assert "90 % intervals: from repetitions and hands drawn anew" in said and "from 3 repetitions on" in said
    assert "Below 2 % there is nothing to lose, above 95 % little to gain" in said and "a share" not in said
    level = prose.how_decided([{"claim": "gp-1"}], claims)
    assert "A number is a share" in level and "from 5 repetitions on" in level and "Init" not in level
    assert "success on other routes" in prose.how_decided([{"claim": "virl-0"}], claims)
    mixed = prose.how_decided([{"claim": "gp-0"}, {"claim": "gp-1"}], claims)
    assert "Of a level the number is a share" in mixed and "Of a comparison the number is a diff" in mixed
    assert "3 repetitions on (as planned)" in mixed and "planned" not in level
