"""The same study on a cluster and on this computer, and the same tables: `make cluster`.

    python -m tests.cluster [STUDY ...]

Takes studies of the profile `smoke` (gp-l where none is named), makes them from nothing through
profiles/slurm on a Slurm that is started here (tests/cluster/slurm.py), and once more with Snakemake alone;
then compares weights and tables, clocks left out. On the cluster one run of RL is cancelled behind its first
checkpoint and one of SFT killed; both must be submitted again and go on from their saved state. Not part of
`make test`; left out on purpose: chapters and pages, several nodes, and GPUs, of which the
node only claims to have one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd
from posttrain import config, store
from posttrain.config import Run

from tests.cluster import slurm
from tests.kills import ROOT, outcome

PROFILE, FRESH = "smoke", Path("build/reproduce/smoke")
STAMPS = FRESH / "build/stamps"
# What only so small a cluster needs: no accounting to ask, and jobs of seconds. All else is profiles/slurm's.
HERE = ["--slurm-status-command=squeue", "--slurm-init-seconds-before-status-checks=4", "--jobs=2"]


def wanted(studies: list[str]) -> tuple[dict[str, str], list[Run]]:
    """Cases, as tests/kills.py names them, with their identities, and the runs among them."""
    profile = config.load(PROFILE, fresh=True)
    if unknown := sorted(set(studies) - set(profile.studies)):
        raise SystemExit(f"no study {', '.join(unknown)}: choose from {', '.join(profile.studies)}")
    runs = [run for run in profile.runs() if run.study in studies]
    names = {run.foundation for run in runs}
    names |= {text for name in names if (text := getattr(profile.foundations[name], "language", None))}
    cases = {f"foundation {name}": profile.foundation(name, 0).identity for name in sorted(names)}
    return {**cases, **{f"run {run.name}": run.identity for run in runs}}, runs


def copy(folder: Path) -> None:
    """The tracked files of this work tree, as they are now, into `folder`."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, done.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def snakemake(folder: Path, identities: list[str], options: list[str], around: dict[str, str]):
    """Snakemake in the copy `folder`, begun."""
    paths = [str(folder / "lib"), str(folder / "tools"), str(ROOT / "build/cluster")]
    environment = {**around, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment["HF_HUB_OFFLINE"] = "1"
    targets = [str(STAMPS / identity) for identity in identities]
    command = ["snakemake", *targets, *options, "--logger=calm", "--config", f"profile={PROFILE}", "fresh=1"]
    return subprocess.Popen(command, cwd=folder, env=environment)


def state_of(folder: Path, run: Run) -> Path:
    return folder / FRESH / "build/state" / run.identity


def saved(folder: Path, run: Run) -> bool:
    """Whether the run could go on from behind its first checkpoint."""
    what = "state-0.pt" if run.algorithm == "ppo" else "trainer/checkpoint-*/complete"
    return any(state_of(folder, run).glob(what))


def job_of(run: Run, around: dict[str, str]) -> str | None:
    """The Slurm job that carries out the run."""
    command = ["squeue", "--noheader", "--states=running", "--format=%i %k"]
    told = subprocess.run(command, env=around, capture_output=True, text=True).stdout
    return next((line.split()[0] for line in told.splitlines() if run.identity in line), None)


def process_of(folder: Path, run: Run) -> int | None:
    """The process that trains the run in `folder`; others of that name may be at work elsewhere."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = (process / "cwd").resolve() == folder
        except OSError:
            continue
        if here and words[1:2] and words[1].endswith("/posttrain") and run.name in words:
            return int(process.name)
    return None


def end_once(folder: Path, run: Run, around: dict[str, str]) -> str:
    """Cancel the Slurm job of a run of RL, kill the process of another; says what was done, if anything."""
    if run.algorithm == "ppo":
        if (job := job_of(run, around)) is None:
            return ""
        return "cancelled" if subprocess.run(["scancel", job], env=around).returncode == 0 else ""
    if (process := process_of(folder, run)) is None:
        return ""
    os.kill(process, signal.SIGKILL)
    return "killed"


def on_cluster(folder: Path, identities: list[str], victims: list[Run]) -> list[str]:
    """Make everything through Slurm, ending each victim once; returns complaints."""
    ended: dict[str, pd.DataFrame] = {}
    with slurm.cluster() as around:
        job = snakemake(folder, identities, ["--workflow-profile=profiles/slurm", *HERE], around)
        try:
            while job.poll() is None:
                for run in victims:
                    if run.name in ended or not saved(folder, run):
                        continue
                    if told := end_once(folder, run, around):
                        ended[run.name] = store.Tables(state_of(folder, run) / "tables").get("checkpoints")
                        print(f"{run.name}: {told} behind step {ended[run.name]['step'].max()}", flush=True)
                time.sleep(0.1)
        finally:
            job.terminate()  # it cancels its jobs
            job.wait()
        command = ["squeue", "--noheader", "--states=all", "--format=%T"]
        states = subprocess.run(command, env=around, capture_output=True, text=True).stdout.split()
    print(f"Slurm jobs: {', '.join(f'{n} {state}' for state, n in sorted(Counter(states).items()))}")
    if job.returncode:
        raise SystemExit("the study did not end on the cluster")
    complaints = [f"{run.name}: ended before it was disturbed" for run in victims if run.name not in ended]
    for name, before in ended.items():  # a run that began anew would have other clocks
        after = pd.read_csv(folder / FRESH / "data/results" / name / "checkpoints.csv")
        clocks = [[f"{x:.6g}" for x in table["evaluation_seconds"]] for table in (before, after)]
        if clocks[0] != clocks[1][: len(clocks[0])] or len(clocks[0]) < 2:
            complaints.append(f"{name}: did not go on from its state")
    return complaints


def main(studies: list[str]) -> int:
    if told := slurm.missing():
        raise SystemExit(told)
    cases, runs = wanted(studies or ["gp-l"])
    victims = {run.algorithm: run for run in reversed(runs) if run.algorithm in ("sft", "ppo")}
    slurm.end_cleanly()
    with tempfile.TemporaryDirectory() as name:
        cluster, local = (Path(name).resolve() / where for where in ("cluster", "local"))
        copy(cluster)
        copy(local)
        began = time.monotonic()
        complaints = on_cluster(cluster, list(cases.values()), list(victims.values()))
        middle = time.monotonic()
        options = ["--cores=1", "--nolock"]
        if snakemake(local, list(cases.values()), options, dict(os.environ)).wait():
            raise SystemExit("the study did not end on this computer")
        print(f"on the cluster {middle - began:.0f} s, alone {time.monotonic() - middle:.0f} s")
        for case in cases:
            same = outcome(cluster / FRESH, case) == outcome(local / FRESH, case)
            print(f"{case}: {'same' if same else 'DIFFERS'}")
            complaints += [] if same else [f"{case}: the cluster's is not the computer's"]
    print("\n".join(complaints) or f"{len(cases)} cases, {len(victims)} ended once, all the same")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
