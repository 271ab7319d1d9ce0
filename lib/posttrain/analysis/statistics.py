"""Statistics: estimates with intervals, from outcomes[seeds, hands].

Beyond the paper, which reports one seed and sqrt(p(1-p)/n). Ideas from rliable (interquartile mean, bootstrap over
runs), written on numpy's Generator.

What these intervals mean. An evaluation is a census of the held-out hands, so resampling hands asks: what if other
hands of the same kind had been held out? Resampling seeds asks: what if the run were repeated? Three seeds answer
the second question badly: there are ten distinct resamples of three rows, and they show 2/3 of the variance between
runs, so the bootstrap's interval is too narrow wherever seeds differ by more than the hands explain. Show the seeds
one by one, and give `seeds_interval` beside it. It assumes normally distributed runs, and with three of them
reaches 4.3 standard errors to each side: that is how little three runs say. Neither speaks of other models, tasks
or learning rates.

Left out on purpose: corrections for many comparisons (data/claims.yaml fixes few claims in advance) and BCa
intervals.
"""

from __future__ import annotations

import re
from typing import Callable, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

Statistic = Callable[[np.ndarray], float]


class Interval(NamedTuple):
    """An estimate and its interval. ``f"{interval:.1%}"`` reads ``15.0 % [12.1 %, 18.2 %]``."""

    estimate: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        estimate, low, high = (_shown(float(x), spec or ".3g").replace("%", " %") for x in self)
        return f"{estimate} [{low}, {high}]"


def _shown(x: float, spec: str) -> str:
    """`x` with more decimals than asked for where it would seem to be nought: the side that a bound lies on decides."""
    text, places = format(x, spec), re.search(r"\.(\d+)[f%]", spec)
    if x and not re.search("[1-9]", text) and places and int(places[1]) < 6:
        return _shown(x, spec.replace(places[0], f".{int(places[1]) + 1}{places[0][-1]}"))
    return text


class ZTest(NamedTuple):
    """A z statistic and its two-sided p value."""

    z: float
    p: float


def interquartile_mean(values: ArrayLike, axis: int | None = None) -> np.ndarray | float:
    """Mean of the middle half. Where the count is no multiple of four, the values at the edges count in part.

    `values` of any shape; `axis=None` takes all of them together. So 1, 2, 3 has weights 1/6, 4/6, 1/6.
    """
    values = _numbers(values, "values")
    if axis is None:
        values, axis = values.ravel(), 0
    edges = np.linspace(0, 1, values.shape[axis] + 1).clip(0.25, 0.75)
    result = np.moveaxis(np.sort(values, axis), axis, -1) @ (2 * np.diff(edges))
    return float(result) if result.ndim == 0 else result


def bootstrap(
    outcomes: ArrayLike,
    statistic: Statistic = np.mean,
    samples: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> Interval:
    """Percentile interval of `statistic(outcomes)`, resampling seeds, then hands.

    outcomes: [seeds, hands], or [hands] for one seed. All seeds meet the same hands, so one draw of hands serves
    all of them. With one seed only hands are resampled, and the interval says nothing about other seeds. Where
    every outcome is the same the interval has no width: use `wilson` there. `rng` is a Generator or a seed and must
    be given."""
    return _bootstrap([_table(outcomes, "outcomes")], statistic, samples, level, rng)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    statistic: Statistic = np.mean,
    samples: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> Interval:
    """Interval of `statistic(a) - statistic(b)` for [seeds, hands] of the same seeds and hands, resampled together.

    Pairing cancels what both arms share (easy hands, a lucky Init), so this is narrower than the two intervals
    suggest. An Init that all seeds start from is `np.broadcast_to(init, a.shape)`."""
    a, b = _table(a, "a"), _table(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"pairs need the same seeds and hands: a is {list(a.shape)}, b is {list(b.shape)}")
    return _bootstrap([a, b], statistic, samples, level, rng)


def pooled_ratio(
    counts: ArrayLike,
    of: ArrayLike,
    samples: int = 2000,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
    minus: tuple[ArrayLike, ArrayLike] | None = None,
) -> Interval:
    """Interval of a seed's sum(counts) / sum(of), meaned over seeds; both [seeds, hands], resampled together. With `minus` (counts, of) of the
    difference to that ratio.

    For accuracies whose denominators differ from case to case, such as right answers over answers."""
    tables = [_table(table, "counts") for table in (counts, of, *(minus or ()))]
    if len({table.shape for table in tables}) > 1:
        raise ValueError(
            f"the same seeds and hands are needed, not {', '.join(str(list(table.shape)) for table in tables)}"
        )
    if not all((table > 0).all() for table in tables[1::2]):
        raise ValueError("what is counted of must be positive")
    _check(samples, rng)
    rng, tail = np.random.default_rng(rng), (1 - _level(level)) / 2
    ratio = lambda means: means[0] / means[1] - (means[2] / means[3] if minus else 0)  # of each seed
    draws = _means(np.stack(tables), samples, rng, ratio)
    return Interval(
        float(ratio(np.stack(tables).mean(2)).mean()), *map(float, np.quantile(draws, (tail, 1 - tail)))
    )


def seeds_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t interval of the mean over seeds, from one value for each seed; at least two."""
    values = _numbers(values, "values")
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"one value for each of at least two seeds is needed, not shape {list(values.shape)}"
        )
    half = stats.t.ppf((1 + _level(level)) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    mean = values.mean()
    return Interval(float(mean), float(mean - half), float(mean + half))


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's interval of a proportion: right also near 0 and 1, where the paper's sqrt(p(1-p)/n) has no width."""
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"successes must lie between 0 and n >= 1, not {successes} of {n}")
    z, p = stats.norm.ppf((1 + _level(level)) / 2), successes / n
    centre, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (float((centre + sign * half) / (1 + z**2 / n)) for sign in (-1, 1))
    return Interval(p, low if successes else 0.0, high if successes < n else 1.0)


