"""An arm with one seed, carried out: Init, SFT or PPO on a task, evaluated at checkpoints along its compute.

Paper: section 5 (protocol), appendix C.3 (compute). Both arms start from the same Init and stop when they
have spent the same budget, counted as measured: 6N for a trained token, 2N for a token the policy read or
wrote while rolling out. The state is saved at every checkpoint, so a killed run goes on from the last one and
ends with the same tables. What a run leaves is its tables; its adapter is kept under build/ and made again
where it is missing: training is deterministic, and what comes out is compared with the tables.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState

from posttrain import policy, store
from posttrain.config import Profile, Run
from posttrain.policy import Chat, Policy
from posttrain.trainers.work import Work, environment

__all__ = ["adapter", "carry_out", "check", "check_device", "environment", "export", "provenance", "start"]
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "numpy")
# Of a loss, relative: how far an Init that is made again may be from the published one (another processor
# rounds elsewhere).
SAME = 0.02


def check_device(device: str) -> str:
    """`device`, or a ValueError that says what there is."""
    try:
        named = torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}: use cpu, cuda or mps") from None
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = {"cpu": 1, "cuda": gpus, "mps": int(torch.backends.mps.is_available())}
    if (named.index or 0) >= there.get(named.type, 0):
        last = {name: f"{name}:0 to {name}:{count - 1}" for name, count in there.items() if count > 1}
        usable = ", ".join(last.get(name, name) for name, count in there.items() if count)
        raise ValueError(f"device {device}: this machine has none; use {usable}")
    return device


def check_room(run: Run, chat: Chat) -> None:
    """ValueError if an expert's answers are longer, in this model's tokens, than answers may be."""
    posed, rng = environment(run), np.random.default_rng(0)
    answers = [posed.reset(seed=seed) and posed.expert(rng) for seed in range(64)]
    longest = max(len(chat.encode(text)) + 1 for text in answers)  # and its end
    rooms = {"census": run.settings.census.max_tokens}
    if run.algorithm == "ppo":
        rooms["ppo"] = run.settings.ppo.max_tokens
    if small := [f"{name}.max_tokens is {room}" for name, room in rooms.items() if room < longest]:
        told = f"an expert's answer has up to {longest} tokens of this model, and {' and '.join(small)}"
        raise ValueError(f"{run.name}: {told}: no answer could be right; raise it")


def check_context(run: Run, chat: Chat, context: int) -> None:
    """ValueError if a dialogue may have more tokens than the model's `context`: a prompt, and as many answers
    and as long ones as the settings allow, with the verifier's messages between them."""
    posed, census = environment(run), run.settings.census
    infos = [posed.reset(seed=seed)[1] for seed in range(64)]
    prompt = max(len(chat.opening(info["messages"])) for info in infos)
    if "picture" in infos[0]:
        shown = chat.openings([infos[0]["messages"]], [infos[0]["picture"]])[0][0]
        prompt += len(shown) - len(chat.opening(infos[0]["messages"]))
    message = len(chat.feedback(posed.question().step("")[0])) + 1  # of an answer that was cut off, the end
    again = census.verify_steps if set(census.revised) & set(census.sets) else 1
    rooms = {"census": (again, census.protocol, census.max_tokens)}
    if run.algorithm == "ppo":
        rooms["ppo"] = (posed.verify_steps, run.settings.environment.protocol, run.settings.ppo.max_tokens)
    for name, (answers, protocol, room) in rooms.items():
        answers += answers > 1 and protocol == "as_released"  # which asks for one more than it reads
        length = prompt + answers * room + (answers - 1) * message
        if length > context:
            said = f"{answers} answers" if answers > 1 else "an answer"
            told = f"a prompt of {prompt} and {said} of {room} ({name}.max_tokens)"
            told = f"its context has {context} tokens, and dialogues of {run.name} up to {length}: {told}"
            raise ValueError(f"{run.model}: {told}; lower max_tokens or verify_steps, or use another model")


def check_sight(run: Run, chat: Chat) -> None:
    """ValueError if the task shows pictures, and this model reads text only or takes them otherwise than row
    by row."""
    _, info = environment(run).reset(seed=0)
    if "picture" in info:
        try:
            chat.openings([info["messages"]] * 2, [info["picture"]] * 2)
        except ValueError as error:
            raise ValueError(f"{run.name}: {error}") from None


def check(profile: Profile, *runs: Run) -> None:
    """ValueError if the model of these runs is one that is not ours and cannot do their tasks, as far as that
    is known without reading its weights."""
    foreign = [run for run in runs if run.foundation is None]
    if not foreign:
        return
    path = store.model_path(profile, foreign[0])  # a profile has one
    chat, model = Chat(*policy.words(path)), policy.outline(path)
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for run in foreign:
        check_room(run, chat)
        check_sight(run, chat)
        if run.settings.checkpointing:
            policy.recompute(path, model)
        if context:
            check_context(run, chat, context)


def carry_out(profile: Profile, run: Run, threads: int = 1, device: str = "cpu") -> Path:
    """Carry out `run` (or what is left of it) and publish its tables; returns their folder. A finished run is
    left alone."""
    with _alone(profile, run.identity, run.name, device):
        if folder := store.find(profile, run):
            return folder
        state = profile.state / run.identity
        state.mkdir(parents=True, exist_ok=True)
        if run.parent is not None:
            carry_out(profile, run.parent, threads, device)
        work = Work(profile, run, start(profile, run, threads, device), state)
        work.train()
        if work.main:
            facts = {
                "seconds": round(work.tick(), 1),
                "parameters": work.parameters,
                "spent_gflops": work.spent_gflops,
            }
            store.publish(profile, run, work.tables, {**facts, **provenance(threads, device)})
            shutil.rmtree(state)
        PartialState().wait_for_everyone()  # nobody looks for this run before it is there
        return store.home(profile, run)


