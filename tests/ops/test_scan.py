import math

import taper as torch


def test_running_sums():
    x = torch.tensor([[1, 2], [3, 4]])
    assert x.cumsum(0).tolist() == [[1, 2], [4, 6]]
    assert x.cumprod(1).tolist() == [[1, 2], [3, 12]]
    assert torch.tensor([True, True]).cumsum(0).dtype is torch.int64
    assert x.cumsum(0, dtype=torch.float32).dtype is torch.float32
    y = torch.ones(3)
    assert y.cumsum_(0) is y and y.tolist() == [1, 2, 3]


def test_gradients_of_running_sums_and_products():
    x = torch.tensor([2.0, 3.0, 4.0], requires_grad=True)
    x.cumsum(0).sum().backward()
    assert x.grad.tolist() == [3, 2, 1]
    x.grad = None
    x.cumprod(0).sum().backward()
    assert x.grad.tolist() == [1 + 3 + 12, 2 + 8, 6]


def test_the_gradient_of_cumprod_at_zeros():
    x = torch.tensor([2.0, 0.0, 4.0, 0.0, 5.0], requires_grad=True)
    x.cumprod(0).sum().backward()
    assert x.grad.tolist() == [1, 2 + 8, 0, 0, 0]


def test_running_extrema_take_the_last_of_equals():
    values, indices = torch.tensor([1.0, 3.0, 3.0, 2.0]).cummax(0)
    assert values.tolist() == [1, 3, 3, 3] and indices.tolist() == [0, 1, 2, 2]
    values, indices = torch.tensor([1.0, math.nan, 3.0, math.nan]).cummin(0)
    assert indices.tolist() == [0, 1, 1, 3] and math.isnan(values[3].item())
    x = torch.tensor([1.0, 3.0, 2.0], requires_grad=True)
    x.cummax(0).values.sum().backward()
    assert x.grad.tolist() == [1, 2, 0]


def test_logcumsumexp():
    x = torch.zeros(3, requires_grad=True)
    y = torch.logcumsumexp(x, 0)
    assert torch.allclose(y, torch.tensor([1.0, 2.0, 3.0]).log())
    y[2].backward()
    assert torch.allclose(x.grad, torch.full((3,), 1 / 3))


def test_of_equal_real_parts_the_later_one_says_the_branch_of_the_logarithm():
    first, second = 0.375 + 5j, 0.375 - 3j
    found = torch.logcumsumexp(torch.tensor([first, second]), 0)[1].imag.item()
    assert abs(found - (-2.1415927)) < 1e-5
