"""Tiny checkpoints of the real classes, built once a session: no network, no GPU."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # at this size a second thread only costs; read when torch is first imported

import pytest

# The files that take longest begin first, so that at the end no process waits for another. Of some of them
# lines are not counted as covered: counting costs up to a half more, and other tests run the same lines.
LONGEST = {
    "test_bite": False,
    "test_play": False,
    "test_arm": True,
    "test_config": True,
    "test_goldens": False,
    "test_training": True,
    "test_processes": True,
    "test_full": False,
    "test_second": True,
    "test_pictures": False,
    "test_grids": False,
    "test_curves": False,
    "test_workflow": True,
    "test_hardware": True,
    "test_cards": True,
}


def pytest_collection_modifyitems(items):
    order = list(LONGEST)
    items.sort(key=lambda item: order.index(item.path.stem) if item.path.stem in order else len(order))
    for item in items:
        if not LONGEST.get(item.path.stem, True):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(scope="session")
def tokenizer():
    from posttrain.foundation import tokenizer

    return tokenizer.build()


def _llama(tokenizer, **changes):
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "tie_word_embeddings": True,
        **changes,
    }
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=512,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            initializer_range=0.15,
            **shape,
        )
    )


def _mllama(tokenizer, **changes):
    from transformers import MllamaConfig, MllamaForConditionalGeneration
    from transformers.models.mllama.configuration_mllama import MllamaTextConfig, MllamaVisionConfig

    text = MllamaTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        cross_attention_layers=[1],
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.eos_token_id,
        initializer_range=0.15,
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
    return MllamaForConditionalGeneration(MllamaConfig(text_config=text, vision_config=vision, **changes))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, tokenizer):
    """Folders of tiny checkpoints: "pocket" and "grouped" (the fast path, the second with grouped-query
    attention), "biased" (transformers' path) and "mllama" (a vision class)."""
    import torch

    made = {}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for name, model in (
            ("pocket", _llama(tokenizer)),
            ("grouped", _llama(tokenizer, num_key_value_heads=2)),
            ("biased", _llama(tokenizer, num_key_value_heads=2, attention_bias=True)),
            ("mllama", _mllama(tokenizer)),
        ):
            folder = tmp_path_factory.mktemp(name)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[name] = str(folder)
    return made


@pytest.fixture(scope="session")
def seeing(tmp_path_factory, checkpoints, tokenizer):
    """Folders of tiny checkpoints with their processors: "llava" (the fast path, a tower before "pocket"),
    "mllama" (cross-attention), "qwen2-vl" and "qwen2.5-vl" (patches end to end, positions of rows and
    columns), "idefics3" (tiles)."""
    import copy
    from pathlib import Path

    import torch
    from posttrain.foundation import vision
    from transformers import MllamaProcessor
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    from tests import foreign

    with torch.random.fork_rng():
        made = vision.new_policy(
            vision.VisionConfig(size=28, patch=14, hidden=16, layers=1, heads=2, mlp=16),
            Path(checkpoints["pocket"]),
        )
        with torch.no_grad():
            for parameter in made.trainable():
                parameter.mul_(3)  # a picture's effect must stand out
        llava = Path(checkpoints["pocket"]).parent / "llava"
        vision.save(made, llava)
        torch.manual_seed(8)
        words = copy.deepcopy(tokenizer)
        words.add_special_tokens({"additional_special_tokens": ["<|image|>", "<|python_tag|>"]})
        words.chat_template, words.bos_token = (
            vision.CHAT_TEMPLATE.replace(vision.IMAGE, "<|image|>"),
            words.eos_token,
        )
        model = _mllama(words, image_token_index=words.convert_tokens_to_ids("<|image|>"))
        with torch.no_grad():  # as in a trained checkpoint: gates open
            for name, parameter in model.named_parameters():
                if name.endswith(("cross_attn_attn_gate", "cross_attn_mlp_gate")):
                    parameter.fill_(1.0)
        mllama = tmp_path_factory.mktemp("mllama-vision")
        model.save_pretrained(mllama)
        pixels = MllamaImageProcessorPil(size={"height": 28, "width": 28}, max_image_tiles=1)
        MllamaProcessor(pixels, words, chat_template=words.chat_template).save_pretrained(mllama)
        others = {name: tmp_path_factory.mktemp(name) for name in ("qwen2-vl", "qwen2.5-vl", "idefics3")}
        foreign.qwen("Qwen2VL", tokenizer, others["qwen2-vl"])
        foreign.qwen("Qwen2_5_VL", tokenizer, others["qwen2.5-vl"])
        foreign.idefics(tokenizer, others["idefics3"])
    return {"llava": str(llava), "mllama": str(mllama), **{name: str(at) for name, at in others.items()}}


@pytest.fixture(
    scope="session",
    params=[{}, {"head_dim": 12, "rope_theta": 500.0, "tie_word_embeddings": False, "rms_norm_eps": 1e-3}],
)
def plain_llama(request):
    """Two small Llamas of transformers' own, with norms that are not ones."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(11)
    made = (
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=60,
                hidden_size=32,
                intermediate_size=40,
                num_hidden_layers=3,
                num_attention_heads=4,
                max_position_embeddings=256,
                initializer_range=0.2,
                **request.param,
            )
        )
        .eval()
        .requires_grad_(False)
    )
    for name, parameter in made.named_parameters():
        if "norm" in name:
            parameter.add_(
                0.3 * torch.randn_like(parameter)
            )  # a scale of ones would hide a norm that is never applied
    return made


@pytest.fixture
def policy(checkpoints):
    """policy(name, value=..., fast=..., stirred=..., brief=...): a policy with an adapter, not at its
    starting point where `stirred`."""
    import torch
    from posttrain import policy as models

    def make(name="pocket", value=False, fast=True, stirred=True, rank=4, brief=False):
        made = models.add_lora(
            models.load(checkpoints[name]),
            models.LoraSettings(rank=rank, alpha=2 * rank),
            seed=1,
            value=value,
        )
        made.fast = fast
        if stirred:
            stir(made)
        if brief:  # the end token is likely, so that answers differ in length
            with torch.no_grad():
                made.base.get_output_embeddings().weight[made.tokenizer.eos_token_id].mul_(6)
        return made

    return make


def stir(policy, scale=0.05, seed=3):
    """Move adapter and value head away from their starting point, the same way every time."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in [
            *policy.trainable(),
            *(policy.value_head.parameters() if policy.value_head else []),
        ]:
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
