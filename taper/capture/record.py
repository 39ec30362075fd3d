"""Runs a step once on recording arrays and returns the graph of all it would compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from taper.arrays.traced import TracedArray
from taper.compiler.graph import Graph
from taper.core.tensor import Tensor

__all__ = ["record"]


def record(step: Callable[..., Any], *inputs: Any, state: Any = ()) -> Graph:
    """Records `step(*inputs)`: every array operation, in order, as a printable graph.

    Args:
        step: a function that may call `backward()`, an optimizer's `step()`, `zero_grad()` …
        inputs: its arguments; tensors among them become inputs of the graph.
        state: tensors, modules or optimizers whose tensors the step reads and changes. Anything
            else that the step reads is a constant of the graph.
    Returns:
        The graph. Its outputs are the step's results (`result`, or `result.0` …) and the new
        values of the inputs and the state that were changed, under their names. Nothing is
        computed, and all tensors are left as they were.
    Raises:
        NotImplementedError: if the step asks for a value (`item()`, a branch on a tensor).
    Example:
        >>> import taper as torch
        >>> from taper.capture import record
        >>> w = torch.ones(2, requires_grad=True)
        >>> print(record(lambda x: (x * w).exp(), torch.ones(2), state=[w]))
        %0 = input x0  : float32[2]
        %1 = input state.0  : float32[2]
        %2 = multiply(%0, %1)  : float32[2]
        %3 = exp(%2)  : float32[2]
        return result = %3
    """
    graph = Graph()
    named: dict[str, Tensor] = {
        f"x{i}": value for i, value in enumerate(inputs) if isinstance(value, Tensor)
    }
    named.update(_named_state(state))
    saved = {name: (t, t._array, t._storage, t._grad, t._edge) for name, t in named.items()}
    traced: dict[str, TracedArray] = {}
    try:
        for name, t in named.items():
            traced[name] = TracedArray.as_input(graph, name, t._array)
            t._array, t._storage = traced[name], None
        before = {name: array.reference for name, array in traced.items()}
        result = step(*inputs)
        _name_outputs(graph, "result", result)
        for name, t in named.items():
            array = t._array
            if isinstance(array, TracedArray) and array.reference is not before[name]:
                graph.outputs[name] = array.reference
            grad = t._grad
            if grad is not None and isinstance(grad._array, TracedArray):
                graph.outputs[f"{name}.grad"] = grad._array.reference
    finally:
        for t, array, storage, grad, edge in saved.values():
            t._array, t._storage, t._grad, t._edge = array, storage, grad, edge
    return graph.without_dead_code()


def _named_state(state: Any) -> dict[str, Tensor]:
    """The tensors of state, by name: a module's under its own names, others by position."""
    if isinstance(state, Tensor) or hasattr(state, "named_parameters") or hasattr(
        state, "param_groups"
    ):
        state = (state,)
    found: dict[str, Tensor] = {}
    for i, item in enumerate(state):
        for name, t in _tensors_of(item, f"state.{i}"):
            if all(t is not other for other in found.values()):
                found[name] = t
    return found


def _tensors_of(item: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(item, Tensor):
        yield prefix, item
    elif hasattr(item, "named_parameters"):
        yield from item.named_parameters()
        yield from item.named_buffers()
    elif hasattr(item, "param_groups"):
        for g, group in enumerate(item.param_groups):
            for p, parameter in enumerate(group["params"]):
                yield f"{prefix}.group{g}.{p}", parameter
                for key, value in item.state.get(parameter, {}).items():
                    if isinstance(value, Tensor):
                        yield f"{prefix}.group{g}.{p}.{key}", value
    else:
        raise TypeError(
            f"record(): state must be tensors, modules or optimizers, not {type(item).__name__}"
        )


def _name_outputs(graph: Graph, name: str, value: Any) -> None:
    if isinstance(value, Tensor):
        if isinstance(value._array, TracedArray):
            graph.outputs[name] = value._array.reference
        else:
            graph.outputs[name] = _constant(graph, value._array)
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            _name_outputs(graph, f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _name_outputs(graph, f"{name}.{key}", item)


def _constant(graph: Graph, array: Any) -> Any:
    from taper.compiler.graph import Reference

    node = graph.add("constant", np.copy, (array,), {}, [(array.shape, array.dtype)])
    return Reference(node)
