"""Forward mode of custom functions: their `jvp` gives the tangents of their results."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.autograd.node import SavedAs
from taper.autograd.tangents import DualLevel, below, levels_of, set_tangent, tangent_of
from taper.core.tensor import Tensor, wrap

__all__ = ["pass_tangents"]


class TangentContext:
    """The `ctx` that `jvp` gets: that of `forward`, with the tensors of `save_for_forward`."""

    def __init__(self, node: Any, level: DualLevel) -> None:
        self._node = node
        self._level = level

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors given to `save_for_forward`."""
        saved = self._node.__dict__.get("saved_for_forward", ())
        return tuple([below(t, self._level) if isinstance(t, Tensor) else t for t in saved])


def pass_tangents(function: Any, node: Any, args: tuple[Any, ...], result: Any) -> None:
    """Asks ``function.jvp`` for the tangents of the outputs, at each level."""
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    inputs = [a for a in args if isinstance(a, Tensor)]
    held = [
        (level, [tangent_of(a, level) if isinstance(a, Tensor) else None for a in args])
        for level in levels_of(inputs)
    ]
    for level, given in held:
        if node.materialize_grads:
            given = [
                wrap(np.zeros_like(a._array)) if t is None and isinstance(a, Tensor) else t
                for a, t in zip(args, given, strict=True)
            ]
        found = function.jvp(TangentContext(node, level), *given)
        found = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        if len(found) != len(outputs):
            raise RuntimeError(
                "Function's jvp returned an invalid number of forward gradients (expected "
                f"{len(outputs)} but got {len(found)})"
            )
        for index, (output, tangent) in enumerate(zip(outputs, found, strict=True)):
            _attach(node, level, output, tangent, index, list(zip(args, given, strict=True)))
    _save_tangents(node, outputs)


def _attach(
    node: Any, level: DualLevel, output: Any, tangent: Any, index: int,
    inputs: list[tuple[Any, Any]],
) -> None:
    if tangent is None or not isinstance(output, Tensor):
        return
    if not isinstance(tangent, Tensor):
        raise RuntimeError(
            f"expected Variable or None (got {type(tangent).__name__}) for grad output {index}."
        )
    if output._array.dtype.kind in "biu" or any(output is n for n in node._non_differentiable):
        return
    for value, given in inputs:
        if any(value is d for d in node._dirty) and value is output:
            if given is not None and given is not tangent:
                raise RuntimeError(
                    "An inplace custom Function is not modifying the forward mode gradients "
                    "inplace. If the forward is modifying an input inplace, then the jvp function "
                    "must modify the corresponding gradient inplace."
                )
        elif isinstance(value, Tensor) and given is not None and _is_view(output, value) and (
            tangent is not given and not np.may_share_memory(tangent._array, given._array)
        ):
            raise RuntimeError(
                "A custom Function's forward is returning a view (or an input as-is) but the jvp "
                "is not returning a view."
            )
    if tangent._array.shape != output._array.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original "
            f"Tensor, this is not supported. Tensor is of size {list(output._array.shape)} while "
            f"the given forward gradient is of size {list(tangent._array.shape)}."
        )
    set_tangent(output, level, tangent)


def _is_view(output: Tensor, source: Tensor) -> bool:
    return output._storage is not None and output._storage is source._storage


def _save_tangents(node: Any, outputs: list[Any]) -> None:
    """Outputs that the function saved for `backward` come back with their tangents."""
    saved = []
    for item in node.saved or ():
        kind, value, index = item
        if kind == "output" and outputs[index]._tangents:
            array, storage, version = value
            value = (array, storage, SavedAs(None, outputs[index]._tangents, version))
        saved.append((kind, value, index))
    if node.saved is not None:
        node.saved = tuple(saved)
