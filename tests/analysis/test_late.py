"""What RL wins back, by the rule that stood before the runs."""

from types import SimpleNamespace

import pandas as pd
import pytest
from posttrain.analysis.late import recovered


@pytest.fixture
def study():
    ends = {"init": [0.7, 0.6, 0.9, 0.5], "over": [0.1, 0.5, 0.5, 0.3], "one": [0.3, 0.45, 0.55, 0.15]}
    ends["two"] = [0.05, 0.3, 0.45, 0.45]
    series = {arm: pd.Series(values, index=range(4)) for arm, values in ends.items()}
    return SimpleNamespace(seeds=[0, 1, 2, 3], end=lambda arm, *_: series[arm])


def test_the_rule(study):
    table = recovered(study, "over", {"one": "RL, once", "two": "RL, twice"}, "ood", "first_turns")
    assert table["by the rule"].tolist() == [
        "wins something back",
        "loses more",
        "neither",
        "wins something back",
    ]
    assert table["repetition"].tolist() == [1, 2, 3, 4] and table["RL, twice"].tolist()[0] == 0.05
