"""Llama's forward pass with few kernels, for models so small that calling kernels is what takes the time.

Takes the weights of a transformers `LlamaForCausalLM`, or of the Llama in a `LlavaForConditionalGeneration`, an adapter folded in, and
computes the same function (a test compares them): fused projections, one rotation for queries and keys, a cache written in place. At pocket size a decoding step takes
about a quarter of transformers' time and a training step about half. Anything but a plain Llama goes through transformers.
Left out on purpose: grouped-query attention, biases, rope scaling, dropout.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration
from transformers.models.llama import LlamaModel


def decoder(model: nn.Module) -> LlamaModel | None:
    """The Llama within a text or LLaVA-like model; None within any other."""
    found = (
        model.model
        if type(model) is LlamaForCausalLM
        else model.model.language_model
        if type(model) is LlavaForConditionalGeneration
        else None
    )
    return found if type(found) is LlamaModel else None


def silenced(logits: torch.Tensor, token: int | None) -> torch.Tensor:
    """Logits [..., vocabulary] without `token`. A policy that said the image token would put a picture into its dialogue where there is none.

    Finite, because nought times infinity is not a number where entropies are summed.
    """
    if token is not None and 0 <= token < logits.shape[-1]:
        logits[..., token] = -1e9
    return logits


def supports(model: nn.Module) -> bool:
    """Whether `model` is a Llama that this module computes exactly."""
    if decoder(model) is None:
        return False
    c = decoder(model).config
    return (
        c.num_key_value_heads == c.num_attention_heads
        and not c.attention_bias
        and not c.mlp_bias
        and c.hidden_act == "silu"
        and decoder(model).rotary_emb.rope_type == "default"
        and c.hidden_size <= 512
    )


Pair = list[torch.Tensor]
ROOM = 48  # columns that a packed cache has in advance: about one turn's


def _normed(x: torch.Tensor, eps: float, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """x / rms(x) over the last dimension, in `dtype`, and 1 / rms(x): half the time of PyTorch's own, which is a chain of kernels on a CPU."""
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


