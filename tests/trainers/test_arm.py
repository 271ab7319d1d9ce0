"""A study end to end with a tiny model, and arms that are killed (SIGKILL) and carried out again."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest
from posttrain import config, policy, store
from posttrain.store import status
from posttrain.trainers import arm as arms
from posttrain.trainers import work

from tests import processes

CLOCKS = [
    "evaluation_seconds",
    "rollout_seconds",
    "seconds",
]  # the only columns that may differ between two machines' moods
SETTINGS = {
    "seeds": [0],
    "studies": {
        "tiny": {
            "checkpoints": 3,
            "lora": {"rank": 4, "alpha": 8},
            "environment": {"verify_steps": 2},
            "census": {"limit": 6, "kl_hands": 6, "verify_steps": 2, "max_tokens": 6, "batch": 32},
            "sft": {"batch_size": 4, "learning_rate": 0.02},
            "arms": {
                "init": {"algorithm": "init", "steps": 8, "checkpoints": 1},
                "sft": {"algorithm": "sft", "start": "init", "budget_gflop": 0.35},
                "ppo": {
                    "algorithm": "ppo",
                    "start": "init",
                    "budget_gflop": 0.35,
                    "ppo": {"episodes": 4, "max_tokens": 6},
                },
            },
        }
    },
}


def profile(root, model):
    return config.check("tiny", {"model": model, **SETTINGS}, True, root=root)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, checkpoints):
    """The study, carried out without interruption."""
    made = profile(tmp_path_factory.mktemp("whole"), checkpoints["pocket"])
    for run in reversed(made.runs()):  # the last first: an arm carries out its own Init
        arms.carry_out(made, run)
    return made


def test_the_tables_of_a_study(whole):
    records, checkpoints, training, hands = store.collect(whole, "tiny")
    assert [r["arm"] for r in records] == ["init", "sft", "ppo"] and all(
        r["seconds"] > 0 and r["parameters"] > 1000 for r in records
    )
    assert not list(whole.state.iterdir()) and status.verify(whole) == []
    for arm in ("sft", "ppo"):
        table, budget = (
            checkpoints[checkpoints.arm == arm],
            SETTINGS["studies"]["tiny"]["arms"][arm]["budget_gflop"],
        )
        spent = table.groupby("step").gflops.first()
        assert (
            spent.index[0] == 0 and spent.iloc[0] == 0 and spent.is_monotonic_increasing and len(spent) == 4
        )
        # An arm stops with the first step that spends the budget; checkpoints are about equally far apart.
        assert budget <= spent.iloc[-1] < 1.4 * budget and (spent.diff().dropna() > 0.15 * budget).all()
        assert set(table.groupby("step").size()) == {10}  # five sets, two decodings
        sizes = (
            hands[hands.arm == arm]
            .groupby(["step", "set", "decoding"])
            .size()
            .groupby("step")
            .agg(["min", "max"])
        )
        assert sizes.values.tolist() == [[6, 6]] * 4
        assert training[training.arm == arm].iteration.tolist() == list(range(1, spent.index[-1] + 1))
    assert training[training.arm != "ppo"].loss.notna().all()  # of every step, the first one too


def test_both_arms_start_where_init_ended(whole):
    tables = {arm: store.read(whole, whole.run(f"tiny/{arm}/0")) for arm in ("init", "sft", "ppo")}
    last = tables["init"][1].step.max()
    assert last == 8
    measured = [
        "set",
        "decoding",
        "n",
        "first_try",
        "within",
        "rule_following",
        "valid",
        "strict",
        "fake",
        "per_step",
        "tokens",
    ]
    start = {
        arm: tables[arm][1].query(f"step == {last if arm == 'init' else 0}")[measured].reset_index(drop=True)
        for arm in tables
    }
    pd.testing.assert_frame_equal(start["sft"], start["ppo"])
    pd.testing.assert_frame_equal(start["sft"], start["init"])
    for arm in ("init", "sft", "ppo"):  # and each of them moved away from its start
        sampled = tables[arm][1].query("decoding == 'sampled'").groupby("step").kl.mean()
        assert sampled.iloc[0] == pytest.approx(0, abs=1e-5) and sampled.iloc[-1] > 1e-3


def test_an_adapter_is_kept_and_made_again_where_it_is_missing(whole, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(whole.root / "data", again / "data")  # the results alone, as in a clone
    made = profile(again, whole.model)
    for run in made.runs():
        kept = arms.adapter(whole, run) / "adapter_model.safetensors"
        assert (arms.adapter(made, run) / "adapter_model.safetensors").read_bytes() == kept.read_bytes()
    assert status.verify(made) == [] and not list(made.state.iterdir())


def test_an_init_that_comes_out_otherwise_is_refused(whole, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(whole.root / "data", again / "data")
    made = profile(again, whole.model)
    folder = store.home(made, made.run("tiny/init/0"))
    losses = pd.read_csv(folder / "training.csv")
    losses.assign(loss=losses["loss"] * 1.1).to_csv(folder / "training.csv", index=False)
    record = store.read_record(folder / store.RECORD)
    store.seal(folder, store.RECORD, {k: v for k, v in record.items() if k not in ("files", "seal")})
    for _ in range(2):  # what failed the comparison is not kept as the adapter
        with pytest.raises(store.StoreError, match="made again its loss is off by"):
            arms.adapter(made, made.run("tiny/init/0"))


def test_an_export_trains_where_its_profile_says(whole, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(arms, "carry_out", lambda profile, run, threads, device: asked.append(device))
    monkeypatch.setattr(arms, "adapter", lambda profile, run, threads, device: asked.append(device) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        arms.export(whole.model_copy(update={"device": "cuda"}), whole.run("tiny/ppo/0"), tmp_path / "x")
    assert asked == ["cuda", "cuda"]


@pytest.mark.parametrize("arm", ["init", "ppo"])
def test_an_exported_model_is_an_ordinary_folder(whole, tmp_path, arm):
    import torch

    run, folder = whole.run(f"tiny/{arm}/0"), tmp_path / "model"
    arms.export(whole, run, folder)
    with pytest.raises(FileExistsError, match="name a new folder"):
        arms.export(whole, run, folder)
    arms.export(whole, run, tmp_path / "parts", only_adapter=True)
    base = policy.load(tmp_path / "parts" / "base")
    trained = policy.load_adapter(base, tmp_path / "parts" / "adapter")
    ids = torch.arange(5, 30)[None]
    one, other = (made.model(ids).logits for made in (policy.load(folder), trained))
    assert torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(one, policy.load(whole.model).model(ids).logits, atol=1e-3)


def test_a_device_that_is_not_there_is_one_line(whole):
    for device in ("cuda", "nonsense"):
        with pytest.raises(ValueError, match="use cpu"):
            arms.check_device(device)


def test_of_several_gpus_those_that_are_there_are_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [arms.check_device(device) for device in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    with pytest.raises(ValueError, match="^device cuda:9: .*; use cpu, cuda:0 to cuda:1"):
        arms.check_device("cuda:9")


def test_finished_runs_are_left_alone(whole, monkeypatch):
    monkeypatch.setattr(arms, "start", lambda *a, **k: pytest.fail("a finished run was started again"))
    for run in whole.runs():
        assert arms.carry_out(whole, run) == store.home(whole, run)


# --- several processes --------------------------------------------------------------------------------------

RANK = """
import json, sys
from pathlib import Path
from posttrain import config
from posttrain.trainers import arm as arms
settings, root = json.loads(sys.argv[1])
made = config.check("tiny", settings, True, root=Path(root))
for arm in ("sft", "ppo"):
    arms.carry_out(made, made.run(f"tiny/{arm}/0"))
