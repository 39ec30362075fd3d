"""Native convolutions against their definition in NumPy."""

from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import convolution, native_convolution

from .definitions import definition_of
from .guarded_memory import guarded

pytestmark = [
    pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite"),
    pytest.mark.usefixtures("at_once"),
]

random = np.random.default_rng(7)


def close(found: Any, wanted: Any) -> None:
    assert found is not None
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    error = {4: 1e-4, 8: 1e-12}[wanted.itemsize]
    np.testing.assert_allclose(found, wanted, rtol=error, atol=error * 10)


CASES = [
    # batch, groups, channels and filters of each, size, kernel, stride, padding, dilation
    (2, 1, 3, 8, (9, 11), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 5, 17, (56, 58), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 1, 16, 20, (13, 13), (1, 1), (1, 1), (0, 0), (1, 1)),
    (1, 1, 3, 4, (2, 2), (1, 1), (1, 1), (0, 0), (1, 1)),
    (3, 1, 4, 9, (14, 15), (3, 2), (2, 3), (1, 0), (1, 2)),
    (2, 6, 1, 1, (28, 28), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 3, 2, 5, (20, 9), (5, 4), (3, 2), (2, 3), (2, 1)),
    (1, 1, 2, 3, (40, 40), (1, 2), (3, 3), (0, 0), (1, 1)),
    (2, 1, 4, 40, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 3, 5, (700,), (5,), (1,), (2,), (1,)),
    (2, 2, 3, 5, (1300,), (4,), (3,), (1,), (5,)),
    (1, 1, 3, 7, (6, 7, 8), (2, 3, 3), (1, 2, 1), (1, 0, 1), (1, 1, 2)),
]


def example(case: Any, dtype: Any) -> tuple[Any, ...]:
    batch, groups, each, rows, size, kernel, stride, padding, dilation = case
    x = random.standard_normal((batch, groups * each, *size)).astype(dtype)
    weight = random.standard_normal((groups * rows, each, *kernel)).astype(dtype)
    return x, weight, (stride, padding, dilation, groups)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_and_gradients(case: Any, dtype: Any) -> None:
    x, weight, numbers = example(case, dtype)
    bias = random.standard_normal(len(weight)).astype(dtype)
    wanted = definition_of(convolution.convolve)(x, weight, *numbers, bias)
    close(native_convolution.convolve(x, weight, *numbers, bias), wanted)
    grad = random.standard_normal(wanted.shape).astype(dtype)
    size = x.shape[2:]
    close(native_convolution.input_gradient(grad, weight, size, *numbers),
          definition_of(convolution.input_gradient)(grad, weight, size, *numbers))
    kernel = weight.shape[2:]
    close(native_convolution.weight_gradient(grad, x, kernel, *numbers),
          definition_of(convolution.weight_gradient)(grad, x, kernel, *numbers))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_beyond_the_operands_is_touched(case: Any, at_end: bool) -> None:
    x, weight, numbers = example(case, np.float32)
    wanted = definition_of(convolution.convolve)(x, weight, *numbers)
    grad = random.standard_normal(wanted.shape).astype(np.float32)
    x, weight, grad = (guarded(a, at_end) for a in (x, weight, grad))
    close(native_convolution.convolve(x, weight, *numbers), wanted)
    assert native_convolution.input_gradient(grad, weight, x.shape[2:], *numbers) is not None
    assert native_convolution.weight_gradient(grad, x, weight.shape[2:], *numbers) is not None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_strided_operands(case: Any) -> None:
    x, weight, numbers = example(case, np.float32)
    wanted = definition_of(convolution.convolve)(x, weight, *numbers)
    other = np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1)
    spaced = np.repeat(x, 2, -1)[..., ::2]
    turned = np.ascontiguousarray(np.moveaxis(weight, 0, -1))
    for view in (other, spaced):
        close(native_convolution.convolve(view, np.moveaxis(turned, -1, 0), *numbers), wanted)


def test_expanded_operands() -> None:
    x = np.broadcast_to(random.standard_normal((1, 4, 1, 12)).astype("f4"), (3, 4, 20, 12))
    weight = random.standard_normal((5, 4, 3, 3)).astype("f4")
    numbers = ((1, 1), (1, 1), (1, 1), 1)
    wanted = definition_of(convolution.convolve)(x, weight, *numbers)
    close(native_convolution.convolve(x, weight, *numbers), wanted)
    grad = np.broadcast_to(np.float32(2), wanted.shape)
    close(native_convolution.weight_gradient(grad, x, (3, 3), *numbers),
          definition_of(convolution.weight_gradient)(grad, x, (3, 3), *numbers))


def test_values_that_are_not_finite_stay_where_they_belong() -> None:
    x, weight, numbers = example(CASES[1], np.float32)
    x[0, 0, 3, 57] = np.inf
    x[1, 2, 0, 0] = np.nan
    wanted = definition_of(convolution.convolve)(x, weight, *numbers)
    found = native_convolution.convolve(x, weight, *numbers)
    assert found is not None
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(wanted))
    grad = random.standard_normal(wanted.shape).astype("f4")
    wanted = definition_of(convolution.weight_gradient)(grad, x, (3, 3), *numbers)
    found = native_convolution.weight_gradient(grad, x, (3, 3), *numbers)
    assert found is not None
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))


def test_what_has_no_kernel() -> None:
    numbers = ((1,), (0,), (1,), 1)
    for dtype in (np.int64, np.complex64, np.float16):
        x, weight = np.ones((1, 1, 9), dtype), np.ones((1, 1, 3), dtype)
        assert native_convolution.convolve(x, weight, *numbers) is None
    assert native_convolution.convolve(
        np.ones((0, 1, 9), "f4"), np.ones((1, 1, 3), "f4"), *numbers) is None


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    x, weight, numbers = example((4, 1, 16, 24, (30, 31), (3, 3), (1, 1), (1, 1), (1, 1)), "f4")
    grad = definition_of(convolution.convolve)(x, weight, *numbers)
    results = []
    before = taper.get_num_threads()
    for threads in (1, 3):
        taper.set_num_threads(threads)
        results.append((
            native_convolution.convolve(x, weight, *numbers),
            native_convolution.input_gradient(grad, weight, x.shape[2:], *numbers),
            native_convolution.weight_gradient(grad, x, (3, 3), *numbers),
        ))
    taper.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_operator_takes_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_WORTH_A_KERNEL", 0)
    x, w = taper.randn(2, 3, 8, 8), taper.randn(4, 3, 3, 3)
    native = taper.nn.functional.conv2d(x, w, taper.ones(4), padding=1)
    monkeypatch.setattr(settings, "_native", "off")
    plain = taper.nn.functional.conv2d(x, w, taper.ones(4), padding=1)
    assert (native - plain).abs().max().item() < 1e-5
