"""NumPy's BLAS is found, and its threads stay away while they should."""

import numpy as np
import pytest

from taper.runtime.blas import find_blas


def test_found_routines_are_those_of_numpy() -> None:
    blas = find_blas()
    if blas is None:
        pytest.skip("this NumPy's BLAS is not within reach")
    assert set(blas.gemm) == {"f32", "f64"} and all(blas.gemm.values())


def test_threads_come_back() -> None:
    blas = find_blas()
    if blas is None:
        pytest.skip("this NumPy's BLAS is not within reach")
    count = blas.one_thread.set_threads
    before = count(3)
    try:
        with blas.one_thread:
            with blas.one_thread:
                assert count(1) == 1
            assert count(1) == 1
        assert count(3) == 3
        assert np.ones((4, 4)).dot(np.ones((4, 4))).sum() == 64
    finally:
        count(before)