def _turned(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Queries and keys rotated by their positions, values as they are; in place. states: [3, batch, heads, time, width], contiguous.

    One product with whole rows and one with rows whose halves are swapped: half rows are too short for vector instructions.
    """
    turned = states[:2]
    swapped = turned.roll(turned.shape[-1] // 2, -1)
    turned.mul_(cos).addcmul_(swapped, sin)
    return states


class _Attention(torch.autograd.Function):
    """Attention of tokens to themselves and to what stands before all rows: (mixed values [batch, time, heads * width], keys, values).

    packed: [batch, time, 3, heads, width]; mask: [time, before + time], added to the scores; before: keys and values, [1, heads, before, width] each, or None.
    """

    @staticmethod
    def forward(ctx, packed, cos, sin, mask, before_k, before_v):
        q, k, v = _turned(packed.permute(2, 0, 3, 1, 4).contiguous(), cos, sin)
        keys, values = k, v
        if before_k is not None:
            keys, values = (
                torch.cat((b.expand(len(q), -1, -1, -1), own), 2) for b, own in ((before_k, k), (before_v, v))
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
        turned = q.new_empty(3, *q.shape)
        if gradient is None:
            turned.zero_()
            d_keys = d_values = None
        else:
            gradient = gradient.view(batch, time, heads, width).transpose(1, 2)
            d_values = weights.transpose(2, 3) @ gradient
            d_scores = torch._softmax_backward_data(
                gradient @ values.transpose(2, 3), weights, -1, weights.dtype
            )
            torch.matmul(d_scores, keys, out=turned[0])
            d_keys = d_scores.transpose(2, 3) @ q
            turned[1], turned[2] = d_keys[:, :, ctx.before :], d_values[:, :, ctx.before :]
        if d_k is not None:
            turned[1] += d_k
        if d_v is not None:
            turned[2] += d_v
        packed = _turned(turned, cos, -sin).permute(1, 3, 0, 2, 4)  # turned back
        shared = (
            (None, None)
            if not ctx.before or gradient is None
            else (d[:, :, : ctx.before].sum(0, keepdim=True) for d in (d_keys, d_values))
        )
        return packed, None, None, None, *shared


class Llama:
    """One set of weights, ready to run. `weight(module)` gives a linear layer's weight: differentiable where its parameters are.

    The norms' scales and the attention's are folded into the products. With `bf16` the matrix products are bfloat16 and the residual stream, norms, softmax and logits float32.
    """

    def __init__(self, model: LlamaForCausalLM | LlavaForConditionalGeneration, weight, bf16: bool = False):
        inner = decoder(model)
        self.narrows = self.shares = True
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        fold = lambda scale, *parts: (torch.cat(parts) * scale).to(self.dtype)
        self.embedding, self.norm, self.eps = (
            inner.embed_tokens.weight,
            inner.norm.weight,
            inner.config.rms_norm_eps,
        )
        self.head = model.get_output_embeddings().weight.to(self.dtype)
        self.image = getattr(
            model.config, "image_token_id", -1
        )  # tokens whose place a picture's features take
        self.heads, self.width = inner.config.num_attention_heads, inner.config.head_dim
        self.frequencies = inner.rotary_emb.inv_freq.float()
        self.layers = [
            (
                fold(
                    layer.input_layernorm.weight,
                    weight(layer.self_attn.q_proj) * self.width**-0.5,
                    weight(layer.self_attn.k_proj),
                    weight(layer.self_attn.v_proj),
                ),
                weight(layer.self_attn.o_proj).to(self.dtype),
                fold(
                    layer.post_attention_layernorm.weight,
                    weight(layer.mlp.gate_proj),
                    weight(layer.mlp.up_proj),
                ),
                weight(layer.mlp.down_proj).to(self.dtype),
            )
            for layer in inner.layers
        ]
        self.cache: list[Pair] = []  # of each layer keys and values, [rows, heads, room, width]
        self.wider, self.whose = (
            [],
            None,
        )  # caches of more rows, and the places in the batch of the rows in each
        self.features: torch.Tensor | None = None

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        return (
            _Normed.apply(x, self.eps, self.dtype)
            if torch.is_grad_enabled()
            else _normed(x, self.eps, self.dtype)[0]
        )

    def _rotation(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = positions[:, None, :, None].float() * self.frequencies  # [batch, 1, time, width / 2]
        sin = angles.sin()
        return torch.cat((angles.cos(),) * 2, -1).to(self.dtype), torch.cat((-sin, sin), -1).to(self.dtype)

    def _layers(self, x: torch.Tensor, attend, chosen: torch.Tensor | tuple | None = None) -> torch.Tensor:
        """Last hidden states of embeddings x [batch, time, hidden], of all of them or of those `chosen` (an index); attend(layer, packed) mixes."""
        for i, (qkv, out, gate_up, down) in enumerate(self.layers):
            mixed = attend(i, F.linear(self._normed(x), qkv).view(*x.shape[:2], 3, self.heads, self.width))
            if chosen is not None and i == len(self.layers) - 1:  # nobody asks for the others' states
                x, mixed = x[chosen], mixed[chosen]
            x = x + F.linear(mixed, out)
            gated = F.linear(self._normed(x), gate_up)
            x = x + F.linear(_Gated.apply(gated) if gated.requires_grad else _gated(gated), down)
        return F.rms_norm(x, (x.shape[-1],), self.norm, self.eps)

    def _embedded(self, ids: torch.Tensor, features: torch.Tensor | None = None) -> torch.Tensor:
        x = self.embedding[ids].float()
        return x if features is None else x.masked_scatter((ids == self.image)[..., None], features.float())

    def common(self, rows: Sequence[Sequence[int]]) -> int:
        """How many tokens all of `rows` begin with, pictures and the last token of a row left out."""
        first, last = min(rows), max(rows)
        most = min(map(len, rows)) - 1
        return (
            next((i for i in range(most) if first[i] != last[i] or first[i] == self.image), max(most, 0))
            if len(rows) > 1
            else 0
        )

    def hidden(
        self, ids: torch.Tensor, features: torch.Tensor | None = None, chosen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Last hidden states, FloatTensor[batch, time, hidden], of sequences padded on the right; or FloatTensor[chosen.sum(), hidden]
        where chosen: BoolTensor[batch, time]. Differentiable.

        features: FloatTensor[batch, n, hidden] of one picture a row, which stands in the row's n image tokens.
        What all rows begin with (the task's instructions) is computed once.
        """
        (batch, time), before = ids.shape, 0
        if chosen is not None and batch > 1:
            before = int(
                ((ids == ids[0]).all(0) & ~chosen.any(0) & (ids[0] != self.image)).long().cumprod(0).sum()
            )
        kept: list[tuple] = [(None, None)] * len(self.layers)
        mask = torch.full((time, time), float("-inf"), dtype=self.dtype, device=ids.device).triu(1)
        cos, sin = self._rotation(torch.arange(time, device=ids.device)[None])

        def attend(start: int, end: int):
            def mix(i: int, packed: torch.Tensor) -> torch.Tensor:
                mixed, *states = _Attention.apply(
                    packed, cos[:, :, start:end], sin[:, :, start:end], mask[start:end, :end], *kept[i]
                )
                if end == before:
                    kept[i] = states
                return mixed

            return mix

        if before:
            self._layers(self._embedded(ids[:1, :before]), attend(0, before))
        return self._layers(
            self._embedded(ids[:, before:], features),
            attend(before, time),
            None if chosen is None else chosen[:, before:],
        )

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 logits of hidden states [..., hidden]. The image token is never said."""
        return silenced(F.linear(hidden.to(self.dtype), self.head).float(), self.image)

    # --- decoding: the cache is kept between calls ------------------------------------------------------------------

    def see(self, features: torch.Tensor) -> None:
        """The pictures of the rows, as features, for the image tokens of the next `extend`."""
        self.features = features

    @torch.no_grad()
    def extend(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, last: int = 1
    ) -> torch.Tensor:
        """Hidden states [batch, last, hidden] of the `last` of the new tokens `ids` [batch, new]; `mask` [batch, all] marks real tokens."""
        new, used = ids.shape[1], mask.shape[1] - ids.shape[1]
        # Products with a whole, contiguous cache are twice as fast as with a slice of it: the unused end is masked instead.
        room = self.cache[0][0].shape[2] if used else 0
        room = room if used + new <= room else -(-(used + new) // 16) * 16 + 16

        def attend(i: int, packed: torch.Tensor) -> torch.Tensor:
            q, k, v = _turned(packed.permute(2, 0, 3, 1, 4).contiguous(), *rotation)
            if i == len(self.cache):
                self.cache.append([k[:, :, :0], v[:, :, :0]])
            for j, states in enumerate((k, v)):
                kept = self.cache[i][j]
                if kept.shape[2] != room or len(kept) != len(
                    states
                ):  # one row stands for all where `common` tokens are read
                    self.cache[i][j] = states.new_empty(*states.shape[:2], room, states.shape[3])
                    self.cache[i][j][:, :, :used] = kept[:, :, :used]
                    self.cache[i][j][:, :, used:] = 0
                self.cache[i][j][:, :, used : used + new] = states
            keys, values = self.cache[i]
            return ((q @ keys.transpose(2, 3)).add_(blocked).softmax(-1) @ values).transpose(1, 2).flatten(2)

        masked = F.pad(mask == 0, (0, room - mask.shape[1]), value=True)[:, None, None, :]
        if new > 1:
            masked = masked | torch.ones(new, room, dtype=torch.bool, device=ids.device).triu(1 + used)
        # Finite, because a row's padding may see nothing at all, and the softmax of nothing is not a number.
        blocked, rotation = (
            torch.zeros(masked.shape, dtype=self.dtype, device=ids.device).masked_fill(masked, -1e9),
            self._rotation(positions),
        )
        features, self.features = self.features, None
        return self._layers(self._embedded(ids, features), attend, (slice(None), slice(-last, None)))

    def recall(self, cache: Sequence[Pair], rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Begin with what another batch's cache holds: of its `rows` [batch] the `columns` [batch, n]."""
        self.cache = _gathered([(cache, slice(None), rows)], columns)

    @property
    def first(self) -> list[Pair]:
        """The cache of all rows; since `narrow` it holds no more than was read before."""
        return self.wider[0][0] if self.wider else self.cache

    def narrow(self, rows: torch.Tensor, whose: torch.Tensor) -> None:
        """Go on with only `rows` of the rows that were left, `whose` places in the batch, until `select`."""
        self.wider.append((self.cache, self.whose))
        self.cache, self.whose = [[room[rows] for room in pair] for pair in self.cache], whose

    def select(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Keep only `rows` of the batch, their real tokens (mask [batch, all]) side by side; returns their mask."""
        level, place = (
            torch.zeros(len(mask), dtype=torch.long, device=mask.device),
            torch.arange(len(mask), device=mask.device),
        )
        caches = [*self.wider, (self.cache, self.whose)]
        for i, (_, whose) in enumerate(caches):
            if whose is not None:  # what a row has read is whole in the narrowest cache that it is in
                level[whose], place[whose] = i, torch.arange(len(whose), device=mask.device)
        mask = mask[rows]
        real = mask.sum(1)
        columns = mask.argsort(dim=1, descending=True, stable=True)[:, : int(real.max())]
        parts = [(cache, (level[rows] == i).nonzero().squeeze(1)) for i, (cache, _) in enumerate(caches)]
        self.cache = _gathered(
            [(cache, here, place[rows[here]]) for cache, here in parts if len(here)], columns
        )
        self.wider, self.whose = [], None
        return (torch.arange(columns.shape[1], device=mask.device) < real[:, None]).to(mask.dtype)


def _gathered(
    parts: list[tuple[Sequence[Pair], slice | torch.Tensor, torch.Tensor]], columns: torch.Tensor
) -> list[Pair]:
    """A cache of the `columns` [batch, n] of several: each gives the rows `here` of the new one from its own rows `there`."""

    def picked(layer: int, kind: int) -> torch.Tensor:
        some = parts[0][0][layer][kind]
        made = some.new_empty(len(columns), some.shape[1], columns.shape[1] + ROOM, some.shape[3])
        made[:, :, columns.shape[1] :] = 0
        for cache, here, there in parts:
            kept = cache[layer][kind]
            _, heads, room, width = kept.shape
            where = (
                there[:, None, None] * heads + torch.arange(heads, device=there.device)[:, None]
            ) * room + columns[here].clamp(max=room - 1)[:, None, :]
            made[here, :, : columns.shape[1]] = (
                kept.reshape(-1, width).index_select(0, where.flatten()).view(len(there), heads, -1, width)
            )
        return made

    return [[picked(layer, 0), picked(layer, 1)] for layer in range(len(parts[0][0]))]
