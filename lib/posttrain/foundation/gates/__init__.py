"""The gates a foundation must pass before any post-training, on rules (lists of actions, a city) of no
experiment.

Fixed before the first post-training run. A gate has a bound; `measure` returns a table with one row a gate.
Only measuring imports torch: the book's table of gates is read from the cards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from posttrain.policy import Policy


class Gate(NamedTuple):
    """`at_least`: the measured share must be at least the bound; else at most."""

    bound: float
    at_least: bool
    meaning: str


_CANNOT = Gate(0.01, False, "correct answers to the whole task in the chat frame, zero-shot, T = 1")
GATES: dict[str, dict[str, Gate]] = {  # by corpus
    "numbers": {
        "reads an unseen rule": Gate(
            0.95, True, "cards -> numbers under rules that the corpus never held, chat frame"
        ),
        "follows a swapped rule": Gate(
            0.90, True, "both answers right when only the rule's text is exchanged"
        ),
        "solves hands without faces": Gate(0.03, True, "target 24, plain layout, greedy"),
        "solves hands with faces": Gate(0.03, True, "the same, under unseen rules"),
        "solves hands with 11-13": Gate(
            0.03, True, "numbers -> formula in the chat frame, a number above 10 in each hand, greedy"
        ),
        "revises": Gate(
            *(0.05, True),
            "success within 5 minus first-try success, numbers -> formula, T = 1, informative feedback",
        ),
        "cannot do the task yet": _CANNOT,
    },
    "directions": {
        "reads an unseen list of actions": Gate(
            *(0.95, True),
            "instruction with two words -> the one that is listed, lists that the corpus never held, chat "
            "frame",
        ),
        "follows a swapped list": Gate(0.90, True, "both answers right when only the list is exchanged"),
        "turns a heading": Gate(
            *(0.90, True),
            "a relative word or degrees -> the heading, a heading -> the relative word, in a row of turns, "
            "plain layout",
        ),
        "finds its place": Gate(
            *(0.80, True),
            "instructions and log -> observation and instruction that holds, routes of a city that no "
            "experiment uses",
        ),
        "follows instructions": Gate(
            0.80, True, "the next action of a log, the same routes, absolute and relative actions in turn"
        ),
        "revises": Gate(0.70, True, "the right action after a wrong one and its verdict, T = 1"),
        "cannot do the task yet": _CANNOT,
    },
    "cards": {
        "recognizes black hands": Gate(
            *(0.60, True),
            "all four ranks of a picture as a multiset, greedy, chat frame, suits of the training",
        ),
        "recognizes red hands": Gate(0.60, True, "the same, suits of the visual shift"),
        "is not perfect yet": Gate(
            *(0.98, False), "the same, mean of both: post-training has something to gain and to lose"
        ),
        "reads an unseen rule": Gate(
            0.60, True, "picture -> cards and numbers under rules that the corpus never held"
        ),
        "cannot do the task yet": _CANNOT,
    },
    "streets": {
        "recognizes landmarks": Gate(
            *(0.60, True),
            "name and bearing of a landmark in a picture of a city that no experiment uses, greedy, chat "
            "frame",
        ),
        "is not perfect yet": Gate(0.98, False, "the same: post-training has something to gain and to lose"),
        # Four points of five are no intersection, so a blind reader of the text passes these two as well:
        # they say that nothing was lost.
        "sees intersections": Gate(
            *(0.80, True),
            "an intersection or none, in pictures of the same city (without looking: about 82 %)",
        ),
        "finds its place": Gate(
            *(0.60, True),
            "instructions, log and a picture -> the instruction that holds (without looking: about 82 %)",
        ),
        "cannot do the task yet": _CANNOT,
    },
}


def measure(
    model: PreTrainedModel,
    tokens: PreTrainedTokenizerFast,
    count: int = 512,
    seed: int = 0,
    source: str = "numbers",
) -> pd.DataFrame:
    """One row a gate of the corpus `source`: measured share, bound, passed, meaning. `count`: hands or
    points a gate."""
    import torch

    from posttrain.foundation.gates import directions, numbers

    torch.manual_seed(seed)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    shares = {"numbers": numbers.shares, "directions": directions.shares}[source]
    return _table(shares(model, tokens, count, rng), source)


def measure_sight(policy: Policy, source: str, count: int = 512, seed: int = 0) -> pd.DataFrame:
    """The same for a vision-language foundation: one row a gate of what it sees (`source`)."""
    from posttrain.foundation.gates import sights

    rng = np.random.default_rng(np.random.SeedSequence([seed, 4]))
    return _table({"cards": sights.cards, "streets": sights.streets}[source](policy, count, rng), source)


def _table(shares: dict[str, float], source: str) -> pd.DataFrame:
    rows = []
    for name, gate in GATES[source].items():
        share = float(shares[name])
        passed = share >= gate.bound if gate.at_least else share <= gate.bound
        rows.append({"gate": name, "measured": share, "passed": passed, **gate._asdict()})
    return pd.DataFrame(rows)
