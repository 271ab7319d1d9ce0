"""A policy: a model with its tokenizer or processor, adapter, value head and chat template."""

from posttrain.policy.chat import Chat
from posttrain.policy.checkpoints import (
    PARTS,
    LoraSettings,
    add_lora,
    is_saved,
    linear_layers,
    load,
    load_adapter,
    moved,
    outline,
    recompute,
    weights,
    words,
)
from posttrain.policy.model import Policy, ValueHead

__all__ = [
    "PARTS",
    "Chat",
    "LoraSettings",
    "Policy",
    "ValueHead",
    "add_lora",
    "is_saved",
    "linear_layers",
    "load",
    "load_adapter",
    "moved",
    "outline",
    "recompute",
    "weights",
    "words",
]
