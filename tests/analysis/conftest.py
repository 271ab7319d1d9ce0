"""A small study whose ends a test chooses, and walks of policies that are known."""

import matplotlib
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from posttrain.analysis import charts, study, walked

from . import walks

COLUMNS = {
    "first_try": 0.5,
    "within": 0.5,
    "recognized": 0.5,
    "rule_following": 0.5,
    "strict": 1.0,
    "kl": 0.0,
}


@pytest.fixture
def style():
    """The book's style, for one test; its figures are closed behind it."""
    with matplotlib.rc_context():
        charts.use_style()
        yield
    plt.close("all")


@pytest.fixture
def toy():
    """toy({(arm, set): {metric: share}}): a Study of GP-L whose seeds end with these shares.

    Shares that are not named are a half. A share may be a list, one for each of two seeds.
    """

    def make(shares, task="general-points", cases=20, name="gp-l"):
        records, checkpoints, hands, training = [], [], [], []
        sets = list(dict.fromkeys(set_ for _, set_ in shares))
        for arm, label in study.ARMS.items():
            for seed in (0, 1):
                settings = {"algorithm": arm, "task": task, "budget": 10}
                record = {"id": f"{name}-{arm}-s{seed}", "arm": arm, "seed": seed, "settings": settings}
                records.append(
                    record | {"seconds": 90.0, "parameters": 7, "commit": "abc1234", "spent_gflops": 2.0}
                )
                for step, end in ((0, "Init"), (5, label)):
                    for set_ in sets:
                        wanted = COLUMNS | shares.get((end, set_), {})
                        row = {key: x[seed] if isinstance(x, list) else x for key, x in wanted.items()}
                        for decoding in ("greedy", "sampled"):
                            common = {
                                "set": set_,
                                "decoding": decoding,
                                "step": step,
                                "arm": arm,
                                "seed": seed,
                            }
                            checkpoints.append(row | common | {"gflops": float(step)})
                            right = {
                                key: [i < round(x * cases) for i in range(cases)] for key, x in row.items()
                            }
                            labels = [f"hand {i:02}" for i in range(cases)]
                            hands.append(pd.DataFrame(right | {"hand": labels}).assign(**common))
                for iteration in range(6 * (arm == "ppo")):
                    metrics = {"first_try": iteration / 6, "within": 0.5, "entropy": 1.0, "approx_kl": 0.01}
                    training.append(metrics | {"iteration": iteration, "arm": arm, "seed": seed})
        tables = pd.DataFrame(checkpoints), pd.DataFrame(training), pd.concat(hands, ignore_index=True)
        return study.Study(name, records, *tables)

    return make


@pytest.fixture(scope="session")
def kept():
    """Dialogues as runs keep them (`walks.table`)."""
    return walks.table()


@pytest.fixture(scope="session")
def said(kept):
    """The same, judged."""
    return walked.judged(kept, walks.SETS)
