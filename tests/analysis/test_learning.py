"""How RL learned, drawn and in words."""

import pytest
from matplotlib import pyplot as plt
from posttrain.analysis import learning


def test_every_iteration_of_every_seed(toy, style):
    walks = toy({("SFT", "id"): {}}, task="navigation")
    figure = learning.figure(walks)
    assert [ax.get_title("left").split("\n")[0] for ax in figure.axes] == [
        *("right at once", "route success", "entropy", "KL per iteration")
    ]
    assert len(figure.axes[0].lines) == 2
    assert figure.axes[0].lines[0].get_ydata()[-1] == pytest.approx((1 + 2 + 3 + 4 + 5) / 6 / 5)
    plt.close(figure)


def test_the_same_in_words(toy):
    points = toy({("SFT", "id"): {}})
    points.training.loc[(points.training["seed"] == 1) & (points.training["iteration"] == 5), "within"] = 1.0
    said = learning.in_words(points)
    assert said.startswith(
        "From the first to the last 5 iterations, means: first-try success (training hands"
    )
    assert "T = 1) from 33% to 50% (repetitions 50% to 50%)" in said
    assert "success within 5 from 50% to 55% (repetitions 50% to 60%)" in said
    assert said.endswith("KL per iteration from 0.01 to 0.01 (repetitions 0.01 to 0.01).")
