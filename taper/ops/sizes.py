"""Reads sizes as PyTorch's argument parser does: ints, NumPy ints, 0-d tensors, sequences."""

from __future__ import annotations

import operator
from typing import Any

from taper.core.symbolic import SymInt

__all__ = ["as_sizes", "inferred_shape", "size_arguments"]


def as_sizes(function: str, size: Any, argument: str = "size") -> tuple[int, ...]:
    """A size argument as a tuple of ints; TypeError in PyTorch's words for anything else."""
    if not isinstance(size, (tuple, list)):
        if type(size) is SymInt:
            return (size,)
        try:
            return (operator.index(size),)
        except TypeError:
            raise TypeError(
                f"{function}(): argument '{argument}' (position 1) must be tuple of ints, not "
                f"{type(size).__name__}"
            ) from None
    result = []
    for position, item in enumerate(size):
        if type(item) is not int and type(item) is not SymInt:
            try:
                item = operator.index(item)
            except TypeError:
                if position == 0:
                    raise TypeError(
                        f"{function}(): argument '{argument}' (position 1) must be tuple of ints, "
                        f"but found element of type {type(item).__name__} at pos 0"
                    ) from None
                raise TypeError(
                    f"{function}(): argument '{argument}' failed to unpack the object at pos "
                    f'{position + 1} with error "type must be tuple of ints,but got '
                    f'{type(item).__name__}"'
                ) from None
        if not -(2**63) <= item < 2**63:
            raise TypeError(
                f"{function}(): argument '{argument}' failed to unpack the object at pos "
                f'{position + 1} with error "Overflow when unpacking long long"'
            )
        result.append(item)
    return tuple(result)


def size_arguments(function: str, given: tuple[Any, ...], named: Any = None) -> tuple[int, ...]:
    """Sizes given one by one, as one sequence, or as `size=`; none may be negative."""
    size: Any = given if named is None else (named,)
    if not size:
        raise TypeError(f'{function}() missing 1 required positional arguments: "size"')
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    elif type(size[0]) is bool or not hasattr(size[0], "__index__"):
        raise TypeError(
            f"{function}(): argument 'size' (position 1) must be tuple of ints, not "
            f"{type(size[0]).__name__}"
        )
    sizes = as_sizes(function, size)
    elements = 1
    for n in sizes:
        elements *= n
        if n < 0:
            if function == "zeros":
                raise RuntimeError("zeros: Dimension size must be non-negative.")
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: {list(sizes)}"
            )
    if elements >= 2**60:  # more bytes than there are addresses
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(sizes)}")
    return sizes


def inferred_shape(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """A shape for `size` elements, its -1 replaced; raises PyTorch's errors if it can't be."""
    known = 1
    unknown = None
    for d, n in enumerate(shape):
        if n == -1:
            if unknown is not None:
                raise RuntimeError("only one dimension can be inferred")
            unknown = d
        elif n < 0:
            raise RuntimeError(f"invalid shape dimension {n}")
        else:
            known *= n
    if unknown is None:
        if known != size:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
        return shape
    if known == 0:
        if size == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    if size % known:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    return (*shape[:unknown], size // known, *shape[unknown + 1 :])
