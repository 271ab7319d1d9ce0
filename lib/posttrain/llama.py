"""Llama's forward pass with few kernels, for models so small that calling kernels is what takes the time.

Takes the weights of a transformers `LlamaForCausalLM`, or of the Llama in a `LlavaForConditionalGeneration`, an adapter folded in, and
computes the same function (a test compares them): fused projections, one rotation for queries and keys, a cache written in place. At pocket size a decoding step takes
about a quarter of transformers' time and a training step about half. Anything but a plain Llama goes through transformers.
Left out on purpose: grouped-query attention, biases, rope scaling, dropout.
"""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration
from transformers.models.llama import LlamaModel


def decoder(model: nn.Module) -> LlamaModel | None:
    """The Llama within a text or LLaVA-like model; None within any other."""
    found = model.model if type(model) is LlamaForCausalLM else model.model.language_model if type(model) is LlavaForConditionalGeneration else None
    return found if type(found) is LlamaModel else None


def silenced(logits: torch.Tensor, token: int | None) -> torch.Tensor:
    """Logits [..., vocabulary] without `token`. A policy that said the image token would put a picture into its dialogue where there is none.

    Finite, because nought times infinity is not a number where entropies are summed.
    """
    if token is not None and token < logits.shape[-1]:
        logits[..., token] = -1e9
    return logits


def supports(model: nn.Module) -> bool:
    """Whether `model` is a Llama that this module computes exactly."""
    if decoder(model) is None:
        return False
    c = decoder(model).config
    return (c.num_key_value_heads == c.num_attention_heads and not c.attention_bias and not c.mlp_bias and c.hidden_act == "silu"
            and decoder(model).rotary_emb.rope_type == "default" and c.hidden_size <= 512)


