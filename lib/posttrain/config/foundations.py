"""Settings of the pocket foundation models: all that decides their weights, together with the code."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from posttrain import numerics
from posttrain.config.settings import Count, Problem, Rate, Seed, Settings, Share, neutral, setting

Few = Annotated[int, Field(ge=1, le=1000)]
Steps = Annotated[int, Field(ge=0, le=10**9)]
Width = Annotated[int, Field(ge=1, le=65536)]
Kept = Literal["weights", "card"]
KEPT = "Whether the finished model is kept with the results, or its card alone: it is made again at need."
Pixels = Annotated[int, Field(ge=1, le=4096)]
LANGUAGES = {"cards": "numbers", "streets": "directions"}  # a tower's corpus -> its text foundation's


class FoundationConfig(Settings):
    """A text foundation: a small Llama, pretrained from nothing."""

    given: ClassVar = ("seed",)
    seed: Seed = setting(0, "Seed of weights and documents.")
    corpus: Literal["numbers", "directions"] = setting(
        "numbers", "What it reads: numbers for GeneralPoints, directions for navigation."
    )
    steps: Count = setting(4500, "Optimizer steps.")
    batch_tokens: Count = setting(4096, "Tokens in a step, padding included.")
    hidden: Width = setting(128, "Width of the hidden states.")
    layers: Few = setting(4, "Transformer layers.")
    heads: Few = setting(4, "Attention heads; they share the width evenly.")
    mlp: Width = setting(384, "Width inside the feed-forward layers.")
    muon_lr: Rate = setting(0.02, "Muon's step on the matrices, at its highest.")
    muon_decay: Share = setting(0.2, "Muon's weight decay; without it the matrices only grow.")
    adam_lr: Rate = setting(3e-3, "AdamW's step on embeddings and norms, at its highest.")
    reading_steps: Steps = setting(300, "The first of the steps, which teach reading only.")
    warmup: Count = setting(100, "Steps in which the rates rise; they fall over the second half of all.")
    heed: Share = setting(
        1.0, "Directions: share of documents whose writer acts by the list of actions shown.", **neutral(1.0)
    )
    invented: Share = setting(
        0.5, "Directions: share of documents whose lists of actions are invented.", **neutral(0.5)
    )
    bf16: bool = setting(True, "Whether products are computed in bfloat16.", **neutral(True))
    rounded: bool = setting(
        False, "Whether the finished weights are rounded to bfloat16, and stored so.", **neutral(False)
    )
    threads: Few = setting(1, "CPU threads of the pretraining.")
    kept: Kept = setting("weights", KEPT, exclude=True)

    @property
    def identity(self) -> str:
        """What tells the foundation from all others."""
        return numerics.foundation_identity(self.resolved(), None, numerics.foundation_versions(self.corpus))

    @model_validator(mode="after")
    def _check(self) -> FoundationConfig:
        if self.corpus != "directions" and (self.heed, self.invented) != (1.0, 0.5):
            name = "heed" if self.heed != 1 else "invented"
            raise Problem(f"must be left out: the corpus {self.corpus} has no lists of actions", name)
        return _checked(self, 2 * self.heads)  # rotary positions turn pairs


class VisionConfig(Settings):
    """A tower: CLIP and a projector before a frozen text foundation of the same seed."""

    given: ClassVar = ("seed", "text")
    seed: Seed = setting(0, "Seed of weights and documents.")
    corpus: Literal["cards", "streets"] = setting(
        "cards", "What it sees: cards for GeneralPoints, streets for navigation."
    )
    language: str = setting("pocket-text", "The text foundation before which the tower stands.")
    steps: Count = setting(200, "Optimizer steps.")
    reading_steps: Steps = setting(0, "The first of the steps, which show short documents only.")
    batch: Count = setting(96, "Documents in a step, each with a picture.")
    size: Pixels = setting(56, "Side of the picture that is read, in pixels.")
    patch: Pixels = setting(14, "Side of a patch, in pixels; it divides size.")
    hidden: Width = setting(96, "Width of the tower's hidden states.")
    layers: Few = setting(2, "Transformer layers of the tower.")
    heads: Few = setting(4, "Attention heads of the tower; they share the width evenly.")
    mlp: Width = setting(192, "Width inside the tower's feed-forward layers.")
    learning_rate: Rate = setting(2e-3, "AdamW's step, at its highest.")
    warmup: Count = setting(50, "Steps in which the rate rises; it falls over the second half of all.")
    bf16: bool = setting(True, "Whether products are computed in bfloat16.", **neutral(True))
    threads: Few = setting(1, "CPU threads of the pretraining.")
    kept: Kept = setting("weights", KEPT, exclude=True)
    text: FoundationConfig | None = setting(None, "The text foundation's settings.")

    @property
    def identity(self) -> str:
        """What tells the foundation from all others; its text foundation has an identity of its own."""
        settings = {name: value for name, value in self.resolved().items() if name != "text"}
        versions = numerics.foundation_versions(self.corpus)
        return numerics.foundation_identity(settings, self.text.identity if self.text else None, versions)

    @model_validator(mode="after")
    def _check(self) -> VisionConfig:
        if self.size % self.patch:
            raise Problem(f"must be a multiple of patch ({self.patch}), not {self.size}", "size")
        return _checked(self, self.heads)


def _checked(config, unit: int):
    if config.hidden % unit:
        text = f"must be a multiple of {unit} with {config.heads} heads, not {config.hidden}"
        raise Problem(text, "hidden")
    own_warmup = config.warmup != type(config).model_fields["warmup"].default  # a default may be longer
    for name in ["reading_steps"] + ["warmup"] * own_warmup:
        if (steps := getattr(config, name)) > config.steps:
            raise Problem(f"must be at most steps ({config.steps}), not {steps}", name)
    return config
