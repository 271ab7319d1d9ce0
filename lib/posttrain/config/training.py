"""Hyperparameters of the adapter and of both trainers (paper: section 5, appendix C; the defaults are the pocket models')."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from posttrain.config.settings import Above0, Count, Problem, Rate, Settings, Share, Weight


class LoraSettings(Settings):
    """LoRA on all linear layers of some parts of the model (Hu et al. 2021). A text model has the first part only."""

    rank: Count = Field(32, description="Rank of each adapter, in dimensions.")
    alpha: Count = Field(64, description="What an adapter adds is multiplied by alpha / rank.")
    parts: Literal["language", "projector", "vision"] = Field(
        "language",
        description="The language model alone, the projector with it, or the vision tower with both.",
    )


class SFTConfig(Settings):
    """Supervised fine-tuning, Init's and the SFT arm's."""

    learning_rate: Rate = Field(1e-3, description="AdamW's step on the adapter, constant after the warm-up.")
    batch_size: Count = Field(128, description="Examples in an optimizer step, for each process.")
    shuffle: Count = Field(
        1, description="Examples in the buffer that is drawn from: a route's follow each other."
    )
    warmup: Share = Field(0.03, description="Share of the steps in which the learning rate rises.")
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.98, description="AdamW's decay of the squared gradients, a step."
    )
    max_grad_norm: Above0 = Field(1.0, description="Longer gradients are cut to this norm.")


class PPOConfig(Settings):
    """PPO with a critic."""

    learning_rate: Rate = Field(1e-3, description="AdamW's step on the adapter.")
    value_learning_rate: Rate = Field(3e-3, description="AdamW's step on the value head.")
    episodes: Count = Field(256, description="Episodes in an iteration, for each process.")
    epochs: Count = Field(1, description="Passes over an iteration's episodes.")
    minibatches: Count = Field(4, description="Optimizer steps in a pass; they share the episodes evenly.")
    clip: Above0 = Field(0.2, description="How far the probability ratio may leave 1.")
    # A return of -10 must be learned within a few iterations.
    value_clip: Above0 = Field(
        5.0, description="How far a value may move in an iteration, in units of reward."
    )
    value_coefficient: Weight = Field(0.5, description="Weight of the value loss.")
    entropy_coefficient: Weight = Field(0.0, description="Weight of the entropy, in nats a token.")
    kl_coefficient: Weight = Field(
        0.0, description="Weight of the KL to the starting model, in nats a token."
    )
    gamma: Share = Field(0.9, description="Discount from one answer to the next.")
    gae_lambda: Share = Field(0.95, description="Decay of advantage estimates from one answer to the next.")
    temperature: Annotated[float, Field(gt=0, le=100)] = Field(
        1.0, description="Temperature at which answers are sampled."
    )
    max_tokens: Count = Field(40, description="Longest answer, in tokens.")
    max_grad_norm: Above0 = Field(1.0, description="Longer gradients are cut to this norm.")
    ratio: Literal["token", "answer"] = Field(
        "token", description="Whether a probability ratio is a token's or, as released, the whole answer's."
    )
    thought_coefficient: Weight = Field(
        1.0,
        description="Weight of the tokens before an answer's last field; below or above 1 if ratio is answer.",
    )
    bootstrap_truncated: bool = Field(
        False, description="Whether an episode's end uses the next one's value, a bug of the released code."
    )
    detach_value: bool = Field(True, description="Whether the value loss leaves the language model alone.")
    microbatch_tokens: Count = Field(8192, description="Tokens scored at once: memory, never the result.")

    @model_validator(mode="after")
    def _check(self) -> PPOConfig:
        if self.episodes % self.minibatches:
            raise Problem(
                f"must be a multiple of minibatches ({self.minibatches}), not {self.episodes}", "episodes"
            )
        if self.thought_coefficient != 1 and self.ratio != "answer":
            raise Problem("must be 1 unless ratio is answer", "thought_coefficient")
        return self
