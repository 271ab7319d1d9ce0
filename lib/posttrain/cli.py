"""The `posttrain` command: make foundations, carry out runs, check stored results.

posttrain plan --profile cpu
posttrain train --profile cpu --run gp-l/ppo/0
"""

from __future__ import annotations

import argparse
import json
import sys

from posttrain import runs


def _profile(options: argparse.Namespace) -> runs.Profile:
    return runs.profile(options.profile, fresh=options.fresh)


def plan(options: argparse.Namespace) -> int:
    """list the runs of a profile and whether they have results"""
    profile = _profile(options)
    for run in profile.runs():
        print(
            f"{'done   ' if (profile.results / run.id / 'run.json').is_file() else 'missing'}  {run.name:24} {run.id}"
        )
    return 0


def pretrain(options: argparse.Namespace) -> int:
    """make a pocket foundation from nothing"""
    from posttrain import foundation

    profile = _profile(options)
    settings = profile.foundation(options.foundation, options.seed)
    identity = runs.foundation_identity(json.dumps(settings, sort_keys=True))
    card = foundation.make(
        settings,
        options.out or profile.models / f"{options.foundation}-{options.seed}",
        profile.settings.get("gate_hands", 512),
        identity,
        profile.state / f"{options.foundation}-{options.seed}",
    )
    for gate, result in card["gates"].items():
        print(
            f"{'passed' if result['passed'] else 'FAILED'}  {gate}: {result['measured']:.3f} (bound {result['bound']})"
        )
    return 0


def train(options: argparse.Namespace) -> int:
    """carry out one run, or what is left of it"""
    from posttrain.trainers import arm as study

    profile = _profile(options)
    folder = study.carry_out(profile.run(options.run), profile, options.threads, options.device)
    print(folder.relative_to(runs.ROOT) if folder.is_relative_to(runs.ROOT) else folder)
    return 0


def verify(options: argparse.Namespace) -> int:
    """check that stored results and foundations belong to this code"""
    problems = runs.verify(_profile(options))
    print("\n".join(problems) or "all stored results belong to this code")
    return bool(problems)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "posttrain", description="Supervised fine-tuning and reinforcement learning under rule shift."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for function in (plan, pretrain, train, verify):
        command = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        command.add_argument(
            "--profile", default="cpu", help="a file of notebooks/profiles (default: %(default)s)"
        )
        command.add_argument(
            "--fresh", action="store_true", help="ignore stored results; work under build/reproduce"
        )
        if function is pretrain:
            command.add_argument(
                "--foundation",
                default="pocket-text",
                help="which of the profile's foundations (default: %(default)s)",
            )
            command.add_argument(
                "--seed", type=int, default=0, help="seed of the foundation (default: %(default)s)"
            )
            command.add_argument(
                "--out", help="folder to write (default: the profile's data/models/FOUNDATION-SEED)"
            )
        if function is train:
            command.add_argument(
                "--run", required=True, help="study/arm/seed, as `posttrain plan` lists them"
            )
            command.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
            command.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        return options.function(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"posttrain {options.command}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
