"""Methods about a tensor's memory, and the older ones that call Python for each element."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.stand_in import refusal
from taper.core.device import memory_format
from taper.core.dtype import as_dtype, get_default_dtype
from taper.core.storage import address_of, is_dense, owner_of, span_in_bytes
from taper.core.tensor import Tensor
from taper.ops import slow
from taper.ops.declare import composite, method
from taper.ops.options import dense_order, finish


@composite(differentiable=False)
def detach(input: Tensor) -> Tensor:
    """Returns a tensor with the same memory and no history.

    Example:
        >>> import taper as torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> torch.detach(x * 2)
        tensor([2., 2.])
    """
    return input.detach()


@composite(differentiable=False)
def detach_(input: Tensor) -> Tensor:
    """Forgets the tensor's history; returns the tensor.

    Example:
        >>> import taper as torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> torch.detach_(x * 2)
        tensor([2., 2.])
    """
    return input.detach_()


@composite()
def from_file(
    filename: str, shared: bool | None = None, size: int | None = 0, *, dtype: Any = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a vector that reads a file's memory; with ``shared=True`` changes are written back.

    Args: size: the number of elements; a missing or short file is extended if shared.
    Example:
        >>> import taper as torch
        >>> torch.tensor([1., 2.]).numpy().tofile("numbers.bin")
        >>> torch.from_file("numbers.bin", size=2)
        tensor([1., 2.])
    """
    wanted = as_dtype(dtype, "from_file") or get_default_dtype()
    count = int(size or 0)
    if shared:
        missing = count * wanted.itemsize
        with open(filename, "ab") as file:
            have = file.tell()
            if have < missing:
                file.truncate(missing)
    mode = "r+" if shared else "c"
    return finish(np.memmap(filename, wanted.numpy_dtype, mode, shape=(count,)).view(np.ndarray),
                  requires_grad)


@method()
def storage(self: Tensor) -> Any:
    """Returns the tensor's memory as elements. Deprecated: use untyped_storage."""
    from taper.core.typed_storage import TypedStorage, warn_deprecated

    warn_deprecated(3)
    return TypedStorage(wrap_storage=self.untyped_storage(), dtype=self.dtype)


@method()
def storage_type(self: Tensor) -> Any:
    """Returns the legacy class of the tensor's storage, such as ``torch.FloatStorage``."""
    from taper.core.typed_storage import CLASS_OF

    return CLASS_OF[self.dtype]


@method()
def share_memory_(self: Tensor) -> Tensor:
    """Moves the tensor to memory that processes forked from this one share; returns it.

    Views that were made before keep the old memory.
    """
    import mmap

    array, storage = self._array, self._shared_storage()
    if type(array) is not np.ndarray:
        raise refusal(NotImplementedError(
            f"share_memory_() of {self.layout} tensors on {self.device} is not supported: share "
            "their parts"
        ))
    if self.is_shared():
        return self
    offset = address_of(array) - address_of(storage.array)
    reach = offset + span_in_bytes(array)
    memory = mmap.mmap(-1, max(reach, 1))
    shared = np.ndarray(array.shape, array.dtype, memory, offset, array.strides)
    shared[...] = array
    self._array = shared
    storage.array = np.ndarray((reach // array.itemsize,), array.dtype, memory)
    return self


@method()
def is_shared(self: Tensor) -> bool:
    """Returns whether processes forked from this one share the tensor's memory."""
    import mmap

    return type(self._array) is np.ndarray and isinstance(
        owner_of(self._array).base, (mmap.mmap, np.memmap)
    )


@method()
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Raises: only accelerators need pinned memory."""
    raise RuntimeError("Cannot access accelerator device when none is available.")


@method()
def dim_order(self: Tensor, ambiguity_check: Any = False) -> tuple[int, ...]:
    """Returns the dimensions from the outermost in memory to the innermost.

    Args:     ambiguity_check: True, or memory formats: raise if the strides allow other answers
        (but one of those formats)
    Raises:   RuntimeError: if there is more than one answer
    """
    formats = ambiguity_check if isinstance(ambiguity_check, (list, tuple)) else []
    if not isinstance(ambiguity_check, bool) and not (
        formats and all(isinstance(f, memory_format) for f in formats)
    ):
        raise TypeError(
            "The ambiguity_check argument must be a bool or a list of memory formats."
        )
    if ambiguity_check is not False:
        _check_order(self, formats)
    return tuple(dense_order(self._array))


def _check_order(self: Tensor, formats: Any) -> None:
    """Raises unless the strides, or one of the formats, say in which order the dimensions lie."""
    shape, strides = self.shape, self.stride()
    if any(s == 0 and n > 1 for s, n in zip(strides, shape, strict=True)):
        raise RuntimeError("The tensor does not have unique dim order.")
    ones = sum(n == 1 for n in shape)
    if not ones and len(set(strides)) == len(strides):
        return
    fitting = [f for f in formats if self.is_contiguous(memory_format=f)]
    if len(fitting) != 1:
        raise RuntimeError(
            "The tensor does not have unique dim order, or cannot map to exact one of the given "
            "memory formats."
        )


@method()
def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Returns whether both tensors have the same shape."""
    return bool(self._array.shape == other._array.shape)


@method()
def is_non_overlapping_and_dense(self: Tensor) -> bool:
    """Returns whether each memory cell between first and last belongs to one element."""
    return is_dense(self._array)


def _overwrite(self: Tensor, values: list[Any], change: str) -> Tensor:
    slow.check_inplace(self)
    if self._edge is not None:
        raise RuntimeError(f"Can't call {change}() on Variable that requires grad. Use "
                           f"var.detach().{change}() instead.")
    array = self._array
    array[...] = np.array(values, array.dtype).reshape(array.shape)
    self._bump_version()
    return self


@method()
def apply_(self: Tensor, callable: Any) -> Tensor:
    """Replaces each element by what `callable` returns for it. Slow: for tests only."""
    return _overwrite(self, [callable(v) for v in self._array.reshape(-1).tolist()], "apply_")


@method()
def map_(self: Tensor, tensor: Tensor, callable: Any) -> Tensor:
    """Replaces each element by what `callable` returns for it and that of another tensor."""
    other = np.broadcast_to(tensor._array, self._array.shape).reshape(-1).tolist()
    mine = self._array.reshape(-1).tolist()
    return _overwrite(self, [callable(a, b) for a, b in zip(mine, other, strict=True)], "map_")


@method()
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Any) -> Tensor:
    """Replaces each element by what `callable` returns for it and those of two other tensors."""
    columns = [
        np.broadcast_to(t._array, self._array.shape).reshape(-1).tolist() for t in (self, x, y)
    ]
    return _overwrite(self, [callable(*row) for row in zip(*columns, strict=True)], "map2_")
