"""Native orthogonal factors against LAPACK."""

from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.kernels import lapack, linear_algebra, native_reflections

from .definitions import definition_of
from .guarded_memory import guarded

pytestmark = [
    pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite"),
    pytest.mark.usefixtures("at_once"),
]

random = np.random.default_rng(8)
SIZES = [(24, 24), (40, 25), (25, 40), (100, 33), (33, 17), (5, 3), (1, 1), (3, 30)]
ERROR = {"f4": 1e-4, "f8": 1e-12}


def draw(*shape: int, dtype: str = "f8") -> Any:
    return random.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_factors(sizes: tuple[int, int], dtype: str) -> None:
    a = draw(2, 3, *sizes, dtype=dtype)
    for mode in ("reduced", "complete"):
        found, wanted = native_reflections.qr(a, mode), np.linalg.qr(a.astype("f8"), mode)
        for one, other in zip(found, wanted, strict=True):
            assert one.dtype == a.dtype and one.shape == other.shape
            np.testing.assert_allclose(one, other, atol=ERROR[dtype])
    np.testing.assert_allclose(
        native_reflections.qr(a, "r"), np.linalg.qr(a.astype("f8"), "r"), atol=ERROR[dtype])


def test_columns_that_are_zero_or_alike() -> None:
    a = draw(30, 26)
    a[:, 4] = 0
    a[:, 20] = a[:, 3]
    a[5:, 0] = 0
    q, r = native_reflections.qr(a)
    np.testing.assert_allclose(q @ r, a, atol=1e-12)
    np.testing.assert_allclose(q.T @ q, np.eye(26), atol=1e-12)
    np.testing.assert_array_equal(np.tril(r, -1), 0)


def test_squares_out_of_bounds_are_left_to_lapack() -> None:
    a = draw(30, 30)
    assert native_reflections.qr(a * 1e200) is None
    assert native_reflections.qr(a * 1e-200) is None
    a[3, 3] = np.nan
    assert native_reflections.qr(a) is None
    q, r = linear_algebra.qr(draw(30, 30) * 1e200)
    assert np.isfinite(q).all() and np.isfinite(r).all()


@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_beyond_the_matrices_is_touched(at_end: bool) -> None:
    for sizes in SIZES:
        a = draw(*sizes)
        q, r = native_reflections.qr(guarded(a, at_end))
        np.testing.assert_allclose(q @ r, a, atol=1e-12)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("driver", ["gels", "gelsy"])
def test_least_squares(driver: str, dtype: str) -> None:
    definition = definition_of(lapack.least_squares)
    for rows, columns, sides in ((60, 16, 1), (100, 33, 5), (40, 40, 2)):
        a, b = draw(3, rows, columns, dtype=dtype), draw(3, rows, sides, dtype=dtype)
        a[:, range(columns), range(columns)] += 9
        found = native_reflections.least_squares(a, b, 1e-6, driver)
        x, rest, rank, values = definition(a.astype("f8"), b.astype("f8"), 1e-6, driver)
        assert found[0].dtype == a.dtype and found[1].shape == rest.shape
        np.testing.assert_allclose(found[0], x, atol=ERROR[dtype])
        np.testing.assert_allclose(
            (found[1] ** 2).sum(-2), (rest**2).sum(-2), rtol=1e-3, atol=1e-8)
        np.testing.assert_array_equal(found[2], rank)
        np.testing.assert_array_equal(found[3], values)


def test_doubtful_rank_is_left_to_lapack() -> None:
    a, b = draw(60, 20), draw(60, 1)
    a[:, 7] = a[:, 9]
    assert native_reflections.least_squares(a, b, 1e-13, "gelsy") is None
    assert native_reflections.least_squares(a.T, b[:20], 1e-13, "gelsy") is None
    assert lapack.least_squares(a, b, 1e-13, "gelsy")[2] == 19


def test_batches_do_not_depend_on_the_number_of_threads() -> None:
    a = draw(20, 50, 50, dtype="f4")
    before = taper.get_num_threads()
    results = []
    for threads in (1, 4):
        taper.set_num_threads(threads)
        results.append(native_reflections.qr(a)[0])
    taper.set_num_threads(before)
    np.testing.assert_array_equal(*results)
