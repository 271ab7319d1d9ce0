"""Hands dealt and judged per second, against a brute force like the one that the released environment runs at
every reset."""

from fractions import Fraction
from itertools import combinations_with_replacement, permutations, product
from time import perf_counter

import numpy as np
from posttrain import formulas
from posttrain.environments import GeneralPointsEnv, prompts

PATTERNS = (
    "{}{}{}{}{}{}{}",
    "({}{}{}){}{}{}{}",
    "{}{}({}{}{}){}{}",
    "{}{}{}{}({}{}{})",
    "({}{}{}{}{}){}{}",
    "{}{}({}{}{}{}{})",
    "({}{}{}){}({}{}{})",
)


def brute_force(numbers: tuple[int, ...], target: int = 24) -> list[str]:
    """Every order x 64 operator triples x 7 bracket patterns, each evaluated as a text; fractions when a
    division occurs."""
    names, solutions = {"F": Fraction, "__builtins__": {}}, []
    for order, operators in product(sorted(set(permutations(numbers))), product("+-*/", repeat=3)):
        (a, b, c, d), (f, g, h) = (map("F({})".format, order) if "/" in operators else order), operators
        for pattern in PATTERNS:
            text = pattern.format(a, f, b, g, c, h, d)
            try:
                if eval(text, names) == target:  # our own text, never a model's
                    solutions.append(text)
            except ZeroDivisionError:
                pass
    return solutions


def play(env: GeneralPointsEnv, answers: dict[tuple[int, ...], str], count: int) -> float:
    """Seconds for `count` hands dealt, answered (every other one rightly) and judged."""
    start = perf_counter()
    for i in range(count):
        deal = env.reset()[1]["deal"]
        formula = answers[tuple(sorted(deal.numbers))] if i % 2 else "+".join(map(str, deal.numbers))
        correct = env.step(prompts.answer(deal.ranks, deal.numbers, formula))[2]
        assert correct or not i % 2
    return perf_counter() - start


def play_by_brute_force(rng: np.random.Generator, count: int) -> float:
    """Seconds for `count` solvable hands, redrawn until they are; judging is free here."""
    start = perf_counter()
    while count:
        count -= bool(brute_force(tuple(int(n) for n in np.minimum(rng.integers(1, 14, 4), 10))))
    return perf_counter() - start


def test_which_hands_make_24(record):
    """All hands at once against the solver that lists every formula."""
    hands, ratios = list(combinations_with_replacement(range(1, 14), 4)), []
    for _ in range(5):
        formulas._solve.cache_clear()
        formulas._values.cache_clear()
        start = perf_counter()
        one_by_one = [bool(formulas.solve(list(hand))) for hand in hands]
        middle = perf_counter()
        assert formulas.solvable(hands).tolist() == one_by_one
        ratios.append((middle - start) / (perf_counter() - middle))
    record("hands-that-make-24", ratio=np.median(ratios))
    assert np.median(ratios) >= 3


def test_hands_per_second(record):
    start = perf_counter()
    env = GeneralPointsEnv(split="all")
    env.reset(seed=0)
    enumeration = perf_counter() - start
    answers = {
        tuple(sorted(numbers)): formulas.solve(list(numbers))[0]
        for numbers in map(env.rule.numbers, env.hands)
    }
    assert all(
        bool(brute_force(numbers)) is bool(formulas.solve(list(numbers)))
        for numbers in ((3, 3, 8, 8), (1, 1, 1, 1), (4, 5, 7, 10))
    )
    ours, theirs = [], []
    for rng in map(
        np.random.default_rng, np.random.SeedSequence(0).spawn(3)
    ):  # in turns, so that both see the same load
        ours.append(4000 / play(env, answers, 4000))
        theirs.append(8 / play_by_brute_force(rng, 8))
    ratio = np.median(ours) / np.median(theirs)
    record(
        "environment",
        hands_per_second=np.median(ours),
        brute_force_hands_per_second=np.median(theirs),
        ratio=ratio,
        enumeration_seconds_once=enumeration,
    )
    assert ratio >= 1000
