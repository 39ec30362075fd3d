"""`torch.autograd.graph`: tools on the tape. Edges, versions, saved tensors, several gradients."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from taper.autograd import engine, views
from taper.autograd.node import GradientEdge, Node, function_of
from taper.autograd.saved_tensors import disable_saved_tensors_hooks, saved_tensors_hooks
from taper.core.removable_handle import RemovableHandle
from taper.core.tensor import LEAF, Tensor

__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks",
    "get_gradient_edge", "increment_version", "register_multi_grad_hook", "save_on_cpu",
    "saved_tensors_hooks",
]


engine.observed.passes = True  # for multi-grad hooks


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Returns where the gradient of `tensor` arrives: `backward` and `grad` take it in its place.

    Raises:   RuntimeError: if the tensor does not require grad
    """
    edge = tensor._edge
    if edge is None:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require "
            "gradients"
        )
    return GradientEdge(*function_of(tensor if edge is LEAF else edge))


def increment_version(tensor: Any) -> None:
    """Counts an in-place change that was made behind taper's back, such as through NumPy."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        t._bump_version()


# -- several gradients at once -------------------------------------------------------------------


class MultiGradHandle:
    """Removes the hooks of `register_multi_grad_hook`."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Removes the hook from all tensors."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> MultiGradHandle:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all"
) -> MultiGradHandle:
    """Calls ``fn(gradients)`` when a backward pass knows the gradients of all `tensors`.

    Tensors that the pass does not reach have None there. With ``mode="any"``, ``fn(gradient)`` is
    called with the first gradient of each pass.

    Example:
        >>> import taper as torch
        >>> a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
        >>> handle = torch.autograd.graph.register_multi_grad_hook((a, b), print)
        >>> (a * 2 + b * 3).backward()
        [tensor([2.]), tensor([3.])]
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    assert all(t.requires_grad for t in tensors), "Expected gradient function to be set"
    watched = list(tensors)
    owner = object()

    def make(index: int) -> Callable[[Tensor], None]:
        def hook(grad: Tensor) -> None:
            walk = engine.current_walk.get()
            assert walk is not None
            found = walk.notes_of(owner)
            first = not found
            found[index] = grad
            if mode == "any":
                if first:
                    fn(grad)
                return
            if first:
                edges = [t if t._edge is LEAF else t._edge for t in watched]
                found["missing"] = {i for i, e in enumerate(edges) if walk.will_reach(e)}
            found["missing"].discard(index)
            if not found["missing"]:
                fn([found.get(i) for i in range(len(watched))])

        return hook

    return MultiGradHandle([t.register_hook(make(i)) for i, t in enumerate(watched)])


# -- saved tensors --------------------------------------------------------------------------------


class save_on_cpu(saved_tensors_hooks):  # PyTorch's name
    """Within this block, what the tape saves is moved to the CPU, and back when it is needed.

    Args:     pin_memory: has no meaning without a GPU
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(_to_cpu, _from_cpu)


def _to_cpu(tensor: Tensor) -> tuple[Any, Tensor]:
    return tensor.device, tensor.cpu()


def _from_cpu(packed: tuple[Any, Tensor]) -> Tensor:
    device, tensor = packed
    return tensor.to(device)  # type: ignore[no-any-return]


class allow_mutation_on_saved_tensors:
    """Within this block, tensors that the tape saved may be changed in place: they are copied
    before the first change. `backward` has to run within the block, too.

    Example:
        >>> import taper as torch
        >>> with torch.autograd.graph.allow_mutation_on_saved_tensors():
        ...     a = torch.ones(2, requires_grad=True)
        ...     b = a.clone()
        ...     out = (b ** 2).sum()
        ...     _ = b.sin_()
        ...     out.backward()
        >>> a.grad
        tensor([2., 2.])
    """

    def __enter__(self) -> SavedCopies:
        if any(isinstance(getattr(w, "__self__", None), SavedCopies) for w in views.watchers):
            raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
        self.copies = SavedCopies()
        self.hooks = saved_tensors_hooks(self.copies.pack, self.copies.unpack)
        self.hooks.__enter__()
        views.watchers.append(self.copies.before_change)
        return self.copies

    def __exit__(self, *exception: Any) -> None:
        views.watchers.remove(self.copies.before_change)
        self.hooks.__exit__(*exception)
        self.copies.clear()


class SavedCopies:
    """The saved tensors of one `allow_mutation_on_saved_tensors` block, by their memory."""

    def __init__(self) -> None:
        self.by_storage: dict[int, list[weakref.ref[SavedCopy]]] = {}
        self.tensors: weakref.WeakKeyDictionary[SavedCopy, Tensor] = weakref.WeakKeyDictionary()

    def pack(self, tensor: Tensor) -> SavedCopy:
        saved = SavedCopy()
        self.tensors[saved] = tensor
        storage = id(tensor._shared_storage())
        self.by_storage.setdefault(storage, []).append(weakref.ref(saved))
        return saved

    def unpack(self, saved: SavedCopy) -> Tensor:
        found = self.tensors.get(saved)
        assert found is not None, (
            "Trying to backward outside of the 'allow_mutation_on_saved_tensors' context "
            "in which the graph was originally recorded."
        )
        return found

    def before_change(self, tensor: Tensor) -> None:
        """Copies what was saved of the memory of `tensor`, which is about to be overwritten."""
        for reference in self.by_storage.pop(id(tensor._shared_storage()), ()):
            saved = reference()
            if saved is not None and saved in self.tensors:
                self.tensors[saved] = self.tensors[saved].detach().clone()

    def clear(self) -> None:
        """Forgets all of them: their graphs can't be used any more."""
        self.by_storage.clear()
        self.tensors.clear()


class SavedCopy:
    """What a node holds in place of a tensor that `SavedCopies` keeps."""

    __slots__ = ("__weakref__",)
