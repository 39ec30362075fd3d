"""Tangents: what forward-mode differentiation attaches to tensors, one for each open level.

A tensor with tangents is a *dual*: `_tangents` maps each `DualLevel` to a tensor of the same shape,
its derivative along the direction of that level. Levels nest; those opened later are further
inside, and a tangent of a level may itself have tangents of levels further outside. While a level
is open `active.modes` is raised, so that operators take the full way, where ops/forward_mode.py
passes tangents on. Programs without levels pay nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from itertools import count
from typing import Any

from numpy import ndarray

from taper.autograd.saved_tensors import through
from taper.core.errors import set_by_ops
from taper.core.state import active, is_recording
from taper.core.tensor import LEAF, Tensor, wrap

__all__ = [
    "DualLevel", "below", "carried_by", "forward_grad_mode", "levels_of", "set_tangent",
    "take_tangents", "tangent_of",
]

_next_number = count().__next__
_FIRST_SWEEP = 1024

# Whether operators pass tangents on, as grad mode says for histories.
forward_grad_mode: ContextVar[bool] = ContextVar("forward_grad_mode", default=True)

# The part of a tangent of `base` that belongs to `view`; set by ops/forward_mode.py.
window_of: Callable[[Tensor, Tensor, Tensor], Tensor] = set_by_ops


class DualLevel:
    """One direction to differentiate along: while it is open, tensors may have a tangent of it."""

    __slots__ = ("__weakref__", "holders", "is_open", "number")

    def __init__(self) -> None:
        self.number = _next_number()
        self.is_open = True
        self.holders: list[weakref.ref[Tensor]] = []
        active.modes += 1
        active.tangents += 1

    def close(self) -> None:
        """Ends the level: its tangents are dropped."""
        self.is_open = False
        active.modes -= 1
        active.tangents -= 1
        for reference in self.holders:
            tensor = reference()
            if tensor is not None and tensor._tangents:
                tensor._tangents.pop(self, None)
        self.holders.clear()

    def add_holder(self, tensor: Tensor) -> None:
        """Remembers, weakly, a tensor that has a tangent of this level."""
        holders = self.holders
        holders.append(weakref.ref(tensor))
        count = len(holders)
        if count >= _FIRST_SWEEP and count & (count - 1) == 0:  # each time the list has doubled
            self.holders = [r for r in holders if r() is not None]

    def __enter__(self) -> DualLevel:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def carried_by(tensors: Sequence[Any]) -> bool:
    """Whether any of these has a tangent."""
    for t in tensors:
        if isinstance(t, Tensor):
            if t._tangents:
                return True
            base = t._base
            if base is not None and base._tangents:
                return True
    return False


def levels_of(tensors: Sequence[Tensor]) -> list[DualLevel]:
    """The levels that any of these has a tangent of, the outermost first."""
    found: set[DualLevel] = set()
    for t in tensors:
        if t._tangents:
            found.update(t._tangents)
        if t._base is not None and t._base._tangents:
            found.update(t._base._tangents)
    open_ones = [level for level in found if level.is_open]
    if len(open_ones) > 1:
        open_ones.sort(key=lambda level: level.number)
    return open_ones


def tangent_of(tensor: Tensor, level: DualLevel) -> Tensor | None:
    """The tangent of that level. A view shows its part of the tangent of its base."""
    own = tensor._tangents
    if own is not None and level in own:
        return own[level]  # type: ignore[no-any-return]
    base = tensor._base
    if base is None or not base._tangents or level not in base._tangents:
        return None
    part = window_of(base._tangents[level], tensor, base)
    set_tangent(tensor, level, part)
    return part


def set_tangent(tensor: Tensor, level: DualLevel, tangent: Tensor) -> None:
    """Attaches a tangent, or another one."""
    if tensor._tangents is None:
        tensor._tangents = {}
    if level not in tensor._tangents:
        level.add_holder(tensor)
    tensor._tangents[level] = tangent


def take_tangents(tensor: Tensor, source: Tensor) -> None:
    """Attaches the tangents of `source`, which has the same values."""
    for level, tangent in (source._tangents or {}).items():
        set_tangent(tensor, level, tangent)


def below(tensor: Tensor, level: DualLevel) -> Tensor:
    """The same values and history, with the tangents of levels outside of `level` only.

    Without history if nothing is being recorded.
    """
    recording = is_recording()
    has_history = tensor._edge is not None and not recording
    if not has_history and not carried_by((tensor,)):
        return tensor
    result = wrap(tensor._array)
    if type(tensor._array) is ndarray:
        result._storage = tensor._shared_storage()
    edge = tensor._edge
    if recording and edge is not None:
        result._edge = through(tensor) if edge is LEAF else edge
    for outer in levels_of((tensor,)):
        if outer.number < level.number:
            tangent = tangent_of(tensor, outer)
            if tangent is not None:
                set_tangent(result, outer, tangent)
    return result
