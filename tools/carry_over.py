"""Keep stored results over a change of the code that changes no number: shown by running both, never assumed.

A run's identity holds the code that decides its numbers, so a refactoring makes stored runs stale. This tool carries out every arm
that became stale, shortened but at its published settings, and the first steps of every stale foundation with the code of COMMIT and with
the code at hand. Only what comes out the same to the last digit is carried over: results and foundations get the identities of
today, and `carried_over` in run.json and card.json says from where. What differs stays stale, to be trained anew.

    python tools/carry_over.py COMMIT            # compare and say what would be carried over
    python tools/carry_over.py COMMIT --apply    # and do it
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUDGET, STEPS, HANDS = 300, 40, 24  # GFLOP of an arm, steps of a foundation, cases of a set


def outcomes(models: Path, scratch: Path, only: set[str]) -> dict:
    """With the library that is imported here: what each run and foundation is, and, of those called `only`, digests of what it does at first."""
    import dataclasses

    import pandas as pd
    import torch

    from posttrain import runs, study
    from posttrain.foundation import pretraining

    torch.set_num_threads(1)
    profile, done = runs.profile("cpu"), {}
    found = {
        "runs": {},
        "foundations": {},
        "seed": profile.settings["seeds"][0],
    }  # the seed that stands for all of an arm

    class Elsewhere(runs.Profile):
        results = property(lambda self: scratch / "results")
        state = property(lambda self: scratch / "state")

    started = {run.parent.name for run in profile.runs() if run.parent and run.name in only}
    for run in profile.runs():
        entry = found["runs"][run.name] = {
            "id": run.id,
            "identity": run.identity,
            "settings": run.settings,
            "model": run.model_identity,
            "foundation": Path(run.model).name,
            "digest": None,
        }
        if run.seed == found["seed"] and run.name in only | started:
            settings = {
                **run.settings,
                "census": {**run.settings.get("census", {}), "limit": HANDS, "kl_hands": 16},
            }
            settings |= {"budget": BUDGET, "checkpoints": 2} if "budget" in settings else {}
            short = dataclasses.replace(
                run,
                settings=settings,
                model=str(models / Path(run.model).name),
                parent=run.parent and done[run.parent.name],
            )
            done[run.name] = short
            folder = study.carry_out(short, Elsewhere(profile.name, profile.settings, profile.root))
            tables = [
                pd.read_csv(folder / "checkpoints.csv"),
                pd.read_csv(folder / "training.csv"),
                pd.read_parquet(folder / "hands.parquet"),
            ]
            texts = [t[sorted(c for c in t if "seconds" not in c)].to_csv() for t in tables]
            entry["digest"] = hashlib.sha256("".join(texts).encode()).hexdigest()
    for path in sorted(models.glob("[!.]*/card.json")):
        config = json.loads(path.read_text())["config"]
        try:
            train = (
                _tower(config, models)
                if "language" in config
                else partial(
                    pretraining.pretrain,
                    pretraining.FoundationConfig(**{**config, "steps": STEPS, "reading_steps": STEPS // 2}),
                )
            )
            entry = {"identity": runs.foundation_identity(json.dumps(config, sort_keys=True)), "digest": None}
        except (
            TypeError,
            ImportError,
            ValueError,
            KeyError,
            OSError,
        ) as error:  # as the older code knows none of the newer foundations
            print(f"not known to {Path(runs.ROOT).name}: foundation {path.parent.name} ({error})")
            continue
        found["foundations"][path.parent.name] = entry
        if path.parent.name not in only:
            continue
        model, tokens, _ = train()
        weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        entry["digest"] = hashlib.sha256(
            weights + json.dumps(tokens.get_vocab(), sort_keys=True).encode()
        ).hexdigest()
    return found


def _tower(config: dict, models: Path):
    """What trains the first steps of a tower and gives what `pretraining.pretrain` gives."""
    from posttrain.foundation import vision

    begun = {"reading_steps": STEPS // 2} if config.get("reading_steps") else {}
    short = vision.VisionConfig(
        **{**{k: v for k, v in config.items() if k != "text"}, "steps": STEPS, **begun}
    )

    def train():
        policy, measured = vision.pretrain(short, models / f"{short.language}-{short.seed}")
        return policy.model, policy.tokenizer, measured

    return train


def _measured(tree: Path, models: Path, only: list[str]) -> dict:
    """`outcomes` with the library of `tree`, in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "outcomes.json"
        subprocess.run(
            [
                sys.executable,
                str(ROOT / "tools" / "carry_over.py"),
                "--measure",
                str(out),
                "--models",
                str(models),
                "--only",
                ",".join(only),
                ".",
            ],
            check=True,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree / "lib"), "OMP_NUM_THREADS": "1"},
        )
        return json.loads(out.read_text())


