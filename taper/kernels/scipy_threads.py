"""Keeps SciPy's BLAS from starting threads for small problems.

Its OpenBLAS spins at barriers, also for a 3 x 3 matrix: on a busy machine of two cores a solution
from LU factors took 12 ms instead of 16 us. Large problems keep all their threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

__all__ = ["threads_for", "with_fitting_threads"]

F = TypeVar("F", bound=Callable[..., Any])

_SMALL = 512 * 512  # elements of a matrix; below that more threads gain little on an idle machine


@cache
def _controls() -> tuple[Any, Any] | None:
    """OpenBLAS's functions that tell and set the number of threads; None where there are none."""
    import scipy.linalg.lapack  # loads the library

    package = Path(scipy.__file__).parent
    for folder in (package.parent / "scipy.libs", package / ".dylibs"):
        for file in folder.glob("*openblas*"):
            try:
                library = ctypes.CDLL(str(file))
                tell = library.scipy_openblas_get_num_threads
                set_ = library.scipy_openblas_set_num_threads
            except (OSError, AttributeError):
                continue
            set_.argtypes = [ctypes.c_int]
            return tell, set_
    return None


class _OneThread:
    """A context in which SciPy's BLAS uses one thread."""

    __slots__ = ("before",)

    def __enter__(self) -> None:
        self.before = 1
        controls = _controls()
        if controls is not None:
            self.before = controls[0]()
            if self.before != 1:
                controls[1](1)

    def __exit__(self, *error: Any) -> None:
        if self.before != 1:
            controls = _controls()
            assert controls is not None
            controls[1](self.before)


class _AllThreads:
    """A context that changes nothing."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        pass


def threads_for(*matrices: Any) -> Any:
    """A context for calls of LAPACK on (batches of) these matrices, one at a time."""
    largest = max((m.shape[-1] * m.shape[-2] for m in matrices), default=0)
    return _OneThread() if largest < _SMALL else _AllThreads()


def with_fitting_threads(function: F) -> F:
    """Decorates a function that calls SciPy with the arrays of matrices among its arguments."""

    @wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        with threads_for(*[a for a in args if isinstance(a, np.ndarray) and a.ndim > 1]):
            return function(*args, **keywords)

    return call  # type: ignore[return-value]
