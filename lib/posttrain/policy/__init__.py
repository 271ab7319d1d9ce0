"""A policy: a model with its tokenizer or processor, an adapter and a value head; its chat template; rows of
tokens as tensors."""

from posttrain.policy.chat import Chat
from posttrain.policy.checkpoints import PARTS, LoraSettings, add_lora, load, load_adapter, read_language
from posttrain.policy.model import Policy, ValueHead

__all__ = [
    "PARTS",
    "Chat",
    "LoraSettings",
    "Policy",
    "ValueHead",
    "add_lora",
    "load",
    "load_adapter",
    "read_language",
]