def _rewrite(path: Path, old: dict, **changes) -> None:
    content = json.loads(path.read_text())
    history = [*content.get("carried_over", []), {"from": content["identity"], "commit": old["commit"]}]
    path.write_text(
        json.dumps({**content, **changes, "carried_over": history}, indent=1, sort_keys="id" in content)
        + "\n"
    )


def carry_over(commit: str, apply: bool) -> int:
    models, results = ROOT / "data" / "models", ROOT / "data" / "results"
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], check=True, cwd=ROOT
        )
        try:
            name = subprocess.run(
                ["git", "rev-parse", "--short", commit], check=True, cwd=ROOT, capture_output=True, text=True
            ).stdout.strip()
            old, new = _measured(tree, models, []), _measured(ROOT, models, [])
            stale = {
                f"{run.rpartition('/')[0]}/{new['seed']}"
                for run, entry in new["runs"].items()
                if run in old["runs"] and entry["id"] != old["runs"][run]["id"]
            }
            stale |= {
                name
                for name, entry in new["foundations"].items()
                if name in old["foundations"] and entry["identity"] != old["foundations"][name]["identity"]
            }
            old, new = (
                {**_measured(tree, models, sorted(stale)), "commit": name},
                _measured(ROOT, models, sorted(stale)),
            )
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], check=True, cwd=ROOT)
    kept, changed = 0, set()
    for name, now in new["foundations"].items():
        before, card = old["foundations"].get(name), models / name / "card.json"
        if before is None:
            continue
        if now["digest"] != before["digest"]:
            changed.add(name)
            print(f"differs: foundation {name}")
        elif json.loads(card.read_text())["identity"] == before["identity"] != now["identity"]:
            kept += 1
            print(f"same: foundation {name}")
            if apply:
                _rewrite(card, old, identity=now["identity"])
    first = {run.rpartition("/")[0]: entry["digest"] for run, entry in new["runs"].items() if entry["digest"]}
    for name, now in new["runs"].items():
        before, arm = old["runs"].get(name), name.rpartition("/")[0]
        if (
            before is None
            or before["id"] == now["id"]
            or not (stored := results / before["id"]).joinpath("run.json").is_file()
        ):
            continue
        begun = next(
            entry["digest"]
            for other, entry in old["runs"].items()
            if other.startswith(f"{arm}/") and entry["digest"]
        )
        if now["foundation"] in changed or before["settings"] != now["settings"] or first[arm] != begun:
            print(f"differs: {name}")
            continue
        kept += 1
        print(f"same: {name}")
        if apply:
            record = json.loads((stored / "run.json").read_text())
            parent = next(
                (
                    n["id"]
                    for k, n in new["runs"].items()
                    if old["runs"].get(k, {}).get("id") == record["parent"]
                ),
                record["parent"],
            )
            _rewrite(
                stored / "run.json",
                old,
                id=now["id"],
                identity=now["identity"],
                parent=parent,
                model_identity=now["model"],
            )
            shutil.move(stored, results / now["id"])
    print(f"{kept} {'carried over' if apply else 'could be carried over'}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commit", help="the commit whose code made the stored results")
    parser.add_argument("--apply", action="store_true", help="rename what is the same")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--models", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        with tempfile.TemporaryDirectory() as scratch:
            options.measure.write_text(
                json.dumps(
                    outcomes(options.models, Path(scratch), set(filter(None, options.only.split(","))))
                )
            )
        sys.exit()
    sys.exit(carry_over(options.commit, options.apply))
