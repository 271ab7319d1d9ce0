"""Llama's forward pass with few kernels, for models so small that calling kernels is what takes the time.

Takes the weights of a transformers `LlamaForCausalLM`, or of the Llama in a `LlavaForConditionalGeneration`,
an adapter folded in, and computes the same function (a test compares them): fused projections, one rotation
for queries and keys, what all rows begin with computed once. At pocket size a training step takes about half
of transformers' time. Heads that share a key get a copy of it each: more memory for fewer kernels. Anything
but a plain Llama goes through transformers. Left out on purpose: biases, rope scaling, dropout.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration
from transformers.models.llama import LlamaModel

WIDEST = 1024  # hidden size from which on transformers' kernels are no longer many for what they compute


def language_model(model: nn.Module) -> LlamaModel | None:
    """The Llama within a text or LLaVA-like model; None within any other."""
    if type(model) is LlamaForCausalLM:
        inner = model.model
    elif type(model) is LlavaForConditionalGeneration:
        inner = model.model.language_model
    else:
        return None
    return inner if type(inner) is LlamaModel else None


def supports(model: nn.Module) -> bool:
    """Whether `model` is a Llama that this module computes exactly."""
    if (inner := language_model(model)) is None:
        return False
    config = inner.config
    return (
        not config.attention_bias
        and not config.mlp_bias
        and config.hidden_act == "silu"
        and inner.rotary_emb.rope_type == "default"
        and config.hidden_size <= WIDEST
    )


def silenced(logits: torch.Tensor, token: int | None) -> torch.Tensor:
    """Logits [..., vocabulary] without `token`, in place: a policy that said the image token would put a
    picture into its dialogue where there is none. Finite, because nought times infinity is not a number where
    entropies are summed."""
    if token is not None and 0 <= token < logits.shape[-1]:
        logits[..., token] = -1e9
    return logits


def _normed(x: torch.Tensor, eps: float, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """x / rms(x) over the last dimension, in `dtype`, and 1 / rms(x): half the time of PyTorch's chain of
    kernels."""
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return torch.mul(x, scale, out=torch.empty(x.shape, dtype=dtype, device=x.device)), scale


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, eps: float, dtype: torch.dtype) -> torch.Tensor:
        y, scale = _normed(x, eps, dtype)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        y, scale = ctx.saved_tensors
        along = (gradient * y).sum(-1, keepdim=True, dtype=torch.float32).div_(y.shape[-1])
        return torch.addcmul(gradient.float(), y, along, value=-1).mul_(scale), None, None


def _gated(both: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up of [..., gate | up]."""
    gate, up = both.chunk(2, -1)
    return F.silu(gate).mul_(up)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, both: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(both)
        return _gated(both)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        (both,) = ctx.saved_tensors
        (gate, up), out = both.chunk(2, -1), torch.empty_like(both)
        d_gate, d_up = out.chunk(2, -1)
        torch.mul(F.silu(gate), gradient, out=d_up)
        torch.ops.aten.silu_backward.grad_input(gradient * up, gate, grad_input=d_gate)
        return out


