"""Intervals: closed forms, coverage by simulation, reproducibility, and what is refused."""

import numpy as np
import pytest
from posttrain.analysis.statistics import (
    Interval,
    bootstrap,
    decide,
    interquartile_mean,
    paired_difference,
    pooled_ratio,
    seeds_interval,
    two_proportion,
    wilson,
)


def test_interval_reads_well():
    interval = Interval(0.15, 0.121, 0.182)
    assert f"{interval:.1%}" == "15.0 % [12.1 %, 18.2 %]"
    assert f"{interval}" == "0.15 [0.121, 0.182]"
    assert f"{Interval(-0.03, -0.05, 0.01):+.1%}" == "-3.0 % [-5.0 %, +1.0 %]"
    assert (
        f"{Interval(0.005, 0.0004, 0.01):.1%}" == "0.5 % [0.04 %, 1.0 %]"
    )  # a bound's side is never rounded away
    assert f"{Interval(0, -0.00002, 0):.1%}" == "0.0 % [-0.002 %, 0.0 %]"


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([1, 2, 3, 4], 2.5),
        ([0, 0, 5, 7, 100, -100, 6, 6], (0 + 5 + 6 + 6) / 4),
        ([1, 2, 6], (1 + 4 * 2 + 6) / 6),
        ([7], 7),
    ],
)
def test_interquartile_mean(values, mean):
    assert interquartile_mean(values) == pytest.approx(mean)


def test_interquartile_mean_along_an_axis():
    values = np.arange(24.0).reshape(3, 8)
    np.testing.assert_allclose(interquartile_mean(values, axis=1), values.mean(axis=1))
    np.testing.assert_allclose(interquartile_mean(values, axis=0), values.mean(axis=0))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (14, 18, 0.5479, 0.9100),  # the paper's V-IRL-VL benchmark
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((successes / n, low, high), abs=1e-4)


def test_two_proportion_on_the_published_end_points():
    assert two_proportion(0.150, 234, 0.115, 234).z == pytest.approx(1.12, abs=0.01)
    assert two_proportion(0.034, 234, 0.115, 234).z == pytest.approx(-3.34, abs=0.01)
    assert two_proportion(0.150, 234, 0.115, 234).p == pytest.approx(0.264, abs=0.001)
    assert two_proportion(0, 10, 0, 20) == (0.0, 1.0)


def test_seeds_interval_is_students():
    half = 4.302653 * 1 / np.sqrt(3)
    assert seeds_interval([1, 2, 3]) == pytest.approx((2, 2 - half, 2 + half), abs=1e-5)
    assert seeds_interval([0.2, 0.2]) == (0.2, 0.2, 0.2)


def test_bootstrap_resamples_seeds_and_hands():
    rng = np.random.default_rng(0)
    hands_only, seeds_only = np.tile(rng.random(200), (3, 1)), np.repeat([[0.1], [0.2], [0.6]], 50, axis=1)
    assert bootstrap(hands_only, rng=1) == pytest.approx(bootstrap(hands_only[0], rng=2), abs=0.01)
    assert bootstrap(seeds_only, rng=1) == pytest.approx((0.3, 0.1, 0.6), abs=1e-9)
    assert bootstrap(np.ones((2, 5)), rng=1) == (1, 1, 1)


def test_a_statistic_of_ones_own():
    interval = bootstrap(np.arange(101.0), statistic=np.median, rng=3)
    assert interval.estimate == 50 and 30 < interval.low < 50 < interval.high < 70
    assert bootstrap(np.arange(8.0), statistic=interquartile_mean, rng=3).estimate == 3.5


def test_many_draws_at_a_time_are_the_same_resampling():
    """The fast way of the mean against the plain one, which any statistic takes."""
    rng = np.random.default_rng(4)
    a, b = (rng.random((3, 60)) < share for share in (0.5, 0.3))
    fast, plain = (
        paired_difference(a, b, statistic, samples=4000, rng=5)
        for statistic in (np.mean, lambda values: float(np.mean(values)))
    )
    assert fast.estimate == pytest.approx(plain.estimate) and fast[1:] == pytest.approx(plain[1:], abs=0.012)


