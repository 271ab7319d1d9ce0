"""Slurm on this machine, for as long as a `with` lasts: a controller and one node, in a temporary folder.

    python -m tests.cluster.slurm srun hostname

Debian's packages as they are (slurm-wlm, munge), with a key, ports and a configuration of their own: a Slurm
that is there already is neither used nor disturbed. There is no accounting and nothing is confined; the node
claims the cores, the memory and the GPU that profiles/slurm asks for, whatever this machine has.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scancel")
SECONDS = 60  # for a daemon to come up
CONFIGURATION = """\
ClusterName=book
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs=12 RealMemory=160000 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def path() -> str:
    """PATH with the folders of daemons, which not every account has in it."""
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def missing() -> str:
    """One line on what is not installed, and how to install it; empty if all is there."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=path()) is None]
    told = f"Slurm is not installed here ({', '.join(absent)} missing). On Debian or Ubuntu, as root:"
    return f"{told} apt-get install --no-install-recommends slurm-wlm munge" if absent else ""


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """A running Slurm; yields the environment in which commands find it. SystemExit says what is missing or
    did not come up. Whatever ends the `with`, jobs are cancelled and daemons stopped."""
    if told := missing():
        raise SystemExit(told)
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        environment["PATH"] = os.pathsep.join([str(folder / "bin"), path()])
        _configure(folder)
        munge = [
            f"--{what}={folder}/munge.{what.split('-')[0]}" for what in ("key-file", "pid-file", "socket")
        ]
        munge += [f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munge.log"]
        daemons = []
        for command in (["munged", "-F", *munge], ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            daemons.append(_start(command, folder, environment))
            stack.callback(_stop, daemons[-1])
            if command[0] == "munged":  # the others are refused without it
                _wait_for(lambda: (folder / "munge.socket").exists(), daemons, folder)
        stack.callback(_cancel, environment)
        _wait_for(lambda: _told(["sinfo", "-h", "-o", "%T"], environment) == "idle", daemons, folder)
        yield environment


def _configure(folder: Path) -> None:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = {"controller": one.getsockname()[1], "node": two.getsockname()[1]}
    host = socket.gethostname().split(".")[0]
    told = CONFIGURATION.format(folder=folder, host=host, user=getpass.getuser(), **ports)
    folder.chmod(0o755)  # munged asks for it
    (folder / "slurm.conf").write_text(told)
    (folder / "gres.conf").write_text("AutoDetect=off\nName=gpu File=/dev/null\n")
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    for part in ("state", "spool", "bin"):
        (folder / part).mkdir()
    # Snakemake's jobs hand srun an environment without SLURM_CONF.
    step = folder / "bin" / "srun"
    real = shutil.which("srun", path=path())
    step.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {real} "$@"\n')
    step.chmod(0o755)


def _start(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen:
    with open(folder / f"{command[0]}.out", "wb") as out:
        # In a session of its own: Ctrl-C is for us, and jobs are cancelled before the daemons stop.
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True
        )


def _told(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    return done.stdout.strip() if done.returncode == 0 else done.stderr


def _wait_for(ready: Callable[[], bool], daemons: list[subprocess.Popen], folder: Path) -> None:
    until = time.monotonic() + SECONDS
    while not ready():
        if time.monotonic() > until or any(daemon.poll() is not None for daemon in daemons):
            outs = sorted(folder.glob("*.out"))
            tails = (f"{out.stem}:\n{out.read_text(errors='replace')[-1500:]}" for out in outs)
            raise SystemExit("\n".join(["Slurm did not come up.", *tails]))
        time.sleep(0.2)


def _cancel(environment: dict[str, str]) -> None:
    """End what still runs: the processes of a job outlive the node's daemon."""
    _told(["scancel", f"--user={getpass.getuser()}"], environment)
    until = time.monotonic() + SECONDS
    while _told(["squeue", "-h", "-o", "%i"], environment)[:1].isdigit() and time.monotonic() < until:
        time.sleep(0.5)


def _stop(daemon: subprocess.Popen) -> None:
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def end_cleanly() -> None:
    """Let SIGTERM and SIGHUP end this program as an exception, so that a `with` ends too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))


if __name__ == "__main__":
    end_cleanly()
    with cluster() as around:
        status = subprocess.run(sys.argv[1:], env=around).returncode
    sys.exit(status)
