"""Intervals: closed forms, coverage by simulation, reproducibility, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from posttrain.analysis.statistics import (
    LEVEL,
    Interval,
    Term,
    bootstrap,
    contrast,
    decide,
    seeds_interval,
    wilson,
)


def test_the_level_is_that_of_the_claims():
    claims = yaml.safe_load((Path(__file__).parents[2] / "data" / "claims.yaml").read_text())
    assert claims["rule"]["level"] == LEVEL


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


def test_seeds_interval_is_students():
    half = 4.302653 * 1 / np.sqrt(3)
    assert seeds_interval([1, 2, 3]) == pytest.approx((2, 2 - half, 2 + half), abs=1e-5)
    assert seeds_interval([0.2, 0.2]) == (0.2, 0.2, 0.2)


def test_bootstrap_resamples_seeds_and_cases():
    rng = np.random.default_rng(0)
    cases_only, seeds_only = np.tile(rng.random(200), (3, 1)), np.repeat([[0.1], [0.2], [0.6]], 50, axis=1)
    assert bootstrap(cases_only, rng=1) == pytest.approx(bootstrap(cases_only[0], rng=2), abs=0.01)
    assert bootstrap(seeds_only, rng=1) == pytest.approx((0.3, 0.1, 0.6), abs=1e-9)
    assert bootstrap(np.ones((2, 5)), rng=1) == (1, 1, 1)


def test_many_draws_at_a_time_are_the_plain_resampling():
    rng = np.random.default_rng(4)
    outcomes = rng.random((3, 60)) < 0.4
    rows, columns = rng.integers(3, size=(4000, 3, 1)), rng.integers(60, size=(4000, 1, 60))
    plain = np.quantile(outcomes[rows, columns].mean((1, 2)), (0.025, 0.975))
    assert bootstrap(outcomes, rng=5, samples=4000)[1:] == pytest.approx(plain, abs=0.012)


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


def test_coverage_of_a_paired_difference():  # of the bootstrap on differences, case by case
    rng, trials, inside, widths = np.random.default_rng(12), 250, 0, []
    for _ in range(trials):
        ease = rng.random(150)
        a, b = ease < 0.4, ease < 0.3 + 0.1 * (rng.random(150) < 0.5)
        interval = bootstrap(a.astype(float) - b, samples=200, rng=rng)
        inside += interval.low <= 0.05 <= interval.high
        widths.append(interval.high - interval.low)
    assert 0.91 <= inside / trials <= 0.99
    assert np.mean(widths) < 0.5 * (4 * np.sqrt(2 * 0.38 * 0.62 / 150)), "pairing should pay"


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
        lambda: bootstrap([0, 1], samples=10, rng=0),
        lambda: seeds_interval([0.5]),
        lambda: seeds_interval([0.5, np.inf]),
        lambda: wilson(3, 2),
        lambda: wilson(0, 0),
        lambda: decide(Interval(0, 0, 0), "up"),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError):
        call()


def test_a_pooled_ratio_divides_sums():
    right, answers = np.array([[3, 1, 8, 2], [2, 2, 9, 0]]), np.array([[4, 4, 9, 3], [4, 3, 9, 5]])
    found = bootstrap(right, rng=1, of=answers)
    assert (
        found.estimate == pytest.approx((14 / 20 + 13 / 21) / 2) and found.low < found.estimate < found.high
    )
    equal = np.full_like(right, 5)  # equal denominators: the mean of shares, by the same draws
    assert bootstrap(right, rng=2, of=equal) == pytest.approx(bootstrap(right / 5, rng=2))
    for of, told in ((answers[:1], "same seeds and cases"), (answers * 0, "must be positive")):
        with pytest.raises(ValueError, match=told):
            bootstrap(right, rng=1, of=of)


def test_draws_that_are_kept_are_those_that_would_be_made():
    rng = np.random.default_rng(1)
    tables = [rng.random((3, cases)) for cases in (40, 40, 25)]
    weights = np.ones(3)
    terms = [
        Term(table, np.ones_like(table), f"{table.shape[1]} cases", sign * weights)
        for table, sign in zip(tables, (1, -1, -1))
    ]
    kept, again = (contrast(terms, 0, 700) for _ in range(2))
    made = contrast(terms, np.random.default_rng(0), 700)
    assert kept[0] == again[0] == made[0]
