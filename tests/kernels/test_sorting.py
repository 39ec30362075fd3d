"""Orders by packed keys against NumPy's stable order of indices."""

from typing import Any

import numpy as np
import pytest

from taper.kernels.sorting import packed_order

random = np.random.default_rng(8)


def floats(*shape: int) -> Any:
    x = np.round(random.standard_normal(shape) * 20).astype(np.float32)  # with ties
    flat = x.reshape(-1)
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45], np.float32)
    flat[random.integers(0, flat.size, 80)] = np.tile(special, 10)
    return x


@pytest.mark.parametrize("shape", [(600,), (3, 700), (700, 3), (2, 600, 4)], ids=str)
def test_orders_are_stable(shape: tuple[int, ...]) -> None:
    for x in (floats(*shape), random.integers(-50, 50, shape).astype(np.int32)):
        axis = int(np.argmax(shape))
        order = packed_order(x, axis, False)
        assert order.flags.c_contiguous and order.dtype == np.int64
        np.testing.assert_array_equal(order, x.argsort(axis, kind="stable"))
        falling = packed_order(x, axis, True)
        flipped = np.flip(x, axis).argsort(axis, kind="stable")
        np.testing.assert_array_equal(falling, x.shape[axis] - 1 - np.flip(flipped, axis))


def test_strided_arrays() -> None:
    x = floats(800, 6)[:, ::2]
    np.testing.assert_array_equal(packed_order(x, 0, False), x.argsort(0, kind="stable"))


def test_what_it_is_not_for() -> None:
    assert packed_order(floats(100), 0, False) is None
    assert packed_order(floats(1000).astype(np.float64), 0, False) is None
