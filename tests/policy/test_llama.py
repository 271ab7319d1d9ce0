"""The few-kernels Llama is transformers' Llama."""

import pytest
import torch
from posttrain import policy as models
from posttrain.policy import llama
from transformers import LlamaConfig, LlamaForCausalLM

SHAPE = {"hidden_size": 32, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 4}


@pytest.mark.parametrize("shared", [1, 2, 4])
def test_hidden_and_logits_equal_transformers(plain_llama, shared):
    """With a key for each query head, for two, and one for all four."""
    model = plain_llama
    if shared > 1:
        torch.manual_seed(shared)
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, vocab_size=60, num_key_value_heads=4 // shared)).eval()
    ids = torch.randint(60, (3, 17), generator=torch.Generator().manual_seed(0))
    own = llama.Llama(model, lambda module: module.weight)
    expected = model(input_ids=ids, output_hidden_states=True)
    torch.testing.assert_close(own.hidden(ids), expected.hidden_states[-1], rtol=0, atol=3e-5)
    torch.testing.assert_close(own.logits(own.hidden(ids)), expected.logits, rtol=0, atol=3e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"hidden_size": 2048},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    ],
)
def test_anything_but_a_plain_small_llama_is_left_to_transformers(changes):
    shape = {**SHAPE, "vocab_size": 8}
    assert llama.supports(LlamaForCausalLM(LlamaConfig(**shape)))
    assert llama.supports(LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=2)))
    assert not llama.supports(LlamaForCausalLM(LlamaConfig(**{**shape, **changes})))


def test_a_subclass_is_left_to_transformers(checkpoints):
    class Other(LlamaForCausalLM):
        pass

    policy = models.load(checkpoints["pocket"])
    assert llama.supports(policy.model) and not llama.supports(Other(policy.model.config))
