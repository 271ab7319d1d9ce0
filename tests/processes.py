"""Processes that tests start and kill. They are forked from one that has imported the library once
(`tests.preloaded`): to import it takes longer than what most of them do."""

import multiprocessing
import os
import signal
import socket
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.preloaded"])


def start(function, *arguments, told=None, **environment):
    """A process that calls a function of a module, in this environment; told: a file that takes what it
    says on stderr. Its exit code is below 0 if a signal ended it; it ends with the tests at the latest."""
    process = FORKS.Process(target=_run, args=(function, arguments, told, environment), daemon=True)
    process.start()
    return process


def _run(function, arguments, told, environment):
    os.environ.update(environment)
    if told:
        os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    function(*arguments)


def ranks(function, each, told):
    """Processes that find each other, as torchrun starts them, one for each tuple of arguments in `each`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    common |= {name: str(len(each)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    return [
        start(function, *arguments, told=told, RANK=str(rank), LOCAL_RANK=str(rank), **common)
        for rank, arguments in enumerate(each)
    ]


def dying(owner, name, calls, word=""):
    """This process kills itself in call number `calls` of owner.name whose arguments have `word` in them."""
    from posttrain.trainers import ppo, sft

    owner = {"PPO": ppo.PPO, "os": os, "SFTTrainer": sft._Trainer}[owner]
    real, count = getattr(owner, name), [0]

    def counted(*arguments, **keywords):
        count[0] += not word or word in str(arguments)
        if count[0] == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)

    setattr(owner, name, counted)


def carry_out(settings, run, root, deaths=()):
    """A run of a profile of these settings; deaths: arguments of `dying`."""
    from posttrain import config
    from posttrain.trainers import arm

    for how in deaths:
        dying(*how)
    made = config.check("tiny", settings, True, root=Path(root))
    arm.carry_out(made, made.run(run))
