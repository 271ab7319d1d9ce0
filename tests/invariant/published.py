"""`make invariant`: every arm of the published profile, shortened, and the first steps of every kind of
foundation.

Seed 0, one thread, the stored foundations; an arm starts from an Init that is made again here. Outcomes are
compared with
goldens/published/ as those of `make test` are: exactly on the recorded make of processor and torch,
elsewhere by drift.

    python -m tests.invariant.published [NAME ...]        # an arm is called study/arm

Left out are arms whose foundation keeps only its card: its weights would have to be made first. `OWED` says
which goldens are still to be recorded.
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

from tests.invariant import goldens, trajectories
from tests.invariant import library as lib
from tests.invariant.goldens import Golden, numbers, sha

FOLDER = goldens.FOLDER / "published"
PROFILE, SEED = "cpu", 0
SHORT = {"budget_gflop": 20, "checkpoints": 2}  # GFLOP: an iteration or two of PPO, some steps of SFT
INIT, BATCH = 2, 16  # steps of an Init, examples in a step; published: 4 to 16, and 128
EPISODES = {"general-points": 16, "navigation": 4}  # of an iteration of PPO; published: 256 and 16
CENSUS = {"limit": 4, "limit_others": 2, "kl_hands": 4}
STEPS = 3  # of a foundation
ALLOWED = 5e-2, 1e-2  # drift on another machine: published arms compute in bfloat16
# Studies with arms that have no golden yet; test_published.py holds it against the folder.
OWED: set[str] = set()
RECORD = "python -m tests.invariant.record --published"
_SCRATCH = tempfile.TemporaryDirectory()


# --- the published profile: the only place that knows how profiles and runs are kept ----------------------


@cache
def _shortened():
    said = lib.config.read(PROFILE)
    said["seeds"] = [SEED]
    for study in said["studies"].values():
        study["census"] = {**study.get("census", {}), **CENSUS}
        study.pop("seeds", None)
        for one in study["arms"].values():
            one |= SHORT if "budget_gflop" in one else {"steps": INIT}
            if one["algorithm"] == "ppo":  # an iteration of fewer episodes
                episodes = EPISODES[study.get("task", "general-points").removesuffix("-vision")]
                one["ppo"] = {**one.get("ppo", {}), "episodes": episodes}
            else:
                one["sft"] = {**one.get("sft", {}), "batch_size": BATCH}
    return lib.config.check("shortened", said, root=Path(_SCRATCH.name))


def _at_hand(run) -> bool:
    """Whether the weights that a run starts from are stored."""
    return run.model.kept == "weights"


@cache
def arms() -> dict[str, SimpleNamespace]:
    """By study/arm: task, algorithm, and `carry_out()`, which gives the shortened run's tables and adapter
    norms."""
    profile = _shortened()
    return {
        f"{run.study}/{run.arm}": SimpleNamespace(
            task=run.task, algorithm=run.algorithm, carry_out=partial(lib.carry_out_run, run, profile)
        )
        for run in profile.runs()
        if _at_hand(run)
    }


def left_out() -> list[str]:
    """Arms without a golden for good: study/arm."""
    return [f"{run.study}/{run.arm}" for run in _shortened().runs() if not _at_hand(run)]


def foundations() -> dict:
    """The settings of each kind of the profile's foundations, by name-seed."""
    profile = lib.config.load(PROFILE)
    return {
        f"{name}-{seed}": profile.foundation(name, seed)
        for name, seed, _ in profile.foundation_list()
        if seed == SEED
    }


# --- goldens ----------------------------------------------------------------------------------------------


def arm(name: str) -> dict:
    with lib.one_thread():
        return trajectories.tables(arms()[name].carry_out(), sampled=arms()[name].algorithm == "ppo")


def foundation(name: str) -> dict:
    """The first steps of a foundation: its loss at each, and its weights."""
    config, losses = foundations()[name], []
    config = config.model_copy(
        update={"steps": STEPS, "reading_steps": min(config.reading_steps, STEPS // 2)}
    )

    def note(step: int, metrics: dict) -> None:
        losses.append(metrics["loss"])

    with lib.one_thread():
        if hasattr(config, "language"):
            beside = lib.config.load(PROFILE).models / f"{config.language}-{SEED}"
            policy, told = lib.vision.pretrain(config, beside, note)
            model, tokens = policy.model, policy.tokenizer
        else:
            model, tokens, told = lib.pretraining.pretrain(config, note)
    weights = numbers(p.detach().double().norm() for p in model.parameters())
    exact = {"vocabulary": sha(sorted(tokens.get_vocab().items())), "read": told["tokens"]}
    return {"exact": exact, "floats": {"losses": numbers(losses), "weights": weights}}


def everything() -> dict[str, Golden]:
    """All goldens of `make invariant`, by name; parents first."""
    found = {}
    for name, config in foundations().items():
        parts = lib.numerics.foundation_parts(config.corpus)
        found[name] = Golden(parts, partial(foundation, name), *ALLOWED)
    for name, one in arms().items():
        parts = trajectories.parts(one.task, one.algorithm)
        found[name.replace("/", ".")] = Golden(parts, partial(arm, name), *ALLOWED)
    return found


def missing() -> list[str]:
    """Names that were never recorded."""
    return [name for name in everything() if goldens.read(name, FOLDER) is None]


def compared(name: str, golden: Golden) -> tuple[str, bool]:
    """What is said of a golden, and whether it is as recorded."""
    recorded, began = goldens.read(name, FOLDER), time.perf_counter()
    got = golden.compute()
    lines = goldens.moved(golden, recorded, got)
    raised = [p for p in golden.parts if not lib.numerics.stands(p, recorded["versions"].get(p))]
    told = "same"
    if goldens.skipped(recorded, got) and not lines:
        told = "within tolerance; sampled otherwise than recorded, so that part was left out"
    if lines:
        told = f"moved: {'; '.join(lines[:3])}"
    if raised:
        told = f"recorded with another version of {', '.join(raised)}"
    return f"{told} ({time.perf_counter() - began:.0f} s)", not lines and not raised


def main(names: list[str]) -> int:
    known, failed, absent, never = everything(), 0, 0, missing()
    names = [name.replace("/", ".") for name in names] or list(known)
    if unknown := [name for name in names if name not in known]:
        print(f"unknown {', '.join(unknown)}: choose of {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names:
        told, same = ("never recorded", True) if name in never else compared(name, known[name])
        print(f"{name}: {told}", flush=True)
        failed, absent = failed + (not same), absent + (name in never)
    if failed:
        print(
            f"{failed} of {len(names)} moved. If that is meant, raise the versions of the changed parts in "
            f"lib/posttrain/numerics.py and record: {RECORD}",
            file=sys.stderr,
        )
    if absent:
        print(
            f"{absent} of {len(names)} were never recorded: `{RECORD} --missing` does that", file=sys.stderr
        )
    return int(failed > 0 or absent > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
