"""The arithmetic of L-BFGS, which for short float32 vectors rounds in PyTorch's order.

Near a minimum, L-BFGS divides differences of gradients that agree in most of their digits, so the
last bit of a dot product decides the fourth digit of what it estimates, and two libraries that both
round well part ways. PyTorch's dot products are MKL's (with AVX-512): 16 sums side by side, each a
chain of fused multiply-adds, that are then added in pairs; from 32 elements on, the second 16
begin a second such set. Its ``add(…, alpha)`` is a fused multiply-add, too. Where that order costs
little, up to 63 elements, it is taken.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

import taper
from taper import Tensor

__all__ = ["TensorArithmetic", "add_scaled_", "arithmetic_for", "dot"]

_LONGEST = 63
_LANES = 16


class TensorArithmetic:
    """Vectors are tensors, numbers are tensors without dimensions."""

    def vector(self, tensor: Tensor) -> Any:
        """A tensor in the form that the other methods take."""
        return self.vectors([tensor])[0]

    def vectors(self, tensors: list[Tensor]) -> list[Any]:
        """The same for many tensors."""
        return tensors

    def number(self, number: Any) -> Any:
        """A number, or a tensor of one, in the form that the other methods take."""
        return number

    def as_tensor(self, vector: Any) -> Tensor:
        """The tensor of a vector."""
        return vector

    def as_number(self, number: Any) -> Tensor:
        """The tensor of a number."""
        return number

    def dot(self, a: Any, b: Any) -> Any:
        """The dot product."""
        return a.dot(b)

    def add_scaled(self, a: Any, b: Any, scale: Any) -> Any:
        """``a + scale * b``."""
        return a.add(b, alpha=scale if isinstance(scale, (int, float)) else scale.item())

    def times(self, a: Any, scale: Any) -> Any:
        """``scale * a``."""
        return a * scale


class _ShortArithmetic(TensorArithmetic):
    """Vectors are float64 arrays of float32 numbers, filled up to whole rows of 16.

    The product of two float32 numbers is exact in float64, and with a third added it is rounded to
    float32 as a fused multiply-add rounds it. Numbers are `numpy.float32`.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._products = np.zeros((-(-size // _LANES), _LANES))
        self._vector = self._products.reshape(-1)
        first, *rows = self._products
        self._first = first
        self._second = rows.pop(0) if size >= 2 * _LANES else None
        self._chain = rows
        lanes = self._lanes = np.empty(_LANES, np.float32)
        self._others = np.empty(_LANES, np.float32)
        self._folds = ((lanes[:8], lanes[8:], lanes[:8]), (lanes[:4], lanes[4:8], lanes[:4]),
                       (lanes[:4:2], lanes[1:4:2], lanes[8:10]))
        self._rounded = np.zeros(self._vector.shape, np.float32)

    def vectors(self, tensors: list[Tensor]) -> list[Any]:
        padded = np.zeros((len(tensors), self._vector.size))
        if tensors:
            padded[:, : self._size] = [tensor.numpy() for tensor in tensors]
        return list(padded)

    def as_tensor(self, vector: Any) -> Tensor:
        return taper.from_numpy(vector[: self._size].astype(np.float32))

    def number(self, number: Any) -> Any:
        return np.float32(number.item() if isinstance(number, Tensor) else number)

    def as_number(self, number: Any) -> Tensor:
        return taper.tensor(number)

    def dot(self, a: Any, b: Any) -> Any:
        lanes = self._lanes
        np.multiply(a, b, self._vector)
        lanes[...] = self._first
        for row in self._chain:
            np.add(row, lanes, row)
            lanes[...] = row
        if self._second is not None:
            self._others[...] = self._second
            np.add(lanes, self._others, lanes)
        for low, high, total in self._folds:
            np.add(low, high, total)
        return lanes[8] + lanes[9]

    def add_scaled(self, a: Any, b: Any, scale: Any) -> Any:
        fused = b * float(scale)
        fused += a
        return self._round(fused)

    def times(self, a: Any, scale: Any) -> Any:
        return self._round(a * float(scale))

    def _round(self, vector: Any) -> Any:
        self._rounded[...] = vector
        vector[...] = self._rounded
        return vector


class _OfThread(threading.local):
    """Arithmetics by size; each thread has its own, as they keep scratch memory."""

    def __init__(self) -> None:
        self.by_size: dict[int, _ShortArithmetic] = {}


_of_thread = _OfThread()
_of_tensors = TensorArithmetic()


def arithmetic_for(vector: Tensor) -> TensorArithmetic:
    """The arithmetic for vectors like this one."""
    if not _is_short(vector):
        return _of_tensors
    size = vector.numel()
    found = _of_thread.by_size.get(size)
    if found is None:
        found = _of_thread.by_size[size] = _ShortArithmetic(size)
    return found


def _is_short(tensor: Tensor) -> bool:
    return tensor.dtype is taper.float32 and 0 < tensor.numel() <= _LONGEST


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The dot product of two tensors."""
    if not _is_short(a):
        return a.dot(b)
    arithmetic = arithmetic_for(a)
    return arithmetic.as_number(arithmetic.dot(*arithmetic.vectors([a, b])))


def add_scaled_(a: Tensor, b: Tensor, scale: Any) -> None:
    """Adds ``scale * b`` to a tensor."""
    if not _is_short(a):
        a.add_(b, alpha=scale)
        return
    fused = b.numpy().astype(np.float64)
    fused *= np.float32(scale)
    fused += a.detach().numpy()
    a.copy_(taper.from_numpy(fused.astype(np.float32)))
