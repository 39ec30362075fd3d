"""Many small systems by the native kernel, against LAPACK."""

from typing import Any

import numpy as np
import pytest

from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import linear_algebra, native_linear_algebra

from .guarded_memory import guarded

pytestmark = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")

random = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_native", "now")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("batch", [(1,), (7,), (16,), (5, 13)])
@pytest.mark.parametrize("sizes", [(1, 1), (2, 3), (4, 2), (7, 5), (8, 8)], ids=str)
def test_systems(sizes: tuple[int, int], batch: tuple[int, ...], dtype: Any) -> None:
    n, m = sizes
    a, b = (random.standard_normal((*batch, n, k)).astype(dtype) for k in (n, m))
    a += 0.5 * np.eye(n, dtype=dtype)
    found = native_linear_algebra.solve(guarded(a), guarded(b))
    assert found is not None and found.dtype == dtype
    error = {"f4": 1e-3, "f8": 1e-10}[dtype]
    scale = np.abs(np.linalg.inv(a)).max((-1, -2), keepdims=True) * 10 + 1
    assert (np.abs(found - np.linalg.solve(a, b)) <= error * scale).all()


def test_rows_are_exchanged() -> None:
    a = np.array([[[0.0, 2.0], [4.0, 0.0]]] * 70)
    b = np.array([[[2.0], [8.0]]] * 70)
    np.testing.assert_array_equal(native_linear_algebra.solve(a, b), [[[2.0], [1.0]]] * 70)


def test_one_singular_matrix_is_noticed() -> None:
    a = np.stack([np.eye(3)] * 100)
    b = np.ones((100, 3, 1))
    a[99, 2] = a[99, 1]
    with pytest.raises(np.linalg.LinAlgError):
        native_linear_algebra.solve(a, b)
    with pytest.raises(np.linalg.LinAlgError):
        linear_algebra.solve(a, b)


def test_definitions_take_what_has_no_kernel() -> None:
    for dtype in ("f8", "c16"):
        a = random.standard_normal((80, 3, 3)).astype(dtype) + 3 * np.eye(3)
        b = random.standard_normal((80, 3, 2)).astype(dtype)
        np.testing.assert_allclose(linear_algebra.solve(a, b), np.linalg.solve(a, b), rtol=1e-9)
    np.testing.assert_allclose(
        linear_algebra.solve(a, b[:1]), np.linalg.solve(a, np.broadcast_to(b[:1], b.shape)))
