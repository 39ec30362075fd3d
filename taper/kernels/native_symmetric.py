"""Eigenvectors of a symmetric matrix: LAPACK's divide and conquer, its first halves side by side.

The native twin of `eigenvectors_of_symmetric` in kernels/linear_algebra.py. LAPACK's own way on one
thread: to a tridiagonal matrix (sytrd), that of two halves and what is between them (stedc, laed1:
Cuppen, A divide and conquer method for the symmetric tridiagonal eigenproblem, 1981), back (ormtr).
The halves are two tasks, whatever the number of threads. Half of the way back for each would take
as long as all of it: the other core has to fetch everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from taper.compiler.foreign_calls import CALLS_WORDS, MOST_ARGUMENTS, calls
from taper.core.storage import address_of
from taper.kernels.native import Kernel
from taper.runtime.blas import find_blas, find_lapack
from taper.runtime.large_arrays import new_array

__all__ = ["eigenvectors_of_symmetric"]

Array = np.ndarray[Any, Any]

_LETTERS = {np.dtype(np.float32): "s", np.dtype(np.float64): "d"}
_LARGEST = {"s": 1e10, "d": 1e100}  # numbers, or their reciprocals, that need no scaling
_BLOCK = 64  # columns that LAPACK treats at once, at most
_COLUMNS = 12  # that it makes tridiagonal at once, if it has room for no more: a sixth quicker
_OF_BLOCK = 65 * 64  # numbers that it keeps of them
_LENGTH = 1  # of a word such as "L", which Fortran gets behind all arguments


@cache
def _kernel() -> Kernel:
    return Kernel.of(calls, len(CALLS_WORDS))


class _Caller:
    """Calls routines that take addresses only, and keeps what these are of."""

    def __init__(self, address: int) -> None:
        self.address = address
        self.kept: list[Array] = []
        self.states: list[Array] = []

    def number(self, value: int) -> int:
        """Where a number is."""
        return self.keep(np.array([value], np.int64))

    def word(self, letter: bytes) -> int:
        return self.keep(np.frombuffer(letter, np.uint8))

    def keep(self, array: Array) -> int:
        self.kept.append(array)
        return address_of(array)

    def state(self) -> int:
        """Where a routine says how it went."""
        self.states.append(np.zeros(1, np.int64))
        return address_of(self.states[-1])

    def run(self, *lines: Sequence[int]) -> bool:
        """Calls routines side by side: address and arguments. Tells whether all went well."""
        table = np.zeros((len(lines), MOST_ARGUMENTS + 1), np.int64)
        for row, line in zip(table, lines, strict=True):
            row[: len(line)] = line
        _kernel().run(self.address, (address_of(table),), len(lines), 1)
        return not any(state[0] for state in self.states)


def eigenvectors_of_symmetric(a: Array, UPLO: str = "L") -> tuple[Array, Array] | None:
    """`kernels.linear_algebra.eigenvectors_of_symmetric`, or None where this isn't for it."""
    letter = _LETTERS.get(a.dtype)
    if letter is None or a.ndim != 2 or a.shape[0] != a.shape[1]:
        return None
    routines = find_lapack(tuple([letter + name for name in ("sytrd", "stedc", "laed1", "ormtr")]))
    blas = find_blas()
    address = None if routines is None or blas is None else _kernel().address()
    if routines is None or blas is None or address is None:
        return None
    size = np.abs(a).max()
    if not 1 / _LARGEST[letter] < size < _LARGEST[letter]:  # also where it is no number
        return None
    with blas.one_thread:
        return _computed(_Caller(address), routines, a, UPLO.encode())


def _computed(
    caller: _Caller, routines: tuple[int, ...], a: Array, triangle: bytes
) -> tuple[Array, Array] | None:
    to_tridiagonal, divide, conquer, back = routines
    n, dtype = len(a), a.dtype
    item = dtype.itemsize
    reflectors = new_array((n, n), dtype, n * n, (item, n * item))
    reflectors[...] = a
    diagonal, beside, factors = np.empty((3, n), dtype)
    most = n * n + 8 * n + n * _BLOCK + _OF_BLOCK
    room: Array = new_array((most,), dtype, most)
    at, size, which = caller.keep(reflectors), caller.number(n), caller.word(triangle)
    all_room = caller.number(room.size)
    if not caller.run((
        to_tridiagonal, which, size, at, size, caller.keep(diagonal), caller.keep(beside),
        caller.keep(factors), caller.keep(room), caller.number(_COLUMNS * n), caller.state(),
        _LENGTH,
    )):
        return None

    half = n // 2
    scale = max(np.abs(diagonal).max(), np.abs(beside[: n - 1]).max())
    if not scale > 0:  # the triangle is empty
        return None
    diagonal /= scale
    beside /= scale
    between = beside[half - 1 : half].copy()
    diagonal[half - 1 : half + 1] -= abs(between[0])
    vectors: Array = new_array((n, n), dtype, n * n)  # one in a row
    vectors[...] = 0
    whole, order = caller.word(b"I"), np.empty(n, np.int64)
    places = np.empty(4 * n + 2 * (3 + 5 * n), np.int64)
    lines = []
    for begin, end in pairwise((0, half, n)):
        order[begin:end] = np.arange(1, end - begin + 1)
        own, here = end - begin, begin * item
        lines.append((
            divide, whole, caller.number(own), address_of(diagonal) + here,
            address_of(beside) + here, address_of(vectors) + (n + 1) * here, size,
            address_of(room) + (n - half + 5) * here, caller.number(1 + 4 * own + own * own),
            caller.keep(places) + 8 * begin * 6, caller.number(3 + 5 * own), caller.state(),
            _LENGTH,
        ))
    if not caller.run(*lines) or not caller.run((
        conquer, size, address_of(diagonal), address_of(vectors), size, caller.keep(order),
        caller.keep(between), caller.number(half), address_of(room), address_of(places),
        caller.state(),
    )):
        return None

    order -= 1
    values = diagonal[order] * scale
    unsorted, vectors = vectors, new_array((n, n), dtype, n * n)
    unsorted.take(order, 0, vectors, "clip")
    came_back = caller.run((
        back, caller.word(b"L"), which, caller.word(b"N"), size, size, at, size,
        address_of(factors), address_of(vectors), size, address_of(room), all_room,
        caller.state(), _LENGTH, _LENGTH, _LENGTH,
    ))
    return (values, vectors.T) if came_back else None
