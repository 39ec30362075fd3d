"""Native kernels on rows against NumPy: reductions, softmax, normalization, running sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import native_normalization, native_reductions, native_scans, normalization
from taper.kernels.native_rows import FULL, WEIGHT, RowProgram, Rowwise, largest, total

from .guarded_memory import guarded

pytestmark = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")

random = np.random.default_rng(6)
F32 = np.float32
SHAPES = [(5, 7, 1), (3, 1000, 1), (2, 40_000, 1), (1, 1, 1), (3, 7, 5), (2, 300, 100),
          (1, 1000, 257), (4, 1, 9)]  # fmt: skip


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "native", "now")
    monkeypatch.setattr(native_reductions, "LARGE", 0)


def normal(*shape: int, dtype: Any = F32) -> Any:
    return random.standard_normal(shape).astype(dtype)


def softmax(x: Any) -> Any:
    powers = np.exp(x - largest(x))
    return powers / total(powers)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax(shape: tuple[int, int, int], dtype: Any) -> None:
    x = normal(*shape, dtype=dtype)
    found = RowProgram(softmax, FULL)(*shape, x)
    assert found is not None
    wide = np.exp(x.astype(float) - x.astype(float).max(1, keepdims=True))
    np.testing.assert_allclose(found[0], wide / wide.sum(1, keepdims=True),
                               rtol=3e-6 if dtype == F32 else 1e-13)


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("shape", [(1, 17, 1), (3, 70, 1), (2, 5, 3), (1, 9, 70)], ids=str)
def test_nothing_beyond_the_rows_is_touched(shape: tuple[int, int, int], at_end: bool) -> None:
    x = guarded(normal(*shape), at_end)
    (found,) = RowProgram(softmax, FULL)(*shape, x) or (None,)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert native_scans.cumsum(x, 1) is not None
    position = native_reductions.argmax(x, 1)
    np.testing.assert_array_equal(position, x.argmax(1))


def test_definitions_of_operators() -> None:
    from taper.ops.softmax import log_softmax

    rows = Rowwise(log_softmax.forward, (0,), 1, True)
    x = normal(6, 40, 8)
    for dim in (0, 1, 2, -1):
        np.testing.assert_allclose(rows.compute((x, dim, None), {}),
                                   log_softmax.forward(x, dim, None), rtol=1e-5, atol=1e-6)
    half = x.astype(np.float16)
    found = rows.compute((half, 1, None), {})
    wanted = log_softmax.forward(half.astype(F32), 1, None).astype(np.float16)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    assert rows.compute((x, 3, None), {}) is None  # the definition says what is wrong


AXES = [None, 0, 1, 2, (0, 1), (1, 2), (0, 1, 2), -1]


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=str)
def test_sums(axis: Any, keepdim: bool) -> None:
    x = normal(11, 70, 13)
    wanted = x.astype(float).sum(axis, keepdims=keepdim)
    np.testing.assert_allclose(native_reductions.sum_many(x, axis, keepdim), wanted,
                               rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(native_reductions.square_many(x, axis, keepdim),
                               (x.astype(float) ** 2).sum(axis, keepdims=keepdim), rtol=1e-5)


def test_sums_over_separate_axes() -> None:
    x = normal(9, 11, 30)
    np.testing.assert_allclose(native_reductions.sum_many(x, (0, 2), True),
                               x.astype(float).sum((0, 2), keepdims=True), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1], ids=str)
@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_and_their_places(name: str, axis: Any) -> None:
    x = np.round(normal(9, 40, 21) * 2)  # with ties: the first one counts
    wanted, place = getattr(x, name)(axis), getattr(x, f"arg{name}")(axis)
    np.testing.assert_array_equal(getattr(native_reductions, f"arg{name}")(x, axis), place)
    np.testing.assert_array_equal(getattr(native_reductions, f"a{name}")(x, axis), wanted)
    if axis is not None:
        values, places = getattr(native_reductions, f"{name}_along")(x, axis, True)
        np.testing.assert_array_equal(values, getattr(x, name)(axis, keepdims=True))
        np.testing.assert_array_equal(places.squeeze(axis), place)


@pytest.mark.parametrize("axis", [0, 1])
def test_nan_is_the_extreme_and_infinite_rows_have_a_place(axis: int) -> None:
    x = normal(40, 50)
    x[3, 7] = x[20, 7] = x[3, 9] = np.nan
    x[5] = -np.inf
    x[:, 5] = -np.inf
    np.testing.assert_array_equal(native_reductions.amax(x, axis), x.max(axis))
    np.testing.assert_array_equal(native_reductions.amin(x, axis), x.min(axis))
    np.testing.assert_array_equal(native_reductions.argmax(x, axis), x.argmax(axis))
    np.testing.assert_array_equal(native_reductions.argmin(x, axis), x.argmin(axis))


@pytest.mark.parametrize("size", [16_384, 40_000, 40_001, 100_000])
def test_long_rows_are_cut_into_blocks(size: int) -> None:
    x = normal(size)
    x[size // 3] = 9
    wide = x.astype(float)
    np.testing.assert_allclose(native_reductions.sum_many(x, None, False), wide.sum(), rtol=2e-5,
                               atol=1e-4)
    assert native_reductions.argmax(x) == size // 3 and native_reductions.amax(x) == 9
    np.testing.assert_allclose(native_reductions.var(x), wide.var(ddof=1), rtol=1e-5)
    np.testing.assert_allclose(native_reductions.squared_error(x, -x), (4 * wide**2).mean(),
                               rtol=1e-5)


@pytest.mark.parametrize("axis", [None, 0, 1, (1, 2), 2], ids=str)
def test_variances_and_log_sum_exp(axis: Any) -> None:
    x = normal(12, 20, 40) + F32(100)  # far from zero, where squares would cancel
    wide = x.astype(float)
    np.testing.assert_allclose(native_reductions.var(x, axis), wide.var(axis, ddof=1), rtol=2e-4)
    np.testing.assert_allclose(native_reductions.std(x, axis, correction=0, keepdim=True),
                               wide.std(axis, keepdims=True), rtol=2e-4)
    axis = (0, 1, 2) if axis is None else axis
    np.testing.assert_allclose(native_reductions.logsumexp(x, axis),
                               np.log(np.exp(wide - 100).sum(axis)) + 100, rtol=1e-6)


def test_log_sum_exp_of_infinities() -> None:
    x = normal(4, 30)
    x[0], x[1, 3], x[2, 4] = -np.inf, np.inf, np.nan
    found = native_reductions.logsumexp(x, 1)
    assert found[0] == -np.inf and found[1] == np.inf and np.isnan(found[2])


def in_threads(count: int, function: Callable[[], Any]) -> Any:
    before = taper.get_num_threads()
    taper.set_num_threads(count)
    try:
        return function()
    finally:
        taper.set_num_threads(before)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    x = normal(700, 900)
    for function in (
        lambda: native_reductions.sum_many(x, None, False),
        lambda: native_reductions.sum_many(x, 0, False),
        lambda: native_reductions.var(x, 1),
        lambda: native_normalization.normalize_layer(x, None, None, 1e-5)[0],
        lambda: native_scans.cumsum(x, 0),
    ):
        alone = in_threads(1, function)
        for count in (2, 3, 8):
            np.testing.assert_array_equal(in_threads(count, function), alone)


# -- normalization: against the definitions on NumPy -----------------------------------------------


def without_kernels(monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any]) -> Any:
    monkeypatch.setattr(settings, "native", "off")
    try:
        return function()
    finally:
        monkeypatch.setattr(settings, "native", "now")


def same(found: Any, wanted: Any) -> None:
    assert found is not None and len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        if b is not None:
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("affine", [True, False])
def test_layers(monkeypatch: pytest.MonkeyPatch, affine: bool) -> None:
    x, grad = normal(300, 65) + 3, normal(300, 65)
    weight, bias = (normal(65), normal(65)) if affine else (None, None)
    found = native_normalization.normalize_layer(x, weight, bias, 1e-5)
    same(found, without_kernels(
        monkeypatch, lambda: normalization.normalize_layer(x, weight, bias, 1e-5)))
    _, mean, inverse = found
    slopes = native_normalization.layer_gradient(grad, x, mean, inverse, weight, affine)
    same(slopes, without_kernels(monkeypatch, lambda: normalization.layer_gradient(
        grad, x, mean, inverse, weight, affine)))
    by_rms = native_normalization.normalize_layer_by_rms(x, weight, 1e-5)
    same(by_rms, without_kernels(
        monkeypatch, lambda: normalization.normalize_layer_by_rms(x, weight, 1e-5)))
    same(native_normalization.rms_layer_gradient(grad, x, by_rms[1], weight, affine),
         without_kernels(monkeypatch, lambda: normalization.rms_layer_gradient(
             grad, x, by_rms[1], weight, affine)))


@pytest.mark.parametrize("shape", [(6, 5, 30), (40, 7, 1), (1, 3, 100)], ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_channels(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int], affine: bool
) -> None:
    x, grad = normal(*shape) + 3, normal(*shape)
    weight, bias = (normal(shape[1]), normal(shape[1])) if affine else (None, None)
    found = native_normalization.normalize_channels(x, weight, bias, 1e-5)
    same(found, without_kernels(
        monkeypatch, lambda: normalization.normalize_channels(x, weight, bias, 1e-5)))
    _, mean, _, inverse = found
    same((native_normalization.scale_channels(x, mean, inverse, weight, bias),),
         (without_kernels(monkeypatch, lambda: normalization.scale_channels(
             x, mean, inverse, weight, bias)),))
    for batch in (True, False):
        same(native_normalization.channel_gradient(grad, x, mean, inverse, weight, batch),
             without_kernels(monkeypatch, lambda batch=batch: normalization.channel_gradient(
                 grad, x, mean, inverse, weight, batch)))


# -- running sums ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 1000), (7, 5, 33), (100,), (2, 17, 3), (1, 1)], ids=str)
def test_running_sums(shape: tuple[int, ...], dtype: Any) -> None:
    x = normal(*shape, dtype=dtype)
    for dim in range(-1, len(shape)):
        wide = x.astype(float)
        np.testing.assert_allclose(native_scans.cumsum(x, dim), np.cumsum(wide, dim), rtol=1e-6,
                                   atol=1e-6)
        np.testing.assert_allclose(native_scans.cumprod(x, dim), np.cumprod(wide, dim), rtol=1e-6,
                                   atol=1e-30)


@pytest.mark.parametrize("inner", [1, 5, 300])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 100, 1001])
def test_lines_are_cut_into_pieces_of_any_length(n: int, inner: int) -> None:
    program = RowProgram(lambda x, w: (total(x * w), largest(x)), FULL, WEIGHT)
    x, w = normal(n, inner), normal(n)
    for piece in (3, 8, 64, 2000):
        count = -(-n // piece)
        found = program(count, piece, inner, x, w, line=n)
        assert found is not None
        sums, most = found
        for i in range(count):
            part = x[i * piece : (i + 1) * piece]
            weights = w[i * piece : (i + 1) * piece, None]
            np.testing.assert_allclose(sums[i], (part * weights).sum(0), rtol=1e-4, atol=1e-4)
            np.testing.assert_array_equal(most[i], part.max(0))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8"])
@pytest.mark.parametrize("shape", [(5, 1), (1, 7), (40, 33), (33, 40), (3, 17, 65)], ids=str)
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_running_extremes(name: str, dim: int, shape: Any, dtype: str) -> None:
    x = (random.standard_normal(shape) * 3).astype(dtype)  # integers repeat
    if dtype[0] == "f":
        x.reshape(-1)[:: 7] = np.round(x.reshape(-1)[:: 7])
        x.reshape(-1)[len(x.reshape(-1)) // 2 :: 11] = np.nan
    x = guarded(x, dim == 0)
    values, places = getattr(native_scans, name)(x, dim)
    moved = np.moveaxis(x, dim, -1).reshape(-1, x.shape[dim])
    best = np.empty_like(moved)
    place = np.empty(moved.shape, np.int64)
    for i, row in enumerate(moved):
        at = 0
        for j, value in enumerate(row):
            wins = value >= row[at] if name == "cummax" else value <= row[at]
            if wins or value != value:
                at = j
            best[i, j], place[i, j] = row[at], at
    shape = np.moveaxis(x, dim, -1).shape
    np.testing.assert_array_equal(np.moveaxis(values, dim, -1), best.reshape(shape))
    np.testing.assert_array_equal(np.moveaxis(places, dim, -1), place.reshape(shape))
