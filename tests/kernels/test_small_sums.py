"""The sum of a few elements in machine code has the bits of NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from taper.compiler import machine
from taper.kernels import small_sums
from taper.runtime.blas import find_blas
from taper.runtime.direct_call import is_possible

pytestmark = pytest.mark.skipif(
    not machine.is_available() or not is_possible() or find_blas() is None,
    reason="needs llvmlite, CPython with a GIL on 64 bits, and NumPy's BLAS",
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (64,), (8, 8), (3, 5, 7), (1000,), (0,)])
def test_bits(shape: tuple[int, ...], dtype: Any) -> None:
    total = small_sums._made()
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    for a in (x, x.T, -x, x * np.inf if x.size else x):
        ones = np.ones(x.size, dtype)
        found, expected = total(a, ones), small_sums.by_numpy(a, ones)
        assert found.dtype == expected.dtype and np.shape(found) == ()
        assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()


def test_what_is_left_to_numpy() -> None:
    total = small_sums._made()
    x = np.arange(12.0).reshape(3, 4)
    assert total(x[:, ::2], np.ones(6)) == 30
    assert total(x.astype(np.int64), np.ones(12, np.int64)) == 66
    assert total(x.astype(np.complex64), np.ones(12, np.complex64)) == 66
    with pytest.raises(ValueError, match="not aligned"):
        total(x, np.ones(5))
