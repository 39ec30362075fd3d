"""Native products of matrices against NumPy's."""

from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.kernels import matrix_product, native_matrix_product

from .guarded_memory import guarded

pytestmark = [
    pytest.mark.skipif(not machine.is_available() or machine.vector_bytes() < 32,
                       reason="needs llvmlite and AVX2"),
    pytest.mark.usefixtures("at_once"),
]

random = np.random.default_rng(11)
SIZES = [
    (128, 128, 32), (97, 6, 33), (1, 1, 1), (6, 64, 7),
    (5, 3, 70), (37, 65, 129), (64, 64, 64), (50, 1100, 33), (13, 200, 1), (200, 530, 70),
]


def matrix(rows: int, columns: int, dtype: Any, is_turned: bool) -> Any:
    shape = (columns, rows) if is_turned else (rows, columns)
    values = random.standard_normal(shape).astype(dtype)
    return values.T if is_turned else values


def close(found: Any, wanted: Any) -> None:
    assert found is not None
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    error = {4: 2e-4, 8: 1e-12}[wanted.itemsize]
    np.testing.assert_allclose(found, wanted, rtol=error, atol=error * 10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_products(sizes: Any, turned: Any, dtype: Any) -> None:
    n, k, m = sizes
    a, b = matrix(n, k, dtype, turned[0]), matrix(k, m, dtype, turned[1])
    close(native_matrix_product.multiply(a, b), a.dot(b))
    bias = random.standard_normal(m).astype(dtype)
    close(native_matrix_product.affine(a, b, bias), a.dot(b) + bias)


def test_spaced_operands() -> None:
    a = matrix(40, 80, "f4", False)[::2, ::2]
    b = matrix(40, 90, "f4", True)[:, 5:60:3]
    close(native_matrix_product.multiply(a, b), a.dot(b))
    broad = np.broadcast_to(np.float32(3), (40, 50))
    close(native_matrix_product.multiply(a, broad), a.dot(broad))


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("turned", [(False, False), (True, True)])
def test_nothing_beyond_the_operands_is_touched(turned: Any, at_end: bool) -> None:
    for n, k, m in SIZES:
        a, b = matrix(n, k, "f4", turned[0]), matrix(k, m, "f4", turned[1])
        wanted = a.dot(b)
        a = guarded(a.T, at_end).T if turned[0] else guarded(a, at_end)
        b = guarded(b.T, at_end).T if turned[1] else guarded(b, at_end)
        close(native_matrix_product.multiply(a, b), wanted)


def test_values_that_are_not_finite() -> None:
    a, b = matrix(40, 40, "f4", False), matrix(40, 70, "f4", False)
    a[3, 5], b[7, 69] = np.inf, np.nan
    found = native_matrix_product.multiply(a, b)
    assert found is not None
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(a.dot(b)))


@pytest.mark.parametrize("shapes", [
    ((7, 16, 20), (7, 20, 33)), ((3, 2, 16, 20), (2, 20, 18)), ((16, 20), (5, 20, 18)),
    ((4, 1, 16, 20), (1, 6, 20, 18)), ((3, 2, 20), (3, 20, 70)), ((70, 65), (3, 65, 130)),
    ((0, 16, 20), (0, 20, 18)),
], ids=str)  # fmt: skip
def test_batches(shapes: Any) -> None:
    a, b = (random.standard_normal(shape).astype("f4") for shape in shapes)
    close(native_matrix_product.multiply_batches(a, b), np.matmul(a, b))
    turned = np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2)
    close(native_matrix_product.multiply_batches(a, turned), np.matmul(a, b))
    turned_first = np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2)
    close(native_matrix_product.multiply_batches(turned_first, turned), np.matmul(a, b))


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("is_turned", [False, True])
def test_nothing_beyond_batches_is_touched(is_turned: bool, at_end: bool) -> None:
    for n, k, m in SIZES:
        if n < 4:
            continue
        a = random.standard_normal((3, n, k)).astype("f4")
        b = random.standard_normal((3, m, k) if is_turned else (3, k, m)).astype("f4")
        wanted = np.matmul(a, b.swapaxes(1, 2) if is_turned else b)
        a, b = guarded(a, at_end), guarded(b, at_end)
        close(native_matrix_product.multiply_batches(a, b.swapaxes(1, 2) if is_turned else b),
              wanted)


def test_batches_of_permuted_dimensions() -> None:
    q, k = (random.standard_normal((3, 20, 2, 17)).astype("f4") for _ in range(2))
    found = native_matrix_product.multiply_batches(
        q.transpose(0, 2, 1, 3), k.transpose(0, 2, 3, 1))
    close(found, np.einsum("bihd,bjhd->bhij", q, k))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    before = taper.get_num_threads()
    for n, k, m in ((300, 700, 200), (130, 90, 130), (2500, 30, 1100)):
        a = matrix(n, k, "f4", False)
        for b in (matrix(k, m, "f4", True), matrix(k, m, "f4", False)):
            results = []
            for threads in (1, 2, 7):
                taper.set_num_threads(threads)
                results.append(native_matrix_product.multiply(a, b))
            taper.set_num_threads(before)
            close(results[0], a.dot(b))
            for other in results[1:]:
                np.testing.assert_array_equal(results[0], other)


def test_definitions_take_the_kernel_when_it_pays() -> None:
    for dtype in ("f4", "f8", "i8", "c8"):
        a, b = matrix(120, 120, dtype, False), matrix(120, 120, dtype, True)
        found = matrix_product.multiply(a, b)
        np.testing.assert_allclose(found, a.dot(b), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError):
        matrix_product.multiply(np.ones((200, 200), "f4"), np.ones((100, 200), "f4"))


def test_products_that_are_launched_again() -> None:
    for _ in range(5):  # other numbers, the same plan
        for n, k, m in SIZES:
            a, b = matrix(n, k, "f4", False), matrix(k, m, "f4", True)
            close(native_matrix_product.multiply(a, b), a.dot(b))
            bias = random.standard_normal(m).astype("f4")
            close(native_matrix_product.affine(a, b, bias), a.dot(b) + bias)
            square = a[:, : min(n, k)][: min(n, k)]
            close(native_matrix_product.multiply(square, square), square.dot(square))
            close(native_matrix_product.multiply(a, a.T), a.dot(a.T))
        a, b = (random.standard_normal(s).astype("f4") for s in ((3, 2, 16, 20), (2, 20, 18)))
        close(native_matrix_product.multiply_batches(a, b), np.matmul(a, b))
        close(native_matrix_product.multiply_batches(a, a.swapaxes(-1, -2)),
              np.matmul(a, a.swapaxes(-1, -2)))