class _Normed(torch.autograd.Function):
    """x / rms(x) over the last dimension, in `dtype`: half the time of PyTorch's own, which is a chain of kernels on a CPU."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, eps: float, dtype: torch.dtype) -> torch.Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        y = torch.mul(x, scale, out=torch.empty(x.shape, dtype=dtype, device=x.device))
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        y, scale = ctx.saved_tensors
        along = (gradient * y).sum(-1, keepdim=True, dtype=torch.float32).div_(y.shape[-1])
        return torch.addcmul(gradient.float(), y, along, value=-1).mul_(scale), None, None


class Llama:
    """One set of weights, ready to run. `weight(module)` gives a linear layer's weight: differentiable where its parameters are.

    The norms' scales and the attention's are folded into the products. With `bf16` the matrix products are bfloat16 and the residual stream, norms, softmax and logits float32.
    """

    def __init__(self, model: LlamaForCausalLM | LlavaForConditionalGeneration, weight, bf16: bool = False):
        inner = decoder(model)
        self.narrows, self.wider = True, []
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        fold = lambda scale, *parts: (torch.cat(parts) * scale).to(self.dtype)
        self.embedding, self.norm, self.eps = inner.embed_tokens.weight, inner.norm.weight, inner.config.rms_norm_eps
        self.head = model.get_output_embeddings().weight.to(self.dtype)
        self.image = getattr(model.config, "image_token_id", None)  # tokens whose place a picture's features take
        self.heads, self.width = inner.config.num_attention_heads, inner.config.head_dim
        self.frequencies = inner.rotary_emb.inv_freq.float()
        self.layers = [
            (fold(layer.input_layernorm.weight, weight(layer.self_attn.q_proj) * self.width**-0.5, weight(layer.self_attn.k_proj), weight(layer.self_attn.v_proj)),
             weight(layer.self_attn.o_proj).to(self.dtype),
             fold(layer.post_attention_layernorm.weight, weight(layer.mlp.gate_proj), weight(layer.mlp.up_proj)), weight(layer.mlp.down_proj).to(self.dtype))
            for layer in inner.layers]
        self.cache: list[list[torch.Tensor]] = []
        self.features: torch.Tensor | None = None

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        return _Normed.apply(x, self.eps, self.dtype)

    def _rotation(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = positions[:, :, None, None, None].float() * self.frequencies  # [batch, time, 1, 1, width / 2]
        return angles.cos().to(self.dtype), angles.sin().to(self.dtype)

    def _layers(self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, attend, features: torch.Tensor | None = None) -> torch.Tensor:
        x, (cos, sin) = self.embedding[ids].float(), self._rotation(positions)
        if features is not None:
            x = x.masked_scatter((ids == self.image)[..., None], features.float())
        batch, time = ids.shape
        for i, (qkv, out, gate_up, down) in enumerate(self.layers):
            packed = F.linear(self._normed(x), qkv).view(batch, time, 3, self.heads, self.width)
            first, second = packed[:, :, :2].chunk(2, -1)
            turned = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
            q, k, v = (t.transpose(1, 2) for t in (turned[:, :, 0], turned[:, :, 1], packed[:, :, 2]))
            k, v = attend(i, k, v)
            weights = (q @ k.transpose(2, 3)).float().add(mask).softmax(-1).to(self.dtype)
            x = x + F.linear((weights @ v).transpose(1, 2).reshape(batch, time, -1), out)
            gate, up = F.linear(self._normed(x), gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, down)
        return F.rms_norm(x, (x.shape[-1],), self.norm, self.eps)

    def hidden(self, ids: torch.Tensor, features: torch.Tensor | None = None) -> torch.Tensor:
        """Last hidden states, FloatTensor[batch, time, hidden], of sequences padded on the right. Differentiable.

        features: FloatTensor[batch, n, hidden] of one picture a row, which stands in the row's n image tokens.
        """
        time = ids.shape[1]
        mask = torch.full((time, time), float("-inf"), device=ids.device).triu(1)
        positions = torch.arange(time, device=ids.device)[None]
        return self._layers(ids, positions, mask, lambda i, k, v: (k, v), features)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32 logits of hidden states [..., hidden]. The image token is never said."""
        return silenced(F.linear(hidden.to(self.dtype), self.head).float(), self.image)

    # --- decoding: the cache is kept between calls ------------------------------------------------------------------

    def see(self, features: torch.Tensor) -> None:
        """The pictures of the rows, as features, for the image tokens of the next `extend`."""
        self.features = features

    @torch.no_grad()
    def extend(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Hidden states [batch, hidden] of the last of the new tokens `ids` [batch, new]; `mask` [batch, all] marks real tokens."""
        new, used = ids.shape[1], mask.shape[1] - ids.shape[1]
        # Products with a whole, contiguous cache are twice as fast as with a slice of it: the unused end is masked instead.
        room = self.cache[0][0].shape[2] if used else 0
        room = room if used + new <= room else -(-(used + new) // 32) * 32 + 32

        def attend(i: int, k: torch.Tensor, v: torch.Tensor):
            if i == len(self.cache):
                self.cache.append([k[:, :, :0], v[:, :, :0]])
            for j, states in enumerate((k, v)):
                kept = self.cache[i][j]
                if kept.shape[2] != room:
                    self.cache[i][j] = states.new_zeros(*states.shape[:2], room, states.shape[3])
                    self.cache[i][j][:, :, :used] = kept[:, :, :used]
                self.cache[i][j][:, :, used:used + new] = states
            return self.cache[i]

        blocked = F.pad(mask == 0, (0, room - mask.shape[1]), value=True)[:, None, None, :]
        if new > 1:
            blocked = blocked | torch.ones(new, room, dtype=torch.bool, device=ids.device).triu(1 + used)
        features, self.features = self.features, None
        # Finite, because a row's padding may see nothing at all, and the softmax of nothing is not a number.
        return self._layers(ids, positions, torch.zeros(blocked.shape, device=ids.device).masked_fill(blocked, -1e9), attend, features)[:, -1]

    def select(self, rows: torch.Tensor) -> None:
        """Keep only `rows` of the batch in the cache."""
        self.cache = [[room[rows] for room in pair] for pair in self.cache]

    def narrow(self, rows: torch.Tensor) -> None:
        """Go on with only `rows` of the batch, until `widen`."""
        self.wider.append((self.cache, rows))
        self.cache = [[room[rows] for room in pair] for pair in self.cache]

    def widen(self) -> None:
        """Back to the rows before every `narrow`; those left out have seen nothing of what was added since."""
        while self.wider:
            (wide, rows), narrow = self.wider.pop(), self.cache
            for pair, added in zip(wide, narrow):
                for j, states in enumerate(added):
                    if pair[j].shape[2] < states.shape[2]:
                        pair[j] = F.pad(pair[j], (0, 0, 0, states.shape[2] - pair[j].shape[2]))
                    pair[j][rows] = states
            self.cache = wide
