"""`torch.autograd.forward_ad`: dual tensors, for derivatives that are computed forward.

    with forward_ad.dual_level():
        dual = forward_ad.make_dual(primal, tangent)
        value, derivative = forward_ad.unpack_dual(function(dual))
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from taper.autograd.modes import decorate
from taper.autograd.tangents import (
    DualLevel,
    below,
    forward_grad_mode,
    set_tangent,
    tangent_of,
)
from taper.core.tensor import Tensor

__all__ = [
    "UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual",
    "unpack_dual",
]

_open: list[DualLevel] = []


class UnpackedDualTensor(NamedTuple):
    """What `unpack_dual` returns: the tensor without its tangent, and the tangent or None."""

    primal: Tensor
    tangent: Tensor | None


def enter_dual_level() -> int:
    """Opens a level for dual tensors and returns its number; `dual_level` closes it, too.

    Raises:   RuntimeError: if one is open already: functions nest with `torch.func.jvp`
    """
    if _open:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _open.append(DualLevel())
    return len(_open) - 1


def exit_dual_level(*, level: int | None = None) -> None:
    """Closes the level: its tangents are dropped."""
    if level is None:
        level = len(_open) - 1
    if level != len(_open) - 1:
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is "
            "not supported."
        )
    if not _open:
        raise RuntimeError("Dual level must be a positive number.")
    _open.pop().close()


class dual_level:  # PyTorch's name
    """A block, or every call of a decorated function, in which dual tensors can be made.

    Example:
        >>> import taper as torch
        >>> import taper.autograd.forward_ad as forward_ad
        >>> with forward_ad.dual_level():
        ...     x = forward_ad.make_dual(torch.tensor(3.), torch.tensor(1.))
        ...     forward_ad.unpack_dual(x * x).tangent
        tensor(6.)
    """

    __module__ = "torch.autograd.forward_ad"

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exception: Any) -> None:
        exit_dual_level()

    def __call__(self, function: Any) -> Any:
        return decorate(dual_level, function)


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """Returns a view of `tensor` with a tangent: what is computed from it has tangents as well.

    Args:   tangent: of the same shape. It is not copied, so in-place changes of the dual reach it.
    Raises: RuntimeError: outside of a level, or if the shapes differ
    """
    number = len(_open) - 1 if level is None else level
    if number < 0:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to "
            "enter_dual_level() first."
        )
    return dual(tensor, tangent, _open[number], number)


def dual(tensor: Tensor, tangent: Tensor, level: DualLevel, number: int) -> Tensor:
    """A view of `tensor` with a tangent of `level`, which is called `number`."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise ValueError(
            f"Expected primal to be floating point or complex, but got: {tensor.dtype}"
        )
    if not (tangent.is_floating_point() or tangent.is_complex()):
        raise ValueError(
            f"Expected tangent to be floating point or complex, but got: {tangent.dtype}"
        )
    if tangent_of(tensor, level) is not None:
        raise RuntimeError(
            "Making a dual Tensor based on a Tensor that already has a forward gradient at the "
            f"same level {number} is not supported."
        )
    if tangent._array.shape != tensor._array.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original "
            f"Tensor, this is not supported. Tensor is of size {list(tensor._array.shape)} while "
            f"the given forward gradient is of size {list(tangent._array.shape)}."
        )
    result: Tensor = tensor.view_as(tensor)
    result._base = None  # its tangent is no part of another's
    set_tangent(result, level, _laid_out(tangent, tensor))
    return result


def _laid_out(tangent: Tensor, tensor: Tensor) -> Tensor:
    """The tangent in the layout of its tensor; a copy where that differs."""
    theirs, ours = tensor._array, tangent._array
    if type(theirs) is not np.ndarray or type(ours) is not np.ndarray:
        return tangent
    return tangent if theirs.strides == ours.strides else tangent.clone()


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """Returns the tensor without its tangent, and its tangent, None if it has none."""
    number = len(_open) - 1 if level is None else level
    if number < 0:
        return UnpackedDualTensor(tensor, None)
    tangent = tangent_of(tensor, _open[number])
    if tangent is None:
        return UnpackedDualTensor(tensor.view_as(tensor), None)
    return UnpackedDualTensor(below(tensor, _open[number]), tangent)


class _set_fwd_grad_enabled:  # PyTorch's name
    """A block in which operators pass tangents on, or don't."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        self.prev = forward_grad_mode.get()
        forward_grad_mode.set(self.mode)

    def __exit__(self, *exception: Any) -> None:
        forward_grad_mode.set(self.prev)


def _is_fwd_grad_enabled() -> bool:
    """Returns whether operators pass tangents on."""
    return forward_grad_mode.get()
