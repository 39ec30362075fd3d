"""Puts samples together into a batch."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

import taper
from taper import Tensor

#: Codes of the dtypes that no tensor has: text, bytes, objects.
np_str_obj_array_pattern = re.compile(r"[SaUO]")

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]


def default_convert(data: Any) -> Any:
    """Makes tensors of the NumPy arrays in nested containers; leaves everything else.

    Example:
        >>> import numpy as np
        >>> from taper.utils.data import default_convert
        >>> default_convert({"x": np.zeros(2), "y": 1})
        {'x': tensor([0., 0.], dtype=torch.float64), 'y': 1}
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if np_str_obj_array_pattern.search(data.dtype.str) else taper.as_tensor(data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        items = [default_convert(item) for item in data]
        return type(data)(*items) if hasattr(data, "_fields") else items
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(item) for item in data])
    return data


def default_collate(batch: Any) -> Any:
    """Puts a list of samples together: tensors are stacked, numbers become tensors.

    Of dicts, tuples and lists, the items with the same key or place are put together; strings
    are listed.

    Example:
        >>> from taper.utils.data import default_collate
        >>> default_collate([{"x": 1.5, "name": "a"}, {"x": 2.5, "name": "b"}])
        {'x': tensor([1.5000, 2.5000], dtype=torch.float64), 'name': ['a', 'b']}
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(
    batch: Any, *, collate_fn_map: dict[Any, Callable[..., Any]] | None = None
) -> Any:
    """Puts a list of samples together, as `collate_fn_map` (type → function) says.

    Raises: TypeError: for types that neither the map nor the containers cover.
    """
    first = batch[0]
    kind = type(first)
    if collate_fn_map is not None:
        function = collate_fn_map.get(kind)
        if function is None:
            for known, candidate in collate_fn_map.items():
                if isinstance(first, known):
                    function = candidate
                    break
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        return _like_mapping(first, {
            key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map)
            for key in first
        })
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        columns = zip(*batch, strict=True)
        return kind(*[collate(c, collate_fn_map=collate_fn_map) for c in columns])
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        items = [  # columns are tuples: strings, which are left as they are, stay one
            collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch, strict=True)
        ]
        return items if isinstance(first, tuple) else _like_sequence(first, items)
    raise TypeError(_message(kind))


def _message(kind: Any) -> str:
    return (
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {kind}"
    )


def _like_mapping(original: Any, items: dict[Any, Any]) -> Any:
    """The items in a mapping of the original's type, if that can be made."""
    if type(original) is dict:
        return items
    try:
        if isinstance(original, MutableMapping):
            result = copy.copy(original)
            result.update(items)
            return result
        return type(original)(items)
    except TypeError:  # a type with a constructor of its own
        return items


def _like_sequence(original: Any, items: list[Any]) -> Any:
    """The items in a sequence of the original's type, if that can be made."""
    if type(original) is list:
        return items
    try:
        if isinstance(original, MutableSequence):
            result = copy.copy(original)
            for i, item in enumerate(items):
                result[i] = item
            return result
        return type(original)(items)
    except TypeError:  # a type with a constructor of its own, such as range
        return items


def collate_tensor_fn(batch: Any, *, collate_fn_map: Any = None) -> Tensor:
    """Stacks tensors."""
    return taper.stack(list(batch), 0)


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """Stacks arrays, as tensors."""
    dtype = batch[0].dtype
    if np_str_obj_array_pattern.search(dtype.str):
        raise TypeError(_message(dtype))
    return collate([taper.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: Any = None) -> Tensor:
    """A tensor of NumPy's numbers."""
    return taper.as_tensor(batch)


def collate_float_fn(batch: Any, *, collate_fn_map: Any = None) -> Tensor:
    """A float64 tensor."""
    return taper.tensor(batch, dtype=taper.float64)


def collate_int_fn(batch: Any, *, collate_fn_map: Any = None) -> Tensor:
    """An int64 tensor."""
    return taper.tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """The batch as it is."""
    return batch


#: What `default_collate` does, by type; programs may add their own.
default_collate_fn_map: dict[Any, Callable[..., Any]] = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}
