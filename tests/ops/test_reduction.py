import numpy as np
import pytest

import taper as torch


def test_sum_dims_and_dtypes():
    x = torch.tensor([[1, 2], [3, 4]])
    assert x.sum().item() == 10
    assert x.sum(0).tolist() == [4, 6]
    assert x.sum((0, 1), keepdim=True).tolist() == [[10]]
    assert x.sum(()).item() == 10
    assert torch.tensor([True, True]).sum().dtype is torch.int64
    assert torch.tensor([1, 2], dtype=torch.uint8).sum().dtype is torch.int64
    assert x.sum(dtype=torch.float64).dtype is torch.float64
    assert torch.sum(x, axis=1, keepdims=True).tolist() == [[3], [7]]


def test_half_is_summed_in_float32():
    x = torch.ones(4096).half()
    assert x.sum().item() == 4096
    assert torch.ones(1000, dtype=torch.bfloat16).sum().item() == 1000


def test_sums_of_nothing():
    assert torch.zeros(0).sum().item() == 0
    assert torch.zeros(2, 0).sum(1).tolist() == [0, 0]
    assert torch.zeros(0).prod().item() == 1
    assert np.isnan(torch.zeros(0).mean().item())


def test_dim_errors():
    x = torch.zeros(2, 3)
    with pytest.raises(IndexError, match=r"Dimension out of range \(expected to be in range of"):
        x.sum(2)
    with pytest.raises(RuntimeError, match="dim 0 appears multiple times"):
        x.sum((0, -2))
    with pytest.raises(RuntimeError, match=r"mean\(\): could not infer output dtype"):
        torch.tensor([1, 2]).mean()


def test_node_names_follow_the_overload():
    x = torch.ones(2, 2, requires_grad=True)
    assert x.sum().grad_fn.name() == "SumBackward0"
    assert x.sum(1).grad_fn.name() == "SumBackward1"
    assert x.mean(0).grad_fn.name() == "MeanBackward1"


def test_gradients_of_sum_and_mean():
    x = torch.ones(2, 3, requires_grad=True)
    (x.sum(0) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [[1, 2, 3], [1, 2, 3]]
    x.grad = None
    x.mean(1, keepdim=True).sum().backward()
    assert torch.allclose(x.grad, torch.full((2, 3), 1 / 3))


def test_gradient_of_prod_is_exact_at_zeros():
    x = torch.tensor([2.0, 0.0, 3.0], requires_grad=True)
    x.prod().backward()
    assert x.grad.tolist() == [0, 6, 0]
    x = torch.tensor([[0.0, 0.0, 3.0], [1.0, 2.0, 3.0]], requires_grad=True)
    x.prod(1).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0], [6, 3, 2]]


def test_logsumexp_at_the_ends():
    inf = torch.inf
    assert torch.logsumexp(torch.tensor([-inf, -inf]), 0).item() == -inf
    assert torch.logsumexp(torch.tensor([inf, 1.0]), 0).item() == inf
    x = torch.tensor([0.0, 0.0], requires_grad=True)
    torch.logsumexp(x, 0).backward()
    assert x.grad.tolist() == [0.5, 0.5]


def test_nan_is_left_out():
    x = torch.tensor([1.0, torch.nan, 3.0], requires_grad=True)
    assert x.nansum().item() == 4
    assert x.nanmean().item() == 2
    x.nansum().backward()
    assert x.grad.tolist() == [1, 0, 1]


def test_any_and_all():
    x = torch.tensor([[True, False], [True, True]])
    assert x.any().item() is True and x.all().item() is False
    assert x.all(1).tolist() == [False, True]
    assert torch.zeros(0).all().item() is True and torch.zeros(0).any().item() is False
    assert torch.tensor([torch.nan]).any().item() is True
    assert torch.tensor([1], dtype=torch.uint8).any().dtype is torch.uint8


def test_out_decides_the_dtype():
    out = torch.zeros(2, dtype=torch.float64)
    assert torch.sum(torch.ones(2, 2), 1, out=out) is out
    assert out.tolist() == [2, 2]


def test_second_derivative_of_mean_of_squares():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (g,) = torch.autograd.grad((x * x).mean(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    assert h.tolist() == [1, 1]
