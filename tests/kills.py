"""Kill everything, at many moments, and carry out the same command again: `make kills`.

    python -m tests.kills [CASE ...]

Each case is carried out once without interruption. Then again and again from nothing, in a process that kills
itself (SIGKILL) in its n-th call that writes something (a file put in its place, a folder published, a
trainer's step), and the same command once more, which must end with the same tables or weights. A whole build
(chapters, figures, pages: the case "build") is killed from outside, with all its children, again and again,
each time a little later, until it ends. Not part of `make test`, where `tests/trainers/test_arm.py` and
`tests/foundation/test_training.py` do the same in a few places.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
CLOCKS = ["evaluation_seconds", "rollout_seconds", "seconds"]
TEXT = {
    "steps": 6,
    "batch_tokens": 512,
    "hidden": 32,
    "layers": 2,
    "heads": 2,
    "mlp": 48,
    "reading_steps": 2,
    "warmup": 2,
}
TOWER = {"steps": 4, "batch": 4, "hidden": 16, "layers": 1, "heads": 2, "mlp": 16, "warmup": 2}
STREETS = {**TOWER, "size": 80, "patch": 20, "reading_steps": 2}
CENSUS = {"limit": 3, "kl_hands": 4, "max_tokens": 8, "batch": 16}
ARMS = {
    "init": {"algorithm": "init", "steps": 4, "checkpoints": 1, "sft": {"batch_size": 4}},
    "sft": {"algorithm": "sft", "start": "init", "budget_gflop": 1.5, "sft": {"batch_size": 4}},
    "ppo": {
        "algorithm": "ppo",
        "start": "init",
        "budget_gflop": 1.0,
        "ppo": {"episodes": 4, "max_tokens": 8},
    },
}


def _study(task: str, foundation: str, **environment) -> dict:
    lora = {"rank": 4, "alpha": 8, "parts": "vision" if task.endswith("-vision") else "language"}
    settings = {"task": task, "foundation": foundation, "checkpoints": 2, "lora": lora, "census": CENSUS}
    return {**settings, "environment": environment, "arms": ARMS}


SETTINGS = {
    "seeds": [0],
    "gate_hands": 4,
    "foundations": {
        "text": TEXT,
        "ways": {**TEXT, "corpus": "directions"},
        "eyes": {**TOWER, "corpus": "cards", "language": "text"},
        "views": {**STREETS, "corpus": "streets", "language": "ways"},
    },
    "studies": {
        "cards": _study("general-points", "text", verify_steps=2),
        "walks": _study("navigation", "ways"),
        "seen": _study("general-points-vision", "eyes", verify_steps=2),
        "views": _study("navigation-vision", "views"),
    },
}
# What is killed, and in which calls of what. A number beyond the last call is an uninterrupted repetition,
# which is told.
CASES: dict[str, tuple[str, ...]] = {
    **{
        f"foundation {name}": ("os.replace 1", "os.replace 3", "step 2", "step 4", "replace 1")
        for name in SETTINGS["foundations"]
    },
    **{
        f"run {study}/{arm}/0": (
            "os.replace 2",
            "os.replace 7",
            "os.replace 12",
            "step 2",
            "step 3",
            "publish 1",
            "replace 1",
            "replace 2",
        )
        for study in SETTINGS["studies"]
        for arm in ARMS
    },
}


def child(root: Path, case: str, moment: str = "") -> None:
    """Carry out one case in `root`; dies in call `moment`, such as "os.replace 3"."""
    import torch
    from posttrain import config, foundation, store
    from posttrain.foundation import training
    from posttrain.trainers import arm, ppo, sft

    torch.set_num_threads(1)
    training.SAVE_SECONDS = 0.0
    profile = config.check("kills", SETTINGS, True, root=root)

    def dying(owner, name: str, calls: int) -> None:
        real, seen = getattr(owner, name), [0]

        def counted(*arguments, **keywords):
            seen[0] += 1
            if seen[0] == calls:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **keywords)

        setattr(owner, name, counted)

    if moment:
        what, calls = moment.rsplit(" ", 1)
        steps = [(ppo.PPO, "iterate"), (sft._Trainer, "training_step"), (training, "write_state")]
        owners = {
            "os.replace": [(os, "replace")],
            "publish": [(store, "publish")],
            "replace": [(store, "replace")],
            "step": steps,
        }
        for owner, name in owners[what]:
            dying(owner, name, int(calls))
    kind, name = case.split(" ")
    if kind == "foundation":
        foundation.provide(profile, name, 0)
    else:
        arm.carry_out(profile, profile.run(name))


def outcome(root: Path, case: str) -> list:
    """What a case leaves, clocks left out: weights of a foundation, or a run's tables."""
    kind, name = case.split(" ")
    if kind == "foundation":
        folder = root / "data" / "models" / f"{name}-0"
        card = json.loads((folder / "card.json").read_text())
        told = {key: value for key, value in card.items() if key not in ("seconds", "seal")}
        return [hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(), told]
    folder = root / "data" / "results" / name
    tables = [
        pd.read_csv(folder / "checkpoints.csv"),
        pd.read_csv(folder / "training.csv"),
        pd.read_parquet(folder / "hands.parquet"),
    ]
    identity = json.loads((folder / "run.json").read_text())["identity"]
    return [identity, *(table.drop(columns=CLOCKS, errors="ignore").to_csv() for table in tables)]


