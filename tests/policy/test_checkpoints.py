"""Policies: three classes of checkpoint, one way in; an adapter that is folded, merged, switched off, saved
and read back."""

import shutil
from pathlib import Path

import pytest
import torch
import transformers
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from posttrain import policy as models

CLASSES = {
    "pocket": "LlamaForCausalLM",
    "grouped": "LlamaForCausalLM",
    "biased": "LlamaForCausalLM",
    "mllama": "MllamaForConditionalGeneration",
}
ROWS = [[5, 9, 300, 2, 77, 120, 8, 41], [17, 400, 3, 3, 260], [350, 1]]


def batch(tokenizer):
    """ids and learned positions of rows of different lengths, padded on the right."""
    ids, learned = (
        torch.full((len(ROWS), 8), tokenizer.pad_token_id),
        torch.zeros(len(ROWS), 8, dtype=torch.bool),
    )
    for r, row in enumerate(ROWS):
        ids[r, : len(row)] = torch.tensor(row)
        learned[r, 1 : len(row)] = True
    learned[0, 3] = False
    return ids, learned


def logits(policy):
    with torch.no_grad():
        return policy.score(*batch(policy.tokenizer))[0]


def reference(model, tokenizer):
    """The same logits by calling the transformers model on each row alone."""
    _, learned = batch(tokenizer)
    with torch.no_grad():
        return torch.cat(
            [
                model(input_ids=torch.tensor([row])).logits[0, :-1][learned[r, 1 : len(row)]]
                for r, row in enumerate(ROWS)
            ]
        )


def weights(policy):
    """Every parameter and buffer of the model without the adapter, by name."""
    return {name: p.detach().clone() for name, p in policy.base.state_dict().items() if "lora_" not in name}


def close(got, expected, atol=2e-5):
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_loads_the_same_way(checkpoints, name):
    policy = models.load(checkpoints[name])
    assert (
        type(policy.model).__name__ == CLASSES[name]
        and not policy.model.training
        and policy.trainable() == []
    )
    assert (
        policy.is_fast == (name in ("pocket", "grouped"))
        and policy.tokenizer.chat_template
        and policy.tokenizer.decode([policy.tokenizer.eos_token_id]) == "<|end|>"
    )
    close(logits(policy), reference(policy.model, policy.tokenizer))


