import itertools

import numpy as np
import pytest

from taper.kernels.summation import multiply_rows, sum_of_squares, sum_over


@pytest.mark.parametrize(
    "shape", [(), (5,), (0,), (3, 0, 4), (9000,), (3000, 3), (3, 3000), (8, 3, 40, 40), (1, 5000)]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_sums_over_every_combination_of_axes(shape, dtype):
    whole = (np.random.default_rng(0).random(shape) * 4 + 1).astype(dtype)
    for x in (whole, whole.T, whole[::2] if shape else whole):
        for count in range(x.ndim + 1):
            for axes in itertools.combinations(range(x.ndim), count):
                axis = None if count == 0 else axes[0] if count == 1 else axes
                for keepdim in (False, True):
                    result = sum_over(x, axis, keepdim)
                    wanted = np.sum(x.astype("float64"), axis, keepdims=keepdim)
                    assert result.shape == wanted.shape
                    assert result.dtype == dtype
                    np.testing.assert_allclose(result, wanted, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("shape", [(1000, 1000), (500_000, 2)])
def test_a_million_float32_are_summed_to_a_few_roundings(shape, axis):
    x = np.random.default_rng(0).random(shape, np.float32)
    np.testing.assert_allclose(sum_over(x, axis), x.astype("float64").sum(axis), rtol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (3, 700), (3000,), (2, 9000), (4, 5, 6)])
def test_squares_and_products(shape):
    x = (np.random.default_rng(0).random(shape) + 0.5).astype("float32")
    exact = x.astype("float64")
    for axis in (None, x.ndim - 1, 0):
        np.testing.assert_allclose(sum_of_squares(x, axis), (exact * exact).sum(axis), rtol=2e-6)
    signs = np.where(np.arange(x.size).reshape(shape) % 7 == 3, -1, 1)
    np.testing.assert_array_equal(multiply_rows(signs), signs.prod(-1))
