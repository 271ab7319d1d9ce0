"""Pretraining of a pocket foundation: a tiny Llama, from nothing, in minutes on two cores.

Muon for matrices, AdamW for embeddings and norms (Jordan 2024), loss on completions only.
Documents are sorted by length within a pool, so batches hold almost no padding; the head is applied to the
learned positions only. Left out on purpose: dropout, gradient clipping.

Trap: Muon needs its weight decay. A step has a fixed size whatever the gradient, so without decay the
matrices only grow, every later step turns them less, and the model reads rules but hardly solves a hand (lab
notebook).

    posttrain pretrain --foundation pocket-text --seed 0
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from posttrain.config import FoundationConfig
from posttrain.foundation import tokenizer
from posttrain.foundation.corpora import source
from posttrain.foundation.documents import CHUNK, documents
from posttrain.foundation.training import Batch, Report, train
from posttrain.policy.batching import supervised

POOL = 8 * CHUNK  # documents that are sorted by length together


def batches(
    config: FoundationConfig,
    tokens: PreTrainedTokenizerFast,
    step: int = 0,
    place: dict[str, Any] | None = None,
) -> Iterator[Batch]:
    """Batches without end, from that of `step` on; pools of documents are sorted by length, and the
    batches of a pool shuffled. `place`: what an earlier call had noted there when it came to `step`; from
    now on this one notes there the generator's state at the beginning of the pool, and how many batches
    stood before it."""
    place = {} if place is None else place
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, 1]))
    if place:
        rng.bit_generator.state = place["generator"]
    before, corpus = place.get("before", 0), source(config.corpus)

    def encode(texts: list[str]) -> list[list[int]]:
        rows = tokens.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [row.ids for row in rows]

    while True:
        place.update(generator=rng.bit_generator.state, before=before)
        # A pool is whole chunks of the stream, so a new stream goes on where the last pool ended.
        mixture = corpus.READING if before < config.reading_steps else corpus.MIXTURE
        stream = documents(rng, mixture, *corpus.arguments(config))
        pool = list(itertools.islice(stream, POOL))
        prompts = encode([d.prompt for d in pool])
        completions = encode([d.completion + tokenizer.END for d in pool])
        length = [len(prompt) + len(completion) for prompt, completion in zip(prompts, completions)]
        cuts, rows = [], []
        for i in reversed(sorted(range(POOL), key=length.__getitem__)):
            rows.append(i)
            if (len(rows) + 1) * length[rows[0]] > config.batch_tokens:  # the first row sets the width
                cuts.append(rows)
                rows = []
        cuts = cuts or [rows]  # a pool that fits into one batch
        order = rng.permutation(len(cuts)).tolist()
        for k in order[max(0, step - before) :]:
            pairs = [(prompts[i], completions[i]) for i in cuts[k]]
            yield Batch(*supervised(pairs, tokens.pad_token_id))
        before += len(order)


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
    """Mean cross-entropy (nats) over the learned tokens. No attention mask: causal attention never looks
    at right padding."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][batch.learned[:, 1:]])
    return torch.nn.functional.cross_entropy(logits.float(), batch.ids[:, 1:][batch.learned[:, 1:]])


def pretrain(
    config: FoundationConfig, report: Report = lambda step, measured: None, state: Path | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, dict[str, float]]:
    """Train one foundation; returns model, tokenizer and {"tokens", "seconds", "loss"}. `report` and
    `state` as in `training.train`."""
    torch.set_num_threads(config.threads)
    tokens = tokenizer.build(source(config.corpus).vocabulary())
    model = new_model(config, tokens).train()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=config.muon_decay),
        torch.optim.AdamW(others, lr=config.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]

    def objective(batch: Batch) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bf16):
            return loss(model, batch)

    stream = partial(batches, config, tokens)
    measured = train(config, optimizers, stream, objective, 0.02, report, state)
    if config.rounded:
        for weight in model.parameters():
            weight.data = weight.data.bfloat16().float()
    return model.eval(), tokens, measured
