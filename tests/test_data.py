"""The paper's numbers and the claims: both files have the shape that notebooks rely on, and agree with each
other."""

import re
from pathlib import Path

import pytest
import yaml
from posttrain.analysis.statistics import wilson
from posttrain.compute import LAMBDA, rl_flops_published
from posttrain.verifiers import answers, general_points

DATA = Path(__file__).resolve().parent.parent / "data"
PAPER = yaml.safe_load((DATA / "paper.yaml").read_text(encoding="utf-8"))
CLAIMS = yaml.safe_load((DATA / "claims.yaml").read_text(encoding="utf-8"))
SOURCE = re.compile(r"(P|C|H|T|own)\b")


def leaves(node, path=()):
    for key, value in (
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    ):
        yield from leaves(value, (*path, key)) if isinstance(value, (dict, list)) else [((*path, key), value)]


@pytest.mark.parametrize("name", PAPER["figures"])
def test_figure(name):
    figure = PAPER["figures"][name]
    assert re.fullmatch(r"fig\d\d", name)
    assert {"about", "source", "printed"} <= set(figure) <= {"about", "source", "printed", "ticks", "derived"}
    assert SOURCE.match(figure["source"]).group() == "P", "published figures come from the paper"
    assert figure.get("derived", {"source": "own"})["source"] == "own"
    for task, axes in figure.get("ticks", {}).items():
        for axis, (low, high) in axes.items():
            assert low < high, (task, axis)
            assert high > 1e17 if axis == "compute" else 0 <= low < high <= 1, "FLOPs, and rates as fractions"


@pytest.mark.parametrize("name", ["evaluation", "compute", "chance", "strength"])
def test_section_names_its_source(name):
    assert SOURCE.match(PAPER[name]["source"])


def test_rewards_and_hyperparameters_name_their_source():
    for section in ("rewards", "hyperparameters"):
        for name, entry in PAPER[section].items():
            assert SOURCE.match(entry["source"]), (section, name)


def test_no_number_was_read_as_text():
    meant = {("paper", "arxiv")}
    texts = [(path, value) for path, value in leaves(PAPER) if isinstance(value, str) and path not in meant]
    numbers = [path for path, value in texts if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value)]
    assert [path for path in numbers if "hand" not in path] == [], "write 1.0e-6 and 1.0e+6"


@pytest.mark.parametrize(
    ("figure", "task", "rl", "sft"),
    [
        ("fig06", "gp-l", 0.035, -0.081),
        ("fig06", "virl-l", 0.110, -0.795),
        ("fig06", "gp-vl", 0.030, -0.056),
        ("fig06", "virl-vl", 0.093, -0.332),
        ("fig07", "gp-vl", 0.176, -0.099),
        ("fig07", "virl-vl", 0.611, -0.056),
    ],
)
def test_end_points_give_the_published_differences(figure, task, rl, sft):
    values = PAPER["figures"][figure]["printed"][task]
    assert values["rl"] - values["init"] == pytest.approx(rl) and values["sft"] - values[
        "init"
    ] == pytest.approx(sft)


@pytest.mark.parametrize(("figure", "task"), [("fig06", "gp-l"), ("fig06", "gp-vl"), ("fig07", "gp-vl")])
def test_strength_is_what_statistics_says(figure, task):
    values, strength = PAPER["figures"][figure]["printed"][task], PAPER["strength"][figure][task]
    for arm in ("rl", "sft"):  # the unpaired z test of two proportions with the pooled variance
        pooled = (values[arm] + values["init"]) / 2
        z = (values[arm] - values["init"]) / (pooled * (1 - pooled) * 2 / strength["hands"]) ** 0.5
        assert z == pytest.approx(strength[arm], abs=0.06)


def test_routes_are_the_printed_rates():
    routes, printed = (
        PAPER["figures"]["fig07"]["derived"]["virl-vl"],
        PAPER["figures"]["fig07"]["printed"]["virl-vl"],
    )
    for arm in ("init", "rl", "sft"):
        assert wilson(routes[arm], routes["routes"]).estimate == pytest.approx(printed[arm], abs=0.0005)


def test_library_and_paper_agree():
    assert PAPER["compute"]["lambda"] == LAMBDA
    for task, cost in PAPER["compute"]["derived"]["rl_token_in_parameters"].items():
        assert rl_flops_published(1, 1, task) == pytest.approx(cost)
    rewards = PAPER["rewards"]["general-points"]
    names = {
        "correct": "CORRECT",
        "wrong_value": "WRONG_VALUE",
        "wrong_numbers": "WRONG_NUMBERS",
        "illegal_formula": "ILLEGAL",
        "wrong_cards": "WRONG_CARDS",
    }
    for ours, theirs in names.items():
        assert rewards[ours] == getattr(general_points, theirs)
    assert rewards["step_limit"] == answers.STEP_LIMIT


def test_claims_have_names_of_their_own_and_quote_the_paper():
    claims = {claim["id"]: claim for claim in CLAIMS["claims"]}
    assert len(claims) == len(CLAIMS["claims"])
    quoted = [claim for claim in claims.values() if claim["figure"] in ("fig06", "fig07")]
    for claim in quoted:
        printed = PAPER["figures"][claim["figure"]]["printed"][re.match(r"[a-z]+-v?l", claim["id"])[0]]
        assert claim["published"] == [printed[claim[side].lower()] for side in ("minuend", "subtrahend")]
    assert len(quoted) == 18
    highest = PAPER["figures"]["fig09"]["ticks"]["gp-l"]["success"][1]
    assert claims["gp-l-base-rl-needs-sft"]["published"] == [highest]
