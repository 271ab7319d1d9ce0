"""RL from SFT that has gone too far: what it wins back, chain by chain.

Paper: Figure 19. The rule stood in a profile before the runs: RL wins something back where it ends more than
BACK points above the SFT that it starts from, at any of its rates, and loses more where it ends so far below.

    recovered(Book("cpu").results("virl-l-late"), "over", {"rl-over": "RL"}, "ood", "first_turns")
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from posttrain.analysis.study import Results

BACK = 10  # points of a percentage


def recovered(
    study: Results, start: str, arms: Mapping[str, str], set_: str, metric: str, decoding: str = "sampled"
) -> pd.DataFrame:
    """A row for each seed: the shares at which Init, the arm `start` and those of RL (`arms`: names with
    titles) end, and what the rule says."""
    ends = {arm: study.end(arm, set_, decoding, metric) for arm in ("init", start, *arms)}
    rows = []
    for seed in study.seeds:
        more = [100 * (ends[arm][seed] - ends[start][seed]) for arm in arms]
        won = "wins something back" if max(more) > BACK else "loses more" if min(more) < -BACK else "neither"
        row = {"repetition": seed + 1, "Init": ends["init"][seed], "SFT": ends[start][seed]}
        row |= {title: ends[arm][seed] for arm, title in arms.items()}
        rows.append(row | {"by the rule": won})
    return pd.DataFrame(rows)
