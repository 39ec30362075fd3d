"""Functions and classes that are private or rare in PyTorch, and that packages use all the same."""

from __future__ import annotations

from typing import Any

import taper
from taper.core.dtype import dtype as dtype_class
from taper.core.tensor import Tensor
from taper.ops import softmax as _softmax

__all__ = [
    "Event", "OutOfMemoryError", "PyTorchFileReader", "Stream",
    "_convert_indices_from_coo_to_csr",
    "_convert_indices_from_csr_to_coo", "_log_softmax_backward_data", "_shape_as_tensor",
    "_softmax_backward_data", "get_device_module",
]


class OutOfMemoryError(RuntimeError):
    """Raised when a device has no memory left; never here: the CPU raises RuntimeError."""

    __module__ = "torch"


class PyTorchFileReader:
    """Reads a checkpoint's parts in PyTorch.

    Raises: NotImplementedError: use `torch.load`, whose ``mmap=True`` reads what is looked at.
    """

    __module__ = "torch"

    def __init__(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError(
            "torch.PyTorchFileReader is not here: torch.load(file, mmap=True) reads a checkpoint "
            "without loading what is not looked at"
        )


class _OfAccelerators:
    """Belongs to a device that isn't there."""

    def __init__(self, *args: Any, **options: Any) -> None:
        raise RuntimeError("Cannot access accelerator device when none is available.")


class Stream(_OfAccelerators):
    """A queue of work on an accelerator."""

    __module__ = "torch"


class Event(_OfAccelerators):
    """A place in a queue of work on an accelerator."""

    __module__ = "torch"


def get_device_module(device: Any = None) -> Any:
    """The module of a device's functions: torch.cpu.

    Raises: RuntimeError: for devices without one.
    """
    kind = "cpu" if device is None else taper.device(device).type
    if kind != "cpu":
        raise RuntimeError(
            f"Invalid device module '{kind}' does not exist. If it's a custom device, please make "
            "sure it's registered."
        )
    return taper.cpu


def _shape_as_tensor(self: Tensor) -> Tensor:
    """The sizes as int64 numbers."""
    return taper.tensor(self.shape, dtype=taper.int64)


def _softmax_backward_data(
    grad_output: Tensor, output: Tensor, dim: int, input_dtype: dtype_class
) -> Tensor:
    """The gradient of softmax from its result."""
    result: Tensor = _softmax.softmax_backward.function(grad_output, output, dim)
    return result.to(input_dtype)


def _log_softmax_backward_data(
    grad_output: Tensor, output: Tensor, dim: int, input_dtype: dtype_class
) -> Tensor:
    """The gradient of log_softmax from its result."""
    result: Tensor = _softmax.log_softmax_backward.function(grad_output, output, dim)
    return result.to(input_dtype)


def _convert_indices_from_coo_to_csr(
    input: Tensor, size: int, *, out_int32: bool = False
) -> Tensor:
    """Where each row begins, of rows in ascending order; the last entry is their number."""
    counts = taper.bincount(input, minlength=size)
    starts = taper.cat([counts.new_zeros(1), counts.cumsum(0)])
    return starts.to(taper.int32) if out_int32 else starts


def _convert_indices_from_csr_to_coo(
    crow_indices: Tensor, col_indices: Tensor, *, out_int32: bool = False, transpose: bool = False
) -> Tensor:
    """(2, n): the row and the column of each element; the other way round if `transpose`."""
    counts = crow_indices[1:] - crow_indices[:-1]
    rows = taper.arange(len(counts), dtype=col_indices.dtype).repeat_interleave(counts)
    found = taper.stack([col_indices, rows] if transpose else [rows, col_indices])
    return found.to(taper.int32) if out_int32 else found

