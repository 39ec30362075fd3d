"""Sines and cosines of large arrays of float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import taper as torch
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import native_angles

pytestmark = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")


@pytest.fixture(autouse=True)
def kernels_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "now")


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("shape", [(50_001,), (300, 200)])
def test_values(name: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).uniform(-1e6, 1e6, shape)
    for a in (x, x.T, x[::2]):
        found = getattr(native_angles, name)(a)
        wanted = getattr(np, name)(a)
        assert found is not None and found.shape == a.shape
        assert np.abs(found - wanted).max() <= 2e-16


@pytest.mark.parametrize("angle", [1e7, math.inf, math.nan])
def test_large_angles_are_left_to_numpy(angle: float) -> None:
    x = np.linspace(-3, 3, 50_000)
    x[777] = angle
    assert native_angles.sin(x) is None and native_angles.cos(x) is None
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(torch.sin(torch.from_numpy(x)).numpy(), np.sin(x))


def test_other_arrays_are_left_to_numpy() -> None:
    others: list[Any] = [np.zeros(50_000, np.float32), np.zeros(50_000, complex), None]
    assert all(native_angles.sin(x) is None for x in others)


def test_derivatives_and_in_place() -> None:
    x = torch.linspace(-5, 5, 50_000, dtype=torch.float64, requires_grad=True)
    x.sin().sum().backward()
    assert x.grad is not None
    assert np.abs(x.grad.numpy() - np.cos(x.detach().numpy())).max() <= 2e-16
    y = x.detach().clone()
    out = torch.empty_like(y)
    torch.cos(y, out=out)
    assert np.abs(out.numpy() - np.cos(y.numpy())).max() <= 2e-16
    wanted = np.sin(y.numpy())
    assert np.abs(y.sin_().numpy() - wanted).max() <= 2e-16
