"""Initial values (tests/oracle compares them with PyTorch's numbers)."""

import math

import pytest

import taper as torch
from taper.nn import init


def test_gains():
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("leaky_relu", 0.3) == math.sqrt(2 / 1.09)
    with pytest.raises(ValueError, match="Unsupported nonlinearity foo"):
        init.calculate_gain("foo")
    with pytest.raises(ValueError, match="negative_slope True not a valid number"):
        init.calculate_gain("leaky_relu", True)


def test_constants():
    assert init.constant_(torch.empty(2), 3.0).tolist() == [3.0, 3.0]
    assert init.eye_(torch.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert init.ones_(torch.empty(2)).tolist() == [1, 1]
    assert init.zeros_(torch.empty(2)).tolist() == [0, 0]
    passed_on = init.dirac_(torch.empty(4, 2, 3), groups=2)
    assert passed_on[:, :, 1].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert passed_on.sum().item() == 4


def test_ranges():
    torch.manual_seed(0)
    weight = torch.empty(30, 20)
    bound = math.sqrt(6 / 50)
    assert init.xavier_uniform_(weight).abs().max().item() <= bound
    assert init.kaiming_uniform_(weight, nonlinearity="relu").abs().max().item() <= math.sqrt(
        6 / 20)
    assert init.trunc_normal_(weight, std=2.0, a=-1.0, b=0.5).max().item() <= 0.5
    sparse = init.sparse_(weight, 0.5)
    assert (sparse == 0).sum(0).tolist() == [15] * 20


def test_orthogonal():
    weight = init.orthogonal_(torch.empty(3, 5), gain=2.0)
    product = weight @ weight.T
    assert torch.allclose(product, 4 * torch.eye(3), atol=1e-5)


@pytest.mark.parametrize(("act", "message"), [
    (lambda: init.xavier_uniform_(torch.empty(3)),
     "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"),
    (lambda: init.kaiming_uniform_(torch.empty(3, 2), mode="foo"),
     "Mode foo not supported, please use one of ['fan_in', 'fan_out']"),
    (lambda: init.eye_(torch.empty(3)), "Only tensors with 2 dimensions are supported"),
    (lambda: init.dirac_(torch.empty(3)), "Only tensors with 3, 4, or 5 dimensions are supported"),
    (lambda: init.dirac_(torch.empty(3, 2, 1), 2), "dim 0 must be divisible by groups"),
    (lambda: init.orthogonal_(torch.empty(3)),
     "Only tensors with 2 or more dimensions are supported"),
])
def test_errors(act, message):
    with pytest.raises(ValueError) as caught:
        act()
    assert str(caught.value) == message


def test_warnings():
    with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
        init.kaiming_normal_(torch.empty(0, 2))
    with pytest.warns(UserWarning, match="mean is more than 2 std from"):
        init.trunc_normal_(torch.empty(2), 10, 1)
    with pytest.warns(FutureWarning, match="`nn.init.constant` is now deprecated in favor of"):
        init.constant(torch.empty(2), 1.0)


def test_nothing_is_recorded():
    weight = torch.nn.Parameter(torch.empty(2, 2))
    assert init.normal_(weight) is weight
    assert weight.is_leaf and weight.requires_grad
