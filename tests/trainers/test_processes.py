"""A run of two processes of which one or both are killed (SIGKILL), and the same command again."""

import copy
import multiprocessing.connection
import shutil
import signal
import socket
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


def torchrun(settings, arm, root, deaths, told):
    """What it does with two processes: where one ends otherwise than well, the other is ended a little
    later. Returns how both ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    common |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    ranks = [
        processes.start(
            *(processes.carry_out, settings, f"tiny/{arm}/0", root, deaths.get(rank, ())),
            **{"told": told, "RANK": str(rank), "LOCAL_RANK": str(rank), **common},
        )
        for rank in (0, 1)
    ]
    while running := [process for process in ranks if process.exitcode is None]:
        multiprocessing.connection.wait([process.sentinel for process in running], timeout=600)
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
        """Who is to die is killed, and nobody comes to the end without it."""
        ended = torchrun(settings, arm, str(made.root), deaths, str(told))
        expected = [-signal.SIGKILL if rank in deaths else ended[rank] if deaths else 0 for rank in (0, 1)]
        assert ended == expected and not (deaths and 0 in ended), (deaths, ended, told.read_text()[-3000:])

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
