"""Tiny checkpoints that never change: what the goldens start from, whatever becomes of the foundations.

`pocket` (a Llama of 70,000 weights) is stored: trained once on expert answers of both text tasks until it
writes the format
and is often wrong, so that a rollout meets every kind of verdict. The others get weights from numpy's
generator, which gives the
same bits on every machine. Tokenizer and templates are this module's own: a change of the library's does
not reach them.

    python -m tests.invariant.checkpoints        # trains `pocket` anew; every golden must then be recorded
    again
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.mllama.configuration_mllama import MllamaTextConfig, MllamaVisionConfig
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

STORED = Path(__file__).parent / "checkpoint"
TEXT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}"
    "{{ 'IMAGE' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WIDTH = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def tokenizer(image: str | None = None) -> PreTrainedTokenizerFast:
    """Bytes and the frozen words of words.json; `image`: the marker of a picture."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"])
    words = json.loads((STORED / "words.json").read_text())
    made.add_tokens([AddedToken(word, normalized=False) for word in words])
    if image:
        made.add_special_tokens([image])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=TEXT.replace("IMAGE", image or ""),
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        extra_special_tokens=[image] if image else [],
    )


def drawn(model: torch.nn.Module, seed: int, scale: float) -> torch.nn.Module:
    """`model` with matrices of standard deviation `scale` from numpy's generator; norms stay ones, biases
    zeros, gates open.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 14]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or "class_embedding" in name:
                noise = rng.standard_normal(tuple(parameter.shape)) * scale
                parameter.copy_(torch.from_numpy(noise.astype(np.float32)))
            elif "gate" in name:
                parameter.fill_(1.0)
            elif "norm" in name and name.endswith("weight"):
                parameter.fill_(1.0)
            else:
                parameter.zero_()
    return model


def _language(tokens, **changes) -> LlamaConfig:
    return LlamaConfig(
        **{**WIDTH, **changes},
        vocab_size=len(tokens),
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokens.pad_token_id,
        eos_token_id=tokens.eos_token_id,
        bos_token_id=None,
    )


def pocket() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    tokens = tokenizer()
    model = drawn(LlamaForCausalLM(_language(tokens)), 1, 0.1)
    if (STORED / "model.safetensors").is_file():
        weights = {k: v.float() for k, v in load_file(STORED / "model.safetensors").items()}
        model.load_state_dict(weights, strict=False)
    return model, tokens


def grouped() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Grouped-query attention: transformers' path."""
    tokens = tokenizer()
    return drawn(LlamaForCausalLM(_language(tokens, num_key_value_heads=2)), 2, 0.2), tokens


def llava() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A tower before `pocket`'s language model."""
    text, _ = pocket()
    tokens = tokenizer("<image>")
    tower = CLIPVisionConfig(
        image_size=28,
        patch_size=14,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        attn_implementation="eager",
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=_language(tokens),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    model = drawn(LlavaForConditionalGeneration(config), 3, 0.2)
    words = text.model.embed_tokens.weight
    with torch.no_grad():
        language = {**text.model.state_dict(), "embed_tokens.weight": torch.cat([words, words[:1]])}
        model.model.language_model.load_state_dict(language)
    pixels = CLIPImageProcessorPil(
        size={"height": 28, "width": 28}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor = LlavaProcessor(
        pixels,
        tokens,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=tokens.chat_template,
        num_additional_image_tokens=1,
    )
    return model, processor


def mllama() -> tuple[MllamaForConditionalGeneration, MllamaProcessor]:
    """Cross-attention, as in Llama-3.2-Vision."""
    tokens = tokenizer("<|image|>")
    tokens.bos_token = tokens.eos_token
    text = MllamaTextConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        cross_attention_layers=[1],
        max_position_embeddings=512,
        pad_token_id=tokens.pad_token_id,
        eos_token_id=tokens.eos_token_id,
        bos_token_id=tokens.eos_token_id,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    vision = MllamaVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_global_layers=1,
        attention_heads=2,
        image_size=28,
        patch_size=14,
        max_num_tiles=1,
        supported_aspect_ratios=[[1, 1]],
        intermediate_layers_indices=[0],
        vision_output_dim=32,
    )
    config = MllamaConfig(
        text_config=text, vision_config=vision, image_token_index=tokens.convert_tokens_to_ids("<|image|>")
    )
    pixels = MllamaImageProcessorPil(size={"height": 28, "width": 28}, max_image_tiles=1)
    processor = MllamaProcessor(pixels, copy.deepcopy(tokens), chat_template=tokens.chat_template)
    return drawn(MllamaForConditionalGeneration(config), 4, 0.2), processor


KINDS = {"pocket": pocket, "grouped": grouped, "llava": llava, "mllama": mllama}


def build(folder: Path, *names: str) -> dict[str, str]:
    """Folders of the checkpoints `names` (all, if none are named) under `folder`, as transformers loads
    them.
    """
    paths = {}
    for name in names or KINDS:
        model, words = KINDS[name]()
        paths[name] = str(Path(folder) / name)
        model.save_pretrained(paths[name])
        words.save_pretrained(paths[name])
    return paths


def train(steps: int = 300, batch: int = 48) -> None:
    """Train `pocket` on expert answers of both text tasks, and store it in bfloat16."""
    from posttrain.environments.general_points import GeneralPointsEnv
    from posttrain.environments.navigation import NavigationEnv

    model, tokens = pocket()
    rng = np.random.default_rng(14)
    tasks = GeneralPointsEnv(), NavigationEnv()

    def rows(environment):
        while True:
            (_, info), over = environment.reset(seed=int(rng.integers(2**31))), False
            while not over:
                answer = environment.expert(rng)
                prompt = tokens.apply_chat_template(
                    info["messages"], tokenize=False, add_generation_prompt=True
                )
                yield [tokens(t, add_special_tokens=False)["input_ids"] for t in (prompt, answer + "<|end|>")]
                _, _, terminated, truncated, info = environment.step(answer)
                over = terminated or truncated

    streams = [rows(environment) for environment in tasks]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 50, 2 * (1 - step / steps))
        chosen = [next(streams[step % 2]) for _ in range(batch)]
        width = max(len(p) + len(a) for p, a in chosen)
        ids, labels = torch.full((batch, width), tokens.pad_token_id), torch.full((batch, width), -100)
        for r, (prompt, answer) in enumerate(chosen):
            ids[r, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            labels[r, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 < 2:
            print(step, round(loss.item(), 3), flush=True)
    weights = {
        k: v.detach().bfloat16().contiguous() for k, v in model.state_dict().items() if "lm_head" not in k
    }
    save_file(weights, STORED / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    train()
