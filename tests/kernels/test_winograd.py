"""Convolutions of 3 x 3 by Winograd's algorithm: for which, how exact, what is not finite."""

from typing import Any

import numpy as np
import pytest

from taper.compiler import machine
from taper.compiler.machine import vector_bytes
from taper.kernels import convolution, native_convolution
from taper.kernels.convolution_recipes import (
    Convolution,
    forward_recipe,
    input_recipe,
    weight_recipe,
)
from taper.kernels.launch_recipes import Recipe

from .definitions import definition_of
from .guarded_memory import guarded

pytestmark = [
    pytest.mark.skipif(not machine.is_available() or vector_bytes() < 32,
                       reason="needs llvmlite and long vectors"),
    pytest.mark.usefixtures("at_once"),
]

ONES = (1, 1)


def random(seed: int, *shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def names(recipe: Recipe | None) -> list[str]:
    assert recipe is not None
    return [stage.text for stage in recipe.stages]


def recipes(x: Any, weight: Any, padding: Any, **changes: Any) -> list[Recipe | None]:
    of = Convolution(weight.shape[2:], ONES, padding, ONES, 1, "f32", vector_bytes())
    of = of._replace(**changes)
    size = convolution.output_size(x.shape[2:], of.kernel, of.stride, padding, of.dilation)
    grad = np.empty((x.shape[0], weight.shape[0], *size), x.dtype)
    return [
        forward_recipe(x.shape, x.strides, weight.shape, of, False, False),
        input_recipe(grad.shape, grad.strides, weight.shape, x.shape[2:], of, False),
        weight_recipe(grad.shape, x.shape, x.strides, of),
    ]


def test_which_convolutions_it_is_for() -> None:
    x, weight = random(0, 4, 16, 12, 12), random(1, 24, 16, 3, 3)
    forward, backward, of_weight = map(names, recipes(x, weight, ONES))
    assert forward == backward == ["windows", "convolution"]
    assert of_weight == ["products of tiles", "windows"]
    for others in (
        recipes(x, weight, ONES, stride=(2, 2)), recipes(x, weight, (2, 2), dilation=(2, 2)),
        recipes(x, random(1, 24, 16, 5, 3), ONES), recipes(x[:, :4].copy(), weight[:, :4], ONES),
    ):
        for recipe in others:
            assert not {"convolution", "products of tiles"} & set(names(recipe))


CASES = [
    # batch, channels, filters, size, padding
    (3, 9, 21, (7, 13), (1, 1)),
    (2, 8, 8, (5, 40), (0, 2)),
    (5, 16, 9, (14, 14), (1, 1)),
    (1, 40, 33, (28, 30), (0, 0)),
    (2, 12, 70, (64, 3), (1, 1)),
]


def results(
    x: Any, weight: Any, grad: Any, padding: Any, by_definition: bool = False
) -> list[Any]:
    """The convolution and both gradients, by native kernels or by definition."""
    def call(name: str, *args: Any) -> Any:
        if by_definition:
            return definition_of(getattr(convolution, name))(*args)
        return getattr(native_convolution, name)(*args)

    return [
        call("convolve", x, weight, ONES, padding, ONES, 1),
        call("input_gradient", grad, weight, x.shape[2:], ONES, padding, ONES, 1),
        call("weight_gradient", grad, x, (3, 3), ONES, padding, ONES, 1),
    ]


def example(case: Any, dtype: Any = np.float32) -> tuple[Any, ...]:
    batch, channels, filters, size, padding = case
    x = random(2, batch, channels, *size, dtype=dtype)
    weight = random(3, filters, channels, 3, 3, dtype=dtype)
    out = convolution.output_size(size, (3, 3), ONES, padding, ONES)
    return x, weight, random(4, batch, filters, *out, dtype=dtype), padding


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Any, dtype: Any) -> None:
    x, weight, grad, padding = example(case, dtype)
    wide = [a.astype("f8") for a in (x, weight, grad)]
    for found, wanted in zip(results(x, weight, grad, padding),
                             results(*wide, padding, by_definition=True), strict=True):
        assert found.dtype == x.dtype and found.shape == wanted.shape
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert error < {4: 1e-6, 8: 2e-15}[x.itemsize]  # of float32: less than that of plain sums


def test_operands_end_where_memory_ends() -> None:
    arrays = example(CASES[0])
    own = [guarded(a) for a in arrays[:3]]
    for found, wanted in zip(results(*own, ONES), results(*arrays[:3], ONES), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_not_finite_stays_in_its_windows(value: float) -> None:
    x, weight, grad, padding = example(CASES[2])
    x[1, 3, 6, 5] = value
    x[4, 0, 0, 0] = -value
    grad[2, 4, 6, 7] = value  # the definition multiplies what is beside zeros of the padding, too
    for found, wanted in zip(results(x, weight, grad, padding),
                             results(x, weight, grad, padding, by_definition=True), strict=True):
        assert 0 < np.isfinite(found).sum() < found.size or value == 3e38
        same = np.isfinite(wanted)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        np.testing.assert_array_equal(found[~same], wanted[~same])
        scale = np.abs(wanted[same]).max()
        assert np.abs(found[same] - wanted[same]).max() <= 1e-5 * scale


def test_many_threads_give_the_same_digits() -> None:
    import taper

    x, weight, grad, padding = example((6, 16, 16, (20, 20), (1, 1)))
    before = taper.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            taper.set_num_threads(threads)
            found.append(results(x, weight, grad, padding))
    finally:
        taper.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
