"""Dimensions in another order."""

import pytest

import taper as torch


def test_orders():
    x = torch.zeros(2, 3, 5)
    assert x.transpose(0, -1).shape == (5, 3, 2)
    assert x.permute(2, 0, 1).shape == (5, 2, 3)
    assert x.movedim((0, 1), (-1, 0)).shape == (3, 5, 2)
    assert x.mT.shape == (2, 5, 3)
    assert torch.zeros(2, 3).T.shape == torch.zeros(2, 3).t().shape == (3, 2)


def test_node_names():
    x = torch.zeros(2, 3, requires_grad=True)
    names = [y.grad_fn.name() for y in (x.t(), x.T, x.mT, x.transpose(0, 1), x.permute(1, 0))]
    assert names == ["TBackward0", "PermuteBackward0", "TransposeBackward0", "TransposeBackward0",
                     "PermuteBackward0"]


def test_gradients_find_their_way_back():
    x = torch.zeros(2, 3, 4, requires_grad=True)
    weight = torch.arange(24.0).view(4, 2, 3)
    (x.permute(2, 0, 1) * weight).sum().backward()
    assert torch.equal(x.grad, weight.permute(1, 2, 0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.permute(0, 0, 1), RuntimeError, "duplicate dims"),
        (lambda x: x.permute(0, 1), RuntimeError, "number of dimensions in the tensor input"),
        (lambda x: x.transpose(0, 3), IndexError, "Dimension out of range"),
        (lambda x: x.t(), RuntimeError, r"t\(\) expects a tensor with <= 2 dimensions"),
        (lambda x: x[0, 0].mT, RuntimeError, "only supported on matrices"),
        (lambda x: x.movedim((0, 0), (0, 1)), RuntimeError, "repeated dim in `source`"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.zeros(2, 3, 5))
