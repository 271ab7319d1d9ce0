"""FLOPs: the paper's arithmetic in closed form and what counts as a parameter."""

import numpy as np
import pytest
import torch
from posttrain import compute

N = 1_000


def test_closed_forms():
    assert compute.flops(N, 150, 0) == 6 * N * 150
    assert compute.flops(N, 150, 300) == 6 * N * 150 + 2 * N * 300


@pytest.mark.parametrize(("task", "cost"), [("general-points", 18.0), ("navigation", 16.2)])
def test_published_cost_of_one_rl_token(task, cost):
    assert compute.rl_flops_published(N, 1, task) == pytest.approx(cost * N)
    assert compute.rl_flops_published(N, 1, task) == compute.flops(N, 1, compute.LAMBDA[task])


def test_a_column_of_token_counts():
    tokens = np.array([0, 10, 20])
    np.testing.assert_array_equal(compute.flops(N, tokens, 5), 6 * N * tokens + 2 * N * 5)
    published = compute.rl_flops_published(N, tokens, "general-points")
    np.testing.assert_allclose(published, 18 * N * tokens)


@pytest.mark.parametrize(
    "call",
    [
        lambda: compute.flops(N, -1, 0),
        lambda: compute.flops(N, np.array([1, -1]), 0),
        lambda: compute.flops(N, 0, float("nan")),
        lambda: compute.flops(0, 0, 0),
        lambda: compute.rl_flops_published(N, 0, "chess"),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError):
        call()


class Toy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 4)
        self.layer = torch.nn.Linear(4, 4)
        self.head = torch.nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight


def test_parameters_are_counted_once_and_without_what_training_adds():
    model = Toy()
    assert compute.model_parameters(model) == 11 * 4 + 20
    model.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(4, 2)})
    assert compute.model_parameters(model) == 11 * 4 + 20


def test_parameters_of_a_lora_model_are_those_of_its_base():
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(Toy(), LoraConfig(r=2, target_modules=["layer"]))
    assert sum(p.numel() for p in adapted.parameters()) > compute.model_parameters(adapted) == 11 * 4 + 20
