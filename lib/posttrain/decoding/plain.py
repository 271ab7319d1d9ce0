"""Decoding through transformers, for any model: every row is read to the end of the longest answer."""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicCache

from posttrain.decoding.interface import Decoder
from posttrain.policy import Policy
from posttrain.policy.batching import GRID, Pictures


class Plain(Decoder):
    """transformers' cache and forward pass."""

    def __init__(self, policy: Policy):
        self.policy, self.model = policy, policy.base
        self.cache = DynamicCache(config=self.model.config.get_text_config())
        self.inputs: Pictures = {}
        self.seen = False  # the pictures are in the cache
        self.ahead: torch.Tensor | None = None  # of positions behind a picture, where the model has its own

    def see(self, inputs: Pictures) -> None:
        self.inputs = inputs

    def extend(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, last: int = 1
    ) -> torch.Tensor:
        inputs = self.policy.visible(ids, self.inputs, self.seen)
        if GRID in inputs:
            positions, self.ahead = self.policy.places(ids, inputs, mask)
        elif self.ahead is not None:
            positions = positions + self.ahead
        with self.policy.autocast():
            output = self.model.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
                **inputs,
            )
        self.seen = True
        return output.last_hidden_state[:, -last:]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        with self.policy.autocast():
            return self.policy.logits(hidden)

    def select(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if len(rows) < len(mask):
            self.cache.batch_select_indices(rows)
            self.inputs = {name: value[rows] for name, value in self.inputs.items()}
            self.ahead = None if self.ahead is None else self.ahead[rows]
        return mask[rows]
