"""Native pooling against its definition."""

import math
from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import native_pooling, pooling
from taper.kernels.launch_recipes import run
from taper.kernels.pooling import Windows, pooled_size

from .guarded_memory import guarded

pytestmark = [
    pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite"),
    pytest.mark.usefixtures("at_once"),
]

random = np.random.default_rng(3)
CASES = [  # sizes, then kernel, stride, padding, dilation
    ((28, 28), (2, 2), (2, 2), (0, 0), (1, 1)), ((28, 28), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((9, 40), (3, 3), (1, 1), (1, 1), (1, 1)), ((13, 37), (3, 5), (3, 4), (1, 2), (1, 1)),
    ((20, 21), (3, 3), (2, 1), (1, 1), (3, 2)), ((50,), (3,), (2,), (1,), (1,)),
    ((7, 35), (2, 2), (2, 2), (0, 0), (1, 1)), ((2, 9), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((5, 1), (5, 1), (1, 1), (2, 0), (1, 1)), ((4, 70), (2, 3), (2, 3), (0, 1), (1, 1)),
]


def windows_of(case: Any, ceil_mode: bool) -> tuple[Any, Any, Any]:
    size, *numbers = case
    windows = Windows(*numbers, ceil_mode)
    return size, windows, pooled_size(size, windows)


def same(found: Any, wanted: Any, error: float = 1e-5) -> None:
    assert found is not None
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=error, atol=error)


def definition(function: Any) -> Any:
    """A primitive without its native twin."""

    def compute(*args: Any) -> Any:
        before = settings._native
        settings._native = "off"
        try:
            return function(*args)
        finally:
            settings._native = before

    return compute


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_definition(case: Any, ceil_mode: bool, dtype: Any) -> None:
    size, windows, out = windows_of(case, ceil_mode)
    x = random.standard_normal((3, 2, *size)).astype(dtype)
    grad = random.standard_normal((3, 2, *out)).astype(dtype)
    same(native_pooling.max_pool(x, windows, out), definition(pooling.max_pool)(x, windows, out))
    same(native_pooling.max_pool_gradient(grad, x, windows, out),
         definition(pooling.max_pool_gradient)(grad, x, windows, out))
    if max(windows.dilation) > 1:
        return
    for divisor in (7, pooling.counts(size, windows, out, False)):
        same(native_pooling.mean_pool(x, windows, out, divisor),
             definition(pooling.mean_pool)(x, windows, out, divisor))
        same(native_pooling.mean_pool_gradient(grad, size, windows, out, divisor),
             definition(pooling.mean_pool_gradient)(grad, size, windows, out, divisor))


def test_equal_elements_and_values_that_are_no_numbers() -> None:
    size, windows, out = windows_of(CASES[1], False)
    x = random.integers(0, 3, (2, *size)).astype("f4")
    x[0, 5, 6], x[0, 20:24, 3:9], x[1, 4:9, 4:9] = math.nan, math.nan, -math.inf
    grad = random.standard_normal((2, *out)).astype("f4")
    found = native_pooling.max_pool(x, windows, out)
    np.testing.assert_array_equal(found, definition(pooling.max_pool)(x, windows, out))
    np.testing.assert_allclose(
        native_pooling.max_pool_gradient(grad, x, windows, out),
        definition(pooling.max_pool_gradient)(grad, x, windows, out), rtol=1e-5)


@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_beyond_the_planes_is_touched(at_end: bool) -> None:
    for case in CASES:
        size, windows, out = windows_of(case, True)
        x = random.standard_normal((2, *size)).astype("f4")
        grad = random.standard_normal((2, *out)).astype("f4")
        here, grad_here = guarded(x, at_end), guarded(grad, at_end)
        same(native_pooling.max_pool(here, windows, out),
             definition(pooling.max_pool)(x, windows, out))
        same(native_pooling.max_pool_gradient(grad_here, here, windows, out),
             definition(pooling.max_pool_gradient)(grad, x, windows, out))


def test_any_layout_and_no_planes() -> None:
    _, windows, out = windows_of(CASES[0], False)
    x = random.standard_normal((28, 28, 4)).astype("f4").transpose(2, 0, 1)
    same(native_pooling.max_pool(x, windows, out), definition(pooling.max_pool)(x, windows, out))
    expanded = np.broadcast_to(x[:1], x.shape)
    same(native_pooling.mean_pool(expanded, windows, out, 4),
         definition(pooling.mean_pool)(expanded, windows, out, 4))
    assert native_pooling.max_pool(x[:0], windows, out).shape == (0, *out)
    assert native_pooling.max_pool(x.astype("i8"), windows, out) is None


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    size, windows, out = windows_of(CASES[1], False)
    grad = random.standard_normal((200, *out)).astype("f4")
    before = taper.get_num_threads()
    results = []
    for threads in (1, 4):
        taper.set_num_threads(threads)
        results.append(native_pooling.mean_pool_gradient(grad, size, windows, out, 9))
    taper.set_num_threads(before)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("out", [(7, 7), (4, 14), (5, 7), (1, 1)])
def test_adaptive_means(out: Any) -> None:
    x = random.standard_normal((3, 28, 28)).astype("f4")
    rows, columns = (pooling.bounds(28, n) for n in out)
    wanted = np.array([[[plane[a:b, c:d].mean() for c, d in columns] for a, b in rows]
                       for plane in x.astype("f8")])
    np.testing.assert_allclose(pooling.adaptive_mean(x, out), wanted, rtol=1e-4, atol=1e-5)
    grad = random.standard_normal((3, *out)).astype("f4")
    found = pooling.adaptive_mean_gradient(grad, (28, 28))
    np.testing.assert_allclose((found * x).sum(), (grad * wanted).sum(), rtol=1e-3)


@pytest.mark.parametrize("size", [(8, 40), (5, 7)])
def test_a_floor_of_the_gradient(size: tuple[int, int]) -> None:
    """The gradient of a maximum is zero where that isn't above zero."""
    windows = Windows((2, 2), (2, 2), (0, 0), (1, 1))
    out = pooled_size(size, windows)
    x = random.standard_normal((3, *size)).astype("f4") - np.float32(0.8)
    x[0, 0, 0] = np.nan
    grad = random.standard_normal((3, *out)).astype("f4")
    recipe = native_pooling.pooling_recipe(
        "max gradient", x.dtype, (3,), size, windows, out, has_floor=True)
    assert recipe is not None
    plain = definition(pooling.max_pool_gradient)(grad, x, windows, out)
    wanted = np.where(x <= 0, np.float32(0), plain)
    np.testing.assert_array_equal(run(recipe, grad, x), wanted)
