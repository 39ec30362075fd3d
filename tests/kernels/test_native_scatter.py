"""Native sums by index against NumPy's, with memory guarded at both ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import taper
from taper.compiler import machine
from taper.core.settings import settings
from taper.kernels import native_scatter

from .guarded_memory import guarded

pytestmark = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")

random = np.random.default_rng(11)
DTYPES = [np.float32, np.float64, np.int32, np.int64]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "native", "now")


def values(dtype: Any, *shape: int) -> Any:
    return (random.standard_normal(shape) * 30).astype(dtype)


def close(found: Any, wanted: Any) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("places", [1, 3, 16, 17, 1000])
def test_single_elements(dtype: Any, places: int) -> None:
    for count in (1, 5, 100, 20_001):
        x = guarded(values(dtype, places), bool(count % 2))
        index = guarded(random.integers(0, places, count), bool(count % 3))
        added = guarded(values(dtype, count))
        found = native_scatter.scatter_add(x, 0, index, added)
        wanted = x.copy()
        np.add.at(wanted, index, added)
        close(found, wanted)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_several_dimensions(dim: int) -> None:
    x, added = values(np.float32, 50, 60), values(np.float32, 50, 60)
    index = random.integers(0, 50, (50, 60))
    wanted = x.copy()
    for i in range(50):
        for j in range(60):
            wanted[(index[i, j], j) if dim == 0 else (i, index[i, j])] += added[i, j]
    close(native_scatter.scatter_add(x, dim, index, added), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 31, 32, 33, 64, 200])
def test_rows(dtype: Any, width: int) -> None:
    for count in (1, 7, 400):
        index = guarded(random.integers(0, 9, count))
        rows = guarded(values(dtype, count, width), bool(width % 2))
        wanted = np.zeros((9, width), dtype)
        np.add.at(wanted, index, rows)
        close(native_scatter.add_rows(9, index, rows), wanted)
        table = guarded(values(dtype, 9, width), bool(count % 2))
        wanted = wanted + table
        assert native_scatter.rows_added(table, index, rows)
        close(table, wanted)


def test_nan_and_infinity_stay_where_they_are_added() -> None:
    x = np.zeros(4, np.float32)
    index = np.repeat(np.arange(4), 100)
    added = np.ones(400, np.float32)
    added[150], added[250], added[350], added[351] = np.nan, np.inf, np.inf, -np.inf
    found = native_scatter.scatter_add(x, 0, index, added)
    np.testing.assert_array_equal(found, np.array([100, np.nan, np.inf, np.nan], np.float32))


@pytest.mark.parametrize("bad", [-1, 10, 1 << 40])
def test_indices_out_of_range_are_refused(bad: int) -> None:
    index = random.integers(0, 10, 40_000)
    index[20_000] = bad
    added = values(np.float32, 40_000)
    assert native_scatter.scatter_add(np.zeros(10, np.float32), 0, index, added) is None
    assert native_scatter.add_rows(10, index, added[:, None]) is None
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        taper.zeros(10).scatter_add(0, taper.tensor(index), taper.tensor(added))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    index, added = random.integers(0, 100, 100_000), values(np.float32, 100_000)
    rows = values(np.float32, 1000, 300)
    before = taper.get_num_threads()
    found = []
    try:
        for count in (1, 2, 5):
            taper.set_num_threads(count)
            found.append((native_scatter.scatter_add(np.zeros(100, np.float32), 0, index, added),
                          native_scatter.add_rows(100, index[:1000], rows)))
    finally:
        taper.set_num_threads(before)
    for single, whole in found[1:]:
        np.testing.assert_array_equal(single, found[0][0])
        np.testing.assert_array_equal(whole, found[0][1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_lines(dtype: Any) -> None:
    for outer, places, count in ((1, 5, 9), (7, 33, 20), (40, 100, 101), (2, 1, 1)):
        x = guarded(values(dtype, outer, places), bool(count % 2))
        index = guarded(random.integers(0, places, (outer, count)))
        given = guarded(values(dtype, outer, count), bool(places % 2))
        put, added = x.copy(), x.copy()
        for i in range(outer):
            for j in range(count):
                put[i, index[i, j]] = given[i, j]
                added[i, index[i, j]] += given[i, j]
        np.testing.assert_array_equal(native_scatter.scatter(x, -1, index, given), put)
        close(native_scatter.scatter_add(x, 1, index, given), added)
        index[-1, -1] = places
        assert native_scatter.scatter(x, 1, index, given) is None
    assert native_scatter.scatter(x, 0, index, given) is None


def test_operators() -> None:
    table = taper.zeros(100, 200)
    index = taper.tensor(random.integers(0, 100, 500))
    rows = taper.tensor(values(np.float32, 500, 200))
    wanted = np.zeros((100, 200), np.float32)
    np.add.at(wanted, index.numpy(), rows.numpy())
    close(table.index_add(0, index, rows).numpy(), wanted)
    places, added = taper.tensor(random.integers(0, 100, 40_000)), taper.ones(40_000)
    counts = taper.zeros(100).scatter_add(0, places, added)
    close(counts.numpy(), np.bincount(places.numpy(), minlength=100).astype(np.float32))
    assert taper.zeros(100).scatter(0, places, added).max() == 1
    weight = taper.zeros(100, 200, requires_grad=True)
    (taper.nn.functional.embedding(index, weight) * rows).sum().backward()
    close(weight.grad.numpy(), wanted)
    assert not table.any()