"""


def test_two_processes_carry_out_one_run(whole, tmp_path, checkpoints):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    settings = {"model": checkpoints["pocket"], **SETTINGS}
    # torchrun is what `accelerate launch` calls where there are several GPUs; on CPUs it wants MPI instead.
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            str(script),
            json.dumps([settings, str(tmp_path)]),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = profile(tmp_path, checkpoints["pocket"])
    _, checkpoints_, training, _ = store.collect(made, "tiny")
    assert status.verify(made) == [] and not list(made.state.iterdir())
    alone = store.collect(whole, "tiny")[2]
    # Two processes hold twice the batch: the same examples, taken in half the steps.
    ours, theirs = (table[table.arm == "init"] for table in (training, alone))
    assert ours.tokens.tolist()[:4] == theirs.tokens.tolist()[1::2]
    first = pytest.approx(theirs.loss.iloc[0], rel=1e-4)
    assert ours.loss.iloc[0] == first  # the main process's share of the first batch
    for arm in ("sft", "ppo"):
        assert checkpoints_[checkpoints_.arm == arm].gflops.max() >= 0.35


def test_a_run_that_two_studies_share_is_carried_out_once(tmp_path, checkpoints):
    study = SETTINGS["studies"]["tiny"]
    shared = {**SETTINGS, "studies": {"tiny": study, "other": study}, "model": checkpoints["pocket"]}
    told = tmp_path / "told"
    twins = [
        processes.start(processes.carry_out, shared, f"{study}/init/0", str(tmp_path), told=told)
        for study in ("tiny", "other")
    ]
    for twin in twins:
        twin.join(280)
    said = told.read_text()
    assert all(twin.exitcode == 0 for twin in twins) and "another process is making it" in said, said[-3000:]
    made = config.check("tiny", shared, True, root=tmp_path)
    found = {store.find(made, made.run(f"{study}/init/0")) for study in ("tiny", "other")}
    assert len(found) == 1 and None not in found and not list(made.state.iterdir())
    told = store.read(made, made.run("other/init/0"))
    assert set(told.checkpoints["step"]) == {0, 8} and len(told.training) == 8


# --- killed -------------------------------------------------------------------------------------------------

KILLS = {  # arm, and where the kill comes
    "ppo-in-an-iteration": ("ppo", ("PPO", "iterate", 6)),
    "ppo-while-saving": ("ppo", ("os", "replace", 11)),
    "sft-in-a-step": ("sft", ("SFTTrainer", "training_step", 8)),
    "sft-while-saving": ("sft", ("SFTTrainer", "_save_optimizer_and_scheduler", 2)),
}


@pytest.fixture(scope="module")
def killed(whole, tmp_path_factory, checkpoints):
    """Roots in which an arm was killed."""
    roots = {}
    for case in KILLS:
        roots[case] = tmp_path_factory.mktemp(case)
        init = store.home(whole, whole.run("tiny/init/0"))
        for part in (init, whole.root / "build" / "adapters"):
            shutil.copytree(part, roots[case] / part.relative_to(whole.root))
    settings = {"model": checkpoints["pocket"], **SETTINGS}
    for case, (arm, how) in KILLS.items():
        process = processes.start(processes.carry_out, settings, f"tiny/{arm}/0", str(roots[case]), [how])
        process.join(300)
        assert process.exitcode == -signal.SIGKILL
    return roots


@pytest.mark.parametrize("case", KILLS)
def test_a_killed_arm_goes_on_and_ends_with_the_same_tables(whole, killed, case, monkeypatch):
    arm = KILLS[case][0]
    broken = profile(killed[case], whole.model)
    run = broken.run(f"tiny/{arm}/0")
    expected = store.read(whole, run)
    assert store.find(broken, run) is None and status.verify(broken)
    before = store.Tables(broken.state / run.identity / "tables").steps("checkpoints")
    assert len(before) > 1  # it was killed on the way, not before anything had been saved
    evaluated = []
    census = work.census
    monkeypatch.setattr(work, "census", lambda *a, **k: evaluated.append(1) or census(*a, **k))
    arms.carry_out(broken, run)
    assert len(evaluated) < len(expected[1].step.unique())  # it went on, it did not begin again
    got = store.read(broken, run)
    for table, wanted in zip(got[1:4], expected[1:4]):
        pd.testing.assert_frame_equal(
            table.drop(columns=CLOCKS, errors="ignore"), wanted.drop(columns=CLOCKS, errors="ignore")
        )
    assert got[0]["identity"] == expected[0]["identity"] and not list(broken.state.iterdir())
