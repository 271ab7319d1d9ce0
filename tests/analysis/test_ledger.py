"""What the ledger quotes: published values, measured anew where that takes little, and what is counted."""

import json
from pathlib import Path

import numpy as np
import pytest
from posttrain.analysis import ledger
from posttrain.environments import navigation
from posttrain.formulas import parse

VALUES = Path(__file__).parents[2] / "figures" / "values"


def test_the_published_shares_are_measured_again():
    published = json.loads((VALUES / "ledger.json").read_text())
    measured = ledger.unread_answers() | ledger.duplicates(np.random.default_rng(0))
    assert measured == pytest.approx({name: published[name] for name in measured})


def test_a_random_formula_uses_the_four_numbers_once():
    rng, forms = np.random.default_rng(0), set()
    for _ in range(300):
        text = ledger.random_formula((3, 5, 7, 9), rng)
        digits = [c for c in text if c.isdigit()]
        assert sorted(digits) == ["3", "5", "7", "9"]
        assert parse(text)  # legal
        forms.add("".join("n" if c.isdigit() else c for c in text if c.isdigit() or c in "()"))
    assert len(forms) == 7


def test_released_words_and_intersections_are_counted_over_whole_routes(monkeypatch):
    short = navigation.NavigationEnv

    def three_routes(**options):
        environment = short(**options)
        environment.routes = environment.routes[:3]
        return environment

    monkeypatch.setattr(ledger, "NavigationEnv", three_routes)
    shares = ledger.released_navigation()
    environment, places = three_routes(actions="relative"), []
    for index in range(3):
        _, info = environment.reset(seed=index, options={"route": index})
        over = False
        while not over:
            places.append(info["place"])
            *_, over, _, info = environment.step(environment.expert())
    assert shares["points_misjudged"] == np.mean([place.intersection for place in places])
    assert shares["turning_points"] == np.mean([place.action.startswith("turn") for place in places])
    assert 0 < shares["words_changed"] < 1


def test_chance_and_refusals_on_a_few_hands(monkeypatch):
    every = ledger.hands
    monkeypatch.setattr(ledger, "hands", lambda rule, **options: every(rule, **options)[:12])
    refused = ledger.released_refusals()
    assert 0 <= refused["hands_never_winnable"] <= refused["hands_only_floats_refuse"] <= 24
    shares = ledger.chance(np.random.default_rng(1))
    assert 0 <= shares["chance_first"] <= shares["chance_within5"] <= 1 and shares["prefix_leak_share"] > 0.5
    assert shares == ledger.chance(np.random.default_rng(1)) and len(ledger.measure()) == 7
