"""What decides a run's numbers: a version for each part of the code, and the identity made of them.

A run is its resolved settings (defaults filled in), its seed, the model it starts from, the run it starts
from, and the versions of the parts it uses. Source text, Python's version and the names of study and arm are
not in it, so the library can be tidied and renamed without training anything anew. What keeps this honest are
the golden trajectories of tests/invariant: a part whose numbers move makes its golden fail, and the failure
says which version to raise here. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

VERSIONS: dict[str, int] = {
    "general-points": 2,  # hands and their order, prompts, expert answers, verdicts and rewards
    "navigation": 2,  # cities, routes, prompts, expert answers, verdicts and rewards
    "pictures": 1,  # every pixel of cards and streets
    "chat": 1,  # how a dialogue becomes tokens
    "rollout": 1,  # sampling, greedy choice, the values that are noted
    "sft": 1,  # order of examples, loss, optimizer and its schedule
    "ppo": 1,  # rewards to advantages, loss, optimizer
    "census": 1,  # cases and their order, outcomes, summaries, divergence
    "foundation": 1,  # tokenizer, corpora, pretraining, gates
}
# A version that moved no published arm, and the older one whose runs it lets stand: `make invariant` compared
# the arms, shortened, with what the older did; the changelog says what did change. A later version has no
# entry here, so raising it supersedes.
STANDS: dict[tuple[str, int], int] = {("general-points", 2): 1, ("navigation", 2): 1}
# What a foundation's corpus is made of beside `foundation`: prompts and expert answers, dialogues as tokens,
# pixels.
CORPORA: dict[str, tuple[str, ...]] = {
    "numbers": ("general-points",),
    "directions": ("navigation",),
    "cards": ("general-points", "chat", "pictures"),
    "streets": ("navigation", "chat", "pictures"),
}
# Identities of foundations hold these parts only above these versions: when the stored ones were made, no
# identity held them.
NEUTRAL = {"general-points": 1, "navigation": 1, "chat": 1}


def digest(thing: Any) -> str:
    """16 hexadecimal digits that are the same for equal JSON on every machine; ValueError for NaN and
    infinity."""
    return hashlib.sha256(json.dumps(thing, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


def versions(*parts: str) -> dict[str, int]:
    """The versions of `parts` as identities hold them: the oldest whose runs stand; KeyError for an unknown
    part."""
    return {part: _standing(part, VERSIONS[part]) for part in sorted(parts)}


def _standing(part: str, version: int) -> int:
    while (part, version) in STANDS:
        version = STANDS[part, version]
    return version


def stands(part: str, version: int | None) -> bool:
    """Whether what `version` of a part made is what its present version makes."""
    return version is not None and _standing(part, version) == _standing(part, VERSIONS[part])


def run_versions(task: str, algorithm: str) -> dict[str, int]:
    """The versions that a run of `task` by `algorithm` (init, sft, ppo) depends on, itself; its parent has
    its own."""
    world = "navigation" if task.startswith("navigation") else "general-points"
    seen = ["pictures"] if task.endswith("-vision") else []
    return versions(world, *seen, "chat", "rollout", "census", "ppo" if algorithm == "ppo" else "sft")


def foundation_parts(corpus: str) -> tuple[str, ...]:
    """The parts that decide a foundation which reads `corpus`; KeyError for an unknown one."""
    return ("foundation", *CORPORA[corpus])


def foundation_versions(corpus: str) -> dict[str, int]:
    """The versions that a foundation depends on, as identities hold them."""
    held = versions(*foundation_parts(corpus))
    return {part: version for part, version in held.items() if version != NEUTRAL.get(part)}


def run_identity(settings: dict, seed: int, model: str, parent: str | None, versions: dict[str, int]) -> str:
    """Identity of a run. `model` and `parent` are identities: of the foundation (or a real model's content),
    of the Init."""
    return digest(
        {"settings": settings, "seed": seed, "model": model, "parent": parent, "versions": versions}
    )


def foundation_identity(settings: dict, text: str | None, versions: dict[str, int]) -> str:
    """Identity of a foundation; `text` is that of the text foundation before which a tower stands, else
    None."""
    return digest({"settings": settings, "text": text, "versions": versions})


# --- models that are not ours -------------------------------------------------------------------------------


@cache
def model_identity(model: str) -> str:
    """Identity of a real model: the content of a folder, or a hub's name with the commit that this machine
    holds."""
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{_cached_commit(model)}"
    kinds = (".bin", ".jinja", ".json", ".model", ".safetensors", ".txt")
    return digest({path.name: _content(path) for path in sorted(folder.iterdir()) if path.suffix in kinds})


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cached_commit(model: str) -> str:
    """The commit of the hub's main branch that this machine holds; "main" as long as it holds none."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(model, "config.json")
    return Path(path).parent.name if isinstance(path, str) else "main"
