"""Calls the hooks of tensors and nodes, and checks what they return.

Which comes when: `engine.py` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taper.autograd.node import Node
from taper.core.tensor import Tensor

__all__ = ["call_hooks_after", "call_hooks_before", "call_leaf_hooks", "has_hooks"]


def has_hooks(leaf: Tensor) -> bool:
    """Whether somebody sees when a leaf's gradient is complete."""
    if leaf._backward_hooks or leaf._post_accumulate_grad_hooks:
        return True
    held = leaf._accumulator
    accumulator = held() if held is not None else None
    return accumulator is not None and accumulator.extras is not None


def call_tensor_hooks(hooks: Any, grad: Tensor) -> Tensor:
    """Passes a gradient through a tensor's hooks; each may replace it."""
    for hook in list(hooks.values()):
        replaced = hook(grad)
        if replaced is not None:
            check_replacement(hook, grad, replaced)
            grad = replaced
    return grad


def check_replacement(hook: Any, grad: Any, replaced: Any) -> None:
    """Raises PyTorch's error if a hook returned what can't stand for the gradient it got."""
    if replaced is None:
        return
    if not isinstance(replaced, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(replaced).__name__}'")
    if grad is None:
        return
    name = getattr(hook, "__name__", type(hook).__name__)
    if replaced.dtype is not grad.dtype and not getattr(hook, "changes_dtype", False):
        raise RuntimeError(
            f"hook '{name}' has changed the type of value (was {grad.type()} got "
            f"{replaced.type()})"
        )
    if replaced._array.shape != grad._array.shape:
        raise RuntimeError(f"hook '{name}' has changed the size of value")


def replacements(hook: Any, grads: Sequence[Any], replaced: Any, single: bool) -> Sequence[Any]:
    """What a node's hook returned in place of `grads`, checked."""
    if not isinstance(replaced, tuple):
        if not single:
            raise TypeError(f"expected tuple, but hook returned '{type(replaced).__name__}'")
        replaced = (replaced,)
    if len(replaced) != len(grads):
        raise RuntimeError(
            f"hook '{getattr(hook, '__name__', type(hook).__name__)}' has returned an incorrect "
            f"number of values (got {len(replaced)}, but expected {len(grads)})"
        )
    for before, after in zip(grads, replaced, strict=True):
        check_replacement(hook, before, after)
    return tuple(replaced)


def call_leaf_hooks(leaf: Tensor, grad: Tensor) -> Tensor:
    hooks = leaf._backward_hooks
    return call_tensor_hooks(hooks, grad) if hooks else grad


def call_hooks_before(node: Node, grad: Any, runs: bool = True) -> Any:
    """Tensor hooks of the outputs, prehooks if the node runs, then gradients to retain."""
    extras = node.extras
    assert extras is not None
    single = node.outputs == 1
    grads = [grad] if single else list(grad)
    for index, hooks in list(extras.tensor_hooks.items()):
        if grads[index] is not None:
            grads[index] = call_tensor_hooks(hooks, grads[index])
    for hook in list(extras.prehooks.values()) if runs else ():
        replaced = hook(tuple(grads))
        if replaced is not None:
            grads = list(replacements(hook, grads, replaced, single))
    for index, reference in extras.retained.items():
        tensor = reference()
        if tensor is not None and grads[index] is not None:
            present = tensor._grad
            if present is None:
                tensor._grad = _retained(grads[index])
            else:
                tensor._grad = present + grads[index]
    return grads[0] if single else grads


def _retained(grad: Tensor) -> Tensor:
    """A gradient as `retain_grad` keeps it: its own tensor, so later changes don't reach it."""
    return grad.clone()  # type: ignore[no-any-return]


def call_hooks_after(node: Node, grads: Sequence[Any], grad: Any) -> Sequence[Any]:
    """The hooks of `register_hook`: each sees the gradients of inputs and outputs."""
    extras = node.extras
    assert extras is not None
    outputs = (grad,) if node.outputs == 1 else tuple(grad)
    for hook in list(extras.hooks.values()):
        replaced = hook(tuple(grads), outputs)
        if replaced is not None:
            grads = replacements(hook, grads, replaced, False)
    return grads
