"""What the foundation read: levels, ends against them, and against the rate."""

import pytest
from matplotlib import pyplot as plt
from posttrain.analysis import reading, study


def test_levels_are_read_off_the_foundations(monkeypatch):
    from types import SimpleNamespace

    from posttrain import config

    text = {"corpus": "directions", "steps": 2, "reading_steps": 0}
    arms = {
        "init": {"algorithm": "init", "steps": 1},
        "sft": {"algorithm": "sft", "start": "init", "steps": 1},
        "ppo": {"algorithm": "ppo", "start": "init", "budget_gflop": 1},
    }
    one = {"task": "navigation", "arms": arms}
    said = {
        "seeds": [0],
        "foundations": {"a": {**text, "heed": 0.7}, "b": {**text, "invented": 0.05}},
        "studies": {"walk-x": {**one, "foundation": "a"}, "walk-y": {**one, "foundation": "b"}},
    }
    said["studies"]["walk-pilot"] = {"task": "navigation", "foundation": "a", "arms": {"init": arms["init"]}}
    book = SimpleNamespace(profile=config.check("some", said), study=lambda name: name)
    assert reading.levels(book, "walk-") == {(0.7, 0.5): "walk-x", (1.0, 0.05): "walk-y"}
    assert reading.levels(book, "other-") == {}


def test_what_the_foundation_read(toy):
    shares = {
        (0.7, 0.5): {("Init", "ood"): {"first_try": 0.6}, ("RL", "ood"): {"first_try": [0.2, 0.3]}},
        (1.0, 0.5): {("Init", "ood"): {"first_try": 0.9}, ("RL", "ood"): {"first_try": 0.85}},
        (1.0, 0.05): {("Init", "ood"): {"first_try": 0.8}},
    }
    studies = {level: toy(said, task="navigation") for level, said in shares.items()}
    figure = reading.heed(studies, {"first_try": "turns right"})
    (axes,) = figure.axes
    means = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert [round(x) for x in means["RL"].get_xdata()] == [0, 1, 2]
    assert means["RL"].get_ydata() == pytest.approx([0.25, 0.85, 0.5])
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == ["70 %", "100 %", "100 %\n(5 %)"]
    plt.close(figure)
    figure = reading.price(studies, {"gained": ("ood", "within")}, ("ood", "first_try"), "points")
    (axes,) = figure.axes
    rl = {line.get_label(): line for line in axes.lines}
    assert rl["RL, 70% heed"].get_ydata() == pytest.approx([-40, -30])
    assert rl["RL, 100% heed"].get_ydata() == pytest.approx([-5, -5])
    assert rl["RL, 100% heed, 5% invented"].get_fillstyle() == "none"
    plt.close(figure)
    same = reading.ranks(studies, {"itself": ("ood", "first_try")}, ("ood", "first_try"))
    assert same["RL"].tolist() == pytest.approx([1.0])


def test_levels_compared(toy):
    said = {
        ("Init", "ood"): {"first_turns": 0.5},
        ("SFT", "ood"): {"first_turns": [0.2, 0.55]},
        ("RL", "ood"): {"first_turns": [0.7, 0.6]},
    }
    table = reading.compared({(0.7, 0.5): toy(said, task="navigation")})
    (row,) = table.to_dict("records")
    assert row["SFT − Init"] == "−30 +5" and row["RL − Init"] == "+20 +10" and row["RL − SFT"] == "+50 +5"
    assert (row["RL above"], row["alike"], row["SFT above"]) == (1, 1, 0)
    assert row["writers who heed"] == "70%" and row["lists invented"] == "50%"


def test_numbers_for_the_prose(toy):
    def level(sft, fake, rl=0.5):
        base = {"first_turns": 0.5, "fake": 0.5, "per_step": 0.5, "kl_back": 0.0}
        ends = {(arm, set_): base for arm in study.ARMS.values() for set_ in ("id", "ood")}
        ends[("RL", "ood")] = base | {"first_turns": rl}
        return toy(ends | {("SFT", "ood"): base | {"first_turns": sft, "fake": fake}}, task="navigation")

    studies = {(0.5, 0.05): level(0, 0), (0.7, 0.5): level([0.6, 0.8], 0.1), (1.0, 0.5): level(0.9, 0.0, 0.4)}
    values = reading.values(studies)
    assert (values["heed_low"], values["heed_high"]) == (0.7, 1.0)
    assert (values["sft_ood_low"], values["sft_ood_high"]) == pytest.approx((0.7, 0.9))
    assert values["heed_worst"] == 1.0 and values["ppo_ood_worst"] == pytest.approx(0.4)
    assert (values["ppo_ood_least"], values["ppo_ood_most"]) == pytest.approx((0.4, 0.5))
    assert values["sft_fake_low"] == pytest.approx(0.1)
    assert (values["invented_few"], values["heed_few"], values["sft_ood_few"]) == (0.05, 0.5, 0.0)
    assert values["heed_twin"] == 0.7, "no other level is as heedful: the nearest one"
    assert (values["sft_fell"], values["rl_fell"], values["repetitions"]) == (2, 0, 6)
    assert values["sft_per_step_high"] == 0.5
    assert (values["pairs"], values["sft_ood_fewer_least"]) == (1, 0), (
        "none is as heedful: it has no more than itself"
    )
    values = reading.values(studies | {(0.7, 0.05): level(0.9, 0), (1.0, 0.05): level(0.8, 0, 0.6)})
    assert (values["pairs"], values["heed_few"]) == (2, 1.0)
    assert (values["sft_ood_fewer_least"], values["sft_ood_fewer_most"]) == pytest.approx((-10, 20))
    assert (values["ppo_ood_fewer_least"], values["ppo_ood_fewer_most"]) == pytest.approx((0, 20))
