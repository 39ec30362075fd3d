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
from taper.export.sizes import for_any_sizes, products_of
from taper.func.tree import Structure, flatten, unflatten
from taper.nn import Module

__all__ = ["TENSOR", "Captured", "Dim", "capture"]

_MOST_DIMS = 3  # which need nine recordings


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

    graph: with `Size` for numbers that depend on open sizes.
    inputs: by argument, `TENSOR` or the value that it always has.
    results: the same for results; the tensors are the graph's outputs "result.0", …
    dims: the open sizes.
    dynamic: by tensor argument, its open axes and the names of their sizes.
    """

    graph: Graph
    inputs: list[Any]
    input_structure: Structure
    results: list[Any]
    result_structure: Structure
    dims: tuple[Dim, ...]
    dynamic: list[dict[int, str]]


def capture(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    dynamic_shapes: Any = None,
) -> Captured:
    """Records `function(*args, **kwargs)`, which must be a function of the values of tensors.

    Raises:
        NotImplementedError: where it asks for the value of a tensor, and for more open sizes than
            three.
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

    dims, dynamic = _open_axes(function, args, kwargs, dynamic_shapes)
    if not dims:
        graph = recorded(tensors)
    else:
        points = _points(dims, tensors, dynamic)
        graph = for_any_sizes(
            [recorded([_resized(t, axes, point) for t, axes in zip(tensors, dynamic, strict=True)])
             for point in points], points, [d.name for d in dims])
    return Captured(
        graph, [TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure,
        found["results"], found["structure"], dims, dynamic,
    )


def _points(
    dims: tuple[Dim, ...], tensors: list[Tensor], dynamic: list[dict[int, str]]
) -> list[dict[str, int]]:
    """Sizes to record at: two of each in all combinations, and a third.

    Those of the example and smaller ones first, since larger ones may be too large for a table;
    1 and 2 last, since dividing by n or n - 1 is something else there.
    """
    example = {name: t.shape[axis] for t, axes in zip(tensors, dynamic, strict=True)
               for axis, name in axes.items()}
    choices = []
    for d in dims:
        n = example[d.name]
        candidates = [*range(n, 2, -1), *range(max(n, 2) + 1, max(n, 2) + 4), 2, 1]
        sizes = [m for m in candidates if d.allows(m)][:3]
        if len(sizes) < 3:
            raise ValueError(f"{d} leaves too few sizes open to tell how results depend on it")
        choices.append(sizes)
    corners = [{d.name: sizes[d.name in product]
                for d, sizes in zip(dims, choices, strict=True)}
               for product in products_of([d.name for d in dims])]
    return [*corners, {d.name: sizes[2] for d, sizes in zip(dims, choices, strict=True)}]


def _resized(tensor: Tensor, axes: dict[int, str], point: dict[str, int]) -> Tensor:
    """A tensor of the same kind whose open axes have those sizes; recording asks for no values."""
    if not axes:
        return tensor
    shape = [point[axes[axis]] if axis in axes else n for axis, n in enumerate(tensor.shape)]
    return taper.zeros(shape, dtype=tensor.dtype)


def _open_axes(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], shapes: Any
) -> tuple[tuple[Dim, ...], list[dict[int, str]]]:
    """The open sizes, and the axes that have them by tensor argument."""
    dims: dict[str, Dim] = {}
    axes: list[dict[int, str]] = []

    def walk(value: Any, spec: Any) -> None:
        if isinstance(value, Tensor):
            named = spec.items() if isinstance(spec, dict) else enumerate(spec or ())
            mine = {axis % value.ndim: d for axis, d in named if isinstance(d, Dim)}
            # Sizes without a name of their own are the same where they are equal in the example.
            mine = {axis: Dim(f"s{value.shape[axis]}") if d is Dim.AUTO else d
                    for axis, d in mine.items()}
            dims.update({d.name: d for d in mine.values()})
            axes.append({axis: d.name for axis, d in mine.items()})
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
    if len(dims) > _MOST_DIMS:
        raise NotImplementedError(
            f"{len(dims)} dynamic sizes ({', '.join(dims)}) are not supported, {_MOST_DIMS} are: "
            "one name may stand for the same size in several places"
        )
    return tuple(dims.values()), axes
