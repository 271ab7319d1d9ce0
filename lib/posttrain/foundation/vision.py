"""Pretraining of a pocket vision-language foundation: a CLIP tower and a projector before a frozen text
foundation.

Liu et al. 2023 (LLaVA), first stage: the text foundation of the same seed keeps its weights to the bit, so
what a picture adds is all in the tower and the projector, and the checkpoint stores only these (bfloat16).
What it sees is in `sights`. Left out on purpose: a second stage that tunes the language model.

    posttrain pretrain --foundation pocket-cards --seed 0
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from posttrain.config import VisionConfig
from posttrain.foundation import sights, tokenizer
from posttrain.foundation.corpora import source
from posttrain.foundation.training import Batch, Report, train
from posttrain.policy import Chat, Policy
from posttrain.policy.batching import supervised
from posttrain.policy.checkpoints import read_language

IMAGE = "<image>"
CHAT_TEMPLATE = tokenizer.CHAT_TEMPLATE.replace(
    "{{ m['content'] }}",
    (
        "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
        "{{ '" + IMAGE + "' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}"
    ),
)


def new_policy(config: VisionConfig, text: Path) -> Policy:
    """Tower and projector from the seed, before the text foundation in the folder `text`; only these two
    can be trained."""
    if not (text / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"no text foundation at {text}: make it first with "
            f"`posttrain pretrain --foundation {config.language} --seed {config.seed}`"
        )
    tokens = AutoTokenizer.from_pretrained(text, clean_up_tokenization_spaces=False)
    tokens.add_special_tokens({"additional_special_tokens": [IMAGE]})
    tokens.chat_template = CHAT_TEMPLATE
    torch.manual_seed(config.seed)
    tower = CLIPVisionConfig(
        image_size=config.size,
        patch_size=config.patch,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.mlp,
        attn_implementation="eager",
    )
    language = LlamaConfig.from_pretrained(text)
    language.vocab_size = len(tokens)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=tower,
            text_config=language,
            image_token_index=tokens.convert_tokens_to_ids(IMAGE),
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            tie_word_embeddings=True,
            language_foundation=text.name,
            attn_implementation="eager",
        )
    ).eval()
    read_language(model, text)
    model.requires_grad_(False)
    for part in (model.model.vision_tower, model.model.multi_modal_projector):
        part.requires_grad_(True)
    model.model.vision_tower.post_layernorm.requires_grad_(False)  # behind the layer that LLaVA reads
    sides = {"height": config.size, "width": config.size}
    pixels = CLIPImageProcessorPil(
        size=sides, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor = LlavaProcessor(
        pixels,
        tokens,
        patch_size=config.patch,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    )
    return Policy(model, tokens, processor, bf16=config.bf16)


def batches(
    config: VisionConfig, tokens: PreTrainedTokenizerFast, step: int = 0, place: dict | None = None
) -> Iterator[Batch]:
    """Batches without end, from that of `step` on. The documents before it are made again: no picture of
    them is drawn, so this takes seconds."""
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, 3]))
    more = source(config.text.corpus).arguments(config.text) if config.text else ()
    stream = sights.corpus_of(config.corpus).documents(rng, config.reading_steps * config.batch, *more)
    stream = itertools.islice(stream, step * config.batch, None)
    encode = partial(tokens.encode, add_special_tokens=False)
    shown = [tokens.convert_tokens_to_ids(IMAGE)] * (config.size // config.patch) ** 2
    while documents := list(itertools.islice(stream, config.batch)):
        rows = [
            (encode(d.before) + shown + encode(d.behind), encode(d.completion + tokenizer.END))
            for d in documents
        ]
        yield Batch(*supervised(rows, tokens.pad_token_id), [d.picture for d in documents])


def pretrain(
    config: VisionConfig, text: Path, report: Report = lambda step, measured: None, state: Path | None = None
) -> tuple[Policy, dict[str, float]]:
    """Train tower and projector before the text foundation in the folder `text`; returns the policy, its
    weights rounded as they are stored, and {"tokens", "seconds", "loss"}. `report` and `state` as in
    `training.train`."""
    torch.set_num_threads(config.threads)
    policy = new_policy(config, text)
    chat = Chat(policy.tokenizer, policy.processor)
    optimizer = torch.optim.AdamW(
        policy.trainable(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.01
    )

    def objective(batch: Batch) -> torch.Tensor:
        logits, _ = policy.score(batch.ids, batch.learned, **chat.pixels(batch.pictures))
        return torch.nn.functional.cross_entropy(logits, batch.ids[batch.learned])

    stream = partial(batches, config, policy.tokenizer)
    measured = train(config, [optimizer], stream, objective, 0.05, report, state, clip=1.0)
    for parameter in policy.trainable():
        parameter.data = parameter.data.bfloat16().float()
    policy.model.requires_grad_(False)
    return policy, measured


def save(policy: Policy, folder: Path) -> None:
    """The checkpoint: config, processor, and the weights that are not the text foundation's."""
    folder.mkdir(parents=True, exist_ok=True)
    policy.model.config.save_pretrained(folder)
    policy.processor.save_pretrained(folder)
    weights = {
        name: weight.bfloat16().contiguous()
        for name, weight in policy.model.state_dict().items()
        if "vision_tower" in name or "projector" in name
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
