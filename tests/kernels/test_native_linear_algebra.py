"""Native linear algebra against LAPACK: many small systems, elimination, factors."""

from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.kernels import linear_algebra, native_linear_algebra

from .guarded_memory import guarded

pytestmark = [
    pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite"),
    pytest.mark.usefixtures("at_once"),
]

random = np.random.default_rng(2)


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


# -- elimination and factors -----------------------------------------------------------------------

SIZES = [24, 33, 48, 100, 131]


def well_conditioned(*shape: int, dtype: str) -> Any:
    a = random.standard_normal(shape)
    return (a + 3 * np.eye(shape[-1])).astype(dtype)


def error_of(dtype: str) -> float:
    return {"f4": 2e-3, "f8": 1e-11}[dtype]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", SIZES)
def test_elimination(n: int, dtype: str) -> None:
    a, error = well_conditioned(2, 3, n, n, dtype=dtype), error_of(dtype)
    wide = a.astype("f8")
    for m in (1, 7, 40):
        b = random.standard_normal((2, 3, n, m)).astype(dtype)
        found = native_linear_algebra.solve(a, b)
        assert found.dtype == b.dtype and found.shape == b.shape
        np.testing.assert_allclose(wide @ found, b, atol=error * 10)
    found = native_linear_algebra.inverse(a)
    assert found.dtype == a.dtype
    np.testing.assert_allclose(wide @ found, np.broadcast_to(np.eye(n), a.shape), atol=error * 10)
    sign, logarithm = native_linear_algebra.log_determinant(a)
    wanted_sign, wanted = np.linalg.slogdet(wide)
    np.testing.assert_array_equal(sign, wanted_sign)
    np.testing.assert_allclose(logarithm, wanted, rtol=error)
    scale = np.exp(-wanted / n)[..., None, None]
    found = native_linear_algebra.determinant((wide * scale).astype(dtype))
    np.testing.assert_allclose(found, wanted_sign, rtol=error * n)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", SIZES)
def test_cholesky(n: int, dtype: str) -> None:
    a = random.standard_normal((2, 3, n, n))
    a = a @ a.swapaxes(-1, -2) / n + np.eye(n)
    lower = np.tril(a).astype(dtype)  # what is above must not matter
    lower[..., 0, -1] = np.nan
    found = native_linear_algebra.cholesky(lower)
    assert found.dtype == lower.dtype
    np.testing.assert_allclose(found, np.linalg.cholesky(a), atol=error_of(dtype))
    np.testing.assert_array_equal(np.triu(found, 1), 0)


@pytest.mark.parametrize("at_end", [True, False])
def test_threads_share_the_rows_of_a_factor(at_end: bool) -> None:
    n = 391  # neither a multiple of what is computed at once, nor of what a thread has
    a = random.standard_normal((n, n))
    lower = guarded(np.tril(a @ a.T / n + np.eye(n)), at_end)
    spoiled = lower.copy()
    spoiled[300, 300] = -1
    before, found = taper.get_num_threads(), []
    for threads in (1, 2, 3, 4):
        taper.set_num_threads(threads)
        for _ in range(3):  # the second one is planned, and memory is used again
            found.append(native_linear_algebra.cholesky(lower))
            with pytest.raises(np.linalg.LinAlgError):
                native_linear_algebra.cholesky(spoiled)
    taper.set_num_threads(before)
    np.testing.assert_allclose(found[0], np.linalg.cholesky(lower), atol=1e-12)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_matrices_that_have_no_factors() -> None:
    a = well_conditioned(40, 40, dtype="f8")
    a[:, 17] = a[:, 3]
    a[:, 3] = a[:, 17] = 0
    with pytest.raises(np.linalg.LinAlgError):
        linear_algebra.inverse(a)
    with pytest.raises(np.linalg.LinAlgError):
        linear_algebra.solve(a, a)
    assert linear_algebra.determinant(a) == 0
    assert tuple(linear_algebra.log_determinant(a)) == (0, -np.inf)
    symmetric = a @ a.T + np.eye(40)
    symmetric[35, 35] = -1
    with pytest.raises(np.linalg.LinAlgError):
        linear_algebra.cholesky(symmetric)


def test_a_pivot_that_is_subnormal_is_left_to_lapack() -> None:
    a = np.eye(40) * 1e-310
    assert native_linear_algebra.inverse(a) is None
    assert native_linear_algebra.solve(a, np.ones((40, 1))) is None


@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_beyond_medium_matrices_is_touched(at_end: bool) -> None:
    for n in SIZES:
        a = well_conditioned(n, n, dtype="f8")
        symmetric = a @ a.T
        found = native_linear_algebra.cholesky(guarded(symmetric, at_end))
        np.testing.assert_allclose(found, np.linalg.cholesky(symmetric), atol=1e-9)
        b = random.standard_normal((n, 3))
        found = native_linear_algebra.solve(guarded(a, at_end), guarded(b, at_end))
        np.testing.assert_allclose(a @ found, b, atol=1e-9)


def test_matrices_of_any_layout() -> None:
    a = well_conditioned(60, 60, dtype="f8")
    for view in (a.T, a[::2, ::2], a[:30, 30:][::-1] + 9 * np.eye(30), np.broadcast_to(
            a[:40, :40], (2, 40, 40))):
        np.testing.assert_allclose(
            view @ native_linear_algebra.inverse(view), np.broadcast_to(
                np.eye(view.shape[-1]), view.shape), atol=1e-9)
    assert native_linear_algebra.inverse(np.zeros((0, 40, 40))) is None
    assert native_linear_algebra.inverse(np.zeros((40, 40), "c16")) is None


def test_batches_do_not_depend_on_the_number_of_threads() -> None:
    a = well_conditioned(20, 50, 50, dtype="f4")
    before = taper.get_num_threads()
    results = []
    for threads in (1, 4):
        taper.set_num_threads(threads)
        results.append(native_linear_algebra.inverse(a))
    taper.set_num_threads(before)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [64, 97, 200, 333])
def test_columns_of_one_inverse_by_several_threads(n: int, dtype: str) -> None:
    a = well_conditioned(n, n, dtype=dtype)[::-1].copy()  # so that all rows are exchanged
    before = taper.get_num_threads()
    results = []
    for threads in (1, 2, 3, 4, 9):
        taper.set_num_threads(threads)
        results.append(native_linear_algebra.inverse(a))
    taper.set_num_threads(before)
    for found in results:
        np.testing.assert_array_equal(found, results[0])
    np.testing.assert_allclose(a.astype("f8") @ results[0], np.eye(n), atol=error_of(dtype) * 10)


def test_several_threads_notice_a_singular_matrix() -> None:
    a = well_conditioned(100, 100, dtype="f8")
    a[:, 60] = 0
    before = taper.get_num_threads()
    taper.set_num_threads(2)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        native_linear_algebra.inverse(a)
    taper.set_num_threads(before)
