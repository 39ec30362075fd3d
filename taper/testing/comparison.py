"""`assert_close`: are two tensors, or collections of them, equal up to rounding?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import taper
from taper import Tensor

__all__ = ["assert_close"]

# (rtol, atol) by dtype; PyTorch documentation, "torch.testing".
_TOLERANCES = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7), "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
    atol: float | None = None, equal_nan: bool = False, check_device: bool = True,
    check_dtype: bool = True, check_layout: bool = True, check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    r"""Raises AssertionError unless :math:`|a - e| \le atol + rtol\,|e|` everywhere.

    Args:
        actual, expected: tensors, numbers, arrays, or sequences and mappings of these.
        rtol, atol: both or neither; default by dtype.
        equal_nan: NaNs are equal to each other.
        msg: the error message, or a function that makes one from the generated message.
    Example:
        >>> import taper as torch
        >>> torch.testing.assert_close(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            "rtol and atol must both be specified or both be unspecified, but got "
            f"rtol={rtol} and atol={atol} instead."
        )
    options = (rtol, atol, equal_nan, check_device, check_dtype, check_layout, check_stride)
    problem = _compare(actual, expected, options, "")
    if problem is not None:
        if callable(msg):
            problem = msg(problem)
        raise AssertionError(msg if isinstance(msg, str) else problem)


def _compare(actual: Any, expected: Any, options: Any, where: str) -> str | None:
    """The message about the first difference; None if there is none."""
    at = f"\n\nThe failure occurred for item {where}" if where else ""
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            missing = sorted(map(str, set(expected) - set(actual)))
            added = sorted(map(str, set(actual) - set(expected)))
            return (
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {missing}\n"
                f"Additional keys in the actual mapping: {added}" + at
            )
        items: Any = [(f"[{k!r}]", actual[k], expected[k]) for k in expected]
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            return f"The length of the sequences mismatch: {len(actual)} != {len(expected)}" + at
        items = [(f"[{i}]", a, e) for i, (a, e) in enumerate(zip(actual, expected, strict=True))]
    elif actual is None or expected is None:
        return None if actual is expected else f"None mismatch: {actual} is not {expected}" + at
    else:
        found = _compare_values(actual, expected, options)
        return None if found is None else found + at
    for name, a, e in items:
        problem = _compare(a, e, options, where + name)
        if problem is not None:
            return problem
    return None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (bool, int, float, complex)):
        kinds = {bool: taper.bool, int: taper.int64, float: taper.float64}
        return taper.tensor(value, dtype=kinds.get(type(value), taper.complex128))
    try:
        return taper.as_tensor(np.asarray(value))
    except (TypeError, ValueError):
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(value)} and {type(value)}."
        ) from None


def _compare_values(actual: Any, expected: Any, options: Any) -> str | None:
    rtol, atol, equal_nan, check_device, check_dtype, check_layout, check_stride = options
    scalars = not isinstance(actual, Tensor) and not isinstance(expected, Tensor)
    a, e = _as_tensor(actual).detach(), _as_tensor(expected).detach()
    if a.shape != e.shape:
        return f"The values for attribute 'shape' do not match: {a.shape} != {e.shape}."
    if check_layout and a.layout is not e.layout:
        return f"The values for attribute 'layout' do not match: {a.layout} != {e.layout}."
    if check_device and a.device != e.device:
        return f"The values for attribute 'device' do not match: {a.device} != {e.device}."
    if check_dtype and a.dtype is not e.dtype and not scalars:
        return f"The values for attribute 'dtype' do not match: {a.dtype} != {e.dtype}."
    if check_stride and a.stride() != e.stride():
        return f"The values for attribute 'stride()' do not match: {a.stride()} != {e.stride()}."
    if rtol is None:
        pairs = [_TOLERANCES.get(t.dtype.name, (0.0, 0.0)) for t in (a, e)]
        rtol, atol = (max(column) for column in zip(*pairs, strict=True))
    if a.layout is not taper.strided:
        a, e = a.to_dense(), e.to_dense()
    common = taper.promote_types(a.dtype, e.dtype) if a.dtype is not e.dtype else a.dtype
    a, e = a.to(common), e.to(common)
    close = taper.isclose(a, e, rtol=rtol, atol=atol, equal_nan=equal_nan)
    if bool(close.all()):
        return None
    return _scalar_message(a, e, rtol, atol) if a.ndim == 0 else _message(a, e, close, rtol, atol)


def _kind(rtol: float, atol: float) -> str:
    return "equal" if rtol == 0 and atol == 0 else "close"


def _differences(a: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    wide = taper.complex128 if a.is_complex() else taper.float64
    difference = (a.to(wide) - e.to(wide)).abs()
    return difference, difference / e.to(wide).abs()


def _scalar_message(a: Tensor, e: Tensor, rtol: float, atol: float) -> str:
    difference, relative = _differences(a, e)
    text = f"Scalars are not {_kind(rtol, atol)}!\n\n"
    text += f"Expected {e.item()} but got {a.item()}.\n"
    text += f"Absolute difference: {difference.item()}"
    text += f" (up to {atol} allowed)\n" if _kind(rtol, atol) == "close" else "\n"
    text += f"Relative difference: {relative.item()}"
    return text + (f" (up to {rtol} allowed)" if _kind(rtol, atol) == "close" else "")


def _message(a: Tensor, e: Tensor, close: Tensor, rtol: float, atol: float) -> str:
    difference, relative = _differences(a, e)
    difference = difference.masked_fill(close, 0)
    relative = relative.masked_fill(close, 0)
    wrong, total = int((~close).sum()), close.numel()
    lines = [
        f"Tensor-likes are not {_kind(rtol, atol)}!\n",
        f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})",
    ]
    for name, values, allowed in (
        ("absolute", difference, atol), ("relative", relative, rtol)
    ):
        flat = int(values.argmax())
        index = tuple(int(i) for i in np.unravel_index(flat, tuple(values.shape)))
        suffix = f" (up to {allowed} allowed)" if _kind(rtol, atol) == "close" else ""
        lines.append(
            f"Greatest {name} difference: {values.reshape(-1)[flat].item()} at index {index}"
            + suffix
        )
    return "\n".join(lines)
