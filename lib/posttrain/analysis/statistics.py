"""Intervals from outcomes[seeds, cases], and what they decide.

Beyond the paper, which reports one seed and sqrt(p(1-p)/n). Ideas from rliable (a bootstrap over runs),
written on numpy's Generator; Wilson's and Student's intervals are SciPy's.

What these intervals mean. An evaluation is a census of the held-out hands, so resampling hands asks: what if
other hands of the same kind had been held out? Resampling seeds asks: what if the run were repeated? Few
seeds answer the second question badly: resamples of n rows show (n - 1)/n of the variance between runs, of
five 4/5, so the bootstrap's interval is too narrow wherever seeds differ by more than the hands explain. Show
the seeds one by one, and give `seeds_interval` beside it. It assumes normally distributed runs, and with five
of them reaches 2.8 standard errors to each side (with three 4.3): that is how little few runs say. Neither
speaks of other models, tasks or learning rates.

Left out on purpose: corrections for many comparisons (data/claims.yaml fixes few claims in advance) and BCa
intervals.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

LEVEL = 0.95  # of every interval, as data/claims.yaml fixes it


class Interval(NamedTuple):
    """An estimate and its interval."""

    estimate: float
    low: float
    high: float


def bootstrap(
    outcomes: ArrayLike, rng: np.random.Generator | int, samples: int = 2000, of: ArrayLike | None = None
) -> Interval:
    """Percentile interval of the mean of outcomes[seeds, cases], resampling seeds, then cases.

    of: [seeds, cases] too, what the outcomes are counted of where that differs from case to case, such as
    answers; then it is of a seed's sum(outcomes) / sum(of), its mean over seeds.

    All seeds meet the same cases, so one draw of cases serves all of them. [cases] is one seed: then only
    cases are resampled, and the interval says nothing about other seeds. Where every outcome is the same the
    interval has no width: use `wilson` there. `ValueError` if a table is empty, holds a NaN, or is not
    [seeds, cases], or what is counted of is not positive.
    """
    tables = [np.atleast_2d(np.asarray(t, float)) for t in ([outcomes] if of is None else [outcomes, of])]
    if len({table.shape for table in tables}) > 1 or tables[0].ndim != 2 or not tables[0].size:
        shapes = ", ".join(str(list(table.shape)) for table in tables)
        raise ValueError(f"outcomes are [seeds, cases], of the same seeds and cases, not {shapes}")
    if not all(np.isfinite(table).all() for table in tables):
        raise ValueError("outcomes hold values that are not finite")
    if of is not None and (tables[1] <= 0).any():
        raise ValueError("what is counted of must be positive")
    if samples < 100:
        raise ValueError(f"{samples} samples are too few for an interval; use 100 or more")

    def value(means: np.ndarray) -> np.ndarray:  # [tables, seeds, …] -> [seeds, …]
        return means[0] if of is None else means[0] / means[1]

    tables, rng, draws = np.stack(tables), np.random.default_rng(rng), []
    _, seeds, cases = tables.shape
    for start in range(0, samples, 500):  # many draws at a time: a chapter takes hundreds of intervals
        count = min(500, samples - start)
        rows = rng.integers(seeds, size=(seeds, count))
        columns = rng.integers(cases, size=(count, cases), dtype=np.int32)
        means = np.take(tables, columns, axis=2).mean(3)  # [tables, seeds, draws]: seeds meet the same cases
        draws.append(np.take_along_axis(value(means), rows, 0).mean(0))
    return _interval(value(tables.mean(2)), draws)


def _interval(each: np.ndarray, draws: list[np.ndarray]) -> Interval:
    """The mean of each seed's value, and percentiles of the means that were drawn."""
    low, high = np.quantile(np.concatenate(draws), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(float(each.mean()), float(low), float(high))


class Term(NamedTuple):
    """A part of a contrast: weight * sum(counts) / sum(of), both [seeds, cases]; weight: one, or one a seed.
    Terms on the same `cases` meet the same resamples of them."""

    counts: np.ndarray
    of: np.ndarray
    cases: str
    weight: ArrayLike = 1.0


@lru_cache(8)  # claims on the same numbers of cases have the same draws, and to draw is most of the time
def _draws(
    rng: np.random.Generator | int, cases: tuple[int, ...], seeds: int, samples: int
) -> list[tuple[list[np.ndarray], np.ndarray]]:
    """Resampled cases and seeds, at most 500 at a time: how often each case is drawn, [cases, draws] for each
    number of cases; and which seeds, [seeds, draws]."""
    rng, made = np.random.default_rng(rng), []
    for start in range(0, samples, 500):
        count = min(500, samples - start)
        drawn = [rng.multinomial(number, np.full(number, 1 / number), count).T for number in cases]
        made.append(([one.astype(np.uint16) for one in drawn], rng.integers(seeds, size=(seeds, count))))
    return made


def contrast(
    terms: list[Term], rng: np.random.Generator | int, samples: int = 2000
) -> tuple[Interval, np.ndarray]:
    """Interval of a sum of terms, its mean over seeds, resampling seeds and cases; and its value for each
    seed.

    ValueError if terms have other seeds, or those on the same cases other numbers of them; if a denominator
    is not positive, or a value not finite.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for term in terms:
        if (
            term.counts.shape != term.of.shape
            or shapes.setdefault(term.cases, term.of.shape) != term.of.shape
        ):
            raise ValueError(f"terms on {term.cases} differ in their seeds or cases")
        if not np.isfinite(term.counts).all() or (term.of < 0).any() or (term.of.sum(1) <= 0).any():
            raise ValueError(f"outcomes on {term.cases} hold values that cannot be")
    if not terms or len({shape[0] for shape in shapes.values()}) > 1 or not min(map(min, shapes.values())):
        raise ValueError("a contrast needs terms, all of the same seeds, and cases")
    seeds, cases = next(iter(shapes.values()))[0], tuple(shape[1] for shape in shapes.values())

    def value(weights: Iterable[np.ndarray]) -> np.ndarray:
        """[seeds, draws], with the weights [cases, draws] of each case."""
        of, total = dict(zip(shapes, weights)), 0.0
        for term in terms:
            ratio = (term.counts @ of[term.cases]) / (term.of @ of[term.cases])
            total = total + np.broadcast_to(term.weight, seeds)[:, None] * ratio
        return total

    each = value(np.ones((number, 1)) for number in cases)[:, 0]
    draw = _draws if isinstance(rng, int) else _draws.__wrapped__  # a generator goes on from call to call
    draws = [
        np.take_along_axis(value(one.astype(float) for one in weights), rows, 0).mean(0)
        for weights, rows in draw(rng, cases, seeds, samples)
    ]
    return _interval(each, draws), each


def seeds_interval(values: ArrayLike) -> Interval:
    """Student's t interval of the mean over seeds, from one value for each seed; at least two."""
    values = np.asarray(values, float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"one value for each of at least two seeds is needed, not {values.tolist()}")
    half = seeds_half(values.std(ddof=1), len(values))
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def seeds_half(deviation: float, n: int) -> float:
    """Half the width of that interval, from the deviation between `n` seeds, at least two."""
    return float(special.stdtrit(n - 1, (1 + LEVEL) / 2) * (deviation / np.sqrt(n)))


def wilson(successes: int, n: int) -> Interval:
    """Wilson's interval of a proportion: it has a width at 0 and 1, where sqrt(p(1-p)/n) has none."""
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"successes must lie between 0 and n >= 1, not {successes} of {n}")
    from scipy import stats  # takes as long as all else that a chapter imports, and few ask for it

    interval = stats.binomtest(successes, n).proportion_ci(LEVEL, "wilson")
    return Interval(successes / n, float(interval.low), float(interval.high))


def decide(interval: Interval, direction: str, threshold: float = 0.0) -> str:
    """Whether the whole interval lies above (or below) the threshold: "holds", "fails" or "undecided".

    It fails only if the whole interval lies on the other side; a bound on the threshold leaves it undecided.
    """
    if direction not in ("above", "below"):
        raise ValueError(f'direction must be "above" or "below", not {direction!r}')
    above, below = interval.low > threshold, interval.high < threshold
    if direction == "below":
        above, below = below, above
    return "holds" if above else "fails" if below else "undecided"
