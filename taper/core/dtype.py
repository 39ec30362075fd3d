"""Data types: one singleton per PyTorch dtype, each naming the NumPy dtype that stores it.

Promotion between dtypes lives in `core/promotion.py`.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["as_dtype", "dtype", "from_numpy_dtype", "get_default_dtype", "set_default_dtype"]


class dtype:  # PyTorch's name
    """The type of a tensor's elements, such as ``torch.float32``."""

    __slots__ = (
        "__weakref__", "_alias", "category", "is_complex", "is_floating_point", "is_signed",
        "itemsize", "name", "numpy_dtype",
    )
    __module__ = "torch"
    _alias: str

    def __init__(self, name: str, numpy_dtype: Any, category: int, alias: str = "") -> None:
        self.name = name
        self.numpy_dtype: np.dtype[Any] = np.dtype(numpy_dtype)
        self.category = category  # 0 bool, 1 integer, 2 floating point, 3 complex
        self.itemsize = self.numpy_dtype.itemsize
        self.is_floating_point = category == FLOATING
        self.is_complex = category == COMPLEX
        self.is_signed = category >= FLOATING or self.numpy_dtype.kind == "i"
        self._alias = alias

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return (dtype_named, (self.name,))

    def __copy__(self) -> dtype:
        return self

    def __deepcopy__(self, memo: Any) -> dtype:
        return self

    def to_real(self) -> dtype:
        """The dtype of the real part: complex64 → float32; others unchanged."""
        return _TO_REAL.get(self, self)

    def to_complex(self) -> dtype:
        """The complex dtype whose parts have this dtype."""
        try:
            return _TO_COMPLEX[self]
        except KeyError:
            raise TypeError(f"{self!r} has no complex counterpart") from None


BOOL, INTEGER, FLOATING, COMPLEX = range(4)

