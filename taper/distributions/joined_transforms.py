"""Transforms of the parts of a tensor, one each: parts cut along a dimension, or its slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import taper as torch
from taper import Tensor
from taper.distributions import constraints
from taper.distributions.transform import Transform
from taper.distributions.utils import lazy_property, sum_rightmost

__all__ = ["CatTransform", "StackTransform"]


class _Joined(Transform):
    """What both have: a list of transforms, and the dimension their parts lie along."""

    def __init__(self, tseq: Sequence[Transform], dim: int, cache_size: int) -> None:
        if not all(isinstance(t, Transform) for t in tseq):
            raise AssertionError("All elements of tseq must be Transform instances")
        super().__init__(cache_size=cache_size)
        if cache_size:
            tseq = [t.with_cache(cache_size) for t in tseq]
        self.transforms = list(tseq)
        self.dim = dim

    def _check(self, value: Tensor, count: int, counted: str, name: str) -> None:
        if not -value.dim() <= self.dim < value.dim():
            raise AssertionError(
                f"dim {self.dim} out of range for tensor with {value.dim()} dimensions"
            )
        if value.size(self.dim) != count:
            raise AssertionError(
                f"{name}.size({self.dim}) = {value.size(self.dim)} must equal {counted} {count}"
            )

    @property
    def bijective(self) -> bool:
        return all(t.bijective for t in self.transforms)


class CatTransform(_Joined):
    """Applies transforms to consecutive parts along a dimension.

    Args:
        tseq: the transforms. dim: the dimension. lengths: of the parts; default: 1 each.

    Example:
        >>> import taper as torch
        >>> D = torch.distributions
        >>> D.CatTransform([D.ExpTransform(), D.AffineTransform(0, 3)], lengths=[1, 2])(torch.ones(3))
        tensor([2.7183, 3.0000, 3.0000])
    """  # noqa: E501

    def __init__(
        self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None,
        cache_size: int = 0,
    ) -> None:
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise AssertionError(
                f"lengths ({len(self.lengths)}) must match transforms ({len(self.transforms)})"
            )

    @lazy_property
    def event_dim(self) -> int:
        return max(t.event_dim for t in self.transforms)

    @lazy_property
    def length(self) -> int:
        """The size of the dimension."""
        return sum(self.lengths)

    def _rebuilt(self, cache_size: int) -> Transform:
        return CatTransform(self.transforms, self.dim, self.lengths, cache_size)

    def _parts(self, value: Tensor, name: str) -> tuple[Tensor, ...]:
        self._check(value, self.length, "length", name)
        return value.split(self.lengths, self.dim)

    def _call(self, x: Tensor) -> Tensor:
        parts = zip(self.transforms, self._parts(x, "x"), strict=True)
        return torch.cat([t(part) for t, part in parts], self.dim)

    def _inverse(self, y: Tensor) -> Tensor:
        parts = zip(self.transforms, self._parts(y, "y"), strict=True)
        return torch.cat([t.inv(part) for t, part in parts], self.dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        changes = []
        for t, a, b in zip(
            self.transforms, self._parts(x, "x"), self._parts(y, "y"), strict=True
        ):
            change = t.log_abs_det_jacobian(a, b)
            changes.append(sum_rightmost(change, self.event_dim - t.event_dim))
        dim = self.dim - x.dim() if self.dim >= 0 else self.dim
        dim += self.event_dim
        if dim < 0:
            return torch.cat(changes, dim)
        return sum(changes[1:], changes[0])  # the parts are of one event

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_Joined):
    """Applies transforms to the slices along a dimension.

    Args:
        tseq: the transforms, one for each slice. dim: the dimension.
    """

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(tseq, dim, cache_size)

    def _rebuilt(self, cache_size: int) -> Transform:
        return StackTransform(self.transforms, self.dim, cache_size)

    def _slice(self, z: Tensor) -> list[Tensor]:
        return list(z.unbind(self.dim))

    def _parts(self, value: Tensor, name: str) -> list[Tensor]:
        self._check(value, len(self.transforms), "len(transforms)", name)
        return self._slice(value)

    def _call(self, x: Tensor) -> Tensor:
        parts = zip(self.transforms, self._parts(x, "x"), strict=True)
        return torch.stack([t(part) for t, part in parts], self.dim)

    def _inverse(self, y: Tensor) -> Tensor:
        parts = zip(self.transforms, self._parts(y, "y"), strict=True)
        return torch.stack([t.inv(part) for t, part in parts], self.dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        parts = zip(self.transforms, self._parts(x, "x"), self._parts(y, "y"), strict=True)
        return torch.stack([t.log_abs_det_jacobian(a, b) for t, a, b in parts], self.dim)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.stack([t.codomain for t in self.transforms], self.dim)
