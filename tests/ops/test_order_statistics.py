import math

import pytest

import taper as torch


def test_median_is_the_lower_one():
    x = torch.tensor([[4.0, 1.0, 3.0, 2.0]])
    assert x.median().item() == 2
    assert x.median(1) == (torch.tensor([2.0]), torch.tensor([3]))
    assert math.isnan(torch.zeros(0).median().item())


def test_nan_in_medians():
    x = torch.tensor([5.0, math.nan, 1.0])
    assert math.isnan(x.median().item()) and x.median(0).indices.item() == 1
    assert x.nanmedian().item() == 1 and x.nanmedian(0).indices.item() == 2


def test_kthvalue_and_mode():
    x = torch.tensor([3.0, 1.0, 2.0, 1.0])
    assert x.kthvalue(3).values.item() == 2
    assert x.mode() == (torch.tensor(1.0), torch.tensor(3))
    assert torch.tensor([2, 2, 1, 1]).mode().values.item() == 1
    with pytest.raises(RuntimeError, match="selected number k out of range for dimension 0"):
        x.kthvalue(5)


def test_quantile():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert x.quantile(0.5).item() == 1.5
    assert x.quantile(torch.tensor([0.0, 1.0])).tolist() == [0, 3]
    assert x.reshape(2, 2).quantile(0.5, 1, keepdim=True).tolist() == [[0.5], [2.5]]
    for how, wanted in {"lower": 1, "higher": 2, "midpoint": 1.5, "nearest": 1}.items():
        assert x.quantile(0.4, interpolation=how).item() == wanted
    assert torch.tensor([0.0, math.nan, 2.0]).nanquantile(0.5).item() == 1
    with pytest.raises(RuntimeError, match=r"quantile\(\) q must be in the range \[0, 1\]"):
        x.quantile(2.0)


def test_gradient_of_median_and_quantile():
    x = torch.tensor([3.0, 1.0, 2.0, 7.0], requires_grad=True)
    x.median().backward()
    assert x.grad.tolist() == [0, 0, 1, 0]
    x.grad = None
    x.quantile(0.5).backward()
    assert x.grad.tolist() == [0.5, 0, 0.5, 0]
