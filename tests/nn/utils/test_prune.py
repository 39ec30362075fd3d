"""Pruning."""

import pytest

import taper as torch
from taper import nn
from taper.nn.utils import prune


def layer():
    made = nn.Linear(2, 3)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, -4.0], [5.0, -6.0]]))
    return made


def test_the_smallest_elements():
    made = prune.l1_unstructured(layer(), "weight", amount=0.5)
    assert made.weight_mask.tolist() == [[0, 0], [0, 1], [1, 1]]
    assert made.weight.tolist() == [[0, 0], [0, -4], [5, -6]]
    assert prune.is_pruned(made)
    assert sorted(made.state_dict()) == ["bias", "weight_mask", "weight_orig"]
    made(torch.ones(2)).sum().backward()
    assert made.weight_orig.grad.tolist() == [[0, 0], [0, 1], [1, 1]]
    prune.remove(made, "weight")
    assert isinstance(made.weight, nn.Parameter)
    assert made.weight.tolist() == [[0, 0], [0, -4], [5, -6]]
    assert not prune.is_pruned(made)


def test_prunings_add_up():
    made = prune.l1_unstructured(layer(), "weight", amount=2)
    prune.ln_structured(made, "weight", amount=1, n=2, dim=0)
    assert made.weight_mask.tolist() == [[0, 0], [0, 0], [1, 1]] or (
        made.weight_mask.tolist() == [[0, 0], [1, 1], [1, 1]])
    assert len(made._forward_pre_hooks) == 1
    made = prune.custom_from_mask(layer(), "bias", torch.tensor([1, 0, 1]))
    assert made.bias[1].item() == 0.0


def test_several_parameters_together():
    first, second = layer(), layer()
    with torch.no_grad():
        second.weight.mul_(10)
    prune.global_unstructured([(first, "weight"), (second, "weight")], prune.L1Unstructured,
                              amount=6)
    assert first.weight_mask.sum().item() == 0
    assert second.weight_mask.sum().item() == 6


@pytest.mark.parametrize(("amount", "kind", "message"), [
    (1.5, ValueError, "amount=1.5 should either be a float in the range [0, 1] or a non-negative"),
    (50, ValueError, "amount=50 should be smaller than the number of parameters to prune=6"),
    ("a", TypeError, "Invalid type for amount: a. Must be int or float."),
])
def test_amounts(amount, kind, message):
    with pytest.raises(kind) as caught:
        prune.l1_unstructured(layer(), "weight", amount)
    assert str(caught.value).startswith(message)


def test_random():
    torch.manual_seed(0)
    assert prune.random_unstructured(layer(), "weight", 2).weight_mask.sum().item() == 4
    assert prune.random_structured(layer(), "weight", 1, 0).weight_mask.sum().item() == 4
    with pytest.raises(ValueError, match="has to be pruned before pruning can be removed"):
        prune.remove(layer(), "weight")