def carry_out(root: Path, case: str, moment: str = "") -> int:
    """The exit status of `child` in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.kills", "--child", str(root), case, moment]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"{case}, {moment}: {done.stderr[-1500:]}")
    return done.returncode


def build(root: Path, limit: float | None = None) -> bool:
    """`make book` of the clone in `root`; false if it was killed, with all its children, after `limit`
    seconds."""
    environment = {**os.environ, "PYTHONPATH": str(root / "lib")}
    command = ["make", "-o", ".venv/.installed", "book"]
    with open(root.with_suffix(".log"), "ab") as log:
        job = subprocess.Popen(
            command, cwd=root, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            status = job.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
            return False
    if status:
        raise SystemExit(f"build: {root.with_suffix('.log').read_text()[-1500:]}")
    return True


def pages(root: Path) -> dict[str, str]:
    """SHA-256 of what a build leaves: values, figures, pages. (How long each chapter took is left out.)"""
    files = [*root.glob("figures/**/*"), *root.glob("book/_build/html/**/*.html")]
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file() and file.stem != "execution-status"
    }


def builds(folder: Path) -> tuple[int, int]:
    """Kill a build of a clone until it ends: how many kills, how many files differ from an undisturbed
    one."""
    for name in ("whole", "killed"):
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / name)], check=True)
        (folder / name / ".venv").symlink_to(Path(sys.prefix))
    build(folder / "whole")
    kills, limit = 0, 6.0
    while not build(folder / "killed", limit):
        kills, limit = kills + 1, limit * 1.25
    ours, theirs = pages(folder / "killed"), pages(folder / "whole")
    differ = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    print(f"build: {kills} kills, {len(ours)} files, differ: {', '.join(differ) or 'none'}", flush=True)
    return kills, len(differ)


def main(names: list[str]) -> int:
    killed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        if not names or "build" in names:
            killed, failed = builds(Path(folder))
        whole = Path(folder) / "whole run"
        for case in CASES:  # foundations first, then an Init before what starts from it
            if not names or set(names) & set(CASES):
                carry_out(whole, case)
        for case, moments in CASES.items():
            if names and case not in names:
                continue
            began, told = time.monotonic(), []
            for moment in moments:
                root = Path(folder) / "killed"
                shutil.rmtree(root, ignore_errors=True)
                _before(case, whole, root)
                if carry_out(root, case, moment) == 0:
                    told.append(f"{moment}: not reached")
                    continue
                if carry_out(root, case):
                    raise SystemExit(f"{case}, behind {moment}: killed by something else")
                same = outcome(root, case) == outcome(whole, case)
                killed, failed = killed + 1, failed + (not same)
                told.append(f"{moment}: {'same' if same else 'DIFFERS'}")
            print(f"{case}: {', '.join(told)} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{killed} kills, {failed} ended otherwise")
    return bool(failed)


def _before(case: str, whole: Path, root: Path) -> None:
    """What a case builds upon, taken from the uninterrupted one."""
    kind, name = case.split(" ")
    text = (
        {"eyes": ["text-0"], "views": ["ways-0"]}.get(name, [])
        if kind == "foundation"
        else ["text-0", "ways-0", "eyes-0", "views-0"]
    )
    parts = [f"data/models/{folder}" for folder in text]
    if kind == "run" and "/init/" not in name:
        parts += [f"data/results/{name.split('/')[0]}/init", "build/adapters"]
    for part in parts:
        shutil.copytree(whole / part, root / part)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), *sys.argv[3:])
    else:
        sys.exit(main(sys.argv[1:]))
