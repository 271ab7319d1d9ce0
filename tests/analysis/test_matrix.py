"""The matrix of verdicts: every claim of the second edition has a row, every state a sign."""

import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from posttrain import config
from posttrain.analysis import matrix
from posttrain.analysis.claims import STATES, task

SECOND = yaml.safe_load((config.ROOT / "data" / "claims.yaml").read_text())


def verdict(claim: str, state: str = "holds", measure: str = "paper", estimate: float | None = 0.125) -> dict:
    low, high = (None, None) if estimate is None else (estimate - 0.02, estimate + 0.02)
    return {
        "claim": claim,
        "measure": measure,
        "state": state,
        "estimate": estimate,
        "low": low,
        "high": high,
        "seeds_low": low and low - 0.03,
        "seeds_high": high and high + 0.03,
    }


def asked_by(claim: dict) -> str:
    """What stands behind the task in a claim's id."""
    return claim["id"].removeprefix(f"{task(claim['id'], matrix.TASKS)}-")


def rows(text: str) -> list[list[str]]:
    """Texts of the cells, row by row; the table is well-formed XML."""
    return [["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(text).iter("tr")]


def test_every_claim_has_a_row():
    shown = rows(matrix.matrix(verdict(claim["id"]) for claim in SECOND["claims"]))
    assert shown[0] == ["claim", *matrix.TASKS.values()]
    assert sum(cell == "✓" for row in shown for cell in row) == sum(
        asked in matrix.ROWS for asked in map(asked_by, SECOND["claims"])
    )
    headline = [claim for claim in SECOND["claims"] if "study" not in claim]
    unseen = set(map(asked_by, headline)) - set(matrix.ROWS)
    assert all("recognition" in name for name in unseen)  # on other looks: in their chapter


def test_a_cell_holds_both_measures_and_tasks_without_verdicts_have_no_column():
    text = matrix.matrix(
        [
            verdict("gp-l-rl-gains-id", "holds"),
            verdict("gp-l-rl-gains-id", "undecided", "strict"),
            verdict("virl-l-rl-gains-id", "no headroom", estimate=None),
        ]
    )
    assert rows(text) == [["claim", "cards, text", "city, text"], ["RL gains in distribution", "✓ ?", "–"]]
    assert (
        "by the stricter measure: undecided, 12.5 % [10.5 %, 14.5 %]; over repetitions [7.5 %, 17.5 %]"
        in text
    )


def test_one_repetition_has_no_interval_over_repetitions():
    alone = verdict("gp-l-rl-gains-id") | {"seeds_low": None, "seeds_high": None}
    assert 'holds, 12.5 % [10.5 %, 14.5 %]"' in matrix.matrix([alone])


def test_every_state_is_in_the_legend():
    assert all(f"{matrix.SIGNS[state]} {state}" in matrix.legend() for state in STATES)


def test_a_claim_of_no_task():
    with pytest.raises(ValueError, match="'chess-rl' begins with no task; tasks are gp-l, gp-vl"):
        matrix.matrix([verdict("chess-rl")])
