"""The pocket foundation models: corpora, tokenizer, pretraining, the towers that let them see, gates.

`provide` finds one in the store or makes it: pretraining, gates, a model card. It is killed and called again
without harm.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from posttrain import numerics, store
from posttrain.config import FoundationConfig, Profile, VisionConfig
from posttrain.foundation.corpora import source

__all__ = ["make", "provide", "source"]


def provide(profile: Profile, name: str, seed: int) -> dict[str, Any]:
    """The card of a profile's foundation, which is made if no store has it; a tower's text foundation too."""
    config = profile.foundation(name, seed)
    home = store.foundation_home(profile, name, seed)
    with store.locked(profile.guard, config.identity, f"foundation {name}-{seed}"):
        if folder := store.find_foundation(profile, name, seed):
            if folder == home:  # a kill may have come before its card was kept
                _keep_card(home, profile.models / home.name)
            return store.read_record(folder / store.CARD)
        if isinstance(config, VisionConfig):  # it reads with the text foundation that lies beside it
            provide(profile, config.language, seed)
            text = store.find_foundation(profile, config.language, seed)
            if text != (beside := home.with_name(f"{config.language}-{seed}")):
                with store.replacing(beside) as partial:
                    shutil.copytree(text, partial, dirs_exist_ok=True)
        card = make(config, home, profile.gate_hands, profile.state / config.identity)
        _keep_card(home, profile.models / home.name)
        return card


def _keep_card(home: Path, beside: Path) -> None:
    """Keep the card of a foundation whose weights lie elsewhere; the first one stays: it tells how long it
    took."""
    if beside != home and not (beside / store.CARD).exists():
        store.write(beside / store.CARD, (home / store.CARD).read_bytes())


def make(
    config: FoundationConfig | VisionConfig, folder: Path, gate_hands: int = 512, state: Path | None = None
) -> dict[str, Any]:
    """Pretrain a foundation, measure its gates, save it; returns its card.

    `folder` appears whole or not at all: an ordinary checkpoint and the card, which seals it. A tower's text
    foundation lies beside it. `state`: a folder of this foundation's alone, from which an interrupted
    pretraining goes on; it is gone at the end.
    """
    from posttrain.foundation import gates, pretraining, sights, vision
    from posttrain.progress import Progress

    file = None if state is None else state / "pretraining.state"
    with Progress(config.steps, "step", folder.name) as progress:

        def report(step: int, measured: dict[str, float]) -> None:
            speed = measured["tokens"] / measured["seconds"]
            progress.update(step + 1, loss=measured["loss"], tokens_per_s=speed)

        if isinstance(config, VisionConfig):
            text = folder.parent / f"{config.language}-{config.seed}"
            policy, measured = vision.pretrain(config, text, report, file)
            model, tokens, corpus = policy.model, policy.tokenizer, sights.corpus_of(config.corpus)
            mixture = {"READING": {corpus.short: 1.0}} if config.reading_steps else {}
            mixture["MIXTURE"] = corpus.mixture
            table = gates.measure_sight(policy, config.corpus, gate_hands)
        else:
            model, tokens, measured = pretraining.pretrain(config, report, file)
            corpus = source(config.corpus)
            mixture = {"READING": corpus.READING, "MIXTURE": corpus.MIXTURE}
            table = gates.measure(model, tokens, gate_hands, source=config.corpus)
    with store.replacing(folder) as partial:
        if isinstance(config, VisionConfig):
            vision.save(policy, partial)
        else:
            (model.bfloat16() if config.rounded else model).save_pretrained(partial)
            tokens.save_pretrained(partial)
        store.seal(partial, store.CARD, _card(config, model, tokens, measured, mixture, gate_hands, table))
    if state is not None:
        shutil.rmtree(state, ignore_errors=True)
    return store.read_record(folder / store.CARD)


def _card(config, model, tokens, measured, mixture, gate_hands, table) -> dict[str, Any]:
    """What a foundation says of itself: its identity and all that decides it, then what was measured."""
    settings, text = config.resolved(), getattr(config, "text", None)
    settings.pop("text", None)
    shares = {
        stage: {maker.__name__: share for maker, share in makers.items()} for stage, makers in mixture.items()
    }
    rows = {
        row.gate: {"measured": round(row.measured, 4), "bound": row.bound, "passed": row.passed}
        for row in table.itertuples()
    }
    return {
        "identity": config.identity,
        "settings": settings,
        "text": text.identity if text else None,
        "versions": numerics.foundation_versions(config.corpus),
        "parameters": model.num_parameters(),
        "vocabulary": len(tokens),
        **{name: round(value, 4) for name, value in measured.items()},
        "mixture": shares,
        "gate_hands": gate_hands,
        "gates": rows,
        **({"kept": config.kept} if config.kept == "card" else {}),
    }
