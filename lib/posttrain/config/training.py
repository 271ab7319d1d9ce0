"""Hyperparameters of the adapter and of both trainers (section 5, appendix C); defaults for pocket models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from posttrain.config.settings import Above0, Count, Problem, Rate, Settings, Share, Weight, neutral, setting


class LoraSettings(Settings):
    """LoRA on all linear layers of some parts of the model (Hu et al. 2021), a text model has the first; or,
    as in the paper (appendix C.2), full tuning of these parts."""

    rank: Annotated[int, Field(ge=1, le=65536)] = setting(32, "Rank of each adapter, in dimensions.")
    alpha: Count = setting(64, "What an adapter adds is multiplied by alpha / rank.")
    parts: Literal["language", "projector", "vision"] = setting(
        "language", "The language model alone, the projector with it, or the vision tower with both."
    )
    full: bool = setting(
        False, "Whether every weight of these parts is trained, without rank and alpha.", **neutral(False)
    )

    def resolved(self) -> dict[str, Any]:
        """What decides: in full tuning neither rank nor alpha."""
        unused = ("rank", "alpha") if self.full else ()
        return {name: value for name, value in super().resolved().items() if name not in unused}


class SFTConfig(Settings):
    """Supervised fine-tuning, Init's and the SFT arm's."""

    learning_rate: Rate = setting(1e-3, "AdamW's step on what is trained, constant after the warm-up.")
    batch_size: Count = setting(128, "Examples in an optimizer step, for each process.")
    shuffle: Count = setting(
        1, "Examples in the buffer that is drawn from: those of a route follow each other."
    )
    warmup: Share = setting(0.03, "Share of the steps in which the learning rate rises.")
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = setting(
        0.98, "AdamW's decay of squared gradients, a step."
    )
    max_grad_norm: Above0 = setting(1.0, "Longer gradients are cut to this norm.")
    errors: Annotated[int, Field(ge=0, le=100)] = setting(
        0,
        "GeneralPoints: most answers of the starting model's own, wrong ones, before the expert's.",
        **neutral(0),
    )
    # Not more by default: long rows' attention leaves a processor's cache.
    microbatch_tokens: Count = setting(
        4096, "Tokens scored at once, padding included: memory, never the result.", **neutral(4096)
    )


class PPOConfig(Settings):
    """PPO with a critic."""

    learning_rate: Rate = setting(1e-3, "AdamW's step on what is trained.")
    value_learning_rate: Rate = setting(3e-3, "AdamW's step on the value head.")
    episodes: Count = setting(256, "Episodes in an iteration, for each process.")
    epochs: Count = setting(1, "Passes over an iteration's episodes.")
    minibatches: Count = setting(4, "Optimizer steps in a pass; they share the episodes evenly.")
    clip: Above0 = setting(0.2, "How far the probability ratio may leave 1.")
    # A return of -10 must be learned within a few iterations.
    value_clip: Above0 = setting(5.0, "How far a value may move in an iteration, in units of reward.")
    value_coefficient: Weight = setting(0.5, "Weight of the value loss.")
    value_warmup: Annotated[int, Field(ge=0, le=10**6)] = setting(
        0, "First iterations, in which the value head learns alone.", **neutral(0)
    )
    entropy_coefficient: Weight = setting(0.0, "Weight of the entropy, in nats a token.")
    kl_coefficient: Weight = setting(0.0, "Weight of the KL to the starting model, in nats a token.")
    gamma: Share = setting(0.9, "Discount from one answer to the next.")
    gae_lambda: Share = setting(0.95, "Decay of the advantage estimates from one answer to the next.")
    temperature: Annotated[float, Field(gt=0, le=100)] = setting(
        1.0, "Temperature at which answers are sampled."
    )
    max_tokens: Count = setting(40, "Longest answer, in tokens.")
    max_grad_norm: Above0 = setting(1.0, "Longer gradients are cut to this norm.")
    ratio: Literal["token", "answer"] = setting(
        "token", "Whether a probability ratio is a token's or, as released, the whole answer's."
    )
    thought_coefficient: Weight = setting(
        1.0, "Weight of the tokens before an answer's last field; 1 unless ratio is answer."
    )
    bootstrap_truncated: bool = setting(
        False, "Whether an episode's end uses the next one's value, a bug of the released code."
    )
    detach_value: bool = setting(True, "Whether the value loss leaves the language model alone.")
    microbatch_tokens: Count = setting(8192, "Tokens scored at once: memory, never the result.")

    @model_validator(mode="after")
    def _check(self) -> PPOConfig:
        if self.episodes % self.minibatches:
            text = f"must be a multiple of minibatches ({self.minibatches}), not {self.episodes}"
            raise Problem(text, "episodes")
        if self.thought_coefficient != 1 and self.ratio != "answer":
            raise Problem("must be 1 unless ratio is answer", "thought_coefficient")
        return self
