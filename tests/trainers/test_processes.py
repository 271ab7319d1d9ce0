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
KILLS = {  # arm, and in which call the first process dies, or the second
    "ppo-the-second": ("ppo", {1: [("PPO", "iterate", 6)]}),
    "ppo-one-state-written": ("ppo", {0: [("PPO", "state", 2)]}),
    "ppo-one-state-in-place": ("ppo", {0: [("os", "replace", 2, "state-0.pt")]}),
    "sft-both": ("sft", {0: [("SFTTrainer", "training_step", 8)], 1: [("SFTTrainer", "training_step", 8)]}),
    "sft-the-first-while-saving": ("sft", {0: [("SFTTrainer", "_save_optimizer_and_scheduler", 2)]}),
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory, checkpoints):
    """The study whole, and by case the root in which an arm was killed and carried out again, all by two
    processes."""
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

    roots = {case: tmp_path_factory.mktemp(case) for case in ("whole", *KILLS)}
    whole = profile(roots["whole"])
    ended, told = launch(["sft", str(whole.root), {}], ["ppo", str(whole.root), {}])
    assert ended == [[0, 0]] * 2, told
    jobs = []
    for case, (arm, deaths) in KILLS.items():
        for part in (store.home(whole, whole.run("tiny/init/0")), whole.root / "build" / "adapters"):
            shutil.copytree(part, roots[case] / part.relative_to(whole.root))
        for run in (whole.run("tiny/sft/0"), whole.run("tiny/ppo/0")):
            shutil.rmtree(roots[case] / "build" / "adapters" / run.identity)
        jobs += [[arm, str(roots[case]), how] for how in (deaths, {})]
    ended, told = launch(*jobs)
    for killed, again, deaths in zip(ended[::2], ended[1::2], (deaths for _, deaths in KILLS.values())):
        assert killed == [-signal.SIGKILL] * 2 and again == [0, 0], (deaths, told)
    return whole, {case: profile(roots[case]) for case in KILLS}


@pytest.mark.parametrize("case", KILLS)
def test_two_processes_that_were_killed_end_with_the_same_tables(launched, case):
    whole, made = launched[0], launched[1][case]
    run = made.run(f"tiny/{KILLS[case][0]}/0")
    got, expected = store.read(made, run), store.read(whole, run)
    assert len(expected.checkpoints["step"].unique()) == 4 and len(expected.training) > 8
    for table, wanted in zip(got[1:4], expected[1:4]):
        pd.testing.assert_frame_equal(
            table.drop(columns=CLOCKS, errors="ignore"), wanted.drop(columns=CLOCKS, errors="ignore")
        )
    assert got.record["identity"] == expected.record["identity"] and not list(made.state.iterdir())
    assert not [problem for problem in status.verify(made) if run.name in problem]
