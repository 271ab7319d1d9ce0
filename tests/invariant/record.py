"""Record goldens: `python -m tests.invariant.record [NAME ...]` (all, if none are named); `--published`
those of `make invariant`.

Refuses a dirty tree, so that the recorded commit says which code it was, and a golden that moved while no
version of its parts
was raised (`--force` where the golden itself was changed).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from tests.invariant import goldens
from tests.invariant.library import numerics


def everything() -> dict[str, goldens.Golden]:
    """All goldens that `make test` compares, by name."""
    from tests.invariant import components, training, trajectories

    return {**components.COMPONENTS, **training.COMPONENTS, **trajectories.TRAJECTORIES}


def dirty() -> list[str]:
    """Files that differ from the commit, the goldens themselves left out."""
    asked = ["git", "status", "--porcelain", "--", ".", ":(exclude)tests/invariant/goldens"]
    told = subprocess.run(asked, cwd=goldens.ROOT, check=True, capture_output=True, text=True).stdout
    return [line[3:] for line in told.splitlines()]


def record(name: str, golden: goldens.Golden, force: bool, folder=goldens.FOLDER) -> str | None:
    """Record one golden; returns why not, if it was refused."""
    old, values = goldens.read(name, folder), golden.compute()
    if (
        old is not None
        and not force
        and all(old["versions"].get(p) == numerics.VERSIONS[p] for p in golden.parts)
    ):
        if apart := goldens.moved(golden, old, values):
            return (
                f"{name} moved ({apart[0]}) and no version of {', '.join(golden.parts)} was raised: raise it "
                "in lib/posttrain/numerics.py, or use --force where it is the golden that was changed"
            )
    goldens.write(name, golden.parts, values, numerics.VERSIONS, folder)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="goldens to record (all, if none are named)")
    parser.add_argument(
        "--force", action="store_true", help="also where a golden moved and no version was raised"
    )
    parser.add_argument("--published", action="store_true", help="the goldens of `make invariant`")
    parser.add_argument("--missing", action="store_true", help="those that were never recorded")
    options = parser.parse_args()
    if changed := dirty():
        print(
            f"commit first: {', '.join(changed[:5])} differ from the commit that would be recorded",
            file=sys.stderr,
        )
        return 2
    if options.published:
        from tests.invariant import published

        known, folder = published.everything(), published.FOLDER
    else:
        known, folder = everything(), goldens.FOLDER
    if unknown := [name for name in options.names if name not in known]:
        print(f"unknown {', '.join(unknown)}: choose of {', '.join(known)}", file=sys.stderr)
        return 2
    names = options.names or list(known)
    if options.missing:
        names = [name for name in names if goldens.read(name, folder) is None]
    refused = 0
    for name in names:
        began = time.process_time()
        if why := record(name, known[name], options.force, folder):
            print(why, file=sys.stderr)
            refused = 1
        else:
            print(f"{name}: recorded, {time.process_time() - began:.1f} s", flush=True)
    return refused


if __name__ == "__main__":
    sys.exit(main())
