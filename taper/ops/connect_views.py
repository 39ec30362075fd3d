"""Connects views and copies to what they were made of: storage, base, history. For short paths."""

from __future__ import annotations

import sys
import weakref
from typing import Any

from taper.autograd.node import next_sequence
from taper.autograd.views import register_view
from taper.core.state import is_recording
from taper.core.storage import new_storage
from taper.core.tensor import LEAF, Tensor
from taper.ops.declare import Operator

__all__ = ["result_of", "view_of"]

_new = object.__new__
_getframe = sys._getframe
_reference = weakref.ref
_FIRST_SWEEP = 64


def view_of(source: Tensor, array: Any, op: Operator, saved: tuple[Any, ...] = ()) -> Tensor:
    """A view of `source` around `array`; recorded, if need be, as made by `op`, which saves
    `saved`. To be called by the public function itself: the frame above it is the user's."""
    storage = source._storage
    if storage is None:
        storage = source._storage = new_storage(source._array)
    view = _new(Tensor)
    view._array = array
    view._storage = storage
    base = source._base
    view._base = source if base is None else base
    view._grad = None
    edge = source._edge
    if edge is None:
        view._edge = None
    elif is_recording():
        views = storage.views
        if views is None or len(views) >= _FIRST_SWEEP:
            register_view(storage, view)
        else:
            views.append(_reference(view))
        node = _new(op.node_class)
        node.edges = (source if edge is LEAF else edge,)
        node.saved = saved
        node.sequence = next_sequence()
        frame = _getframe(2)
        node.where = (frame.f_code, frame.f_lasti)
        node.extras = node.adjust = None
        view._edge = node
        if source._created_as is not None:
            view._created_as = source._created_as
    else:
        # As in PyTorch, a view made without recording still requires grad, as a leaf of its own,
        # if its base does; that may be a constant of which `source` is a view.
        view._edge = None if view._base._edge is None else LEAF
        view._created_as = "no_grad"
        register_view(storage, view)
    return view


def result_of(source: Tensor, array: Any, op: Operator, saved: tuple[Any, ...] = ()) -> Tensor:
    """A new tensor computed from `source` alone, recorded as `view_of` records."""
    result = _new(Tensor)
    result._array = array
    result._edge = result._storage = result._base = result._grad = None
    edge = source._edge
    if edge is not None and is_recording():
        node = _new(op.node_class)
        node.edges = (source if edge is LEAF else edge,)
        node.saved = saved
        node.sequence = next_sequence()
        frame = _getframe(2)
        node.where = (frame.f_code, frame.f_lasti)
        node.extras = node.adjust = None
        result._edge = node
    return result
