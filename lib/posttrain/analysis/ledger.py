"""Small measurements of the environments, which the book's ledger (paper versus code) quotes.

Paper: appendices A and B, and the released code. No model takes part. The functions that draw take their
generator, in the order in which `measure` calls them.
"""

from __future__ import annotations

import numpy as np

from posttrain import formulas
from posttrain.environments import prompts
from posttrain.environments.general_points import GeneralPointsEnv, hands
from posttrain.environments.navigation import NavigationEnv
from posttrain.verifiers import GeneralPointsVerifier
from posttrain.verifiers.general_points import RANKS, Deal, Rule


def measure() -> dict[str, float]:
    """Every measurement of GeneralPoints that the ledger quotes."""
    rng = np.random.default_rng(0)
    return released_refusals() | duplicates(rng) | chance(rng) | unread_answers()


def released_refusals() -> dict[str, int]:
    """Hands, by their numbers, of which the released verifier's floats refuse some or all solutions."""
    released, some, every = GeneralPointsVerifier("as_released"), 0, 0
    rules = [Rule.parse(name) for name in ("10", "11/12/13")]
    numbers = {tuple(sorted(rule.numbers(hand))) for rule in rules for hand in hands(rule)}
    for four in sorted(numbers):
        deal = Deal(tuple(RANKS[n - 1] for n in four), four)
        answers = [prompts.answer(deal.ranks, four, solution) for solution in formulas.solve(list(four))]
        correct = [released.judge(answer, deal).correct for answer in answers]
        some, every = some + (not all(correct)), every + (not any(correct))
    return {"hands_only_floats_refuse": some, "hands_never_winnable": every}


def duplicates(rng: np.random.Generator) -> dict[str, float]:
    """Share of 2000 released deals in black suits that show a card twice, because it draws with
    replacement."""
    environment, twice = GeneralPointsEnv(split="all", protocol="as_released"), []
    for seed in range(2000):
        ranks = environment.reset(seed=seed)[1]["deal"].ranks
        twice.append(len(set(zip(ranks, rng.choice(["S", "C"], 4)))) < 4)
    return {"with_replacement_duplicates": float(np.mean(twice))}


def unread_answers() -> dict[str, float]:
    """Share of a failed released episode's answers that come after the verifier's last message."""
    environment, outcomes, truncated = GeneralPointsEnv(split="all", protocol="as_released"), [], False
    environment.reset(seed=0)
    while not truncated:
        *_, truncated, info = environment.step("wrong")
        outcomes.append(info["verdict"].outcome)
    return {"extra_answer_share": outcomes.count("step limit") / len(outcomes)}


def random_formula(numbers: tuple[int, ...], rng: np.random.Generator) -> str:
    """A uniformly random legal formula: order, operators and one of the released solver's seven brackets."""
    a, b, c, d = rng.permutation(numbers)
    p, q, r = rng.choice(list("+-*/"), 3)
    forms = (
        f"{a}{p}{b}{q}{c}{r}{d}",
        f"({a}{p}{b}){q}{c}{r}{d}",
        f"{a}{p}({b}{q}{c}){r}{d}",
        f"{a}{p}{b}{q}({c}{r}{d})",
        f"({a}{p}{b}{q}{c}){r}{d}",
        f"{a}{p}({b}{q}{c}{r}{d})",
        f"({a}{p}{b}){q}({c}{r}{d})",
    )
    return forms[rng.integers(7)]


def chance(rng: np.random.Generator) -> dict[str, float]:
    """Rule OOD: success of random formulas, at once and within five; how often the released message leaks."""
    released, clean = GeneralPointsVerifier("as_released"), GeneralPointsVerifier("clean")
    correct, leaks = [], []
    for hand in hands("11/12/13", faces=True):
        deal = Deal(hand, Rule.parse("11/12/13").numbers(hand))
        tries = [random_formula(deal.numbers, rng) for _ in range(5)]
        answers = [prompts.answer(hand, deal.numbers, formula) for formula in tries]
        correct.append([clean.judge(answer, deal).correct for answer in answers])
        verdict = released.judge(answers[0], deal)
        if verdict.outcome == "wrong value":
            leaks.append("beginning of a solution" in verdict.message)
    within = float(np.any(correct, axis=1).mean())
    return {
        "chance_first": float(np.mean(correct)),
        "chance_within5": within,
        "prefix_leak_share": float(np.mean(leaks)),
    }


def released_navigation() -> dict[str, float]:
    """Shares of points at which one turns, of relative words changed by unwrapped angles, and of points with
    an intersection that the released verifier denies."""
    words: dict[str, list[str]] = {"clean": [], "as_released": []}
    crossings = points = 0
    for protocol, turns in words.items():
        environment = NavigationEnv(actions="relative", protocol=protocol)
        for index in range(len(environment.routes)):
            _, info = environment.reset(seed=index, options={"route": index})
            over = False
            while not over:
                place = info["place"]
                turns += [place.action] * place.action.startswith("turn")
                points += protocol == "clean"
                crossings += protocol == "clean" and place.intersection
                *_, over, _, info = environment.step(environment.expert())
    changed = np.mean([a != b for a, b in zip(*words.values())])
    turning = len(words["clean"]) / points
    return {
        "turning_points": turning,
        "words_changed": float(changed),
        "points_misjudged": crossings / points,
    }