def test_paths_that_hold_no_policy_are_errors(checkpoints, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", "data/models/nowhere", "./nowhere"):
        with pytest.raises(FileNotFoundError, match="no checkpoint at .*config.json"):
            models.load(path)
    silent = tmp_path / "silent"
    shutil.copytree(checkpoints["pocket"], silent)
    (silent / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no chat template"):
        models.load(silent)
    with pytest.raises(FileNotFoundError, match="no adapter at"):
        models.load_adapter(models.load(checkpoints["pocket"]), tmp_path)
    with pytest.raises(ValueError, match="add_lora"):
        with models.load(checkpoints["pocket"]).start():
            pass


@pytest.mark.parametrize("name", CLASSES)
def test_a_fresh_adapter_changes_nothing_and_is_all_that_trains(checkpoints, policy, name):
    base, fresh = models.load(checkpoints[name]), policy(name, stirred=False, value=True)
    assert torch.equal(logits(base), logits(fresh)) or (logits(base) - logits(fresh)).abs().max() < 1e-6
    trainable = {n for n, p in fresh.model.named_parameters() if p.requires_grad}
    assert trainable == {n for n, _ in fresh.model.named_parameters() if "lora_" in n} and len(
        fresh.trainable()
    ) == len(trainable)
    # Every linear layer of the language model, and none elsewhere.
    language = [
        n
        for n, m in base.model.named_modules()
        if isinstance(m, torch.nn.Linear) and "layers" in n and "vision" not in n
    ]
    assert sorted(n for n, _ in fresh.adapter_layers()) == sorted(language) and len(language) == (
        21 if name == "mllama" else 14
    )
    assert not any("vision" in n or "projector" in n or "lm_head" in n or "embed" in n for n in trainable)
    assert (
        fresh.value_head(torch.randn(3, 32)).tolist() == [fresh.value_head.layers[-1].bias.item()] * 3
    )  # one value everywhere at first


def test_the_adapter_is_its_seeds(checkpoints):
    def make(seed):
        settings = models.LoraSettings(rank=4, alpha=8)
        return models.add_lora(models.load(checkpoints["pocket"]), settings, seed=seed, value=True)

    def learnable(policy):
        return [*policy.trainable(), *policy.value_head.parameters()]

    def same(a, b):
        return all(torch.equal(p, q) for p, q in zip(learnable(a), learnable(b)))

    torch.manual_seed(0)
    first, state = make(1), torch.get_rng_state()
    torch.manual_seed(5)
    second, third = make(1), make(2)
    assert same(first, second) and not same(first, third)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers are used up


@pytest.mark.parametrize("name", CLASSES)
def test_merged_is_the_same_function_and_leaves_the_very_same_weights(policy, name):
    chosen = policy(name)
    before, unmerged, own = weights(chosen), logits(chosen), reference(chosen.model, chosen.tokenizer)
    close(unmerged, own)
    for failure in (None, KeyError):
        try:
            with chosen.merged():
                close(logits(chosen), unmerged)
                close(
                    reference(chosen.model, chosen.tokenizer), unmerged
                )  # transformers' own forward sees the merged weights too
                assert any(not torch.equal(p, before[n]) for n, p in weights(chosen).items())
                if failure:
                    raise failure
        except KeyError:
            pass
        after = weights(chosen)
        assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
        assert all(p.requires_grad for n, p in chosen.model.named_parameters() if "lora_" in n)
        assert torch.equal(logits(chosen), unmerged)


@pytest.mark.parametrize("name", CLASSES)
def test_start_is_the_base(checkpoints, policy, name):
    chosen, base = policy(name), logits(models.load(checkpoints[name]))
    adapted = logits(chosen)
    assert (adapted - base).abs().max() > 0.05
    with chosen.start():
        close(logits(chosen), base, 1e-6)
    assert torch.equal(logits(chosen), adapted) and len(chosen.trainable()) == 2 * len(
        chosen.adapter_layers()
    )


def test_fast_and_transformers_paths_have_the_same_logits_and_gradients(policy):
    results = {}
    for fast in (True, False):
        chosen = policy(fast=fast)
        assert chosen.is_fast == fast
        out, hidden = chosen.score(*batch(chosen.tokenizer))
        mix = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
        (out.log_softmax(-1) * mix).sum().add(hidden[1].sin().sum()).backward()
        results[fast] = (
            out.detach(),
            hidden.detach(),
            {n: p.grad for n, p in chosen.model.named_parameters() if p.requires_grad},
        )
        assert all(p.grad is None for p in chosen.model.parameters() if not p.requires_grad)
    close(results[True][0], results[False][0])
    close(results[True][1], results[False][1])
    for name, gradient in results[True][2].items():
        other = results[False][2][name]
        assert gradient.abs().max() > 1e-4, name
        torch.testing.assert_close(
            gradient, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()), msg=(name + ": {}").format
        )


def test_bf16_is_near_float32(policy):
    chosen = policy()
    exact = logits(chosen)
    chosen.bf16 = True
    assert 0 < (logits(chosen) - exact).abs().max() < 0.1 * exact.abs().max()
    with chosen.merged():
        merged = logits(chosen)
    assert torch.equal(merged, logits(chosen))  # sampler and trainer round the same weights


@pytest.mark.parametrize("name", CLASSES)
def test_a_saved_adapter_comes_back(checkpoints, policy, tmp_path, name):
    chosen = policy(name)
    chosen.save_adapter(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".md") == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    loaded = models.load_adapter(models.load(checkpoints[name]), tmp_path)
    assert not isinstance(loaded.model, PeftModel) and not any(
        isinstance(m, LoraLayer) for m in loaded.model.modules()
    )
    assert loaded.trainable() == [] and not loaded.model.training and loaded.value_head is None
    close(logits(loaded), logits(chosen))
    with chosen.merged():  # the next stage starts from the very weights that were rolled out
        for (n, p), (_, q) in zip(
            sorted(loaded.model.named_parameters()),
            sorted(
                (k.replace(".base_layer", ""), v)
                for k, v in chosen.base.named_parameters()
                if "lora_" not in k
            ),
        ):
            assert torch.equal(p, q), n
    again = models.add_lora(loaded, models.LoraSettings(rank=4, alpha=8), seed=2)
    close(logits(again), logits(chosen))


def test_a_bfloat16_model_rolls_out_in_its_own_type(checkpoints):
    chosen = models.add_lora(
        models.load(checkpoints["biased"], dtype=torch.bfloat16), models.LoraSettings(rank=4, alpha=8), seed=1
    )
    with torch.no_grad():
        for parameter in chosen.trainable():
            parameter.add_(0.05)
    with chosen.merged():
        assert {layer.base_layer.weight.dtype for _, layer in chosen.adapter_layers()} == {torch.bfloat16}
        assert logits(chosen).isfinite().all()
    assert Path(checkpoints["biased"]).is_dir() and chosen.trainable()[0].dtype == torch.float32


# --- parts by structure, in every class that sees -----------------------------------------------------------

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
QWEN = TEXT | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
TOWER = {"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
TOWER |= {"hidden_size": 16, "image_size": 28, "patch_size": 14}
MERGING = {"depth": 2, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2}
LATENTS = {"resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 8}
SEEING = {  # class, config, settings; linear layers of the language model, the projector, the tower
    "llava": ("Llava", {"text_config": TEXT | {"model_type": "llama"}, "vision_config": TOWER}, (14, 2, 12)),
    "qwen2-vl": (
        "Qwen2VL",
        {"text_config": QWEN, "vision_config": MERGING | {"embed_dim": 16, "hidden_size": 32}},
        (14, 2, 8),
    ),
    "qwen2.5-vl": (
        "Qwen2_5_VL",
        {
            "text_config": QWEN,
            "vision_config": MERGING | {"hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32},
        },
        (14, 2, 10),
    ),
    "smolvlm": (
        "SmolVLM",
        {"text_config": TEXT | {"model_type": "llama"}, "vision_config": TOWER, "scale_factor": 2},
        (14, 1, 12),
    ),
    "idefics3": (
        "Idefics3",
        {"text_config": TEXT | {"model_type": "llama"}, "vision_config": TOWER, "scale_factor": 2},
        (14, 1, 12),
    ),
    "idefics2": (
        "Idefics2",
        {
            "text_config": TEXT | {"model_type": "mistral"},
            "vision_config": TOWER,
            "perceiver_config": LATENTS
            | {"hidden_size": 32, "num_key_value_heads": 1, "n_heads": 2, "n_latents": 4},
        },
        (14, 10, 12),
    ),
}


@pytest.mark.parametrize("name", SEEING)
def test_parts_are_found_by_structure(name):
    kind, settings, counts = SEEING[name]
    with torch.random.fork_rng():
        config = getattr(transformers, f"{kind}Config")(**settings)
        model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    parts = models.linear_layers(model)
    assert tuple(sum(part == one for part in parts.values()) for one in models.PARTS) == counts
    assert not any("lm_head" in layer for layer in parts)
    for layer, part in parts.items():  # as these classes call them
        seen = "vision" in layer or "visual" in layer
        between = any(word in layer for word in ("projector", "connector", "merger"))
        assert part == ("projector" if between else "vision" if seen else "language"), layer


def test_parts_of_classes_with_cross_attention_and_of_text(checkpoints):
    mllama = models.linear_layers(models.load(checkpoints["mllama"]).model)
    assert {part for layer, part in mllama.items() if "cross_attn" in layer} == {"language"}
    assert {part for layer, part in mllama.items() if "vision_model" in layer} == {"vision"}
    assert [layer for layer, part in mllama.items() if part == "projector"] == ["model.multi_modal_projector"]
    assert set(models.linear_layers(models.load(checkpoints["pocket"]).model).values()) == {"language"}
