"""Small products stand in for NumPy's with the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from taper.compiler import machine
from taper.kernels import small_products
from taper.runtime.blas import find_blas
from taper.runtime.direct_call import is_possible

pytestmark = pytest.mark.skipif(
    not machine.is_available() or not is_possible() or find_blas() is None,
    reason="needs llvmlite, CPython with a GIL on 64 bits, and NumPy's BLAS",
)


def layouts(shape: tuple[int, int], dtype: Any, seed: int) -> list[Any]:
    """The same matrix in C order, in Fortran's, and in neither."""
    a = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    spread = np.zeros((2 * shape[0], 2 * shape[1]), dtype)
    spread[::2, ::2] = a
    return [a, np.asfortranarray(a), spread[::2, ::2]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("sizes", [(2, 2, 2), (8, 16, 32), (3, 1, 5), (1, 4, 3), (4, 3, 1),
                                   (0, 3, 2), (2, 0, 3), (33, 17, 65), (63, 64, 65)])
def test_bits(sizes: tuple[int, int, int], dtype: Any) -> None:
    product, affine = small_products._made(False), small_products._made(True)
    n, k, m = sizes
    bias = np.arange(m).astype(dtype)
    for a in layouts((n, k), dtype, 1):
        for b in layouts((k, m), dtype, 2):
            expected = a.dot(b)
            found = product(a, b)
            assert found.dtype == dtype and found.flags.c_contiguous
            assert found.shape == expected.shape and found.tobytes() == expected.tobytes()
            assert affine(a, b, bias).tobytes() == (expected + bias).tobytes()


def test_a_matrix_with_itself_and_other_arguments() -> None:
    product, affine = small_products._made(False), small_products._made(True)
    a = np.random.default_rng(3).standard_normal((5, 5)).astype(np.float32)
    for other in (a, a.T):
        assert product(a, other).tobytes() == a.dot(other).tobytes()
    assert affine(a, a.T, a).tobytes() == (a.dot(a.T) + a).tobytes()
    assert affine(a, a.T, a[0, :1]).tobytes() == (a.dot(a.T) + a[0, :1]).tobytes()
    with pytest.raises(ValueError, match="not aligned"):
        product(a, a[:3])
    with pytest.raises(ValueError, match="broadcast"):
        affine(a, a.T.copy(), a[0, :3])


def test_infinities_and_not_a_number() -> None:
    product = small_products._made(False)
    a = np.array([[np.inf, 1.0], [np.nan, 0.0], [2.0, -0.0]])
    b = np.array([[0.0, 1.0], [-1.0, np.inf]])
    with np.errstate(invalid="ignore"):
        assert np.array_equal(product(a, b), a.dot(b), equal_nan=True)
