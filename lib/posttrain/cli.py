"""The `posttrain` command: make foundations, carry out runs, check what is stored, take a trained model away.

posttrain plan --profile cpu
posttrain train --profile cpu --run gp-l/ppo/0
posttrain export gp-l/ppo/0 my-model
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from posttrain import config, store
from posttrain.config import Profile, Run
from posttrain.store import hub, shown, status


def _profile(options: argparse.Namespace) -> Profile:
    return config.load(options.profile, fresh=options.fresh)


def plan(options: argparse.Namespace) -> int:
    """list the runs of a profile: which have results, which were superseded and by what, how many minutes the
    rest takes and, of a hub's model, which revision it starts from and whether that was downloaded"""
    profile = _profile(options)
    states = status.every(profile)
    _check_model(profile, [run for run, state in states if state.word != "current"])
    if profile.model and hub.named(profile.model):
        print(hub.told(profile.model))
    for run, state in states:
        minutes = "" if state.minutes is None else f"{state.minutes:6.1f} min"
        print(f"{state.word:10}  {run.name:26}{minutes:12}{f'  {state.why}' if state.why else ''}".rstrip())
    todo = [state.minutes for _, state in states if state.word != "current"]
    expected = f", about {sum(filter(None, todo)):.0f} min of one core" if any(todo) else ""
    rest = f", {len(todo)} to make{expected}" if todo else ""
    print(f"{len(states)} runs, {len(states) - len(todo)} current{rest}")
    return 0


def _check_model(profile: Profile, runs: list[Run]) -> None:
    """Refuse a real model that cannot do what is to be made. It must lie in a folder (nothing is fetched to
    make a plan), and torch must be installed (a plan needs none)."""
    if runs and profile.model and Path(profile.model).expanduser().is_dir() and find_spec("torch"):
        from posttrain.trainers import arm

        arm.check(profile, *{(run.study, run.arm): run for run in runs}.values())


def pretrain(options: argparse.Namespace) -> int:
    """make a pocket foundation from nothing, or what is left of it"""
    from posttrain import foundation

    profile = _profile(options)
    if store.find_foundation(profile, options.foundation, options.seed) is None:
        _refuse(status.foundation_damage(profile, options.foundation, options.seed))
    card = foundation.provide(profile, options.foundation, options.seed)
    failed = [gate for gate, result in card["gates"].items() if not result["passed"]]
    told = f"; not {', '.join(failed)}" if failed else ""
    print(f"{len(card['gates']) - len(failed)} of {len(card['gates'])} gates passed{told}")
    return 0


def train(options: argparse.Namespace) -> int:
    """carry out one run, or what is left of it"""
    profile = _profile(options)
    run, folder = _sought(profile, options.run)
    if folder is None:  # so a finished run costs no import of torch
        from posttrain.trainers import arm

        arm.check(profile, run)
        folder = arm.carry_out(profile, run, options.threads, options.device or profile.device)
    print(shown(folder))
    return 0


def _sought(profile: Profile, name: str) -> tuple[Run, Path | None]:
    """A run, and the folder that holds it, if one does; StoreError where an edit may hide it."""
    run = profile.run(name)
    if run.foundation is None and store.find(profile, run) is None:
        store.model_path(profile, run)  # once it is on this machine, the identity names a hub's commit
        run = profile.run(name)
    if (folder := store.find(profile, run)) is None:
        _refuse(status.damage(profile, run))
    return run, folder


def _refuse(problems: list[str]) -> None:
    if problems:
        raise store.StoreError(problems[0])


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Whether `folder` can be made is tried before hours are spent; a failure leaves nothing behind."""
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: name a new folder")
    above = [path for path in folder.parents if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True)
            folder.rmdir()
        except OSError as error:
            raise OSError(f"{folder} cannot be made ({error.strerror}): name another folder") from None
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for path in above:
            with suppress(OSError):  # the first that was not made ends it
                path.rmdir()
        raise


def export(options: argparse.Namespace) -> int:
    """write a run's trained model as an ordinary Hugging Face folder, training it again if it must"""
    profile, folder = _profile(options), Path(options.folder)
    with _new_folder(folder):
        run, _ = _sought(profile, options.run)
        from posttrain.trainers import arm

        arm.export(profile, run, folder, options.adapter, options.threads)
    print(options.folder)
    return 0


