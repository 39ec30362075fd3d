import numpy as np
import pytest

from taper.kernels import lapack, scipy_threads


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_factors_multiply_back(dtype):
    random = np.random.default_rng(0)
    a = random.standard_normal((2, 4, 3)).astype(dtype)
    if a.dtype.kind == "c":
        a = a + 1j * random.standard_normal((2, 4, 3)).astype(a.real.dtype)
    packed, pivots, info = lapack.lu_factor(a)
    lower = np.tril(packed, -1) + np.eye(4, 3)
    rows = lapack.apply_pivots(pivots, 4)
    assert np.allclose(lower @ np.triu(packed[:, :3]), np.take_along_axis(a, rows[..., None], 1),
                       atol=1e-5)
    assert packed.dtype == a.dtype
    assert info.tolist() == [0, 0]
    packed, tau = lapack.qr_factor(a)
    q = lapack.householder_product(packed, tau)
    assert np.allclose(q @ np.triu(packed[:, :3]), a, atol=1e-5)
    upper = lapack.apply_reflectors(packed, tau, a, True, True)
    assert np.allclose(upper, np.triu(packed), atol=1e-5)


def test_triangular_systems_broadcast_and_divide_by_zero():
    a, b = np.array([[2.0, 1.0], [0.0, 0.0]]), np.ones((3, 2, 1))
    found = lapack.solve_triangular(a, b, upper=True)
    assert found.shape == (3, 2, 1)
    assert np.isinf(found[:, 1]).all()


def test_pivots_of_no_rows():
    assert lapack.apply_pivots(np.zeros((2, 0), np.int32), 0).shape == (2, 0)
    assert lapack.apply_pivots(np.array([3, 3, 3], np.int32), 3).tolist() == [2, 0, 1]


def test_small_problems_run_on_one_thread():
    controls = scipy_threads._controls()
    if controls is None:
        pytest.skip("SciPy's BLAS has no switch for its threads")
    before = controls[0]()
    with scipy_threads.threads_for(np.ones((3, 3))):
        assert controls[0]() == 1
    assert controls[0]() == before
    with scipy_threads.threads_for(np.ones((600, 600))):
        assert controls[0]() == before
