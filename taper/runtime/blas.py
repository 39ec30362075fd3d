"""NumPy's own BLAS, by pointer: products inside native kernels, one thread each.

There is no public way to the library that NumPy is linked to, so symbols are looked up in what its
extension module loaded, under the names that builds of NumPy use, and each candidate must
compute a small product before it is trusted.

OpenBLAS's own threads meet at barriers that spin: on a busy machine a product of two threads took
40 times as long as one of one thread. So kernels on our pool call it with one thread each.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["NO_TRANSPOSE", "ROW_MAJOR", "TRANSPOSE", "Blas", "find_blas", "find_lapack"]

ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE = 101, 111, 112

# (before the routine's name, behind it, type of sizes): Linux and Windows wheels; Accelerate;
# Windows on ARM; Debian and others; conda and everybody else.
_NAMES = (
    ("scipy_cblas_", "64_", "i64"), ("cblas_", "$NEWLAPACK$ILP64", "i64"),
    ("scipy_cblas_", "", "i32"), ("cblas_", "64_", "i64"), ("cblas_", "", "i32"),
)
_C_TYPES = {"i32": ctypes.c_int32, "i64": ctypes.c_int64}


class _OneThread:
    """A context in which BLAS uses the calling thread only. It may be entered many times."""

    def __init__(self, set_threads: Any) -> None:
        self.set_threads = set_threads
        self.lock = threading.Lock()
        self.inside = 0
        self.before = 1

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.before = self.set_threads(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0 and self.before != 1:
                self.set_threads(self.before)


class Blas(NamedTuple):
    """Where cblas_?gemm and cblas_?dot are, and how to call them."""

    gemm: dict[str, int]  # address by kind of number: "f32", "f64"
    dot: dict[str, int]
    integer: str  # LLVM's type of sizes
    one_thread: _OneThread


def _libraries() -> Iterator[Any]:
    extension = importlib.import_module("numpy._core._multiarray_umath")
    yield ctypes.CDLL(str(extension.__file__))  # finds what it depends on, too
    if sys.platform == "win32":  # where a library finds its own symbols only
        for file in (Path(np.__file__).parents[1] / "numpy.libs").glob("*openblas*.dll"):
            yield ctypes.CDLL(str(file))


def _thread_setter(library: Any) -> Callable[[int], int]:
    """A function that sets how many threads BLAS uses, and returns how many they were.

    Of the calling thread where that can be said (some builds of OpenBLAS, and MKL), else of all.
    Where there is neither, as with Accelerate, it does nothing.
    """
    for name in ("openblas_set_num_threads_local", "mkl_set_num_threads_local"):
        found = getattr(library, name, None)
        if found is not None:
            return found
    for before, behind in product(("scipy_openblas_", "openblas_"), ("64_", "")):
        tell = getattr(library, f"{before}get_num_threads{behind}", None)
        change = getattr(library, f"{before}set_num_threads{behind}", None)
        if tell is not None and change is not None:
            return _setter_of(tell, change)
    return lambda count: count


def _setter_of(tell: Any, change: Any) -> Callable[[int], int]:
    def exchange(count: int) -> int:
        before = int(tell())
        change(count)
        return before

    return exchange


def _computes(function: Any, integer: str, dtype: Any, scalar: Any) -> bool:
    """Whether a candidate multiplies 3 x 7 by 7 x 5 as it should."""
    size, pointer = _C_TYPES[integer], ctypes.c_void_p
    function.restype = None
    function.argtypes = [
        *[ctypes.c_int] * 3, *[size] * 3, scalar, pointer, size, pointer, size, scalar, pointer,
        size,
    ]
    a = np.arange(21, dtype=dtype).reshape(3, 7)
    b = np.arange(35, dtype=dtype).reshape(5, 7)
    c = np.full((3, 5), 9, dtype)
    function(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, 3, 5, 7, 1.0, a.ctypes.data, 7, b.ctypes.data, 7,
             0.0, c.ctypes.data, 5)
    return bool((c == a.dot(b.T)).all())


@cache
def find_blas() -> Blas | None:
    """NumPy's BLAS; None where it isn't found."""
    for library in _libraries():
        for before, behind, integer in _NAMES:
            try:
                single, double, *dots = [
                    getattr(library, f"{before}{name}{behind}")
                    for name in ("sgemm", "dgemm", "sdot", "ddot")
                ]
            except AttributeError:
                continue
            if _computes(single, integer, np.float32, ctypes.c_float) and _computes(
                double, integer, np.float64, ctypes.c_double
            ):
                gemm, dot = _addresses(single, double), _addresses(*dots)
                return Blas(gemm, dot, integer, _OneThread(_thread_setter(library)))
    return None


@cache
def find_lapack(names: tuple[str, ...]) -> tuple[int, ...] | None:
    """The addresses of LAPACK's routines in NumPy's library, if it is one whose integers have 64
    bits, as its names say; None where one isn't found."""
    for library in _libraries():
        for before in ("scipy_", ""):
            try:
                found = [getattr(library, f"{before}{name}_64_") for name in names]
            except AttributeError:
                continue
            return tuple([ctypes.cast(function, ctypes.c_void_p).value or 0 for function in found])
    return None


def _addresses(single: Any, double: Any) -> dict[str, int]:
    return {
        kind: int(ctypes.cast(function, ctypes.c_void_p).value or 0)
        for kind, function in (("f32", single), ("f64", double))
    }
