"""taper/ops/softmax.py: softmax and its relatives, normalize."""

import math
import warnings

import pytest

import taper as torch

F = torch.nn.functional


def test_softmax():
    x = torch.tensor([[0.0, math.log(3)], [1000.0, 1000.0]])
    assert torch.softmax(x, 1).flatten().tolist() == pytest.approx([0.25, 0.75, 0.5, 0.5])
    assert x.softmax(-1).sum(-1).tolist() == pytest.approx([1, 1])
    assert torch.log_softmax(x, 1)[1].tolist() == pytest.approx([-math.log(2)] * 2)
    assert F.softmin(x, dim=1)[0].tolist() == pytest.approx([0.75, 0.25])


def test_gradients():
    x = torch.tensor([0.0, math.log(3)], dtype=torch.float64, requires_grad=True)
    torch.softmax(x, 0)[0].backward()
    assert x.grad.tolist() == pytest.approx([0.25 * 0.75, -0.25 * 0.75])
    x.grad = None
    torch.log_softmax(x, 0)[0].backward()
    assert x.grad.tolist() == pytest.approx([0.75, -0.75])


def test_second_derivatives():
    x = torch.tensor([0.0, math.log(3)], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(torch.softmax(x, 0)[0], x, create_graph=True)
    slopes[0].backward()  # p (1 - p) (1 - 2 p), p = 1/4
    assert x.grad[0].item() == pytest.approx(0.25 * 0.75 * 0.5)


def test_dtypes():
    x = torch.tensor([1, 1])
    assert torch.softmax(x, 0, dtype=torch.float64).tolist() == [0.5, 0.5]
    with pytest.raises(NotImplementedError, match="\"softmax_lastdim_kernel_impl\" not"):
        torch.softmax(x, 0)
    assert torch.ones(2, dtype=torch.float16).softmax(0).dtype is torch.float16


def test_odd_shapes():
    assert torch.softmax(torch.tensor(3.0), 0).item() == 1
    assert torch.softmax(torch.ones(0, 2), 0).shape == (0, 2)
    with pytest.raises(IndexError, match="Dimension out of range"):
        torch.softmax(torch.ones(2), 1)


def test_the_dimension_used_to_be_guessed():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        y = F.softmax(torch.zeros(2, 4))
    assert "Implicit dimension choice for softmax has been deprecated" in str(caught[0].message)
    assert y[0].tolist() == [0.25] * 4


def test_gumbel_softmax():
    logits = torch.tensor([[0.0, 50.0]], requires_grad=True)
    hard = F.gumbel_softmax(logits, hard=True)
    assert hard.tolist() == [[0, 1]]
    assert hard.requires_grad


def test_normalize():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert F.normalize(x).flatten().tolist() == pytest.approx([0.6, 0.8, 0, 0])
