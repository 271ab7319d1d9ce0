"""The pocket foundation models: tokenizer, corpus, pretraining, gates; and the towers that let them see. `make` does all and writes a model card."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any


def source(name: str):
    """The module of the corpus `name`, with its READING, MIXTURE and vocabulary(); ValueError if there is none."""
    from posttrain.foundation import corpus, directions

    known = {"numbers": corpus, "directions": directions}
    if name not in known:
        raise ValueError(f"unknown corpus {name!r}: choose one of {', '.join(known)}")
    return known[name]


def make(settings: dict[str, Any], folder: str | Path, gate_hands: int = 512) -> dict[str, Any]:
    """Pretrain the foundation that `settings` (FoundationConfig's fields) describe, measure its gates, save it; returns its card.

    Settings with a "language" are VisionConfig's, and "text" holds those of the text foundation, which lies beside `folder`.
    `folder` appears whole or not at all: an ordinary checkpoint (config.json, model.safetensors, tokenizer.json, chat template)
    and card.json. A foundation that is there already, of the same identity, is left alone.
    """
    from posttrain import runs

    folder, sees = Path(folder), "language" in settings
    identity = runs.foundation_identity(json.dumps(settings, sort_keys=True))
    if (folder / "card.json").is_file():
        card = json.loads((folder / "card.json").read_text())
        if card["identity"] == identity:
            return card

    from tqdm import tqdm

    from posttrain.foundation import gates, pretraining, sights, vision

    config = (
        vision.VisionConfig(**{k: v for k, v in settings.items() if k != "text"})
        if sees
        else pretraining.FoundationConfig(**settings)
    )
    with tqdm(total=config.steps, desc=f"{folder.name}", disable=None, mininterval=2.0) as bar:

        def report(step: int, metrics: dict) -> None:
            bar.set_postfix(
                loss=f"{metrics['loss']:.3f}",
                tokens_per_s=f"{metrics['tokens'] / metrics['seconds']:.0f}",
                refresh=False,
            )
            bar.update()

        if sees:
            policy, measured = vision.pretrain(
                config, folder.parent / f"{config.language}-{config.seed}", report
            )
            model, tokens = policy.model, policy.tokenizer
            seen = sights.corpus_of(config.corpus)
            table, mixture = (
                gates.measure_sight(policy, config.corpus, gate_hands),
                {**({"READING": {seen.short: 1.0}} if config.reading_steps else {}), "MIXTURE": seen.mixture},
            )
        else:
            model, tokens, measured = pretraining.pretrain(config, report)
            table = gates.measure(model, tokens, count=gate_hands, source=config.corpus)
            mixture = {stage: getattr(source(config.corpus), stage) for stage in ("READING", "MIXTURE")}
    card = {
        "identity": identity,
        "config": settings,
        "parameters": model.num_parameters(),
        "vocabulary": len(tokens),
        **{k: round(v, 4) for k, v in measured.items()},
        "mixture": {
            stage: {maker.__name__: share for maker, share in shares.items()}
            for stage, shares in mixture.items()
        },
        "gate_hands": gate_hands,
        "gates": {
            row.gate: {"measured": round(row.measured, 4), "bound": row.bound, "passed": row.passed}
            for row in table.itertuples()
        },
    }
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    if sees:
        vision.save(policy, partial)
    else:
        model.save_pretrained(partial)
        tokens.save_pretrained(partial)
    (partial / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return card
