"""Tiny checkpoints of vision-language classes that are not ours, as their folders look on the hub."""

import copy
import json

QWEN = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IDEFICS = (
    "<|begin_of_text|>{% for message in messages %}{{message['role'].capitalize()}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def _words(tokenizer, template, *marks):
    words = copy.deepcopy(tokenizer)
    words.add_special_tokens({"additional_special_tokens": list(marks)})
    words.chat_template = template
    return words


def _text(words, **changes):
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(words),
        "max_position_embeddings": 1024,
        "pad_token_id": words.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
        "initializer_range": 0.15,
        **changes,
    }


def _save(model, words, images, folder):
    import torch

    with torch.no_grad():  # a picture's effect must stand out
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and ("visual" in name or "vision" in name or "connector" in name):
                parameter.mul_(6)
    for part in (model, words, images):
        part.save_pretrained(folder)


def qwen(kind, tokenizer, folder):
    """kind: Qwen2VL or Qwen2_5_VL."""
    import transformers
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    words = _words(tokenizer, QWEN, "<|im_start|>", "<|im_end|>", *marks)
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    vision = {"depth": 2, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2}
    if kind == "Qwen2VL":
        vision |= {"embed_dim": 16, "hidden_size": 32}
    else:
        vision |= {"hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32}
        vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
    config = getattr(transformers, f"{kind}Config")(
        text_config=_text(words, rope_parameters=rope),
        vision_config=vision,
        **{name: words.convert_tokens_to_ids(mark) for name, mark in zip(names, marks)},
    )
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    _save(model, words, Qwen2VLImageProcessorPil(), folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processor_class": f"{kind}Processor"}))


def idefics(tokenizer, folder):
    """Idefics3, which shows a picture larger than its tower's in tiles and as a whole."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    marks = (
        "<|begin_of_text|>",
        "<fake_token_around_image>",
        "<image>",
        "<end_of_utterance>",
        "<global-img>",
    )
    tiles = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    words = _words(tokenizer, IDEFICS, *marks, *tiles)
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Idefics3Config(
        text_config=_text(words, model_type="llama"),
        vision_config=vision | {"image_size": 28, "patch_size": 14},
        scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    images = Idefics3ImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    processor = Idefics3Processor(images, words, image_seq_len=1, chat_template=IDEFICS)
    _save(Idefics3ForConditionalGeneration(config), words, processor, folder)
