"""A run of two processes of which one or both are killed (SIGKILL), and the same command again."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest
from posttrain import config, store
from posttrain.store import status

from .test_arm import CLOCKS, DYING, SETTINGS

STUDY = copy.deepcopy(SETTINGS["studies"]["tiny"])
for arm in ("sft", "ppo"):  # two processes take half the steps
    STUDY["arms"][arm]["budget_gflop"] *= 2

# What torchrun does with two processes, from one that imports the library once: where one ends otherwise than
# well, the other is ended a little later.
LAUNCHER = (
    DYING
    + """
def process(rank, port, arm, root, deaths):
    of = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in of.items()} | {"MASTER_ADDR": "127.0.0.1"}
    for how in deaths.get(str(rank), []):
        dying(*how)
    carry_out(arm, root)

def launched(*job):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks, ended = {}, {}
    for rank in (0, 1):
        if not (child := os.fork()):
            process(rank, port, *job)
            os._exit(0)
        ranks[child] = rank
    while ranks:
        child, code = os.wait()
        ended[ranks.pop(child)] = os.waitstatus_to_exitcode(code)
        if code and ranks:
            time.sleep(0.5)
            for other in ranks:
                os.kill(other, signal.SIGKILL)
    return [ended[0], ended[1]]

print(json.dumps([launched(*job) for job in jobs]))
"""
)
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

    def launch(*jobs):
        done = subprocess.run(
            [sys.executable, "-c", LAUNCHER, json.dumps([settings, jobs])],
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]), done.stderr[-3000:]

    def profile(root):
        return config.check("tiny", settings, True, root=root)

    whole, made = (profile(tmp_path_factory.mktemp(name)) for name in ("whole", "killed"))
    ended, told = launch(*([arm, str(whole.root), {}] for arm in KILLS))
    assert ended == [[0, 0]] * 2, told
    for part in (store.home(whole, whole.run("tiny/init/0")), whole.root / "build" / "adapters"):
        shutil.copytree(part, made.root / part.relative_to(whole.root))
    for arm in KILLS:
        shutil.rmtree(made.root / "build" / "adapters" / whole.run(f"tiny/{arm}/0").identity)
    jobs = [[arm, str(made.root), deaths] for arm, each in KILLS.items() for deaths in (*each, {})]
    ended, told = launch(*jobs)
    for (*_, deaths), how in zip(jobs, ended):
        assert how == ([-signal.SIGKILL] * 2 if deaths else [0, 0]), (deaths, told)
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
