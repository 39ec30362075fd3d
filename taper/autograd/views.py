"""In-place changes and history: who must know when memory that has a history is overwritten.

Note [in-place on a view]. A view and its base share memory, so changing one changes both, and both
need a new history. The base's becomes `CopySlices`: its old value with one region replaced. Every
live differentiable view of that base, the changed one included, is regenerated from it as
`AsStridedBackward0`. Bases find their views through weak references kept by the shared storage.

Note [views without history]. Most bases never get a history, and their views are not worth a weak
reference each. Such views are looked for when their base gets its first history: the reference
count of the storage tells whether there are any, and then the garbage collector knows them.

Note [views that lose their history]. Views that came several from one call, and views made without
recording, can't be regenerated from a changed base. PyTorch forbids their use from then on, and so
do we: their `_edge` is deleted, and they become StaleViews, which raise the reason when it is
asked for.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any, NamedTuple

from taper.autograd.explanations import leaf_in_place, view_of_leaf_in_place
from taper.autograd.node import Node, edge_of, forward_name, function_of, next_sequence
from taper.core.errors import set_by_ops
from taper.core.state import is_inference, is_recording
from taper.core.storage import Storage, start_of
from taper.core.tensor import LEAF, StaleView, Tensor, alias, wrap

__all__ = ["Geometry", "check_inplace", "geometry_of", "rebase_history", "register_view"]

_new = object.__new__
_FIRST_SWEEP = 64

# The operators that move gradients between a base and its views; set by ops/view_history.py.
slice_of_base: Callable[[Tensor, Geometry], Tensor] = set_by_ops
scatter_into_base: Callable[[Tensor, Geometry], Tensor] = set_by_ops
clear_in_base: Callable[[Tensor, Geometry], Tensor] = set_by_ops
view_as_real: Callable[[Tensor], Tensor] = set_by_ops
view_as_complex: Callable[[Tensor], Tensor] = set_by_ops


class Geometry(NamedTuple):
    """Where a view lies in its base: both shapes and element strides, and the view's offset.

    A view of the real numbers in a complex base sees that as one of pairs (`as_real`).
    """

    base_shape: tuple[int, ...]
    base_strides: tuple[int, ...]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    as_real: bool = False


# Called with each tensor that is about to be changed in place, while `active.modes` is raised.
watchers: list[Callable[[Tensor], None]] = []


def geometry_of(view: Tensor, base: Tensor) -> Geometry:
    """The place of `view` in the memory of `base`, in elements."""
    array, whole = view._array, base._array
    item = array.dtype.itemsize
    base_shape, base_strides = whole.shape, tuple([s // item for s in whole.strides])
    as_real = whole.dtype.kind == "c" and array.dtype.kind != "c"
    if as_real:
        base_shape, base_strides = (*base_shape, 2), (*base_strides, 1)
    return Geometry(
        base_shape,
        base_strides,
        array.shape,
        tuple([s // item for s in array.strides]),
        (start_of(array) - start_of(whole)) // item,
        as_real,
    )


def register_view(storage: Storage, view: Tensor) -> None:
    """Remembers, weakly, a view that would need a new history if its base got one."""
    views = storage.views
    if views is None:
        storage.views = [weakref.ref(view)]
        return
    views.append(weakref.ref(view))
    count = len(views)
    if count >= _FIRST_SWEEP and count & (count - 1) == 0:  # each time the list has doubled
        storage.views = [r for r in views if r() is not None]


class CopySlices(Node):
    """The history of a base of which a region was overwritten.

    Edges: the base's history before, and the history of the new values.
    """

    __slots__ = ()
    __module__ = "builtins"
    saves = False

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The base's history, and what the operation that overwrote the view took in beside it."""
        kept, new = self.edges
        if not isinstance(new, Node):
            return (function_of(kept), function_of(new))
        return (function_of(kept), *new.next_functions[1:])

    def backward(self, grad: Any) -> tuple[Any, ...]:
        (geometry,) = self.saved or ()
        kept, new = self.edges
        if geometry.as_real:
            grad = view_as_real(grad)
        rest = None if kept is None else clear_in_base(grad, geometry)
        return (
            view_as_complex(rest) if geometry.as_real and rest is not None else rest,
            None if new is None else slice_of_base(grad, geometry),
        )


class AsStridedBackward0(Node):
    """The history of a view that was regenerated from its changed base."""

    __slots__ = ()
    __module__ = "builtins"
    saves = False

    def backward(self, grad: Any) -> tuple[Any, ...]:
        (geometry,) = self.saved or ()
        found = scatter_into_base(grad, geometry)
        return (view_as_complex(found) if geometry.as_real else found,)


def _node(cls: type[Node], edges: tuple[Any, ...], geometry: Geometry) -> Node:
    node = _new(cls)
    node.edges = edges
    node.saved = (geometry,)
    node.sequence = next_sequence()
    node.where = node.extras = node.adjust = None
    return node