def two_proportion(p_a: float, n_a: int, p_b: float, n_b: int) -> ZTest:
    """z of the difference of two independent proportions, with the pooled variance.

    For results of which only rate and n are published. Unpaired, so it is blunt where both used the same hands, and
    it knows nothing of seeds."""
    if not (0 <= p_a <= 1 and 0 <= p_b <= 1 and n_a >= 1 and n_b >= 1):
        raise ValueError(f"two proportions and their n are needed, not {p_a} of {n_a} and {p_b} of {n_b}")
    pooled = (p_a * n_a + p_b * n_b) / (n_a + n_b)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    z = float((p_a - p_b) / error) if error else 0.0
    return ZTest(z, float(2 * stats.norm.sf(abs(z))))


def decide(interval: Interval, direction: str, threshold: float = 0.0) -> str:
    """ "holds", "fails" or "undecided": does the whole interval lie above (or below) the threshold, as a claim says?

    The rule of data/claims.yaml. It fails only if the whole interval lies on the other side; a bound on the threshold
    leaves it undecided.
    """
    if direction not in ("above", "below"):
        raise ValueError(f'direction must be "above" or "below", not {direction!r}')
    above, below = interval.low > threshold, interval.high < threshold
    if direction == "below":
        above, below = below, above
    return "holds" if above else "fails" if below else "undecided"


def _bootstrap(tables, statistic, samples, level, rng) -> Interval:
    _check(samples, rng)
    rng, tail = np.random.default_rng(rng), (1 - _level(level)) / 2
    seeds, hands = tables[0].shape

    def difference(parts) -> float:
        first, *rest = map(statistic, parts)
        return float(first - rest[0] if rest else first)

    if (
        statistic is np.mean
    ):  # the mean of the difference, many draws at a time: a chapter takes hundreds of intervals
        draws = _means(
            (tables[0] - tables[1] if len(tables) > 1 else tables[0])[None],
            samples,
            rng,
            lambda means: means[0],
        )
    else:
        chosen = (
            (rng.integers(seeds, size=(seeds, 1)), rng.integers(hands, size=hands)) for _ in range(samples)
        )
        draws = [difference(table[rows, columns] for table in tables) for rows, columns in chosen]
    return Interval(difference(tables), *map(float, np.quantile(draws, (tail, 1 - tail))))


def _means(
    tables: np.ndarray, samples: int, rng: np.random.Generator, of: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Mean over resampled seeds of what `of` makes of each seed's means over resampled hands ([tables, seeds, draws] -> [seeds, draws]): [samples]."""
    _, seeds, hands = tables.shape
    parts = []
    for start in range(0, samples, 500):
        count = min(500, samples - start)
        rows, columns = (
            rng.integers(seeds, size=(seeds, count)),
            rng.integers(hands, size=(count, hands), dtype=np.int32),
        )
        each = np.take(tables, columns, axis=2).mean(
            3
        )  # [tables, seeds, draws]: every seed meets the same hands
        parts.append(np.take_along_axis(of(each), rows, 0).mean(0))
    return np.concatenate(parts)


def _check(samples: int, rng) -> None:
    if rng is None:
        raise ValueError("give rng: a numpy Generator or a seed, so that the interval can be had again")
    if samples < 100:
        raise ValueError(f"{samples} samples are too few for an interval; use 100 or more")


def _numbers(values: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim == 0 or values.size == 0:
        raise ValueError(f"{name} is empty")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds {np.count_nonzero(~np.isfinite(values))} values that are not finite")
    return values


def _table(values: ArrayLike, name: str) -> np.ndarray:
    values = np.atleast_2d(_numbers(values, name))
    if values.ndim != 2:
        raise ValueError(f"{name} must be [seeds, hands], not {values.ndim}-dimensional")
    return values


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    return level
