"""Native kernels that move elements: copies, conversions, picking by index, filling by mask."""

from __future__ import annotations

from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import (
    native_compaction,
    native_copies,
    native_fill,
    native_indexing,
    native_joins,
    native_selection,
)

from .guarded_memory import guarded

pytestmark = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")

random = np.random.default_rng(7)
DTYPES = [np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32,
          np.float64]  # fmt: skip


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "native", "now")
    monkeypatch.setattr(native_indexing, "FEW", 0)


def values(dtype: Any, *shape: int) -> Any:
    return (random.standard_normal(shape) * 30).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (0, 2, 1), (1, 0, 2), (2, 1, 0)], ids=str)
def test_copies_into_other_orders(dtype: Any, axes: tuple[int, ...]) -> None:
    x = values(dtype, 19, 37, 35).transpose(axes)
    found = native_copies.copy_in_order(x)
    np.testing.assert_array_equal(found, x)
    assert found.flags.c_contiguous and found.dtype == x.dtype
    kept = native_copies.preserved_copy(x)
    np.testing.assert_array_equal(kept, x)
    assert kept.strides == x.copy("K").strides


@pytest.mark.parametrize("target", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("source", DTYPES, ids=lambda d: d.__name__)
def test_conversions(source: Any, target: Any) -> None:
    x = np.abs(values(source, 1001)) if np.dtype(target).kind == "u" else values(source, 1001)
    found = native_copies.copy_in_order(x, np.dtype(target))
    if found is None:
        rounds_twice = target is np.float16 and source in (np.int32, np.int64, np.float64)
        assert rounds_twice
        return
    np.testing.assert_array_equal(found, x.astype(target))


def test_bfloat16_is_rounded_to_even() -> None:
    bits = np.arange(0, 2**32, 65_521 * 3, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    found = native_copies.copy_in_order(x, np.dtype(ml_dtypes.bfloat16))
    with np.errstate(invalid="ignore"):
        wanted = x.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(found.astype(np.float32), wanted.astype(np.float32))
    wide = native_copies.copy_in_order(wanted, np.dtype(np.float32))
    np.testing.assert_array_equal(wide, wanted.astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("shape", [(37, 53), (3, 40, 17), (90,)], ids=str)
def test_picking(shape: tuple[int, ...], dtype: Any) -> None:
    x = values(dtype, *shape)
    for dim in range(len(shape)):
        index = random.integers(0, shape[dim], 29)
        rows = native_indexing.index_select(x, dim, index)
        if rows is not None:
            np.testing.assert_array_equal(rows, x.take(index, dim))
        lanes = random.integers(0, shape[dim], (*shape[:dim], 23, *shape[dim + 1 :]))
        if dtype is not np.float16 or native_indexing.gather(x, dim, lanes) is not None:
            np.testing.assert_array_equal(native_indexing.gather(x, dim, lanes),
                                          np.take_along_axis(x, lanes, dim))


@pytest.mark.parametrize("wrong", [-1, 53, 2**40, -(2**62)])
def test_wrong_indices_are_not_followed(wrong: int) -> None:
    x = values(np.float32, 37, 53)
    index = random.integers(0, 53, (37, 60))
    index[20, 33] = wrong
    assert native_indexing.gather(x, 1, index) is None
    assert native_indexing.index_select(x.T.copy(), 0, index[20]) is None
    with pytest.raises(RuntimeError, match="out of bounds"):
        taper.gather(taper.tensor(np.tile(x, (30, 1))), 1, taper.tensor(np.tile(index, (30, 1))))


@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_beyond_tables_and_indices_is_touched(at_end: bool) -> None:
    table = guarded(values(np.float32, 50, 19), at_end)
    index = guarded(random.integers(0, 50, 33), at_end)
    np.testing.assert_array_equal(native_indexing.embedding(table, index), table[index])
    lanes = guarded(random.integers(0, 19, (50, 13)), at_end)
    np.testing.assert_array_equal(native_indexing.gather(table, 1, lanes),
                                  np.take_along_axis(table, lanes, 1))


def test_filling_and_integer_quotients() -> None:
    x, mask = values(np.float32, 999), random.random(999) > 0.5
    np.testing.assert_array_equal(native_selection.masked_fill(x, mask, 0.5),
                                  np.where(mask, np.float32(0.5), x))
    whole = random.integers(-(10**6), 10**6, 999).astype(np.int32)
    for divisor in (7, -7, 1, -1, 2**31 - 1, -(2**31)):
        by = np.array(divisor, np.int32)
        np.testing.assert_array_equal(native_selection.floor_divide(whole, by), whole // by)
        np.testing.assert_array_equal(native_selection.remainder(whole, by), whole % by)
    assert native_selection.floor_divide(whole, np.array(0, np.int32)) is None


@pytest.mark.parametrize("dtype", [np.bool_, np.int16, np.float32, np.complex64, np.complex128],
                         ids=lambda d: d.__name__)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_joins(dtype: Any, axis: int) -> None:
    for sizes in ((5, 3, 9), (1, 1, 1), (40, 1), (0, 7), (70_001, 3), (2,)):
        shape = [3, 4, 5]
        arrays = []
        for size in sizes:
            shape[axis] = size
            arrays.append(guarded(values(dtype, *shape), bool(size % 2)))
        found = native_joins.concatenated(arrays, axis)
        wanted = np.concatenate(arrays, axis)
        if found is None:
            assert wanted.itemsize * prod(arrays[0].shape[axis % 3 :]) < 64
            continue
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype and found.flags.c_contiguous


@pytest.mark.parametrize("count", [1, 2, 3, 8, 17])
@pytest.mark.parametrize("rows", [1, 511, 512, 513, 5000])
def test_single_elements_are_interleaved(rows: int, count: int) -> None:
    for dtype in (np.uint8, np.float16, np.float32, np.float64):
        arrays = [guarded(values(dtype, rows, 1)) for _ in range(count)]
        np.testing.assert_array_equal(
            native_joins.concatenated(arrays, 1), np.concatenate(arrays, 1))


def test_what_numpy_joins() -> None:
    x = values(np.float32, 300, 200)
    for arrays, axis in (
        ([x, x.T], 0), ([x, x[:, ::2]], 1), ([x, x.astype(np.float64)], 0), ([x], 2), ([x], None),
        ([x[:0]], 0), ([x[:, :0]], 1),
    ):
        assert native_joins.concatenated(arrays, axis) is None


def test_large_tensors_are_joined_and_stacked() -> None:
    parts = [taper.tensor(values(np.float32, 100, 200)) for _ in range(4)]
    arrays = [p.numpy() for p in parts]
    for dim in (0, 1, 2, -1):
        np.testing.assert_array_equal(taper.stack(parts, dim).numpy(), np.stack(arrays, dim))
    for dim in (0, 1, -1):
        np.testing.assert_array_equal(taper.cat(parts, dim).numpy(), np.concatenate(arrays, dim))
    with pytest.raises(RuntimeError, match="equal size"):
        taper.stack([*parts, taper.zeros(100, 201)])
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        taper.cat([*parts, taper.zeros(100, 201)])
    leaf = parts[0].clone().requires_grad_()
    taper.cat([leaf, *parts]).sum().backward()
    assert bool((leaf.grad == 1).all())


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_the_largest_few_of_rows(dtype: Any, largest: bool) -> None:
    for n in (8, 16, 33, 100, 1000, 4097):
        for k in {1, 2, min(7, n // 8), n // 8, 100} - {0}:
            if 8 * k > n or k > 256:
                continue
            x = values(dtype, 5, n)
            if x.dtype.kind == "f":
                x[0, ::3] = np.nan
                x[1, ::2] = np.inf
                x[1, 1::4] = -np.inf
                x[2] = 0.0
                x[2, ::2] = -0.0
                x[3, 5] = np.nan
            x = guarded(x, bool(n % 2))
            found = native_selection.topk(x, k, -1, largest)
            assert found is not None
            keys = np.where(np.isnan(x), np.inf, x + dtype(0)) if x.dtype.kind == "f" else x
            sign = -1 if largest else 1
            for row in range(5):
                order = sorted(range(n), key=lambda i, row=row: (
                    np.isnan(x[row, i]) != largest, sign * float(keys[row, i]), i))
                assert found[1][row].tolist() == order[:k]
                np.testing.assert_array_equal(found[0][row], x[row, order[:k]])


def test_rows_that_topk_leaves_to_numpy() -> None:
    x = values(np.float32, 50, 40)
    half = x.astype(np.float16)
    for arguments in ((x, 6), (x, 0), (x.T, 2), (x, 2, 0), (half, 2), (x[:, ::2], 1)):
        assert native_selection.topk(*arguments) is None


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float64, np.int64, np.complex64])
@pytest.mark.parametrize("n", [1, 7, 8, 63, 64, 65, 16383, 16384, 16385, 100_003])
def test_what_a_mask_keeps(dtype: Any, n: int) -> None:
    for share in (0.0, 0.01, 0.5, 1.0):
        mask = guarded(random.random(n) < share, bool(n % 2))
        x = guarded(values(dtype, n), bool(n % 3))
        np.testing.assert_array_equal(native_compaction.places_where(mask), np.flatnonzero(mask))
        found = native_compaction.elements_where(x, mask)
        np.testing.assert_array_equal(found, x[mask])
        assert found.dtype == x.dtype


def test_masks_of_large_tensors() -> None:
    x = values(np.float32, 300, 200)
    t, mask = taper.tensor(x), taper.tensor(x > 0)
    np.testing.assert_array_equal(t[mask].numpy(), x[x > 0])
    np.testing.assert_array_equal(t.masked_select(mask).numpy(), x[x > 0])
    np.testing.assert_array_equal(t.t()[mask.t()].numpy(), x.T[x.T > 0])
    flat = x.ravel()
    np.testing.assert_array_equal(taper.tensor(flat).relu().nonzero().numpy()[:, 0],
                                  np.flatnonzero(flat > 0))
    leaf = taper.tensor(x).requires_grad_()
    leaf[mask].sum().backward()
    np.testing.assert_array_equal(leaf.grad.numpy(), (x > 0).astype(np.float32))
    assert native_compaction.elements_where(values(np.float16, 50), np.ones(50, bool)) is None


@pytest.mark.parametrize("dtype", [*DTYPES, np.complex64, np.complex128], ids=lambda d: d.__name__)
@pytest.mark.parametrize("n", [1, 63, 64, 1000, 65_536, 70_001])
def test_one_value_everywhere(dtype: Any, n: int) -> None:
    array = guarded(values(np.float32, n).astype(dtype), bool(n % 2))
    native_fill.fill(array, 1)
    assert (array == 1).all()
    native_fill.fill(array[::2], 0)
    assert not array[::2].any() and array[1::2].all()


def test_large_tensors_of_one_value() -> None:
    for dtype in (taper.float32, taper.float64, taper.int64, taper.bool, taper.bfloat16):
        shape = (700, 500)
        for make, value in (
            (taper.zeros, 0), (taper.ones, 1), (lambda *s, dtype: taper.full(s, 1, dtype=dtype), 1),
        ):
            for _ in range(3):
                x = make(*shape, dtype=dtype)
                assert x.shape == shape and x.dtype == dtype and bool((x == value).all())
                x.fill_(1 - value)
        assert not taper.zeros_like(x).any() and taper.ones_like(x).all()


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(40, 37), (37, 40), (3, 20, 21), (17, 1), (1, 33)], ids=str)
def test_triangles(dtype: Any, shape: tuple[int, ...]) -> None:
    for diagonal in (-50, -3, 0, 1, 2, 50):
        x = guarded(values(dtype, *shape), bool(diagonal % 2))
        for _ in range(2):
            lower, upper = (f(x, diagonal) for f in (native_selection.tril, native_selection.triu))
            for found, wanted in ((lower, np.tril(x, diagonal)), (upper, np.triu(x, diagonal))):
                if found is not None:  # NumPy is better at short rows
                    np.testing.assert_array_equal(found, wanted)
                    assert found.dtype == x.dtype
                else:
                    assert shape[-1] < 16


def test_large_triangles() -> None:
    x = values(np.float32, 200, 300)
    x[0, 5], x[5, 0] = np.nan, np.inf
    for diagonal in (-1, 0, 7):
        for _ in range(3):
            np.testing.assert_array_equal(taper.tensor(x).tril(diagonal), np.tril(x, diagonal))
            np.testing.assert_array_equal(taper.tensor(x).triu(diagonal), np.triu(x, diagonal))
    t = taper.tensor(x)
    t.tril_()
    np.testing.assert_array_equal(t, np.tril(x))
