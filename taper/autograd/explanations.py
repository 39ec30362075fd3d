"""Errors of backward in PyTorch's words; and what happened, where, and the usual cure.

What is ours is a note of the exception: tracebacks show it, and programs that print or compare the
message find PyTorch's. The errors about in-place changes and freed graphs are beside the nodes
that raise them, in node.py.
"""

from __future__ import annotations

from typing import Any

from taper.autograd.node import line_of
from taper.core.tensor import LEAF, Tensor

__all__ = [
    "leaf_in_place", "no_history", "not_a_scalar", "unused", "view_of_leaf_in_place",
]


def told(tensor: Any) -> str:
    """A tensor in few words: its dtype and shape, and the line that made it if that is known."""
    text = f"{tensor.dtype} tensor of shape {list(tensor._array.shape)}"
    edge = tensor._edge
    if edge is None or edge is LEAF:
        return text
    node = getattr(edge, "node", edge)
    if node.where is None:
        return text
    name = node.operator.name if node.operator is not None else node.name()
    return f"{text} that {name}() made at {line_of(node.where)}"


def _explained(message: str, explanation: str) -> RuntimeError:
    error = RuntimeError(message)
    error.add_note(explanation)
    return error


def not_a_scalar(output: Tensor) -> RuntimeError:
    """A backward pass starts at a tensor of several elements, without a gradient for them."""
    return _explained(
        "grad can be implicitly created only for scalar outputs",
        f"This one is a {told(output)}: reduce it to one number first, as with .sum() or .mean(), "
        "or pass the gradient that arrives at each element, as in "
        "backward(torch.ones_like(output)).",
    )


def no_history(output: Tensor, index: int) -> RuntimeError:
    """A backward pass starts at a tensor that no recorded operation made."""
    message = f"element {index} of tensors does not require grad and does not have a grad_fn"
    it = f"It is a {told(output)}"
    if not (output.is_floating_point() or output.is_complex()):
        return _explained(
            message,
            f"{it}: only floating point and complex tensors have gradients, so an operation "
            "such as a comparison, argmax or a cast to integers ended the history."
        )
    return _explained(
        message,
        f"{it}, computed from tensors that don't require grad, or without recording: under "
        "torch.no_grad(), after detach(), .data, .item() or .numpy(), or by torch.tensor(...) of "
        "other tensors. Set requires_grad=True on the inputs, and look for where the history ends: "
        "the first tensor on the way whose grad_fn is None."
    )


def unused(tensor: Any, index: int) -> RuntimeError:
    """An input that the outputs were not computed from."""
    message = (
        f"The differentiated Tensor at index {index} appears to not have been used in the graph. "
        "Set allow_unused=True if this is the desired behavior."
    )
    if not isinstance(tensor, Tensor):
        return RuntimeError(message)
    return _explained(
        message,
        f"It is a {told(tensor)}; the outputs were computed from another tensor, perhaps from "
        "what it was before a view, a cast or .to() made this one of it, or they went through "
        "detach() or no_grad() on the way. materialize_grads=True gives zeros for it."
    )


_CURE = (
    "To change its values, as an optimizer does, do so under torch.no_grad(); to compute with "
    "changed values, change a clone()."
)


def leaf_in_place(leaf: Tensor) -> RuntimeError:
    """A leaf that requires grad would be overwritten, and its gradient with it."""
    return _explained(
        "a leaf Variable that requires grad is being used in an in-place operation.",
        f"It is a {told(leaf)}: as it was made by no operation, there would be nothing left that "
        f"the gradient could be of. {_CURE}",
    )


def view_of_leaf_in_place(view: Tensor) -> RuntimeError:
    """A view of a leaf that requires grad would be overwritten."""
    return _explained(
        "a view of a leaf Variable that requires grad is being used in an in-place operation.",
        f"The view is a {told(view)}; it shares the memory of the leaf. {_CURE}"
    )
