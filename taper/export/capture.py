"""Records a module's call as a graph of its inputs, parameters and buffers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import taper
from taper import Tensor
from taper.capture import record
from taper.compilation.passes import simplified
from taper.compiler.directives import exporting
from taper.compiler.graph import Graph
from taper.export.sizes import for_any_size
from taper.func.tree import Structure, flatten, unflatten
from taper.nn import Module

__all__ = ["TENSOR", "Captured", "Dim", "capture"]

_SIZES = (3, 5, 8)  # at which a step with a dynamic size is recorded


class Dim:
    """A size that may differ from call to call, by name.

    Args:
        name: how it is printed, and named in ONNX files.
        min, max: what it may be.
    Example:
        >>> import taper as torch
        >>> torch.export.Dim("batch", max=64)
        Dim('batch', min=0, max=64)
    """

    AUTO: Dim
    DYNAMIC: Dim
    STATIC = None

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        self.name = self.__name__ = name
        self.min = 0 if min is None else min
        self.max = max

    def allows(self, size: int) -> bool:
        """Whether the size may be this."""
        return size >= self.min and (self.max is None or size <= self.max)

    def __repr__(self) -> str:
        return f"Dim({self.name!r}, min={self.min}, max={self.max})"


Dim.AUTO = Dim.DYNAMIC = Dim("s0")


class _TensorMark:
    def __repr__(self) -> str:
        return "a tensor"


TENSOR = _TensorMark()  # stands for tensors among arguments and results


class Captured(NamedTuple):
    """What a call became.

    graph: with `Size` for numbers that depend on the dynamic size, if there is one.
    inputs: by argument, `TENSOR` or the value that it always has.
    results: the same for results; the tensors are the graph's outputs "result.0", …
    dynamic: by tensor argument, the axes of the dynamic size.
    """

    graph: Graph
    inputs: list[Any]
    input_structure: Structure
    results: list[Any]
    result_structure: Structure
    dim: Dim | None
    dynamic: list[list[int]]


def capture(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    dynamic_shapes: Any = None,
) -> Captured:
    """Records `function(*args, **kwargs)`, which must be a function of the values of tensors.

    Raises:
        NotImplementedError: where it asks for the value of a tensor, and for several dynamic sizes.
    """
    leaves, structure = flatten((tuple(args), kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    found: dict[str, Any] = {}

    def step(*given: Tensor) -> list[Tensor]:
        it = iter(given)
        called_with, options = unflatten(
            [next(it) if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure)
        results, found["structure"] = flatten(function(*called_with, **options))
        found["results"] = [TENSOR if isinstance(r, Tensor) else r for r in results]
        return [r for r in results if isinstance(r, Tensor)]

    def recorded(given: list[Tensor]) -> Graph:
        with taper.no_grad(), exporting():
            graph = record(step, *given, state=[function] if isinstance(function, Module) else [])
        inputs = {node.label for node in graph.inputs}
        graph.outputs = {name: r for name, r in graph.outputs.items()
                         if name.startswith("result") or name in inputs}
        return simplified(graph)

    dim, dynamic = _dynamic_axes(function, args, kwargs, dynamic_shapes)
    if dim is None:
        graph = recorded(tensors)
    else:
        sizes = [n for n in _SIZES if dim.allows(n)]
        while len(sizes) < len(_SIZES):
            sizes.append((sizes or [max(dim.min, 1)])[-1] + 1)
        graph = for_any_size(
            tuple([recorded([_resized(t, axes, n)  # type: ignore[arg-type]
                             for t, axes in zip(tensors, dynamic, strict=True)])
                   for n in sizes]), tuple(sizes), dim.name)  # type: ignore[arg-type]
    return Captured(
        graph, [TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure,
        found["results"], found["structure"], dim, dynamic,
    )


def _resized(tensor: Tensor, axes: list[int], size: int) -> Tensor:
    """A tensor of the same kind whose dynamic axes have that size; recording asks for no values."""
    if not axes:
        return tensor
    shape = [size if axis in axes else n for axis, n in enumerate(tensor.shape)]
    return taper.zeros(shape, dtype=tensor.dtype)


def _dynamic_axes(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], shapes: Any
) -> tuple[Dim | None, list[list[int]]]:
    """The dynamic size, and the axes that have it by tensor argument."""
    dims: dict[str, Dim] = {}
    axes: list[list[int]] = []

    def walk(value: Any, spec: Any) -> None:
        if isinstance(value, Tensor):
            named = spec.items() if isinstance(spec, dict) else enumerate(spec or ())
            mine = {axis: d for axis, d in named if isinstance(d, Dim)}
            dims.update({d.name: d for d in mine.values()})
            axes.append([axis % value.ndim for axis in mine])
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(item, spec.get(key) if spec else None)
        elif isinstance(value, (tuple, list)):
            for i, item in enumerate(value):
                walk(item, spec[i] if spec else None)

    given = dict(shapes) if isinstance(shapes, dict) else None
    if given is not None:
        called = function.forward if isinstance(function, Module) else function
        names = list(inspect.signature(called).parameters)
        positional = [given.pop(name, None) for name in names[:len(args)]]
        unknown = given.keys() - kwargs.keys()
        if unknown:
            raise ValueError(f"dynamic_shapes names {sorted(unknown)}, which aren't arguments")
        walk(args, positional)
        walk(kwargs, given)
    else:
        walk(args, shapes)
        walk(kwargs, None)
    if len(dims) > 1:
        raise NotImplementedError(
            f"several dynamic sizes ({', '.join(dims)}) are not supported: one name may stand for "
            "the same size in several places"
        )
    return next(iter(dims.values()), None), axes
