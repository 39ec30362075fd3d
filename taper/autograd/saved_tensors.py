"""Saved-tensor hooks: what the tape keeps for its derivatives may be packed away by the user.

Without hooks nothing here runs. While hooks are set (`active.modes` is raised, so that operators
take the full way through ops/slow.py), each new node that saves tensors gets them packed: the
entries of its `saved` become `Packed` objects, and its class a subclass whose `backward` unpacks
them first. The subclass looks the same in every other respect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from taper.autograd.node import (
    Node,
    NodeOutput,
    SavedAs,
    freed_error,
    next_sequence,
    version_of,
)
from taper.core.state import active, grad_mode
from taper.core.tensor import LEAF, Tensor, alias, wrap

__all__ = [
    "Packed", "SavedTensor", "disable_saved_tensors_hooks", "hooks", "pack_saved",
    "saved_tensors_hooks",
]

Hooks = tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]

_stack: ContextVar[tuple[Hooks, ...]] = ContextVar("saved_tensors_hooks", default=())
_forbidden: ContextVar[str | None] = ContextVar("saved_tensors_hooks_forbidden", default=None)
_new = object.__new__


def hooks() -> Hooks | None:
    """The innermost pair of hooks that is set in this thread."""
    stack = _stack.get()
    return stack[-1] if stack else None


class saved_tensors_hooks:  # PyTorch's name
    """Within this block, tensors that the tape saves go through `pack_hook`, and come back
    through `unpack_hook` when a derivative needs them.

    Args:
        pack_hook: ``pack_hook(tensor)`` returns anything; it must not change the tensor in place.
        unpack_hook: ``unpack_hook(packed)`` returns a tensor of the same values.
    Example:
        >>> import taper as torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True).tolist(),
        ...                                               torch.tensor):
        ...     y = x.exp()
        >>> y.sum().backward()
        >>> x.grad
        tensor([2.7183, 2.7183])
    """

    __module__ = "torch.autograd.graph"

    def __init__(
        self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]
    ) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        message = _forbidden.get()
        if message is not None:
            raise RuntimeError(message)
        _stack.set((*_stack.get(), (self.pack_hook, self.unpack_hook)))
        active.modes += 1

    def __exit__(self, *exception: Any) -> None:
        active.modes -= 1
        _stack.set(_stack.get()[:-1])


class disable_saved_tensors_hooks:
    """Within this block, setting saved-tensor hooks is an error with this message."""

    __module__ = "torch.autograd.graph"

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def __enter__(self) -> None:
        if _stack.get():
            raise RuntimeError(self.error_message)
        self.prev = _forbidden.get()
        _forbidden.set(self.error_message)

    def __exit__(self, *exception: Any) -> None:
        _forbidden.set(self.prev)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from taper.autograd.modes import decorate

        return decorate(  # type: ignore[no-any-return]
            lambda: disable_saved_tensors_hooks(self.error_message), function
        )


class Packed:
    """What a hook made of one saved tensor, and what is needed to put it back in its place."""

    __slots__ = ("edge", "kind", "output", "packed", "unpack_hook")

    def __init__(self, pair: Hooks, tensor: Tensor, kind: str, output: int | None = None) -> None:
        version = version_of(tensor)
        token = grad_mode.set(False)
        try:
            self.packed = pair[0](tensor)
        finally:
            grad_mode.reset(token)
        if version_of(tensor) != version:
            raise RuntimeError(
                "A saved tensor pack hook is modifying its input in place. Tensors provided as "
                "input to pack hook cannot be modified by in-place operations as this can lead to "
                "unexpected side-effects. Please open an issue if you need to perform in-place "
                "operations on the input to a pack hook."
            )
        self.unpack_hook = pair[1]
        self.kind = kind
        self.output = output
        # A result's history is the node that saved it, so it is not kept here.
        edge = tensor._edge if kind == "tensor" else None
        self.edge = tensor if edge is LEAF else edge

    def unpack(self, node: Node) -> Tensor:
        """The tensor that the hook gives back, with the history of the one that `node` saved."""
        unpacked = self.unpacked()
        if self.kind == "result" and unpacked._array.dtype.kind not in "biu":
            unpacked._edge = node if self.output is None else NodeOutput(node, self.output)
        return unpacked

    def unpacked(self) -> Tensor:
        """The same, for what is no result of a node."""
        found = self.unpack_hook(self.packed)
        if not isinstance(found, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(found).__name__}"
            )
        if found is self.edge:
            return found
        unpacked = alias(found)
        unpacked._edge = through(self.edge) if isinstance(self.edge, Tensor) else self.edge
        return unpacked

    def restored(self, node: Node) -> Any:
        """The entry of `saved` that stands for the tensor while a derivative is computed."""
        tensor = self.unpack(node)
        if self.kind == "result":
            return (tensor._array, tensor._shared_storage(), SavedAs(tensor))
        return tensor._array if self.kind == "aux" else tensor


class Through(Node):
    """Leads from a second tensor for a leaf to the leaf itself."""

    __slots__ = ()
    __module__ = "builtins"
    saves = False

    def backward(self, grad: Any) -> tuple[Any, ...]:
        return (grad,)


Through.__name__ = Through.__qualname__ = "AliasBackward0"


def through(leaf: Tensor) -> Node:
    """An edge for another tensor that stands for `leaf`, see Note [edges] in core/tensor.py."""
    node = _new(Through)
    node.edges = (leaf,)
    node.saved = ()
    node.sequence = next_sequence()
    node.where = node.extras = node.adjust = None
    return node


def pack_saved(node: Any, layout: Sequence[Any], pair: Hooks, outputs: Any) -> None:
    """Packs the tensors that `node` saved; `layout` tells their kinds, places, output numbers."""
    saved = list(node.saved)
    for kind, position, output in layout:
        value = saved[position]
        if value is None:
            continue
        if kind == "list":
            saved[position] = tuple([Packed(pair, t, "tensor") for t in value])
            saved[position + 1] = ()  # no versions to compare: hooks may have made copies
        elif kind == "tensor" and saved[position + 1] >= 0:
            saved[position] = Packed(pair, value, kind)
            saved[position + 1] = -1
        elif kind == "result":
            tensor = next(t for t in outputs if t._array is value[0])
            saved[position] = Packed(pair, tensor, kind, output)
        elif kind == "aux":
            saved[position] = Packed(pair, wrap(value), kind)
    node.saved = tuple(saved)
    node.__class__ = packed_class(type(node))


_packed_classes: dict[type, type] = {}


def packed_class(cls: Any) -> type:
    """The subclass of a node class whose saved tensors are packed."""
    found = _packed_classes.get(cls)
    if found is None:
        def backward(node: Any, grad: Any) -> tuple[Any, ...]:
            saved = node.saved
            if saved is None:
                raise freed_error(node)
            node.saved = tuple([restored(node, item) for item in saved])
            try:
                return cls.backward(node, grad)  # type: ignore[no-any-return]
            finally:
                node.saved = saved

        members = {
            "__slots__": (), "__module__": "builtins", "__doc__": None, "backward": backward,
        }
        found = _packed_classes[cls] = type(cls.__name__, (cls,), members)
    return found


def restored(node: Node, item: Any) -> Any:
    """An entry of `saved` with what was packed unpacked again."""
    if type(item) is Packed:
        return item.restored(node)
    if type(item) is tuple and item and type(item[0]) is Packed:
        return tuple([packed.restored(node) for packed in item])
    return item


class SavedTensor:
    """One tensor that a node saved (`_raw_saved_self`): hooks may be registered for it alone."""

    __module__ = "torch._C._autograd"
    __slots__ = ("get", "layout", "node")

    def __init__(self, node: Any, layout: tuple[str, int, int | None], get: Any) -> None:
        self.node = node
        self.layout = layout
        self.get = get

    def register_hooks(
        self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]
    ) -> None:
        """Packs the saved tensor now, and unpacks it when a derivative needs it."""
        if not callable(pack_hook) or not callable(unpack_hook):
            raise TypeError("register_hooks(): incompatible function arguments: two functions are "
                            "needed, pack_hook and unpack_hook")
        if self.node.saved is not None and type(self.node.saved[self.layout[1]]) is Packed:
            raise RuntimeError(
                "Calling register_hooks on a saved tensor whose hooks have already been set. Hint: "
                "only one pair of hooks is allowed at a time."
            )
        tensor = self.unpack()
        if tensor is None:
            raise RuntimeError(
                "Calling register_hooks on a saved tensor with value None is forbidden."
            )
        pack_saved(self.node, [self.layout], (pack_hook, unpack_hook), (tensor,))

    def unpack(self) -> Any:
        """Returns the saved tensor."""
        return self.get(self.node)

    @property
    def data(self) -> Any:
        """The saved tensor, without history."""
        found = self.unpack()
        return None if found is None else found.detach()
