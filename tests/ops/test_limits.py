"""taper/ops/limits.py: clamping, larger and smaller, replacing NaN."""

import math

import pytest

import taper as torch

INF, NAN = float("inf"), float("nan")


def gradient(function, *values):
    inputs = [torch.tensor(v, requires_grad=True) for v in values]
    function(*inputs).sum().backward()
    return [x.grad.tolist() for x in inputs]


def test_clamp():
    x = torch.tensor([-2.0, 0.5, 3.0])
    assert x.clamp(-1, 1).tolist() == [-1, 0.5, 1]
    assert x.clamp(min=0).tolist() == [0, 0.5, 3]
    assert x.clamp(max=0).tolist() == [-2, 0, 0]
    assert x.clamp(2, 1).tolist() == [1, 1, 1]
    assert torch.clip(x, torch.tensor([-3.0, 1.0, 1.0]), torch.tensor(2.0)).tolist() == [-2, 1, 2]
    assert math.isnan(torch.tensor([NAN]).clamp(0, 1).item())
    assert x.clamp_(0, 1) is x
    with pytest.raises(RuntimeError, match=r"torch\.clamp: At least one of 'min' or 'max'"):
        x.clamp()


def test_clamp_promotes_by_category():
    x = torch.tensor([1, 2])
    assert x.clamp(0, 1).dtype is torch.int64
    assert x.clamp(min=1.5).tolist() == [1.5, 2]


def test_gradients_of_clamp_reach_the_bounds():
    assert gradient(lambda x: x.clamp(0, 1), [-1.0, 0.0, 0.5, 2.0]) == [[0, 1, 1, 0]]
    both = gradient(torch.clamp, [[1.0, -1.0]], [0.0, 0.0])
    assert both == [[[1, 0]], [0, 1]]


def test_the_gradient_is_shared_at_ties():
    assert gradient(torch.maximum, [1.0, 2.0], [1.0, 5.0]) == [[0.5, 0], [0.5, 1]]
    assert gradient(torch.minimum, [1.0, 2.0], [1.0, 5.0]) == [[0.5, 1], [0.5, 0]]


def test_nan_in_maximum_and_fmax():
    x, y = torch.tensor([NAN, 1.0]), torch.tensor([2.0, NAN])
    assert torch.maximum(x, y).isnan().all()
    assert torch.fmax(x, y).tolist() == [2, 1]
    assert torch.fmin(x, y).tolist() == [2, 1]


def test_complex_has_no_order():
    z = torch.tensor([1j])
    with pytest.raises(RuntimeError, match="maximum not implemented for complex tensors"):
        torch.maximum(z, z)
    with pytest.raises(NotImplementedError, match="clamp is not supported for complex types"):
        z.clamp(0, 1)


def test_nan_to_num():
    x = torch.tensor([1.0, NAN, INF, -INF])
    assert torch.nan_to_num(x, nan=7, posinf=8, neginf=9).tolist() == [1, 7, 8, 9]
    largest = torch.nan_to_num(x)[2].item()
    assert largest == pytest.approx(3.4028235e38)


def test_heaviside():
    step = torch.heaviside(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([0.5]))
    assert step.tolist() == [0, 0.5, 1]
    with pytest.raises(RuntimeError, match="heaviside is not yet implemented for tensors with"):
        torch.heaviside(torch.tensor([1.0]), torch.tensor([1]))
