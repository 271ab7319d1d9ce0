"""Settings of the pocket foundation models: everything that decides their weights, together with the code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from posttrain.config.settings import Count, Problem, Rate, Seed, Settings, Share

Few = Annotated[int, Field(ge=1, le=1000)]
Width = Annotated[int, Field(ge=1, le=65536)]
Pixels = Annotated[int, Field(ge=1, le=4096)]
LANGUAGES = {"cards": "numbers", "streets": "directions"}  # a tower's corpus -> its text foundation's


class FoundationConfig(Settings):
    """A text foundation: a small Llama, pretrained from nothing."""

    seed: Seed = Field(0, description="Seed of weights and documents, one of the profile's.")
    corpus: Literal["numbers", "directions"] = Field(
        "numbers", description="What it reads: numbers for GeneralPoints, directions for navigation."
    )
    steps: Count = Field(4500, description="Optimizer steps.")
    batch_tokens: Count = Field(4096, description="Tokens in a step, padding included.")
    hidden: Width = Field(128, description="Width of the hidden states.")
    layers: Few = Field(4, description="Transformer layers.")
    heads: Few = Field(4, description="Attention heads; they share the width evenly.")
    mlp: Width = Field(384, description="Width inside the feed-forward layers.")
    muon_lr: Rate = Field(0.02, description="Muon's step on the matrices, at its highest.")
    muon_decay: Share = Field(0.2, description="Muon's weight decay; without it the matrices only grow.")
    adam_lr: Rate = Field(3e-3, description="AdamW's step on embeddings and norms, at its highest.")
    reading_steps: Annotated[int, Field(ge=0)] = Field(
        300, description="The first steps, which only teach to read."
    )
    warmup: Count = Field(
        100, description="Steps in which the rates rise; they fall over the second half of all."
    )
    threads: Few = Field(1, description="CPU threads of the pretraining.")

    @model_validator(mode="after")
    def _check(self) -> FoundationConfig:
        return _checked(self, 2 * self.heads)  # rotary positions turn pairs


class VisionConfig(Settings):
    """A tower: CLIP and a projector before a frozen text foundation of the same seed."""

    seed: Seed = Field(0, description="Seed of weights and documents, one of the profile's.")
    corpus: Literal["cards", "streets"] = Field(
        "cards", description="What it sees: cards for GeneralPoints, streets for navigation."
    )
    language: str = Field("pocket-text", description="The text foundation before which the tower stands.")
    steps: Count = Field(200, description="Optimizer steps.")
    reading_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="The first steps, which show short documents only."
    )
    batch: Count = Field(96, description="Documents in a step, each with a picture.")
    size: Pixels = Field(56, description="Side of the picture that is read, in pixels.")
    patch: Pixels = Field(14, description="Side of a patch, in pixels; it divides size.")
    hidden: Width = Field(96, description="Width of the tower's hidden states.")
    layers: Few = Field(2, description="Transformer layers of the tower.")
    heads: Few = Field(4, description="Attention heads; they share the width evenly.")
    mlp: Width = Field(192, description="Width inside the feed-forward layers.")
    learning_rate: Rate = Field(2e-3, description="AdamW's step, at its highest.")
    warmup: Count = Field(
        50, description="Steps in which the rate rises; it falls over the second half of all."
    )
    threads: Few = Field(1, description="CPU threads of the pretraining.")
    text: FoundationConfig | None = Field(None, description="The text foundation's settings.")

    @model_validator(mode="after")
    def _check(self) -> VisionConfig:
        if self.size % self.patch:
            raise Problem(f"must be a multiple of patch ({self.patch}), not {self.size}", "size")
        return _checked(self, self.heads)


def _checked(config, unit: int):
    if config.hidden % unit:
        raise Problem(
            f"must be a multiple of {unit} with {config.heads} heads, not {config.hidden}", "hidden"
        )
    if config.reading_steps > config.steps:
        raise Problem(f"must be at most steps ({config.steps}), not {config.reading_steps}", "reading_steps")
    return config