def test_the_same_generator_gives_the_same_interval():
    outcomes = np.random.default_rng(5).random((3, 40)) < 0.3
    assert bootstrap(outcomes, rng=7) == bootstrap(outcomes, rng=np.random.default_rng(7))
    assert bootstrap(outcomes, rng=7) != bootstrap(outcomes, rng=8)


def test_coverage_over_hands_with_one_seed():
    rng, p, trials = np.random.default_rng(11), 0.3, 300
    inside = 0
    for _ in range(trials):
        interval = bootstrap(rng.random(150) < p, samples=200, rng=rng)
        inside += interval.low <= p <= interval.high
    assert 0.92 <= inside / trials <= 0.98


def test_coverage_of_a_paired_difference():
    rng, trials, inside, widths = np.random.default_rng(12), 250, 0, []
    for _ in range(trials):
        ease = rng.random(150)
        a, b = ease < 0.4, ease < 0.3 + 0.1 * (rng.random(150) < 0.5)
        interval = paired_difference(a, b, samples=200, rng=rng)
        inside += interval.low <= 0.05 <= interval.high
        widths.append(interval.high - interval.low)
    assert 0.91 <= inside / trials <= 0.99
    assert np.mean(widths) < 0.5 * (4 * np.sqrt(2 * 0.38 * 0.62 / 150)), "pairing should pay"


def test_paired_difference_estimates_the_difference():
    a, b = np.array([[1, 1, 0, 1], [1, 0, 0, 1]]), np.array([[1, 0, 0, 0], [1, 0, 0, 0]])
    assert paired_difference(a, b, rng=0).estimate == pytest.approx(3 / 8)
    assert paired_difference(a, a, rng=0) == (0, 0, 0)


@pytest.mark.parametrize(
    ("interval", "direction", "threshold", "verdict"),
    [
        ((0.03, 0.01, 0.05), "above", 0, "holds"),
        ((0.03, -0.01, 0.05), "above", 0, "undecided"),
        ((-0.03, -0.05, -0.01), "above", 0, "fails"),
        ((-0.03, -0.05, -0.01), "below", 0, "holds"),
        ((0.002, 0.0, 0.004), "below", 0.01, "holds"),
        ((0.0, 0.0, 0.0), "above", 0, "undecided"),
    ],
)
def test_decide(interval, direction, threshold, verdict):
    assert decide(Interval(*interval), direction, threshold) == verdict


@pytest.mark.parametrize(
    "call",
    [
        lambda: bootstrap([], rng=0),
        lambda: bootstrap([[0.1, np.nan]], rng=0),
        lambda: bootstrap(np.zeros((2, 2, 2)), rng=0),
        lambda: bootstrap([0, 1]),
        lambda: bootstrap([0, 1], samples=10, rng=0),
        lambda: bootstrap([0, 1], level=95, rng=0),
        lambda: paired_difference(np.zeros((3, 4)), np.zeros((2, 4)), rng=0),
        lambda: interquartile_mean([]),
        lambda: interquartile_mean([1, np.inf]),
        lambda: seeds_interval([0.5]),
        lambda: wilson(3, 2),
        lambda: wilson(0, 0),
        lambda: two_proportion(11.5, 234, 15.0, 234),
        lambda: decide(Interval(0, 0, 0), "up"),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError):
        call()


def test_a_pooled_ratio_divides_sums():
    right, answers = np.array([[3, 1, 8, 2], [2, 2, 9, 0]]), np.array([[4, 4, 9, 3], [4, 3, 9, 5]])
    found = pooled_ratio(right, answers, rng=1)
    assert (
        found.estimate == pytest.approx((14 / 20 + 13 / 21) / 2) and found.low < found.estimate < found.high
    )
    same = pooled_ratio(right, answers, rng=1, minus=(right, answers))
    assert same == (0, 0, 0)
    equal = np.full_like(right, 5)  # equal denominators: the mean of shares, by the same draws
    assert pooled_ratio(right, equal, rng=2) == pytest.approx(bootstrap(right / 5, rng=2))
    assert pooled_ratio(right, equal, rng=2, minus=(right // 2, equal)) == pytest.approx(
        paired_difference(right / 5, right // 2 / 5, rng=2)
    )
    for bad in (((right, answers[:1]), "same seeds and hands"), ((right, answers * 0), "must be positive")):
        with pytest.raises(ValueError, match=bad[1]):
            pooled_ratio(*bad[0], rng=1)
