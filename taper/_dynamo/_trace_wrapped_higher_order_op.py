"""One name of PyTorch's module, which attention masks of other packages are made with."""

from __future__ import annotations

from typing import Any

import taper
from taper.overrides import TorchFunctionMode

__all__ = ["TransformGetItemToIndex"]


class TransformGetItemToIndex(TorchFunctionMode):
    """A block in which tensors without dimensions are indices of elements within vmap, too.

    Elsewhere they are read as ints, which a vmap can't do: each sample has another one.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is taper.Tensor.__getitem__:
            indexed, index = args
            places = index if isinstance(index, tuple) else (index,)
            if any(_is_number(i) for i in places) and all(
                _is_number(i) or type(i) is int for i in places
            ):
                lists = [taper.as_tensor(i).unsqueeze(0) for i in places]
                return func(indexed, tuple(lists)).squeeze(0)
        return func(*args, **(kwargs or {}))


def _is_number(index: Any) -> bool:
    return isinstance(index, taper.Tensor) and index.dim() == 0 and index.dtype is not taper.bool
