"""`finfo` and `iinfo`: what numbers a dtype can hold."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from taper.core.dtype import COMPLEX, FLOATING, INTEGER, dtype, get_default_dtype

__all__ = ["finfo", "iinfo"]

# PyTorch's decimal resolutions, 10 ** -digits10 of the C++ types.
_RESOLUTION = {"float64": 1e-15, "float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2,
               "float8_e8m0fnu": 1.0}


class finfo:  # PyTorch's name
    """The limits of a floating point dtype: bits, eps, max, min, tiny, resolution.

    Example:
        >>> import taper as torch
        >>> torch.finfo(torch.float32).eps
        1.1920928955078125e-07
    """

    __module__ = "torch"

    def __init__(self, type: dtype | None = None) -> None:
        kind: Any = get_default_dtype() if type is None else type
        if not isinstance(kind, dtype):
            raise TypeError(
                f"finfo(): argument 'type' (position 1) must be torch.dtype, not "
                f"{kind.__class__.__name__}"
            )
        if kind.category < FLOATING:
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle "
                "'torch.finfo'"
            )
        if kind.category == COMPLEX:
            kind = kind.to_real()
        found = ml_dtypes.finfo(kind.numpy_dtype)  # type: ignore[no-untyped-call]
        self.bits = 8 * kind.itemsize
        self.eps = float(found.eps)
        self.max = float(found.max)
        self.min = float(found.min)
        self.tiny = self.smallest_normal = float(found.smallest_normal)
        self.resolution = _RESOLUTION.get(kind.name, 1.0)
        self.dtype = kind.name

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)


class iinfo:
    """The limits of an integer dtype: bits, max, min.

    Example:
        >>> import taper as torch
        >>> torch.iinfo(torch.int8).max
        127
    """

    __module__ = "torch"

    def __init__(self, type: dtype) -> None:
        if not isinstance(type, dtype):
            raise TypeError(
                f"iinfo(): argument 'type' (position 1) must be torch.dtype, not "
                f"{type.__class__.__name__}"
            )
        if type.category != INTEGER:
            raise TypeError(
                "torch.iinfo() requires an integer input type. Use torch.finfo to handle "
                "'torch.iinfo'"
                if type.category != 0 else "torch.bool is not supported by torch.iinfo"
            )
        found = np.iinfo(type.numpy_dtype)
        self.bits = found.bits
        self.max = int(found.max)
        self.min = int(found.min)
        self.dtype = type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)
