"""Decoding: a key-value cache behind one interface; beginnings read once; tokens drawn, and guessed ahead."""

from posttrain.decoding.fast import Fast
from posttrain.decoding.interface import Decoder
from posttrain.decoding.plain import Plain
from posttrain.policy import Policy


def decoder_for(policy: Policy) -> Decoder:
    """A decoder with an empty cache: few kernels for a small Llama, transformers for every other model."""
    return Fast(policy.folded(), policy.features) if policy.is_fast else Plain(policy)


__all__ = ["Decoder", "decoder_for"]
