"""Evenly spaced values."""

import math

import pytest

import taper as torch


def test_ranges():
    assert torch.arange(1, 10, 4).tolist() == [1, 5, 9]
    assert torch.arange(0, 1, 0.25).tolist() == [0, 0.25, 0.5, 0.75]
    assert torch.linspace(0, 10, 5, dtype=torch.int64).tolist() == [0, 2, 5, 7, 10]
    assert torch.logspace(0, 2, 3).tolist() == [1, 10, 100]
    with pytest.raises(RuntimeError, match="upper bound and lower bound inconsistent"):
        torch.arange(5, 0)
    with pytest.raises(RuntimeError, match="unsupported range: 0 -> inf"):
        torch.arange(math.inf)


def test_out():
    out = torch.empty(0, dtype=torch.float64)
    assert torch.arange(3, out=out) is out and out.tolist() == [0, 1, 2]


def test_the_last_value_is_left_out_of_arange_and_part_of_linspace():
    assert torch.arange(0.0, 1.0, 0.5).tolist() == [0.0, 0.5]
    assert torch.linspace(0.0, 1.0, 3).tolist() == [0.0, 0.5, 1.0]
    assert torch.linspace(2, 2, 1).tolist() == [2.0] and torch.linspace(0, 1, 0).shape == (0,)
