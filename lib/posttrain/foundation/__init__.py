"""The pocket foundation models: corpora, tokenizer, pretraining, the towers that let them see, gates.

`make` does all and writes a model card; it is killed and called again without harm. Left out on purpose:
where foundations are kept and what identifies them is the caller's knowledge.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from posttrain.foundation.corpora import source

__all__ = ["hashes", "make", "source"]


def hashes(folder: str | Path) -> dict[str, str]:
    """SHA-256 of every file of a foundation's folder but its card, by name: what the card's "files" must
    hold."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file() and path.name != "card.json")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def make(
    settings: dict[str, Any], folder: str | Path, gate_hands: int, identity: str, state: Path | None = None
) -> dict[str, Any]:
    """Pretrain the foundation that `settings` (FoundationConfig's fields) describe, measure its gates, save
    it; returns its card.

    Settings with a "language" are VisionConfig's, and "text" holds those of the text foundation, which lies
    beside `folder`. `folder` appears whole or not at all: an ordinary checkpoint (config.json,
    model.safetensors, tokenizer.json, chat template) and card.json, which lists the SHA-256 of the others. A
    foundation that is there already, of the same `identity`, is left alone. `state`: a folder of this
    foundation's alone, in which an interrupted pretraining is found by the next call and goes on; it is gone
    at the end.
    """
    folder, sees = Path(folder), "language" in settings
    if (folder / "card.json").is_file():
        card = json.loads((folder / "card.json").read_text())
        if card["identity"] == identity:
            return card

    from posttrain.foundation import gates, pretraining, sights, vision
    from posttrain.progress import Progress

    file = None if state is None else Path(state) / f"{identity}.state"
    fields = {name: value for name, value in settings.items() if name != "text"}
    config = vision.VisionConfig(**fields) if sees else pretraining.FoundationConfig(**fields)
    with Progress(config.steps, "step", folder.name) as progress:

        def report(step: int, measured: dict[str, float]) -> None:
            speed = measured["tokens"] / measured["seconds"]
            progress.update(step + 1, loss=measured["loss"], tokens_per_s=speed)

        if sees:
            language = folder.parent / f"{config.language}-{config.seed}"
            policy, measured = vision.pretrain(config, language, report, file)
            model, tokens, corpus = policy.model, policy.tokenizer, sights.corpus_of(config.corpus)
            mixture = {"READING": {corpus.short: 1.0}} if config.reading_steps else {}
            mixture["MIXTURE"] = corpus.mixture
        else:
            model, tokens, measured = pretraining.pretrain(config, report, file)
            corpus = source(config.corpus)
            mixture = {"READING": corpus.READING, "MIXTURE": corpus.MIXTURE}
    table = (
        gates.measure_sight(policy, config.corpus, gate_hands)
        if sees
        else gates.measure(model, tokens, gate_hands, source=config.corpus)
    )
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    if sees:
        vision.save(policy, partial)
    else:
        model.save_pretrained(partial)
        tokens.save_pretrained(partial)
    card = {
        "identity": identity,
        "config": settings,
        "parameters": model.num_parameters(),
        "vocabulary": len(tokens),
        **{name: round(value, 4) for name, value in measured.items()},
        "mixture": {
            stage: {maker.__name__: share for maker, share in shares.items()}
            for stage, shares in mixture.items()
        },
        "gate_hands": gate_hands,
        "gates": {
            row.gate: {"measured": round(row.measured, 4), "bound": row.bound, "passed": row.passed}
            for row in table.itertuples()
        },
        "files": hashes(partial),
    }
    (partial / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    if file is not None:
        file.unlink(missing_ok=True)
        with suppress(OSError):  # states of other settings are not this call's to remove
            file.parent.rmdir()
    return card
