"""Two kinds of hands, and the shapes of formulas."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from posttrain import formulas
from posttrain.analysis import adding, study


@pytest.mark.parametrize(
    ("numbers", "possible"),
    [
        ((9, 11, 7, 3), True),
        ((6, 6, 6, 6), True),
        ((3, 3, 8, 8), False),
        ((1, 1, 1, 1), False),
        ((0, 24), True),
    ],
)
def test_what_adding_alone_makes(numbers, possible):
    assert adding.adds(numbers) == possible


def test_it_agrees_with_the_solver():
    rng, found = np.random.default_rng(0), []
    for hand in rng.integers(1, 14, (300, 4)).tolist():
        solved = any(not set("*/") & set(text) for text in formulas.solve(hand))
        found.append(adding.adds(hand))
        assert found[-1] == solved, hand
    assert 20 < sum(found) < 100


def test_both_kinds_together_are_all_hands():
    points = study.Book("cpu").study("gp-vl")
    table = adding.by_kind(points, ("id", "ood"))
    assert len(table) == 2 * 2 * 3 * len(points.seeds)
    for (set_, arm, seed), rows in table.groupby(["set", "arm", "seed"]):
        assert rows["share"].sum() == pytest.approx(1)
        together = (rows["success"] * rows["share"]).sum()
        assert together == pytest.approx(points.end(arm, set_, "sampled", "first_try")[seed], abs=1e-5)
    said = adding.values(table)
    means = table[table["adding"]].groupby(["arm", "set"])["success"].mean()
    assert said["ppo_id_adding"] == pytest.approx(means["RL", "id"]) and len(said) == 12
    assert np.isnan(adding.values(table[table["adding"]], "_x")["sft_ood_other_x"])
    figure = adding.figure(table, {"id": "held out", "ood": "other rule"})
    assert [ax.get_title() for ax in figure.axes] == list(adding.KINDS.values())
    told, rl = adding.in_words(table, {"id": "held\nout", "seen": "none"}), means["RL", "id"]
    assert f"24 by adding and subtracting, held out: Init {means['Init', 'id']:.0%}" in told
    assert f"RL {rl:.0%}; 24 only with" in told and "none" not in told
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert sorted(len(line.get_ydata()) for line in dots) == [len(points.seeds)] * 6
    plt.close(figure)


def test_shapes_are_counted_among_all_first_answers():
    answer = '{"cards": ["A", "2", "3", "4"], "number": [1, 2, 3, 4], "formula": "%s=24"}'
    said = [
        ("RL", 1, "10+2 +3-4"),
        ("RL", 1, "1+2+3-4"),
        ("RL", 1, "1*2"),
        ("RL", 2, "1/2"),
        ("Init", 1, "1*2"),
    ]
    rows = [(arm, number, answer % formula) for arm, number, formula in said]
    rows += [("RL", 1, "no formula at all")]
    table = adding.shapes(pd.DataFrame(rows, columns=["arm", "answer", "text"]))
    assert table.loc["n+n+n-n"].to_dict() == {"Init": 0, "RL": 0.5} and list(table) == ["Init", "RL"]
    assert table.loc["n*n"].to_dict() == {"Init": 1, "RL": 0.25} and len(table) == 2
    assert adding.shapes(pd.DataFrame(rows, columns=["arm", "answer", "text"]), most=1).index.tolist() == [
        "n*n"
    ]
