"""Finds the public names of the torch namespace: dtypes, operators, constants, everything else.

Loading this module loads the operators; `import taper` alone does not.
"""

from __future__ import annotations

import importlib
import math
import sys
from typing import Any

import taper.autograd.tensor_history
import taper.core.floating_point
import taper.foreach
import taper.ops  # declares the operators
from taper.core.device import contiguous_format
from taper.core.dtype import DTYPE_NAMES
from taper.ops.namespace import find, names_below

__all__ = ["find_public", "public_names"]

taper.core.floating_point.install()

_CONSTANTS: dict[str, Any] = {
    "legacy_contiguous_format": contiguous_format,
    "pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan, "newaxis": None,
    # What PyTorch was built with, and NumPy and SciPy have as well; BLAS is OpenBLAS, not MKL.
    "has_lapack": True, "has_spectral": True, "has_openmp": False, "has_mkl": False,
}


def find_public(name: str, homes: dict[str, str]) -> Any:
    """The object called `name` in the torch namespace; AttributeError if there is none."""
    if name in DTYPE_NAMES:
        return DTYPE_NAMES[name]
    if name in homes:
        return getattr(importlib.import_module(homes[name]), name)
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if name == "torch":  # PyTorch's package has itself as an attribute, and programs use it
        return sys.modules["taper"]
    if name.startswith("_foreach_") and name in taper.foreach.NAMES:
        return taper.foreach.find(name)
    try:
        return find(name)
    except AttributeError:
        raise AttributeError(f"module 'torch' has no attribute '{name}'") from None


def public_names() -> list[str]:
    """All names that `find_public` knows without being told homes."""
    return [*DTYPE_NAMES, *_CONSTANTS, *names_below("")]
