"""`make invariant`: every arm of the published profile, shortened, and the first steps of every kind of
foundation.

Seed 0, one thread, the stored foundations; an arm starts from an Init that is made again here. Outcomes are
compared with
goldens/published/ as those of `make test` are: exactly on the recorded make of processor and torch,
elsewhere by drift.

    python -m tests.invariant.published [NAME ...]        # an arm is called study/arm
"""

from __future__ import annotations

import dataclasses
import json
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
SHORT = {"budget": 20, "checkpoints": 2}  # GFLOP: an iteration or two of PPO, some steps of SFT
INIT, BATCH = 2, 16  # steps of an Init, examples in a step; published: 4 to 16, and 128
EPISODES = {"general-points": 16, "navigation": 4}  # of an iteration of PPO; published: 256 and 16
CENSUS = {"limit": 4, "limit_others": 2, "kl_hands": 4}
STEPS = 3  # of a foundation
ALLOWED = 5e-2, 1e-2  # drift on another machine: published arms compute in bfloat16
_SCRATCH = tempfile.TemporaryDirectory()


# --- the published profile: the only place that knows how profiles and runs are kept ----------------------


@cache
def arms() -> dict[str, SimpleNamespace]:
    """By study/arm: task, algorithm, and `carry_out()`, which gives the shortened run's tables and adapter
    norms.
    """
    profile = lib.runs.profile(PROFILE)

    class Elsewhere(lib.runs.Profile):
        results = property(lambda self: Path(_SCRATCH.name) / "results")
        state = property(lambda self: Path(_SCRATCH.name) / "state")

    elsewhere, made, found = Elsewhere(profile.name, profile.settings, profile.root), {}, {}
    for run in (run for run in profile.runs() if run.seed == SEED):
        settings = {**run.settings, "census": {**run.settings.get("census", {}), **CENSUS}}
        settings |= SHORT if "budget" in settings else {"steps": INIT}
        settings["sft"] = {**settings.get("sft", {}), "batch_size": BATCH}
        if run.algorithm == "ppo":  # an iteration of fewer episodes
            settings["ppo"] = {
                **settings.get("ppo", {}),
                "episodes": EPISODES[run.task.removesuffix("-vision")],
            }
        parent = run.parent and made[run.parent.name]
        made[run.name] = dataclasses.replace(run, settings=settings, parent=parent)
        found[f"{run.study}/{run.arm}"] = SimpleNamespace(
            task=run.task,
            algorithm=run.algorithm,
            carry_out=partial(lib.carry_out_run, made[run.name], elsewhere),
        )
    return found


def foundations() -> dict[str, dict]:
    """The settings of each kind of the profile's foundations, as their cards hold them."""
    folder = lib.runs.profile(PROFILE).models
    cards = {path.parent.name: path for path in sorted(folder.glob(f"[!.]*-{SEED}/card.json"))}
    return {name: json.loads(path.read_text())["config"] for name, path in cards.items()}


# --- goldens ----------------------------------------------------------------------------------------------


def arm(name: str) -> dict:
    with lib.one_thread():
        return trajectories.tables(arms()[name].carry_out(), sampled=arms()[name].algorithm == "ppo")


def foundation(name: str) -> dict:
    """The first steps of a foundation: its loss at each, and its weights."""
    settings, losses = foundations()[name], []
    settings |= {"steps": STEPS, "reading_steps": min(settings.get("reading_steps", 0), STEPS // 2)}

    def note(step: int, metrics: dict) -> None:
        losses.append(metrics["loss"])

    with lib.one_thread():
        if "language" in settings:
            settings.pop("text", None)
            beside = lib.runs.profile(PROFILE).models / f"{settings['language']}-{SEED}"
            policy, told = lib.vision.pretrain(lib.vision.VisionConfig(**settings), beside, note)
            model, tokens = policy.model, policy.tokenizer
        else:
            config = lib.pretraining.FoundationConfig(**settings)
            model, tokens, told = lib.pretraining.pretrain(config, note)
    weights = numbers(p.detach().double().norm() for p in model.parameters())
    exact = {"vocabulary": sha(sorted(tokens.get_vocab().items())), "read": told["tokens"]}
    return {"exact": exact, "floats": {"losses": numbers(losses), "weights": weights}}


def everything() -> dict[str, Golden]:
    """All goldens of `make invariant`, by name; parents first."""
    found = {}
    for name in foundations():
        seeing = ("pictures", "chat") if "language" in foundations()[name] else ()
        task = "navigation" if "directions" in name or "streets" in name else "general-points"
        found[name] = Golden(("foundation", task, *seeing), partial(foundation, name), *ALLOWED)
    for name, one in arms().items():
        parts = trajectories.parts(one.task, one.algorithm)
        found[name.replace("/", ".")] = Golden(parts, partial(arm, name), *ALLOWED)
    return found


def main(names: list[str]) -> int:
    known, failed = everything(), 0
    names = [name.replace("/", ".") for name in names] or list(known)
    if unknown := [name for name in names if name not in known]:
        print(f"unknown {', '.join(unknown)}: choose of {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names:
        golden, recorded, began = known[name], goldens.read(name, FOLDER), time.perf_counter()
        if recorded is None:
            print(
                f"{name}: never recorded; `python -m tests.invariant.record --published` does",
                file=sys.stderr,
            )
            return 2
        got = golden.compute()
        lines = goldens.moved(golden, recorded, got)
        raised = [p for p in golden.parts if recorded["versions"].get(p) != lib.numerics.VERSIONS[p]]
        told = "same"
        if goldens.skipped(recorded, got) and not lines:
            told = "within tolerance; sampled otherwise than recorded, so that part was left out"
        if lines or raised:
            failed += 1
            told = (
                f"recorded with another version of {', '.join(raised)}"
                if raised
                else f"moved: {'; '.join(lines[:3])}"
            )
        print(f"{name}: {told} ({time.perf_counter() - began:.0f} s)", flush=True)
    if failed:
        print(
            f"{failed} of {len(names)} moved. If that is meant, raise the versions of the changed parts in "
            "lib/posttrain/numerics.py and record: python -m tests.invariant.record --published",
            file=sys.stderr,
        )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
