"""Rows picked from a table by an index, and added to one, as launches."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from taper.arrays.element import kind_of
from taper.compilation.lowering.launches import Address, Launch
from taper.compilation.lowering.operations import RowPick, RowSum
from taper.compilation.lowering.values import Value
from taper.compiler.index_kernels import row_picker
from taper.compiler.machine import vector_bytes
from taper.compiler.row_sum_kernels import row_adder, row_adder_lanes

__all__ = ["pick_launch", "sum_launch"]

_GRAIN_OF_BYTES = 1 << 17
_GRAIN = 1 << 14  # elements


def pick_launch(pick: RowPick) -> tuple[list[Launch], list[Value]]:
    """result[i] = table[index[i]]"""
    table, index = pick.views
    flag = Value("flag", (1,), np.dtype(np.int64))
    size = prod(table.shape[1:]) * table.dtype.itemsize
    words: list[int | Address] = [
        Address(table.value, table.offset), Address(index.value, index.offset), Address(pick.out),
        Address(flag), table.shape[0], index.size, size]
    launch = Launch(("row_picker",), _picker, words, index.size,
                    max(1, _GRAIN_OF_BYTES // size), f"rows {pick.out} = {table}[{index}]")
    return [launch], [flag]


def sum_launch(total: RowSum) -> tuple[list[Launch], list[Value]]:
    """result[index[i]] += rows[i]"""
    rows, index = total.views
    kind = kind_of(total.out.dtype)
    width = prod(rows.shape[1:])
    units = -(-width // row_adder_lanes(vector_bytes(), kind))
    words: list[int | Address] = [
        Address(rows.value, rows.offset), Address(index.value, index.offset), Address(total.out),
        index.size, total.out.shape[0], width]
    launch = Launch(
        ("row_adder", kind), _adder(kind), words, units,
        max(1, _GRAIN * units // max(1, index.size * width)),
        f"rows {total.out}[{index}] += {rows}")
    return [launch], []


def _picker() -> tuple[str, str]:
    return row_picker("row_picker", vector_bytes()), "row_picker"


@cache
def _adder(kind: str) -> Any:
    return lambda: (row_adder("row_adder", vector_bytes(), kind), "row_adder")
