"""Tools on the graph of the tape: edges, versions, hooks over several gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from taper.autograd.node import Node, function_of
from taper.core.removable_handle import RemovableHandle
from taper.core.tensor import LEAF, Tensor

__all__ = [
    "GradientEdge", "Node", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]


class GradientEdge(NamedTuple):
    """A place in the graph where a gradient arrives: a node and the number of its output."""

    node: Any
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Returns where the gradient of `tensor` arrives.

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


class MultiGradHandle:
    """Removes the hooks of `register_multi_grad_hook`."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Removes the hook from all tensors."""
        for handle in self.handles:
            handle.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[..., Any], *, mode: str = "all"
) -> MultiGradHandle:
    """Calls ``fn(gradients)`` once the gradients of all `tensors` are known, or, with
    ``mode="any"``, ``fn(gradient)`` when the first is.

    Gradients that a pass never computes are not waited for within that pass's tensors: the hook
    runs when the last of those that require grad has come.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    watched = [t for t in tensors if t._edge is not None]
    grads: dict[int, Tensor] = {}

    def make(index: int) -> Callable[[Tensor], None]:
        def hook(grad: Tensor) -> None:
            if mode == "any":
                if not grads:
                    fn(grad)
                grads[index] = grad
                if len(grads) == len(watched):
                    grads.clear()
                return
            grads[index] = grad
            if len(grads) == len(watched):
                found = [grads.get(i) for i in range(len(watched))]
                grads.clear()
                fn(found)

        return hook

    return MultiGradHandle([t.register_hook(make(i)) for i, t in enumerate(watched)])


class saved_tensors_hooks:  # PyTorch's name
    """Not available yet: packing what the tape saves."""

    def __init__(self, pack_hook: Any, unpack_hook: Any) -> None:
        raise NotImplementedError(
            "saved_tensors_hooks: taper's nodes keep what they save as it is; use "
            "torch.utils.checkpoint-like recomputation in a custom autograd.Function instead"
        )


class save_on_cpu:
    """Does nothing: everything is on the CPU already."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        self.pin_memory = pin_memory

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        pass


class disable_saved_tensors_hooks:
    """Does nothing: there are no such hooks to forbid."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        pass


