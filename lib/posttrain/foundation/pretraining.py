"""Pretraining of a pocket foundation: a tiny Llama, from nothing, in minutes on two cores.

Muon for matrices, AdamW for embeddings and norms (Jordan 2024), bfloat16 autocast, loss on completions only. Documents are sorted
by length within a pool, so batches hold almost no padding; the head is applied to the learned positions only.
Left out on purpose: dropout, gradient clipping.

Trap: Muon needs its weight decay. A step has a fixed size whatever the gradient, so without decay the matrices only grow, every
later step turns them less, and the model reads rules but hardly solves a hand (lab notebook).

    posttrain pretrain --seed 0 --out data/models/pocket-text-0
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Iterator

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from posttrain.config import FoundationConfig
from posttrain.foundation import source, tokenizer
from posttrain.foundation.corpus import documents as drawn


@dataclass(frozen=True)
class Batch:
    """ids: LongTensor[batch, time], padded on the right; learned: BoolTensor of the same shape, true where ids[:, t] is a target."""

    ids: torch.Tensor
    learned: torch.Tensor


def batches(config: FoundationConfig, tokens: tokenizer.PreTrainedTokenizerFast) -> Iterator[Batch]:
    """Batches without end; pools of documents are sorted by length, and the batches of a pool shuffled."""
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, 1]))
    corpus = source(config.corpus)
    reading, stream, made = drawn(rng, corpus.READING), drawn(rng, corpus.MIXTURE), 0
    encode = lambda texts: tokens._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    while True:
        documents = list(itertools.islice(reading if made < config.reading_steps else stream, 8192))
        prompts = [e.ids for e in encode([d.prompt for d in documents])]
        completions = [e.ids for e in encode([d.completion + tokenizer.END for d in documents])]
        order = sorted(range(len(documents)), key=lambda i: len(prompts[i]) + len(completions[i]))
        pool, rows, longest = [], [], 0
        for i in reversed(order):  # longest first: the first row of a batch sets its width
            longest = longest or len(prompts[i]) + len(completions[i])
            rows.append(i)
            if (len(rows) + 1) * longest > config.batch_tokens:
                pool.append((rows, longest))
                rows, longest = [], 0
        for k in rng.permutation(len(pool)).tolist():
            rows, width = pool[k]
            ids = torch.full((len(rows), width), tokens.pad_token_id)
            learned = torch.zeros((len(rows), width), dtype=torch.bool)
            for r, i in enumerate(rows):
                start, end = len(prompts[i]), len(prompts[i]) + len(completions[i])
                ids[r, :end] = torch.tensor(prompts[i] + completions[i])
                learned[r, start:end] = True
            yield Batch(ids, learned)
            made += 1


def new_model(config: FoundationConfig, tokens) -> LlamaForCausalLM:
    torch.manual_seed(config.seed)
    # Eager attention: at ~40 tokens PyTorch's CPU flash kernel is a third slower for the whole step.
    return LlamaForCausalLM(
        LlamaConfig(
            attn_implementation="eager",
            vocab_size=len(tokens),
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.mlp,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            rope_theta=10000.0,
            pad_token_id=tokens.pad_token_id,
            eos_token_id=tokens.eos_token_id,
            bos_token_id=None,
            initializer_range=0.08,
        )
    )


def loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy (nats) over the learned tokens. No attention mask: causal attention never looks at right padding."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][batch.learned[:, 1:]])
    return torch.nn.functional.cross_entropy(logits.float(), batch.ids[:, 1:][batch.learned[:, 1:]])


def schedule(step: int, config: FoundationConfig) -> float:
    """Share of the full learning rate."""
    return min(1.0, (step + 1) / config.warmup, 2 * (1 - step / config.steps))


def pretrain(
    config: FoundationConfig, report=lambda step, metrics: None
) -> tuple[LlamaForCausalLM, "tokenizer.PreTrainedTokenizerFast", dict]:
    """Train one foundation; returns model, tokenizer and {"tokens", "seconds", "loss"}. `report` is called after each step."""
    torch.set_num_threads(config.threads)
    tokens = tokenizer.build(source(config.corpus).vocabulary())
    model = new_model(config, tokens).train()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=config.muon_decay),
        torch.optim.AdamW(others, lr=config.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    started, seen, smooth = time.perf_counter(), 0, None
    for step, batch in enumerate(itertools.islice(batches(config, tokens), config.steps)):
        for group, rate in zip((g for o in optimizers for g in o.param_groups), rates):
            group["lr"] = rate * schedule(step, config)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            objective = loss(model, batch)
        objective.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += batch.ids.numel()
        smooth = objective.item() if smooth is None else 0.98 * smooth + 0.02 * objective.item()
        measured = {"tokens": seen, "seconds": time.perf_counter() - started, "loss": smooth}
        report(step, measured)
    return model.eval(), tokens, measured