bool_ = dtype("bool", np.bool_, BOOL)
uint8 = dtype("uint8", np.uint8, INTEGER)
int8 = dtype("int8", np.int8, INTEGER)
int16 = dtype("int16", np.int16, INTEGER, "short")
int32 = dtype("int32", np.int32, INTEGER, "int")
int64 = dtype("int64", np.int64, INTEGER, "long")
uint16 = dtype("uint16", np.uint16, INTEGER)
uint32 = dtype("uint32", np.uint32, INTEGER)
uint64 = dtype("uint64", np.uint64, INTEGER)
float16 = dtype("float16", np.float16, FLOATING, "half")
float32 = dtype("float32", np.float32, FLOATING, "float")
float64 = dtype("float64", np.float64, FLOATING, "double")
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, FLOATING)
float8_e4m3fn = dtype("float8_e4m3fn", ml_dtypes.float8_e4m3fn, FLOATING)
float8_e5m2 = dtype("float8_e5m2", ml_dtypes.float8_e5m2, FLOATING)
float8_e4m3fnuz = dtype("float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz, FLOATING)
float8_e5m2fnuz = dtype("float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz, FLOATING)
float8_e8m0fnu = dtype("float8_e8m0fnu", ml_dtypes.float8_e8m0fnu, FLOATING)
complex64 = dtype("complex64", np.complex64, COMPLEX, "cfloat")
complex128 = dtype("complex128", np.complex128, COMPLEX, "cdouble")

class UnsupportedDtype(dtype):
    """A dtype of PyTorch's that NumPy can't compute with: it has a name and a size, no tensors."""

    __slots__ = ("advice",)
    __module__ = "torch"

    def __init__(self, name: str, size: int, category: int, alias: str, advice: str) -> None:
        self.name = name
        self.category = category
        self.itemsize = size
        self.is_floating_point = category == FLOATING
        self.is_complex = category == COMPLEX
        self.is_signed = category >= FLOATING
        self._alias = alias
        self.advice = advice

    @property
    def numpy_dtype(self) -> Any:  # type: ignore[override]
        raise self.error()

    def error(self) -> NotImplementedError:
        """What making a tensor of this dtype raises."""
        return NotImplementedError(f"{self!r} is not supported: {self.advice}")


complex32 = UnsupportedDtype(
    "complex32", 4, COMPLEX, "chalf",
    "NumPy has no complex numbers of half precision. Use torch.complex64.",
)

ALL_DTYPES: tuple[dtype, ...] = tuple(v for v in list(globals().values()) if type(v) is dtype)
_BY_NAME = {d.name: d for d in ALL_DTYPES}
_BY_NUMPY: dict[np.dtype[Any], dtype] = {d.numpy_dtype: d for d in ALL_DTYPES}
_TO_COMPLEX = {
    float16: complex32, complex32: complex32, float32: complex64, complex64: complex64,
    float64: complex128, complex128: complex128,
}
_TO_REAL = {complex32: float16, complex64: float32, complex128: float64}
REDUCED_FLOATS = frozenset((float16, bfloat16, float8_e4m3fn, float8_e5m2, float8_e4m3fnuz,
                            float8_e5m2fnuz, float8_e8m0fnu))

# Public names of the dtypes in the torch namespace, aliases included.
DTYPE_NAMES: dict[str, dtype] = dict(_BY_NAME)
DTYPE_NAMES["complex32"] = DTYPE_NAMES["chalf"] = complex32
DTYPE_NAMES.update({d._alias: d for d in ALL_DTYPES if d._alias})


def dtype_named(name: str) -> dtype:
    """The dtype with this name, such as ``"float32"`` (used by pickle)."""
    return DTYPE_NAMES[name]


def from_numpy_dtype(numpy_dtype: np.dtype[Any]) -> dtype:
    """The dtype that stores its elements as `numpy_dtype`; TypeError if there is none."""
    found = _BY_NUMPY.get(numpy_dtype)
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type {_numpy_type_name(numpy_dtype)}. The only supported "
            "types are: float64, float32, float16, complex64, complex128, int64, int32, int16, "
            "int8, uint64, uint32, uint16, uint8, and bool."
        )
    return found


def _numpy_type_name(numpy_dtype: np.dtype[Any]) -> str:
    return f"numpy.{numpy_dtype.type.__name__}"


_PYTHON_TYPES: dict[Any, dtype] = {bool: bool_, int: int64, float: float64, complex: complex128}


def as_dtype(value: Any, function: str = "dtype") -> dtype | None:
    """Reads a `dtype=` argument: None, a dtype, or one of Python's own number types."""
    if value is None or type(value) is dtype:
        return value
    try:
        return _PYTHON_TYPES[value]
    except (KeyError, TypeError):
        if isinstance(value, UnsupportedDtype):
            raise value.error() from None
        raise TypeError(
            f"{function}(): argument 'dtype' must be torch.dtype, not {type(value).__name__}"
        ) from None


# The dtypes that PyTorch's first releases had: each has classes of its own (FloatTensor …).
LEGACY_DTYPES = {
    "Float": float32, "Double": float64, "Half": float16, "BFloat16": bfloat16, "Byte": uint8,
    "Char": int8, "Short": int16, "Int": int32, "Long": int64, "Bool": bool_,
    "ComplexFloat": complex64, "ComplexDouble": complex128,
}
_LEGACY_NAMES = {d: name for name, d in LEGACY_DTYPES.items()}


def scalar_type_name(d: dtype) -> str:
    """PyTorch's C++ name of a dtype, as its error messages use it: ``Float``, ``Long`` …"""
    name = _LEGACY_NAMES.get(d) or d.name.capitalize()
    return name.replace("Uint", "UInt")


def legacy_type_name(d: dtype, device_type: str = "cpu") -> str:
    """PyTorch's older name of a tensor type: ``torch.FloatTensor`` for float32."""
    room = "" if device_type == "cpu" else f".{device_type}"
    return f"torch{room}.{scalar_type_name(d)}Tensor"


def internal_type_name(d: dtype) -> str:
    """PyTorch's name in errors of autograd: as above, but for some types their C++ name."""
    if d.is_complex or d.name in ("bool", "bfloat16"):
        kind = {"bool": "Bool", "bfloat16": "BFloat16", "complex128": "ComplexDouble"}.get(d.name)
        return f"CPU{kind or ('ComplexFloat' if d.name == 'complex64' else 'ComplexHalf')}Type"
    return legacy_type_name(d)


_default: list[dtype] = [float32]


def get_default_dtype() -> dtype:
    """Returns the dtype that Python floats become: ``torch.float32`` unless changed."""
    return _default[0]


def set_default_dtype(d: dtype) -> None:
    """Sets the dtype that Python floats become (and, with it, that of complex numbers).

    Raises: TypeError: if `d` is not a floating point dtype of 16 bits or more.
    """
    if type(d) is not dtype or d not in (float16, float32, float64, bfloat16):
        raise TypeError(
            "invalid dtype object: only floating-point types are supported as the default type"
        )
    _default[0] = d
