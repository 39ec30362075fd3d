"""Assertions under the names that libraries call: `torch._check`, `torch._assert` and the like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.core.overrides import has_override, intercept
from taper.core.tensor import Tensor

__all__ = [
    "_assert", "_assert_async", "_check", "_check_index", "_check_is_size",
    "_check_not_implemented", "_check_tensor_all", "_check_tensor_all_with", "_check_type",
    "_check_value", "_check_with", "all_hold",
]

Message = Callable[[], str] | None


def all_hold(conditions: Tensor) -> bool:
    """Whether all elements of a bool tensor are true.

    A step that is being recorded goes on as if they were; its program checks it.
    """
    array: Any = conditions._array
    claim = getattr(array, "claim", None)  # arrays/traced.py
    return bool(conditions.all()) if claim is None else claim()


def _assert_async(input: Tensor, assert_msg: str = "") -> None:
    """Raises unless the tensor's one element is true; on a GPU PyTorch would do so later."""
    if not all_hold(input != 0):
        raise RuntimeError(
            assert_msg or "Expected Tensor with single nonzero value, but got zero")


_NO_MESSAGE = (
    "Expected cond to be True, but got False. (Could this error message be improved? If so, "
    "please report an enhancement request to PyTorch.)"
)


def _check_with(error_type: type[Exception], cond: Any, message: Message = None) -> None:
    """Raises an error of that type unless a bool is True; `message` is called for its text."""
    if not isinstance(cond, bool):
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    if message is None:
        raise error_type(_NO_MESSAGE)
    if not callable(message):
        raise TypeError("message must be a callable")
    raise error_type(str(message()))


def _check(cond: Any, message: Message = None) -> None:
    """Raises RuntimeError unless `cond`.

    Example:
        >>> import taper as torch
        >>> torch._check(1 < 2, lambda: "one is not less than two")
    """
    _check_with(RuntimeError, cond, message)


def _check_index(cond: Any, message: Message = None) -> None:
    """Raises IndexError unless `cond`."""
    _check_with(IndexError, cond, message)


def _check_value(cond: Any, message: Message = None) -> None:
    """Raises ValueError unless `cond`."""
    _check_with(ValueError, cond, message)


def _check_type(cond: Any, message: Message = None) -> None:
    """Raises TypeError unless `cond`."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond: Any, message: Message = None) -> None:
    """Raises NotImplementedError unless `cond`."""
    _check_with(NotImplementedError, cond, message)


def _check_is_size(i: int, message: Message = None, *, max: int | None = None) -> None:
    """Raises RuntimeError unless `i` is a size: not negative, and no more than `max`."""
    _check(i >= 0 and (max is None or i <= max), message)


def _check_tensor_all_with(
    error_type: type[Exception], cond: Any, message: Message = None
) -> None:
    """Raises an error of that type unless all elements of a bool tensor are True."""
    if not isinstance(cond, Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    if not cond.dtype.name == "bool":
        raise TypeError(f"cond tensor must have dtype torch.bool, but got {cond.dtype}")
    _check_with(error_type, bool(cond.all().item()), message)


def _check_tensor_all(cond: Any, message: Message = None) -> None:
    """Raises RuntimeError unless all elements of a bool tensor are True."""
    _check_tensor_all_with(RuntimeError, cond, message)


def _assert(condition: Any, message: str) -> None:
    """An `assert` that is a function."""
    if has_override(condition):
        intercept(_assert, (condition,), (condition, message))
        return
    assert condition, message
