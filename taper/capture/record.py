"""Runs a step once on recording arrays and returns the graph of all it would compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from taper.arrays.traced import Recording, TracedArray, recording_into, untold_error
from taper.compiler.graph import Graph
from taper.core.tensor import Tensor

__all__ = ["named_state", "record"]


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
        NotImplementedError: if the step asks for a value (`item()`, a branch on a tensor), or
            writes to tensors that are neither state nor made within it.
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
    state = _as_tuple(state)
    named = {f"x{i}": value for i, value in enumerate(inputs) if isinstance(value, Tensor)}
    named.update(named_state(state))
    with _as_inputs(graph, named, state) as before:
        with recording_into(graph) as recording:
            try:
                result = step(*inputs)
                _name_outputs(graph, "result", result)
                del result
            finally:
                told = _restore_adopted(recording)
        if not told:
            raise untold_error()
        for name, t in named.items():
            array = t._array
            if isinstance(array, TracedArray) and array.reference is not before[name]:
                graph.outputs[name] = array.reference
            grad = t._grad
            if grad is not None and isinstance(grad._array, TracedArray):
                graph.outputs[f"{name}.grad"] = grad._array.reference
    return graph.without_dead_code()


@contextmanager
def _as_inputs(
    graph: Graph, named: dict[str, Tensor], state: tuple[Any, ...]
) -> Iterator[dict[str, Any]]:
    """Within: these tensors hold the inputs of the graph, which are yielded; afterwards they, and
    what optimizers keep, are as they were."""
    saved = [(t, t._array, t._storage, t._grad, t._edge) for t in named.values()]
    optimizers = [item for item in state if hasattr(item, "param_groups")]
    entries = [{p: dict(s) for p, s in optimizer.state.items()} for optimizer in optimizers]
    try:
        for name, t in named.items():
            t._array, t._storage = TracedArray.as_input(graph, name, t._array), None
        yield {name: t._array.reference for name, t in named.items()}
        if any([_names(o.state) != _names(e) for o, e in zip(optimizers, entries, strict=True)]):
            raise NotImplementedError(
                "an optimizer made its state within the recorded step, which would be made anew "
                "each time: run one step before recording"
            )
    finally:
        for optimizer, entry in zip(optimizers, entries, strict=True):
            optimizer.state.clear()
            optimizer.state.update(entry)
        for t, array, storage, grad, edge in saved:
            t._array, t._storage, t._grad, t._edge = array, storage, grad, edge


def _as_tuple(state: Any) -> tuple[Any, ...]:
    if isinstance(state, Tensor) or hasattr(state, "named_parameters") or hasattr(
        state, "param_groups"
    ):
        return (state,)
    return tuple(state)


def _names(state: Any) -> set[tuple[int, str]]:
    """The names in an optimizer's state, by parameter."""
    return {(id(p), name) for p, entry in state.items() for name in entry}


def _restore_adopted(recording: Recording) -> bool:
    """Whether all tensors that the step wrote to were made within it: those that are still there,
    now that its results are gone, were not. They get their arrays back."""
    told = True
    for reference, array in recording.adopted:
        tensor = reference()
        if tensor is not None:
            tensor._array = array
            told = False
    return told


def named_state(state: tuple[Any, ...]) -> dict[str, Tensor]:
    """The tensors of state, by name: a module's under its own names, others by position."""
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