def adapter(profile: Profile, run: Run, threads: int = 1, device: str = "cpu") -> Path:
    """The folder of a finished run's adapter: kept, or made again by the same training without its
    evaluations.

    StoreError where what was made again is not what the run's tables tell.
    """
    kept = [root / "build" / "adapters" / run.identity for root in store.roots(profile)]
    with _alone(profile, f"{run.identity}-again", f"adapter of {run.name}", device):
        for folder in kept:
            if policy.is_saved(folder):
                return folder
        state = profile.state / f"{run.identity}-again"
        state.mkdir(parents=True, exist_ok=True)
        work = Work(profile, run, start(profile, run, threads, device), state, judged=False)
        published = store.read(profile, run).training
        work.train(lambda: _compare(published, work.tables.get("training"), run))
        if work.main:
            shutil.rmtree(state)
        PartialState().wait_for_everyone()
        return kept[0]


def _compare(published: pd.DataFrame, again: pd.DataFrame, run: Run) -> None:
    """StoreError where a run that was made again is not the published one. What PPO draws depends on the
    processor, so elsewhere it is the same training and not the same weights, which is said."""
    same = len(published) == len(again) and bool((published["tokens"] == again["tokens"]).all())
    if run.algorithm == "ppo":
        if not same:
            print(f"{run.name}: made again on another processor, with other draws", file=sys.stderr)
        return
    drift = (published["loss"] - again["loss"]).abs().max() / published["loss"].max() if same else math.inf
    if drift > SAME:
        told = f"its loss is off by {drift:.1%}" if same else "it read other tokens"
        raise store.StoreError(f"{run.name}: made again {told}; published runs cannot start from it")
    if drift > 1e-4:
        print(f"{run.name}: made again; its loss is off by at most {drift:.2%}", file=sys.stderr)


def start(profile: Profile, run: Run, threads: int = 1, device: str = "cpu") -> Policy:
    """The run's model, its ancestors' adapters merged in, with a fresh adapter (for PPO, and value head)."""
    check_device(device)
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    torch.set_num_threads(threads)
    bf16 = run.settings.bf16
    # On a CPU bfloat16 speeds the products and the weights stay float32; on a GPU the weights are what
    # fills the memory. Weights that are trained stay float32: bfloat16 would round small steps away.
    small = bf16 and device != "cpu" and not run.settings.lora.full
    dtype = torch.bfloat16 if small else torch.float32
    path, again = store.model_path(profile, run), run.settings.checkpointing
    model = policy.load(path, dtype=dtype, device=device, bf16=bf16, checkpointing=again)
    model = _descended(model, profile, run, threads, device)
    return policy.add_lora(model, run.settings.lora, seed=run.seed, value=run.algorithm == "ppo")


def _descended(model: Policy, profile: Profile, run: Run, threads: int, device: str = "cpu") -> Policy:
    """`model` with the adapters of the run's ancestors merged in."""
    for ancestor in run.ancestors:
        model = policy.load_adapter(model, adapter(profile, ancestor, threads, device))
    return model


def provenance(threads: int, device: str) -> dict:
    """Where and with what a run was made: information, no part of its identity."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    where = {
        "machine": _processor(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "threads": threads,
        "python": platform.python_version(),
    }
    return {"packages": packages, **where, "commit": store.commit()}


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo") as lines:
            names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
            return f"{next(names, platform.machine())}, {os.cpu_count()} cores"
    return platform.machine()


@contextmanager
def _alone(profile: Profile, key: str, name: str, device: str) -> Iterator[None]:
    """One program at a time makes what has this key: two studies may have the same run. Under `accelerate
    launch` its first process holds the lock for all."""
    # The first call decides: without `cpu` it sees no other process on a CPU.
    processes = PartialState(cpu=device == "cpu")
    if processes.is_main_process:
        with store.locked(profile.guard, key, name):
            processes.wait_for_everyone()
            yield
    else:
        processes.wait_for_everyone()
        yield


def export(profile: Profile, run: Run, folder: Path, only_adapter: bool = False, threads: int = 1) -> None:
    """Write the trained model of a run to `folder`, an ordinary checkpoint for transformers; trains again
    what is not kept.

    `only_adapter`: `folder`/base, what training started from, and `folder`/adapter for peft. FileExistsError
    if `folder` is there.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: name a new folder")
    if only_adapter and run.settings.lora.full:
        raise ValueError(f"{run.name} tunes every weight and has no adapter: leave --adapter out")
    carry_out(profile, run, threads, profile.device)
    trained = adapter(profile, run, threads, profile.device)
    model = policy.load(store.model_path(profile, run))
    model = _descended(model, profile, run, threads, profile.device)
    base = folder / "base" if only_adapter else folder
    if only_adapter:
        shutil.copytree(trained, folder / "adapter")
    else:
        model = policy.load_adapter(model, trained)
    if hasattr(model.model.config, "language_foundation"):
        del model.model.config.language_foundation  # what is written is whole: nothing is read from beside it
    model.model.save_pretrained(base)
    (model.processor or model.tokenizer).save_pretrained(base)
