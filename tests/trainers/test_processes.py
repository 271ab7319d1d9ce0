"""A run of two processes of which one or both are killed (SIGKILL), and the same command again."""

import copy
import multiprocessing.connection
import shutil
import signal
import time

import pandas as pd
import pytest
from posttrain import config, store
from posttrain.store import status

from tests import processes

from .test_arm import CLOCKS, SETTINGS

STUDY = copy.deepcopy(SETTINGS["studies"]["tiny"])
for arm in ("sft", "ppo"):  # two processes take half the steps
    STUDY["arms"][arm]["budget_gflop"] *= 2


def one_of_two(settings, run, root, deaths):
    """A run, or its part; a fault, such as that the other process is gone, ends it only after a while."""
    try:
        processes.carry_out(settings, run, root, deaths)
    except Exception:
        time.sleep(3)
        raise


def torchrun(settings, arm, root, deaths, told):
    """What it does with two processes: where one ends otherwise than well, the other is ended a little
    later. Returns how both ended."""
    each = [(settings, f"tiny/{arm}/0", root, deaths.get(rank, ())) for rank in (0, 1)]
    ranks = processes.ranks(one_of_two, each, told)
    while running := [process for process in ranks if process.exitcode is None]:
        if not multiprocessing.connection.wait([process.sentinel for process in running], timeout=600):
            raise TimeoutError(told.read_text()[-3000:])
        if any(process.exitcode for process in ranks):
            time.sleep(0.5)
            for process in running:
                process.kill()
                process.join()
    return [process.exitcode for process in ranks]


STEP = ("SFTTrainer", "training_step", 8)
KILLS = {  # of each arm, one after the other: in which call the first process dies, or the second
    "ppo": (
        {1: [("PPO", "iterate", 6)]},
        {0: [("PPO", "state", 1)]},
        {0: [("os", "replace", 1, "state-0.pt")]},
    ),
    "sft": ({0: [STEP], 1: [STEP]}, {0: [("SFTTrainer", "_save_optimizer_and_scheduler", 1)]}),
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory, checkpoints):
    """The study whole, and the root in which its arms were killed again and again before they came to their
    ends, all by two processes."""
    settings = {"model": checkpoints["pocket"], "seeds": [0], "studies": {"tiny": STUDY}}
    told = tmp_path_factory.mktemp("told") / "stderr"

    def launch(arm, made, deaths):
        ended = torchrun(settings, arm, str(made.root), deaths, told)
        assert ended == ([-signal.SIGKILL] * 2 if deaths else [0, 0]), (deaths, told.read_text()[-3000:])

    def profile(root):
        return config.check("tiny", settings, True, root=root)

    whole, made = (profile(tmp_path_factory.mktemp(name)) for name in ("whole", "killed"))
    for arm in KILLS:
        launch(arm, whole, {})
    for part in (store.home(whole, whole.run("tiny/init/0")), whole.root / "build" / "adapters"):
        shutil.copytree(part, made.root / part.relative_to(whole.root))
    for arm in KILLS:
        shutil.rmtree(made.root / "build" / "adapters" / whole.run(f"tiny/{arm}/0").identity)
    for arm, each in KILLS.items():
        for deaths in each:
            launch(arm, made, deaths)
        launch(arm, made, {})
    return whole, made


@pytest.mark.parametrize("arm", KILLS)
def test_two_processes_that_were_killed_end_with_the_same_tables(launched, arm):
    whole, made = launched
    run = made.run(f"tiny/{arm}/0")
    got, expected = store.read(made, run), store.read(whole, run)
    assert len(expected.checkpoints["step"].unique()) == 4 and len(expected.training) > 8
    for table, wanted in zip(got[1:4], expected[1:4]):
        pd.testing.assert_frame_equal(
            table.drop(columns=CLOCKS, errors="ignore"), wanted.drop(columns=CLOCKS, errors="ignore")
        )
    assert got.record["identity"] == expected.record["identity"] and not list(made.state.iterdir())
    assert not [problem for problem in status.verify(made) if run.name in problem]
