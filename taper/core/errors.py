"""Builders of the error messages that many operators share, in PyTorch's words.

Each returns the exception, for the caller to raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "LinAlgError", "argument_error", "broadcast_error", "device_error", "dim_error", "expand_error",
    "normalize_dim", "normalize_dims", "overlap_error", "set_by_ops",
]


def set_by_ops(*args: Any) -> Any:
    """Stands for a function until `taper.ops`, which lies above those that call it, sets it."""
    raise RuntimeError("taper.ops has to be imported first")


class _LinAlgError(RuntimeError):
    """A matrix that an algorithm of linear algebra can't handle: singular, not definite …"""

    __module__ = "torch._C"


LinAlgError = _LinAlgError


def type_name(value: Any) -> str:
    """A type as PyTorch's argument parser names it."""
    name = type(value).__name__
    if isinstance(value, (tuple, list)) and name in ("tuple", "list"):
        if not value:
            return name
        return f"{name} of ({', '.join(type(v).__name__ for v in value)})" if (
            name == "tuple") else name
    return name


def argument_error(
    function: str, argument: str, position: int, role: str, value: Any
) -> TypeError:
    """An argument of the wrong type."""
    wanted = "tuple of Tensors" if role == "list" else "Tensor"
    if role == "list" and isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            if not hasattr(item, "_array"):
                return TypeError(
                    f"expected Tensor as element {i} in argument {position - 1}, but got "
                    f"{type(item).__name__}"
                )
    return TypeError(
        f"{function}(): argument '{argument}' (position {position}) must be {wanted}, not "
        f"{type(value).__name__}"
    )


def broadcast_error(shapes: Sequence[tuple[int, ...]]) -> RuntimeError | None:
    """Shapes that can't be broadcast together; None if they can."""
    if len(shapes) < 2:
        return None
    result = list(shapes[0])
    for shape in shapes[1:]:
        ndim = max(len(result), len(shape))
        first = [1] * (ndim - len(result)) + result
        second = [1] * (ndim - len(shape)) + list(shape)
        for dim in range(ndim - 1, -1, -1):
            a, b = first[dim], second[dim]
            if a != b and a != 1 and b != 1:
                return RuntimeError(
                    f"The size of tensor a ({a}) must match the size of tensor b ({b}) at "
                    f"non-singleton dimension {dim}"
                )
        result = [b if a == 1 else a for a, b in zip(first, second, strict=True)]
    return None


def expand_error(sizes: Sequence[int], shape: Sequence[int]) -> RuntimeError:
    """A tensor of `shape` that can't be expanded to `sizes`."""
    lead = len(sizes) - len(shape)
    if lead < 0:
        return RuntimeError(
            f"expand(torch.FloatTensor{{{list(shape)}}}, size={list(sizes)}): the number of sizes "
            f"provided ({len(sizes)}) must be greater or equal to the number of dimensions in the "
            f"tensor ({len(shape)})"
        )
    for dim in range(len(sizes) - 1, lead - 1, -1):
        wanted, found = sizes[dim], shape[dim - lead]
        if found not in (1, wanted):
            return RuntimeError(
                f"The expanded size of the tensor ({wanted}) must match the existing size "
                f"({found}) at non-singleton dimension {dim}.  Target sizes: {list(sizes)}.  "
                f"Tensor sizes: {list(shape)}"
            )
    return RuntimeError(f"cannot expand {list(shape)} to {list(sizes)}")


def device_error(function: str, tensors: Sequence[Any]) -> RuntimeError:
    """Tensors on different devices."""
    devices = []
    for t in tensors:
        if str(t.device) not in devices:
            devices.append(str(t.device))
    return RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, "
        f"{devices[0]} and {devices[1]}! (in {function}())"
    )


def overlap_error() -> RuntimeError:
    """Writing to a tensor whose elements share memory."""
    return RuntimeError(
        "unsupported operation: more than one element of the written-to tensor refers to a single "
        "memory location. Please clone() the tensor before performing the operation."
    )


def dim_error(dim: int, ndim: int) -> IndexError:
    """A dimension that the tensor does not have."""
    low, high = (-ndim, ndim - 1) if ndim else (-1, 0)
    return IndexError(
        f"Dimension out of range (expected to be in range of [{low}, {high}], but got {dim})"
    )


def normalize_dim(dim: Any, ndim: int) -> int:
    """A dimension counted from the front; 0-d tensors count as having one. Raises IndexError,
    or TypeError if `dim` is no integer."""
    size = ndim or 1
    if type(dim) is not int:
        try:
            index = dim.__index__
        except AttributeError:
            index = None
        if index is None or type(dim) is bool:
            raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}")
        dim = index()
    if -size <= dim < size:
        return dim + size if dim < 0 else dim  # type: ignore[no-any-return]
    raise dim_error(dim, ndim)


def normalize_dims(dims: Any, ndim: int) -> tuple[int, ...]:
    """Several dimensions counted from the front. Raises RuntimeError if one appears twice."""
    found = tuple([normalize_dim(d, ndim) for d in dims])
    if len(set(found)) != len(found):
        twice = next(d for d in found if found.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return found
