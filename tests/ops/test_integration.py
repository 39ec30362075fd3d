import pytest

import taper as torch


def test_diff():
    x = torch.tensor([1, 4, 9, 16])
    assert x.diff().tolist() == [3, 5, 7] and x.diff(n=2).tolist() == [2, 2]
    assert x.diff(prepend=torch.tensor([0])).tolist() == [1, 3, 5, 7]
    assert torch.tensor([True, False]).diff().tolist() == [True]
    with pytest.raises(RuntimeError, match="order must be non-negative but got -1"):
        x.diff(n=-1)


def test_gradient():
    x = torch.tensor([1.0, 4.0, 9.0, 16.0])
    assert torch.gradient(x)[0].tolist() == [3, 4, 6, 7]
    assert torch.gradient(x, edge_order=2)[0].tolist() == [2, 4, 6, 8]
    assert torch.gradient(x, spacing=2.0)[0].tolist() == [1.5, 2, 3, 3.5]
    points = torch.tensor([0.0, 1.0, 3.0, 4.0])
    (slope,) = torch.gradient(points * 2, spacing=(points,))
    assert torch.allclose(slope, torch.full((4,), 2.0))
    with pytest.raises(RuntimeError, match=r"torch\.gradient only supports edge_order=1 and"):
        torch.gradient(x, edge_order=3)


def test_trapezoid():
    y = torch.tensor([1.0, 5.0, 10.0])
    assert torch.trapezoid(y).item() == 10.5 and torch.trapz(y, dx=2).item() == 21
    assert torch.trapezoid(y, torch.tensor([0.0, 1.0, 3.0])).item() == 18
    assert torch.cumulative_trapezoid(y).tolist() == [3, 10.5]
    with pytest.raises(RuntimeError, match="There must be one `x` value for each sample point"):
        torch.trapezoid(y, torch.ones(2))
