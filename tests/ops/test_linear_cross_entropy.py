"""linear_cross_entropy against cross_entropy of linear."""

import pytest

import taper as torch

F = torch.nn.functional


def test_it_is_the_cross_entropy_of_the_scores():
    torch.manual_seed(0)
    x, weight = torch.randn(5, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    bias, target = torch.randn(4), torch.tensor([0, 1, 2, 3, 0])
    found = F.linear_cross_entropy(x, weight, target, linear_bias=bias, reduction="sum")
    assert torch.equal(found, F.cross_entropy(F.linear(x, weight, bias), target, reduction="sum"))
    found.backward()
    assert x.grad is not None and weight.grad is not None


def test_positions():
    torch.manual_seed(0)
    x, weight = torch.randn(5, 3), torch.randn(4, 2, 3)
    target = torch.randint(4, (5, 2))
    scores = (weight @ x.T).permute(2, 0, 1)
    found = F.linear_cross_entropy(x, weight, target, reduction="none")
    assert torch.allclose(found, F.cross_entropy(scores, target, reduction="none"), atol=1e-6)


@pytest.mark.parametrize(("arguments", "message"), [
    (((3,), (4, 2, 3), 0), "requires batched input"),
    (((2, 5), (4, 3), 0), "expected equal input and linear_weight last dimensions"),
    (((2, 2, 3), (4, 3), 0), "expected input with dimensionality 1 or 2, got 3"),
])
def test_errors(arguments, message):
    x, weight, _ = arguments
    with pytest.raises(RuntimeError, match=message):
        F.linear_cross_entropy(torch.ones(x), torch.ones(weight), torch.tensor([0, 1]))
