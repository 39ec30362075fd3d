"""taper/ops/comparison.py: comparing, and tests of single elements."""

import pytest

import taper as torch

INF, NAN = float("inf"), float("nan")


def test_operators():
    x, y = torch.tensor([1.0, 2.0, NAN]), torch.tensor([2.0, 2.0, NAN])
    assert (x == y).tolist() == [False, True, False]
    assert (x != y).tolist() == [True, False, True]
    assert (x < y).tolist() == [True, False, False]
    assert (x <= 2).tolist() == [True, True, False]
    assert (x > 1.5).tolist() == [False, True, False]
    assert torch.tensor(1.5).lt(x).tolist() == [False, True, False]
    assert (x >= y).dtype is torch.bool


def test_results_need_no_gradient():
    assert not (torch.ones(2, requires_grad=True) > 0).requires_grad


def test_other_types_are_unequal_but_have_no_order():
    x = torch.ones(1)
    assert (x == None) is False  # noqa: E711
    assert (x != "a") is True
    with pytest.raises(TypeError):
        _ = x < "a"


def test_complex_numbers_have_no_order():
    with pytest.raises(NotImplementedError, match="\"lt_cpu\" not implemented for 'ComplexFloat'"):
        _ = torch.tensor([1j]) < torch.tensor([2j])


def test_in_place_keeps_the_dtype():
    x = torch.tensor([1.0, 2.0])
    assert x.gt_(1).tolist() == [0.0, 1.0]


def test_equal_looks_at_shape_and_values_only():
    assert torch.equal(torch.tensor([1, 2]), torch.tensor([1.0, 2.0]))
    assert not torch.equal(torch.tensor([1, 2]), torch.tensor([[1, 2]]))


def test_closeness():
    x = torch.tensor([1.0, INF, NAN, 0.0])
    y = torch.tensor([1.0 + 1e-6, INF, NAN, 1e-3])
    assert torch.isclose(x, y).tolist() == [True, True, False, False]
    assert torch.isclose(x, y, atol=0.01, equal_nan=True).tolist() == [True] * 4
    assert torch.allclose(x[:2], y[:2])
    with pytest.raises(RuntimeError, match="Long did not match Float"):
        torch.isclose(torch.tensor([1]), torch.tensor([1.0]))
    with pytest.raises(RuntimeError, match="rtol must be greater than or equal to zero"):
        torch.isclose(x, y, rtol=-1)


def test_kinds_of_floats():
    x = torch.tensor([1.0, INF, -INF, NAN])
    assert torch.isfinite(x).tolist() == [True, False, False, False]
    assert torch.isinf(x).tolist() == [False, True, True, False]
    assert torch.isposinf(x).tolist() == [False, True, False, False]
    assert torch.isneginf(x).tolist() == [False, False, True, False]
    assert torch.isnan(x).tolist() == [False, False, False, True]
    assert torch.isreal(torch.tensor([1, 1j])).tolist() == [True, False]
    assert torch.isposinf(torch.tensor([1])).tolist() == [False]
