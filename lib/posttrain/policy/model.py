"""A policy: a model with its tokenizer or processor, an adapter (or weights free to move) and a value head.

Trap: at pocket size the low-rank products cost more kernels than the layers they adapt, so a small Llama is
computed by `posttrain.policy.llama` on the folded weights W + s*B*A, formed once a step and differentiated
through: the same function and gradient at less than half the time. Everything else takes peft's and
transformers' own path.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from posttrain.policy.batching import GRID, Pictures, end_to_end
from posttrain.policy.llama import Llama, silenced, supports

WEIGHTS = "weights.safetensors"  # what full tuning leaves in place of an adapter


class ValueHead(nn.Module):
    """Value of a dialogue, read at the last prompt token: FloatTensor[n, hidden] -> FloatTensor[n]."""

    def __init__(self, hidden: int, width: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, width), nn.GELU(), nn.Linear(width, 1)
        )
        nn.init.zeros_(self.layers[-1].weight)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.layers(hidden.float()).squeeze(-1)


@dataclass
class Policy:
    """A model with its tokenizer (or processor), an optional adapter and an optional value head."""

    model: nn.Module
    tokenizer: object
    processor: object | None = None
    value_head: ValueHead | None = None
    bf16: bool = False  # matrix products in bfloat16
    fast: bool = True  # False keeps a pocket model on the transformers path (tests compare the two)
    folding: Llama | None = None  # within `accumulating`
    checkpointing: bool = False  # layers compute their inside again, on transformers' path
    origin: list[torch.Tensor] | None = None  # in full tuning: copies of `trainable()` where it started

    @property
    def base(self) -> nn.Module:
        """The transformers model, its linear layers wrapped by peft where an adapter is present."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def is_fast(self) -> bool:
        return self.fast and not self.checkpointing and supports(self.base)

    def autocast(self):
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def adapter_layers(self) -> list[tuple[str, LoraLayer]]:
        """The adapted layers by name; none without an adapter."""
        return [(name, module) for name, module in self.base.named_modules() if isinstance(module, LoraLayer)]

    def trainable(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def has_start(self) -> bool:
        """Whether there is a starting model that `start` goes back to."""
        return self.origin is not None or isinstance(self.model, PeftModel)

    def save_adapter(self, folder: str | Path) -> None:
        """Write what was trained to `folder`: the adapter or, in full tuning, the weights."""
        if self.origin is None:
            self.model.save_pretrained(str(folder))
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        named = self.model.named_parameters()
        save_file({name: p.detach() for name, p in named if p.requires_grad}, Path(folder) / WEIGHTS)

    def read_weights(self, folder: str | Path) -> None:
        """Take over what full tuning left in `folder`. ValueError where it is of another model."""
        found = load_file(Path(folder) / WEIGHTS, device=str(self.device))
        if self.model.load_state_dict(found, strict=False).unexpected_keys:
            raise ValueError(f"{folder} holds weights of another model")

    # --- logits -------------------------------------------------------------------------------------------

    def score(
        self, ids: torch.Tensor, learned: torch.Tensor, **inputs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Differentiable logits at the learned positions.

        ids: LongTensor[batch, time], padded on the right; learned: BoolTensor like it, true where a token is
        predicted; inputs: what the processor made of the rows' pictures, one a row (pixel_values, ...).
        Returns float32 logits [learned.sum(), vocabulary] and the states behind them [learned.sum(), hidden].
        """
        if self.is_fast:
            llama = self.folding or self.folded()
            hidden = llama.hidden(ids[:, :-1], self.features(inputs), learned[:, 1:])
            return llama.logits(hidden), hidden
        with self.autocast(), _recomputed(self.base) if self.checkpointing else nullcontext():
            # No attention mask: causal attention never sees what a row is padded with on its right.
            where = self.places(ids, inputs)[0] if GRID in inputs else None
            seen = self.visible(ids, inputs)
            output = self.base.model(input_ids=ids, position_ids=where, use_cache=False, **seen)
            hidden = output.last_hidden_state[:, :-1][learned[:, 1:]]
            return self.logits(hidden), hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 logits of hidden states [..., hidden] on the transformers path. The image token is never
        said."""
        image = getattr(self.base.config, "image_token_id", None)
        return silenced(self.base.get_output_embeddings()(hidden).float(), image)

    def features(self, inputs: Pictures) -> torch.Tensor | None:
        """The language model's view of the pictures in `inputs`, FloatTensor[batch, image tokens, hidden];
        None without any.

        In float32: the tower is small, and the sampler, which merges the adapter, must see what the trainer
        sees.
        """
        if not inputs:
            return None
        return torch.stack(tuple(self.base.model.get_image_features(**inputs).pooler_output))

    def visible(self, ids: torch.Tensor, inputs: Pictures, seen: bool = False) -> Pictures:
        """What the model takes of `inputs`, with the mask that one with cross-attention (Mllama) needs: a
        token sees the picture from its marker on; `seen`: the pictures were read before `ids`."""
        if "aspect_ratio_mask" not in inputs:
            return {} if seen else end_to_end(inputs)
        if seen:
            behind = torch.ones_like(ids)
        else:
            behind = (ids == self.base.config.image_token_id).cumsum(1).clamp(max=1)
        mask = behind[:, :, None, None] * inputs["aspect_ratio_mask"][:, None]
        return {**({} if seen else inputs), "cross_attention_mask": mask}

    def places(
        self, ids: torch.Tensor, inputs: Pictures, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Where tokens stand for a model that tells a picture's rows and columns (Qwen2-VL): positions
        LongTensor[3, batch, time], and what they are, behind the picture, more than tokens (less, below
        nought), LongTensor[batch, 1]. mask: of `ids`, where they have gaps."""
        image = (ids == self.base.config.image_token_id).int()
        return self.base.model.get_rope_index(ids, image, image_grid_thw=inputs[GRID], attention_mask=mask)

    # --- the adapter: folded, merged, switched off --------------------------------------------------------

    def folded(self) -> Llama:
        """The model with the adapter, where one is active, folded into its weights; gradients reach the
        adapter."""

        def weight(layer: nn.Module) -> torch.Tensor:
            if not isinstance(layer, LoraLayer):
                return layer.weight
            base = layer.base_layer.weight
            return base if layer.disable_adapters or layer.merged else base + _delta(layer)

        return Llama(self.base, weight, self.bf16)

    @contextmanager
    def accumulating(self):
        """Several backward passes through one folding; what they sum up reaches the adapter at the end."""
        if not self.is_fast:
            yield self
            return
        self.folding = self.folded()
        weights = [weight for layer in self.folding.layers for weight in layer]
        leaves = [weight.detach().requires_grad_(weight.requires_grad) for weight in weights]
        self.folding.layers = list(zip(*[iter(leaves)] * 4))
        try:
            yield self
        finally:
            self.folding = None
        reached = [(weight, leaf.grad) for weight, leaf in zip(weights, leaves) if leaf.grad is not None]
        torch.autograd.backward([weight for weight, _ in reached], [gradient for _, gradient in reached])

    @contextmanager
    def merged(self):
        """While rolling out, the adapter stands in the weights; afterwards the very same base weights are
        back (no drift)."""
        layers = [layer for _, layer in self.adapter_layers()]
        bases = [layer.base_layer.weight.data for layer in layers]
        with torch.no_grad():
            for layer in layers:
                layer.base_layer.weight.data = layer.base_layer.weight.data + _delta(layer)
        try:
            with self.start() if layers else nullcontext():
                yield self
        finally:
            for layer, weight in zip(layers, bases):
                layer.base_layer.weight.data = weight

    @contextmanager
    def start(self):
        """The model that the adapter started from (Init, or the base): the reference of the KL. ValueError
        where it keeps none."""
        if not self.has_start:
            raise ValueError(
                "the policy has no adapter, so it has no starting model; call policy.add_lora first"
            )
        trainable, folding = self.trainable(), self.folding
        self.folding = None
        with self.model.disable_adapter() if self.origin is None else _standing(trainable, self.origin):
            yield self
        self.folding = folding
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def _recomputed(model: nn.Module):
    """Layers keep their input alone. Trap: transformers has them do so in training only, where dropout would
    act too; so the layer itself is told that it trains, and not what stands in it."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer, training in zip(layers, before):
            layer.training = training


@contextmanager
def _standing(parameters: list[nn.Parameter], values: list[torch.Tensor]):
    """`values` stand in the place of the parameters' own; then the very same are back."""
    own = [parameter.data for parameter in parameters]
    for parameter, value in zip(parameters, values):
        parameter.data = value
    try:
        yield
    finally:
        for parameter, value in zip(parameters, own):
            parameter.data = value


def _delta(layer: LoraLayer) -> torch.Tensor:
    """s * B * A of one layer, differentiable (peft's own get_delta_weight is not, in every version)."""
    with torch.autocast(layer.base_layer.weight.device.type, enabled=False):
        delta = (layer.lora_B["default"].weight @ layer.lora_A["default"].weight) * layer.scaling["default"]
        return delta.to(layer.base_layer.weight.dtype)  # the adapter is float32 also where the model is not
