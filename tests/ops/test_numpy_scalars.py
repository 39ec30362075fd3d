"""NumPy's scalars as operands: they count as Python's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import taper as torch

INTEGERS = [np.int8(2), np.uint8(2), np.int32(2), np.int64(2), np.uint64(2)]
FLOATS = [np.float16(2), np.float32(2), np.float64(2), np.longdouble(2), np.bool_(True)]


@pytest.mark.parametrize("scalar", INTEGERS, ids=lambda s: s.dtype.name)
def test_integers(scalar: Any) -> None:
    whole, real = torch.tensor([3]), torch.tensor([3.0])
    for result in (whole + scalar, scalar * whole, torch.add(whole, scalar), whole - scalar):
        assert result.dtype is torch.int64
    for result in (whole / scalar, real + scalar, scalar - real, real**scalar):
        assert result.dtype is torch.float32
    assert (whole * scalar).item() == 6
    assert torch.full((2,), scalar).dtype is torch.int64
    assert (whole > scalar).item() is True


@pytest.mark.parametrize("scalar", FLOATS, ids=lambda s: s.dtype.name)
def test_floats(scalar: Any) -> None:
    for tensor in (torch.tensor([3]), torch.tensor([3.0])):
        for result in (tensor + scalar, scalar * tensor, tensor / scalar, scalar / tensor):
            assert result.dtype is torch.float32
        assert (tensor * scalar).item() == 3 * float(scalar)
    assert torch.full((2,), scalar).dtype is torch.float32
    half = torch.ones(2, dtype=torch.float64)
    assert (half * scalar).dtype is torch.float64
    assert half.mul_(scalar).tolist() == [float(scalar)] * 2


def test_complex() -> None:
    assert (torch.ones(1) + np.complex64(1j)).tolist() == [1 + 1j]


def test_derivative() -> None:
    x = torch.tensor([2.0], requires_grad=True)
    (np.float32(3) * x * np.int64(2) - np.float32(1)).backward()
    assert x.grad is not None and x.grad.tolist() == [6.0]
    assert type((np.int64(1) - x).grad_fn).__name__ == "RsubBackward1"
