"""Runs at other rates: as shares of the chosen one, and side by side."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from posttrain.analysis import rates, study


def test_rates_stand_as_shares_of_the_chosen_one(toy):
    own = toy({("Init", "ood"): {"first_try": 0.6}, ("RL", "ood"): {"first_try": 0.2}}, task="navigation")
    own.settings["sft"]["sft"], own.settings["ppo"]["ppo"] = {"learning_rate": 1e-3}, {"learning_rate": 3e-4}
    rows = [("sft-tenth", "sft", 1e-4, 0.5), ("ppo-third", "ppo", 1e-4, [0.3, 0.5])]
    records = [
        {
            "arm": arm,
            "seed": seed,
            "seconds": 1.0,
            "settings": {"algorithm": kind, kind: {"learning_rate": rate}},
        }
        for arm, kind, rate, _ in rows
        for seed in (0, 1)
    ]
    ends = [
        {"arm": arm, "seed": seed, "set": "ood", "decoding": "sampled", "step": 5, "gflops": 1.0}
        | {"first_try": value[seed] if isinstance(value, list) else value}
        for arm, _, _, value in rows
        for seed in (0, 1)
    ]
    none = pd.DataFrame()
    others = study.Results("walks", records, pd.DataFrame(ends), none, none)
    figure = rates.against_shares({"at 98 %": (own, others)}, {"ood": "relative"}, "first_try")
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["SFT"].get_xydata().tolist() == pytest.approx(np.array([[0.1, 0.5], [1.0, 0.5]]))
    assert lines["RL"].get_xydata() == pytest.approx(np.array([[1 / 3, 0.4], [1.0, 0.2]]))
    assert lines["Init"].get_ydata()[0] == pytest.approx(0.6)
    plt.close(figure)
    told = rates.ends(own, others, "ood", "first_try")
    assert list(told["SFT"]) == pytest.approx([0.1, 1.0]) and told["RL"][1.0].tolist() == [0.2, 0.2]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1/10", "1/3", "1"]
    seeds = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linewidth() < 1]
    assert len(seeds) == 4, "one for each arm and seed"


def test_studies_side_by_side_have_given_colours_and_one_scale(toy):
    whole = toy({("SFT", "id"): {"first_try": 0.9}, ("RL", "id"): {"first_try": 0.1}})
    studies = {"both": whole.only({"SFT": "one", "RL": "two"}), "one of them": whole.only({"RL": "two"})}
    figure = rates.beside(studies, {"id": "held out"}, "first_try", {"one": "green", "two": "black"})
    first, second = figure.axes
    colours = [{line.get_label(): line.get_color() for line in ax.lines} for ax in (first, second)]
    assert (colours[0]["one"], colours[0]["two"], colours[1]["two"]) == ("green", "black", "black")
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[1] > 0.9
    assert [ax.get_title() for ax in (first, second)] == ["both", "one of them"]
    plt.close(figure)
