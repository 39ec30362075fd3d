"""Native sums by index: scatter_add, index_add, the gradient of an embedding.

Note [tables]. Many elements that are added to few places are cut into parts of one length, each of
which is added up in a table of its own; the tables are added in order. How many there are depends
on sizes only, so results don't depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from taper.arrays.element import kind_of
from taper.compiler import machine
from taper.compiler.scatter_kernels import element_adder, line_writer, row_adder, row_tile
from taper.core.storage import address_of
from taper.kernels.lanes import plain_positions
from taper.kernels.native import GRAIN, Kernel
from taper.kernels.native_rows import FULL, RowProgram, total
from taper.runtime.large_arrays import copied, new_array

__all__ = ["add_rows", "rows_added", "scatter", "scatter_add"]

ndarray = np.ndarray
_I64 = np.dtype(np.int64)
_KINDS = [np.dtype(name) for name in ("f4", "f8", "i4", "i8")]
_MOST_TABLES = 8
_TOTAL = RowProgram(total, FULL)


@cache
def _kernel(write: Callable[[str, int, str], str], dtype: Any) -> Kernel:
    return Kernel.of(write, 7, kind_of(dtype), name="add")


def _are_plain(index: Any, *arrays: Any) -> bool:
    return type(index) is ndarray and index.dtype is _I64 and index.flags.c_contiguous and all(
        type(a) is ndarray and a.dtype in _KINDS and a.dtype is arrays[0].dtype
        and a.flags.c_contiguous for a in arrays
    )


def _elements_added(x: Any, index: Any, values: Any) -> Any:
    """A copy of `x` with each of `values` added at its place in the flattened array; None if a
    place is out of range, or NumPy shall do it."""
    if not _are_plain(index, x, values) or not x.size:
        return None
    kernel = _kernel(element_adder, x.dtype)
    address = kernel.address()
    if address is None:
        return None
    places, count = x.size, index.size
    wanted = min(_MOST_TABLES, count // (4 * places)) if x.dtype.kind == "f" else 1
    tables = max(1, wanted)
    each = -(-count // tables)
    table = new_array((tables, *x.shape), x.dtype, tables * places)
    table[0] = x
    flag = np.zeros(1, _I64)
    kernel.run(address, [*map(address_of, (table, index, values, flag)), places, count, each],
               tables, 1)
    if flag[0]:
        return None
    if tables == 1:
        return table[0]
    found = _TOTAL(1, tables, places, table)
    return (np.add.reduce(table, 0) if found is None else found[0]).reshape(x.shape)


def scatter_add(input: Any, dim: Any, index: Any, src: Any) -> Any:
    """`scatter_add` of arrays of which `index` and `src` have one shape."""
    if type(input) is not ndarray or type(index) is not ndarray:
        return None
    if input.ndim == 1 and index.ndim == 1 and dim in (0, -1) and index.size:
        return _elements_added(input, index, src)
    found = _lines_written(input, dim, index, src, True)
    if found is not None:
        return found
    positions = plain_positions(input, dim, index)
    return None if positions is None else _elements_added(input, positions, src)


def scatter(input: Any, dim: Any, index: Any, src: Any) -> Any:
    """`scatter` of arrays of which `index` and `src` have one shape, along memory."""
    return _lines_written(input, dim, index, src, False)


def _lines_written(input: Any, dim: Any, index: Any, src: Any, adds: bool) -> Any:
    """A copy of an array with elements added or put along its last dimension, several lines."""
    ndim = input.ndim
    if not _are_plain(index, input, src) or ndim < 2 or dim not in (-1, ndim - 1) or (
        index.ndim != ndim or index.shape[:-1] != input.shape[:-1] or not input.size
    ):
        return None
    kernel = _kernel(_adder_of_lines if adds else _putter_of_lines, input.dtype)
    address = kernel.address()
    if address is None:
        return None
    table = copied(input)
    flag = np.zeros(1, _I64)
    places, count = input.shape[-1], index.shape[-1]
    kernel.run(address, [*map(address_of, (table, index, src, flag)), places, count, 0],
               input.size // places, max(1, GRAIN // max(1, count)))
    return None if flag[0] else table


def _adder_of_lines(name: str, vector_bytes: int, kind: str) -> str:
    return line_writer(name, vector_bytes, kind, True)


def _putter_of_lines(name: str, vector_bytes: int, kind: str) -> str:
    return line_writer(name, vector_bytes, kind, False)


def rows_added(table: Any, index: Any, rows: Any) -> bool:
    """Adds each of `rows` to the row of `table` that `index` names, in place; False, and nothing
    is said of the table, if one is out of range or NumPy shall do it."""
    if not _are_plain(index, table, rows) or index.ndim != 1 or not rows.size or not table.size:
        return False
    width = rows.size // len(rows)
    kernel = _kernel(row_adder, table.dtype)
    address = kernel.address()
    if address is None:
        return False
    flag = np.zeros(1, _I64)
    tile = row_tile(machine.host().vector_bytes, kind_of(table.dtype))
    units = -(-width // tile)
    kernel.run(
        address, [*map(address_of, (table, index, rows, flag)), len(table), len(index), width],
        units, max(1, GRAIN // (len(index) * tile)))
    return not flag[0]


def add_rows(count: int, index: Any, rows: Any) -> Any:
    if type(rows) is not ndarray or rows.dtype not in _KINDS:
        return None
    shape = (count, *rows.shape[1:])
    size = count * (rows.size // max(1, len(rows)))
    table = new_array(shape, rows.dtype, size)
    table.fill(0)
    rows = rows if rows.flags.c_contiguous else rows.copy()
    return table if rows_added(table, index, rows) else None
