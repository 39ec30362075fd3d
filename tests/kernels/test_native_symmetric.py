"""Eigenvectors of symmetric matrices by halves, against what they are defined by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.kernels import linear_algebra, native_symmetric
from taper.runtime.blas import find_blas, find_lapack

pytestmark = [
    pytest.mark.skipif(
        not machine.is_available() or find_blas() is None or find_lapack(("dlaed1",)) is None,
        reason="needs llvmlite, and LAPACK's inner routines in NumPy's library",
    ),
    pytest.mark.usefixtures("at_once"),
]

random = np.random.default_rng(8)
ERROR = {"f4": 1e-5, "f8": 1e-13}


def symmetric(n: int, dtype: str) -> Any:
    a = random.standard_normal((n, n))
    return (a + a.T).astype(dtype)


def check(a: Any, triangle: str = "L", whole: Any = None) -> None:
    found = native_symmetric.eigenvectors_of_symmetric(a, triangle)
    assert found is not None
    values, vectors = found
    assert values.dtype == vectors.dtype == a.dtype
    wide = np.asarray(a if whole is None else whole, "f8")
    error = ERROR[a.dtype.str[1:]]
    size = max(float(abs(wide).max()), 1e-300) * len(a) ** 0.5
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose(values, np.linalg.eigvalsh(wide), atol=error * size)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(a)), atol=error)
    np.testing.assert_allclose(wide @ vectors, vectors * values, atol=error * size)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [24, 25, 101, 128, 200, 333])
def test_sizes(n: int, dtype: str) -> None:
    check(symmetric(n, dtype))


def test_only_one_triangle_counts() -> None:
    whole = symmetric(130, "f8")
    for triangle, kept in (("L", np.tril), ("U", np.triu)):
        other = kept(whole) + 7.0 - kept(np.full_like(whole, 7.0))
        check(other, triangle, whole)
        check(np.asfortranarray(other), triangle, whole)


def test_matrices_that_fall_apart() -> None:
    n = 140
    check(np.eye(n))
    check(np.diag(np.arange(n) % 3 - 1.0))
    check(np.ones((n, n)))
    blocks = np.zeros((n, n))
    blocks[:70, :70], blocks[70:, 70:] = symmetric(70, "f8"), symmetric(70, "f8")
    check(blocks)
    check(np.diag(np.full(n, 2.0)) - np.eye(n, k=1) - np.eye(n, k=-1))
    for size in (1e-90, 1e90):
        check(symmetric(n, "f8") * size)


def test_what_needs_more_care_is_left_to_numpy() -> None:
    a = symmetric(130, "f8")
    for wrong in (np.nan, np.inf, 1e200):
        bad = a.copy()
        bad[5, 3] = bad[3, 5] = wrong
        assert native_symmetric.eigenvectors_of_symmetric(bad) is None
    assert native_symmetric.eigenvectors_of_symmetric(np.zeros((130, 130))) is None
    assert native_symmetric.eigenvectors_of_symmetric(np.triu(a, 1)) is None
    assert native_symmetric.eigenvectors_of_symmetric(a.astype("c16")) is None
    assert native_symmetric.eigenvectors_of_symmetric(np.stack([a, a])) is None
    values, _ = linear_algebra.eigenvectors_of_symmetric(np.zeros((130, 130)))
    assert (values == 0).all()


def test_the_number_of_threads_changes_nothing() -> None:
    a = symmetric(200, "f8")
    before = taper.get_num_threads()
    results = []
    for threads in (1, 2, 4):
        taper.set_num_threads(threads)
        results.append(native_symmetric.eigenvectors_of_symmetric(a))
    taper.set_num_threads(before)
    for values, vectors in results[1:]:
        np.testing.assert_array_equal(values, results[0][0])
        np.testing.assert_array_equal(vectors, results[0][1])
    recorded = taper.tensor(a, requires_grad=True)
    taper.linalg.eigh(recorded).eigenvalues.sum().backward()
    np.testing.assert_allclose(recorded.grad.numpy(), np.eye(200), atol=1e-10)
