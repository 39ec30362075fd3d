"""`TypedStorage` and its classes such as `FloatStorage`: a storage seen as elements. Deprecated."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper.core import dtype as dtypes
from taper.core.device import CPU
from taper.core.storage import UntypedStorage, new_storage

__all__ = ["CLASS_OF", "TypedStorage", "warn_deprecated"]


def warn_deprecated(stacklevel: int) -> None:
    """Warns as PyTorch does where a typed storage is made."""
    warnings.warn(
        "TypedStorage is deprecated. It will be removed in the future and UntypedStorage will be "
        "the only storage class. This should only matter to you if you are using storages "
        "directly.  To access UntypedStorage directly, use tensor.untyped_storage() instead of "
        "tensor.storage()",
        UserWarning, stacklevel=stacklevel,
    )


class TypedStorage:
    """The memory of a tensor as a vector of elements of one dtype."""

    __module__ = "torch.storage"
    _dtype: Any = None
    is_cuda = is_sparse = False
    device = CPU

    def __init__(
        self, *args: Any, wrap_storage: UntypedStorage | None = None, dtype: Any = None,
        device: Any = None, _internal: bool = False,
    ) -> None:
        self.dtype = dtype or self._dtype or dtypes.get_default_dtype()
        if wrap_storage is None:
            values: Any = args[0] if args else 0
            array = np.zeros(values, self.dtype.numpy_dtype) if isinstance(values, int) else (
                np.array(values).astype(self.dtype.numpy_dtype))
            wrap_storage = UntypedStorage(new_storage(array))
        self._untyped_storage = wrap_storage

    def _elements(self) -> np.ndarray[Any, Any]:
        return self._untyped_storage._bytes().view(self.dtype.numpy_dtype)

    def untyped(self) -> UntypedStorage:
        """Returns the same memory as bytes."""
        return self._untyped_storage

    def size(self) -> int:
        """Returns the number of elements."""
        return self._untyped_storage.nbytes() // int(self.dtype.itemsize)

    __len__ = size

    def nbytes(self) -> int:
        """Returns the size in bytes."""
        return self._untyped_storage.nbytes()

    def element_size(self) -> int:
        """Returns the size of one element in bytes."""
        return int(self.dtype.itemsize)

    def data_ptr(self) -> int:
        """Returns the address of the first byte."""
        return self._untyped_storage.data_ptr()

    def tolist(self) -> list[Any]:
        """Returns the elements as Python numbers."""
        return self._elements().tolist()  # type: ignore[no-any-return]

    def fill_(self, value: Any) -> TypedStorage:
        """Sets every element to `value`."""
        self._elements()[...] = value
        self._untyped_storage._storage.count_change()
        return self

    def clone(self) -> TypedStorage:
        """Returns a copy."""
        copy = UntypedStorage(new_storage(self._elements().copy()))
        return TypedStorage(wrap_storage=copy, dtype=self.dtype)

    def __getitem__(self, index: Any) -> Any:
        found = self._elements()[index]
        return found.tolist()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements()[index] = value
        self._untyped_storage._storage.count_change()

    def __iter__(self) -> Any:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypedStorage) and (
            self._untyped_storage == other._untyped_storage and self.dtype is other.dtype
        )

    def __hash__(self) -> int:
        return hash(self._untyped_storage)

    def __repr__(self) -> str:
        lines = "\n".join(f" {value}" for value in self.tolist())
        return f"{lines}\n[torch.storage.TypedStorage(dtype={self.dtype}, device=cpu) of size " + (
            f"{len(self)}]")


class LegacyStorageMeta(type):
    """Lets ``isinstance(s, torch.FloatStorage)`` look at the dtype."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TypedStorage) and instance.dtype is cls._dtype  # type: ignore[attr-defined]


CLASS_OF: dict[Any, type] = {
    d: LegacyStorageMeta(
        f"{name}Storage", (TypedStorage,), {"_dtype": d, "dtype": d, "__module__": "torch"})
    for name, d in dtypes.LEGACY_DTYPES.items()
}
globals().update({kind.__name__: kind for kind in CLASS_OF.values()})