def verify(options: argparse.Namespace) -> int:
    """check that stored results and foundations are whole, unedited and of these settings and versions"""
    problems = status.verify(_profile(options))
    print("\n".join(problems) or "all results and foundations are current and as they were written")
    return bool(problems)


def settings(options: argparse.Namespace) -> int:
    """list every field of a profile: its default, what is allowed, what it means"""
    for row in config.table():
        allowed = f"{row.type}, {row.allowed}" if row.allowed else row.type
        print(f"{row.path:42} {row.default:>16}  {allowed}: {row.sentence}")
    return 0


def clear(options: argparse.Namespace) -> int:
    """remove what a finished reproduction of a profile left; one that was cut off is kept, to go on"""
    profile = config.load(options.profile, fresh=True)
    if not (profile.root / "book/_build/html/index.html").is_file():
        return 0
    try:
        with FileLock(profile.root / "build" / "book.lock", timeout=0):  # the Snakefile holds it
            # First out of its name: half a folder would be gone on with as if it had been cut off.
            gone = profile.root.with_name(f".{profile.root.name}.old")
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(profile.root, gone)
    except Timeout:
        raise OSError(f"{shown(profile.root)}: another build of it is going on; wait for its end") from None
    shutil.rmtree(gone)
    print(f"removed {shown(profile.root)}")
    return 0


COMMANDS = (plan, train, pretrain, verify, export, settings, clear)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "posttrain", description="Supervised fine-tuning and reinforcement learning under rule shift."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for function in COMMANDS:
        command = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        if function is not settings:
            command.add_argument(
                "--profile", default="cpu", help="a file of notebooks/profiles (default: %(default)s)"
            )
        if function not in (settings, clear):
            command.add_argument(
                "--fresh", action="store_true", help="make everything anew, under build/reproduce"
            )
        if function is pretrain:
            command.add_argument(
                "--foundation",
                default="pocket-text",
                help="one of the profile's foundations (default: %(default)s)",
            )
            command.add_argument("--seed", type=int, default=0, help="its seed (default: %(default)s)")
        if function is train:
            command.add_argument(
                "--run", required=True, help="study/arm/seed, as `posttrain plan` lists them"
            )
            command.add_argument("--device", help="torch device (default: the profile's)")
        if function is export:
            command.add_argument("run", help="study/arm/seed, as `posttrain plan` lists them")
            command.add_argument("folder", help="a folder that does not exist yet")
            command.add_argument(
                "--adapter", action="store_true", help="the adapter alone, to be loaded with peft"
            )
        if function in (train, export):
            command.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    return parser


_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "ALLOC_FAILED")
_LESS = "ask for less at once (microbatch_tokens of sft or ppo, checkpointing: true, census.batch, lora.rank)"


def _told(error: Exception) -> str | None:
    """One line for what is expected to go wrong: settings, files, disks, devices, memory; None for anything
    else. torch and safetensors have errors of no class of their own for a full disk."""
    kind, text = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(
        words in f"{kind} {text}" for words in ("OutOfMemory", *_MEMORY)
    ):
        return f"memory is full: {_LESS}, or take a larger machine; what was finished is kept"
    if "inline_container" in text or "PytorchStreamWriter" in text or "while serializing" in text:
        return (
            f"a file cannot be written ({text[:120]}): is the disk full? With room the same command goes on"
        )
    return text if isinstance(error, ValueError | OSError) else None


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        code = options.function(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads has enough: `posttrain plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if (told := _told(error)) is None:
            raise
        print(f"posttrain {options.command}: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"posttrain {options.command}: stopped; the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