def rotated(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Queries and keys turned by their positions, values as they are; in place.

    states: [3, batch, heads, time, width], contiguous. One product with whole rows and one with rows whose
    halves are swapped: half rows are too short for vector instructions.
    """
    turned = states[:2]
    swapped = turned.roll(turned.shape[-1] // 2, -1)
    turned.mul_(cos).addcmul_(swapped, sin)
    return states


class _Attention(torch.autograd.Function):
    """Attention to a row's own tokens and to what stands before all rows: mixed [batch, time, heads * width],
    keys and values.

    packed: [batch, time, 3, heads, width]; mask: [time, before + time], added to the scores; before_k,
    before_v: keys and values, [1, heads, before, width] each, or None.
    """

    @staticmethod
    def forward(ctx, packed, cos, sin, mask, before_k, before_v):
        q, k, v = rotated(packed.permute(2, 0, 3, 1, 4).contiguous(), cos, sin)
        keys, values = k, v
        if before_k is not None:
            keys, values = (
                torch.cat((b.expand(len(q), -1, -1, -1), new), 2) for b, new in ((before_k, k), (before_v, v))
            )
        weights = (q @ keys.transpose(2, 3)).add_(mask).softmax(-1)
        ctx.save_for_backward(q, keys, values, weights, cos, sin)
        ctx.set_materialize_grads(False)
        ctx.before = 0 if before_k is None else before_k.shape[2]
        return (weights @ values).transpose(1, 2).flatten(2), k, v

    @staticmethod
    def backward(ctx, gradient, d_k, d_v):
        q, keys, values, weights, cos, sin = ctx.saved_tensors
        batch, heads, time, width = q.shape
        states = q.new_empty(3, *q.shape)
        if gradient is None:
            states.zero_()
            d_keys = d_values = None
        else:
            gradient = gradient.view(batch, time, heads, width).transpose(1, 2)
            d_values = weights.transpose(2, 3) @ gradient
            d_scores = torch._softmax_backward_data(
                gradient @ values.transpose(2, 3), weights, -1, weights.dtype
            )
            torch.matmul(d_scores, keys, out=states[0])
            d_keys = d_scores.transpose(2, 3) @ q
            states[1], states[2] = d_keys[:, :, ctx.before :], d_values[:, :, ctx.before :]
        if d_k is not None:
            states[1] += d_k
        if d_v is not None:
            states[2] += d_v
        packed = rotated(states, cos, -sin).permute(1, 3, 0, 2, 4)  # turned back
        shared = (None, None)
        if ctx.before and gradient is not None:
            shared = (d[:, :, : ctx.before].sum(0, keepdim=True) for d in (d_keys, d_values))
        return packed, None, None, None, *shared


class Llama:
    """One set of weights, ready to run. `weight(layer)` gives a linear layer's weight: differentiable where
    its parameters are.

    The norms' scales and the attention's are folded into the products. With `bf16` the matrix products are
    bfloat16 and the residual stream, norms, softmax and logits float32. `layers`: (queries, keys and values;
    out; gate and up; down) each.
    """

    def __init__(self, model: nn.Module, weight: Callable[[nn.Module], torch.Tensor], bf16: bool = False):
        inner = language_model(model)
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        self.embedding, self.norm = inner.embed_tokens.weight, inner.norm.weight
        self.eps = inner.config.rms_norm_eps
        self.head = model.get_output_embeddings().weight.to(self.dtype)
        self.image = getattr(model.config, "image_token_id", -1)  # the token where a picture's features stand
        self.heads, self.width = inner.config.num_attention_heads, inner.config.head_dim
        sharing = self.heads // inner.config.num_key_value_heads  # query heads to a key
        self.frequencies = inner.rotary_emb.inv_freq.float()

        def fold(norm: nn.Module, *weights: torch.Tensor) -> torch.Tensor:
            return (torch.cat(weights) * norm.weight).to(self.dtype)

        def each(shared: torch.Tensor) -> torch.Tensor:
            """The rows of keys or values, [heads * width, hidden], for every query head."""
            if sharing == 1:
                return shared
            return shared.unflatten(0, (-1, self.width)).repeat_interleave(sharing, 0).flatten(0, 1)

        self.layers = []
        for layer in inner.layers:
            attention, mlp = layer.self_attn, layer.mlp
            queries = weight(attention.q_proj) * self.width**-0.5
            keys, values = each(weight(attention.k_proj)), each(weight(attention.v_proj))
            self.layers.append(
                (
                    fold(layer.input_layernorm, queries, keys, values),
                    weight(attention.o_proj).to(self.dtype),
                    fold(layer.post_attention_layernorm, weight(mlp.gate_proj), weight(mlp.up_proj)),
                    weight(mlp.down_proj).to(self.dtype),
                )
            )

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            return _Normed.apply(x, self.eps, self.dtype)
        return _normed(x, self.eps, self.dtype)[0]

    def rotation(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines for `rotated`, [batch, 1, time, width] each, of positions [batch, time]."""
        angles = positions[:, None, :, None].float() * self.frequencies
        sin = angles.sin()
        return torch.cat((angles.cos(),) * 2, -1).to(self.dtype), torch.cat((-sin, sin), -1).to(self.dtype)

    def embed(self, ids: torch.Tensor, features: torch.Tensor | None = None) -> torch.Tensor:
        """FloatTensor[batch, time, hidden], with the pictures' features where ids are the image token."""
        x = self.embedding[ids].float()
        return x if features is None else x.masked_scatter((ids == self.image)[..., None], features.float())

    def run(
        self, x: torch.Tensor, attend: Callable, chosen: torch.Tensor | tuple | None = None
    ) -> torch.Tensor:
        """Last hidden states of embeddings x [batch, time, hidden], of all or of those `chosen` (an index).

        attend(i, packed [batch, time, 3, heads, width]) -> [batch, time, heads * width]: layer i's attention.
        """
        for i, (qkv, out, gate_up, down) in enumerate(self.layers):
            mixed = attend(i, F.linear(self._norm(x), qkv).view(*x.shape[:2], 3, self.heads, self.width))
            if chosen is not None and i == len(self.layers) - 1:  # nobody asks for the others' states
                x, mixed = x[chosen], mixed[chosen]
            x = x + F.linear(mixed, out)
            gated = F.linear(self._norm(x), gate_up)
            x = x + F.linear(_Gated.apply(gated) if gated.requires_grad else _gated(gated), down)
        return F.rms_norm(x, (x.shape[-1],), self.norm, self.eps)

    def hidden(
        self, ids: torch.Tensor, features: torch.Tensor | None = None, chosen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Last hidden states of sequences padded on the right, differentiable: FloatTensor[batch, time,
        hidden], or FloatTensor[chosen.sum(), hidden] where chosen: BoolTensor[batch, time].

        features: FloatTensor[batch, n, hidden] of one picture a row, which stands in the row's n image
        tokens. What all rows begin with (the task's instructions) is computed once.
        """
        (batch, time), before = ids.shape, 0
        if chosen is not None and batch > 1:
            alike = (ids == ids[0]).all(0) & ~chosen.any(0) & (ids[0] != self.image)
            before = int(alike.long().cumprod(0).sum())
        shared: list[tuple] = [(None, None)] * len(self.layers)
        mask = torch.full((time, time), float("-inf"), dtype=self.dtype, device=ids.device).triu(1)
        cos, sin = self.rotation(torch.arange(time, device=ids.device)[None])

        def attend(start: int, end: int):
            turn = cos[:, :, start:end], sin[:, :, start:end], mask[start:end, :end]

            def mix(i: int, packed: torch.Tensor) -> torch.Tensor:
                mixed, *states = _Attention.apply(packed, *turn, *shared[i])
                if end == before:
                    shared[i] = states
                return mixed

            return mix

        if before:
            self.run(self.embed(ids[:1, :before]), attend(0, before))
        chosen = None if chosen is None else chosen[:, before:]
        return self.run(self.embed(ids[:, before:], features), attend(before, time), chosen)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 logits of hidden states [..., hidden]. The image token is never said."""
        return silenced(F.linear(hidden.to(self.dtype), self.head).float(), self.image)