def check_inplace(tensor: Tensor, others: Sequence[Any] = ()) -> None:
    """Raises PyTorch's error if `tensor` must not be changed in place now, by means of `others`."""
    for watcher in watchers:
        watcher(tensor)
    if tensor.is_inference() and not is_inference():
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed.You can make "
            "a clone to get a normal tensor before doing inplace update.See "
            "https://github.com/pytorch/rfcs/pull/17 for more details."
        )
    if not is_recording():
        return
    edge = tensor._edge
    if tensor._created_as is not None and (
        edge is not None or any(isinstance(o, Tensor) and o._edge is not None for o in others)
    ):
        raise RuntimeError(_forbidden(tensor, "is being"))
    if edge is LEAF:
        if tensor._base is not None and tensor._base._edge is not None:
            raise RuntimeError(_forbidden(tensor, "is being"))
        raise leaf_in_place(tensor)
    base = tensor._base
    if base is None:
        return
    if base._edge is LEAF or (base._edge is None and edge is not None):
        raise view_of_leaf_in_place(tensor)


def _forbidden(view: Tensor, what: str) -> str:
    """Why a view may not be changed, or may not be used now that its base was changed."""
    created = view._created_as
    if created == "multiple":
        edge = view._edge
        if edge is None or edge is LEAF:
            opening = (
                f"A view was created in no_grad mode and {what} modified inplace with grad mode "
                "enabled."
            )
        else:
            node, index = function_of(edge)
            name = forward_name(node)
            opening = f"Output {index} of {name} is a view and {what} modified inplace."
        return (
            f"{opening} This view is the output of a function that returns multiple views. Such "
            "functions do not allow the output views to be modified inplace. You should replace "
            "the inplace operation by an out-of-place one."
        )
    mode, block = "no_grad", "no_grad"
    normal = "with grad mode enabled"
    if created == "inference":
        mode, block, normal = "inference", "inference_mode", "in normal mode"
    opening = "A view was"
    edge = view._edge
    if edge is not None and edge is not LEAF:
        node, index = function_of(edge)
        opening = f"Output {index} of {forward_name(node)} is a view of a view which was"
    return (
        f"{opening} created in {mode} mode and {what} modified inplace {normal}. Given that this "
        "use case is ambiguous and error-prone, it is forbidden. You can clarify your code by "
        f"moving both the view and the inplace either both inside the {block} block (if you don't "
        "want the inplace to be tracked) or both outside (if you want the inplace to be tracked)."
    )


def rebase_history(tensor: Tensor, edge: Any) -> None:
    """Gives `tensor`, just overwritten in place by what `edge` computed, its new history."""
    base = tensor._base
    whole = tensor if base is None else base
    if whole._edge is None and edge is not None and tensor._storage is not None:
        _register_forgotten_views(whole, tensor)
    if base is None:
        hand_on_history(tensor, edge)
        base = tensor
    elif edge is not None or base._edge is not None:
        node = _node(CopySlices, (edge_of(base), edge), geometry_of(tensor, base))
        hand_on_history(base, node)
    else:
        return
    storage = tensor._storage
    if storage is not None and storage.views:
        _regenerate_views(storage, base)


def _register_forgotten_views(base: Tensor, changed: Tensor) -> None:
    """Registers the live views that `base` had before it has a history, see the note above."""
    storage = base._storage
    if storage is None:
        return
    holders = getrefcount(storage) - _OWN_REFERENCES
    if holders <= (1 if changed is base else 2):
        if changed is not base:
            register_view(storage, changed)
        return
    for holder in gc.get_referrers(storage):
        if isinstance(holder, Tensor) and holder._base is base:
            register_view(storage, holder)


def _references_of_this_module() -> int:
    """How many references `getrefcount` counts above beside those that tensors hold."""
    source = wrap(None)
    holder = alias(source)
    storage = holder._storage
    return getrefcount(storage) - 2  # two tensors hold it


_OWN_REFERENCES = _references_of_this_module()


def hand_on_history(tensor: Tensor, edge: Any) -> None:
    """A new history for a tensor; if it retains its gradient, it goes on doing so."""
    old = tensor._edge
    tensor._edge = edge
    if old is None or old is LEAF or edge is None:
        return
    node, index = function_of(old)
    if node.extras is not None:
        held = node.extras.retained.get(index)
        if held is not None and held() is tensor:
            del node.extras.retained[index]
            new, place = function_of(edge)
            new._extras().retained[place] = held


def _regenerate_views(storage: Storage, base: Tensor) -> None:
    history = edge_of(base)
    for reference in storage.views or ():
        view = reference()
        if view is None or view._base is not base:
            continue
        if "_forbidden" in view.__dict__:
            continue
        if history is None:
            view._edge = None
        elif view._created_as is not None:
            view._forbidden = _forbidden(view, "its base or another view of its base has been")
            del view._edge
            if type(view) is Tensor:
                view.__class__ = StaleView
        else:
            node = _node(AsStridedBackward0, (history,), geometry_of(view, base))
            hand_on_history(view, node)
