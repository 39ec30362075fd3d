"""Derivatives by running a computation again, on Tensors, with the tape on.

For operators whose forward is quick arithmetic on arrays and whose derivative, or second
derivative, is too long to be worth writing down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from taper.autograd.modes import enable_grad
from taper.autograd.tangents import take_tangents
from taper.core.state import is_recording
from taper.core.tensor import LEAF, Tensor, wrap

__all__ = ["gradients_by_running"]


def gradients_by_running(
    function: Callable[..., Any], inputs: Sequence[Tensor | None], grads: Any, needs: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """The gradients of `function(*inputs)` for those inputs that need one.

    `grads` is the gradient of its result, or a tuple with Nones for several results. With the tape
    on, the gradients are recorded, so that they can be differentiated again.
    """
    from taper.autograd import grad

    create_graph = is_recording()
    given = list(inputs)
    for position, tensor in enumerate(given):
        if tensor is None:
            continue
        forward_only = needs[position] and tensor._edge is None  # see ops/forward_mode.py
        if forward_only or not create_graph:
            given[position] = alone = wrap(tensor._array)
            take_tangents(alone, tensor)
            if needs[position]:
                alone._edge = LEAF
    with enable_grad():
        # Aliases, so that gradients arrive at this use of an input and at no other.
        aliases = [
            t.view_as(t) if t is not None and need else t
            for t, need in zip(given, needs, strict=True)
        ]
        results = function(*aliases)
    if not isinstance(grads, tuple):
        results, grads = (results,), (grads,)
    pairs = [(r, g) for r, g in zip(results, grads, strict=True) if g is not None]
    wanted = [a for a, need in zip(aliases, needs, strict=True) if need]
    found = iter(grad(
        [r for r, _ in pairs], wanted, [g for _, g in pairs], create_graph=create_graph,
        allow_unused=True,
    ))
    result = []
    for tensor, need in zip(given, needs, strict=True):
        value = next(found) if need else None
        if need and value is None:
            value = tensor.new_zeros(tensor._array.shape)
        result.append(value)
    return tuple(result)
