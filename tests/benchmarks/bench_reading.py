"""What chapters read: the tables of a study's runs together, against one run after the other."""

from time import process_time

import numpy as np
import pandas as pd
import pytest
from posttrain import config, store


@pytest.mark.parametrize("study", ["gp-l", "virl-vl"])
def test_a_study_is_read_together(study, record):
    profile, ratios = config.load("cpu"), []
    runs = [run for run in profile.runs() if run.study == study]
    for _ in range(5):  # in turns, so that both see the same load
        start = process_time()
        for tables in zip(*(store.read(profile, run)[1:4] for run in runs)):
            alone = pd.concat(
                [table.assign(arm=run.arm, seed=run.seed, run=run.name) for table, run in zip(tables, runs)],
                ignore_index=True,
            )
        middle = process_time()
        together = store.collect(profile, study)[3]
        ratios.append((middle - start) / (process_time() - middle))
    pd.testing.assert_frame_equal(alone[together.columns], together)
    record(f"reading-{study}", runs=len(runs), ratio=np.median(ratios))
    assert np.median(ratios) >= 1.5
