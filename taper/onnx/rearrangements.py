"""Views, copies, picking and placing of elements in ONNX's operators."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.arrays.node_functions import Step
from taper.compilation.passes import dtype_of, shape_of
from taper.compiler.graph import GraphNode, Reference
from taper.export.sizes import Counting, Size
from taper.onnx.writer import Writer, translation, unsupported

__all__: list[str] = []

_BACKWARDS_TO_THE_START = -(2**63) + 1


@translation("method.transpose", "method.swapaxes", "method.squeeze", "numpy.squeeze",
             "numpy.expand_dims", "method.reshape", "method.flatten", "method.ravel",
             "numpy.moveaxis", "numpy.transpose", "numpy.swapaxes")
def _reshaped(writer: Writer, node: GraphNode) -> str:
    name = writer.operand(node.args[0])
    if node.label == "transpose":  # in the form that passes bring it to
        return str(writer.add("Transpose", name, perm=list(node.args[1])))
    if node.label in ("swapaxes", "moveaxis"):
        raise unsupported(node, "with these arguments")
    return writer.reshape(name, node.results[0][0])


@translation("numpy.broadcast_to")
def _expanded(writer: Writer, node: GraphNode) -> str:
    return writer.expand(writer.operand(node.args[0]), node.results[0][0])


@translation("method.copy", "numpy.copy", "numpy.array", "method.astype")
def _cast(writer: Writer, node: GraphNode) -> str:
    dtype = node.results[0][1]
    name = writer.operand(node.args[0], dtype)
    is_constant = not isinstance(node.args[0], Reference)
    return str(writer.add("Identity", name)) if is_constant else name


@translation("numpy.full")
def _full(writer: Writer, node: GraphNode) -> str:
    shape, dtype = node.results[0]
    return writer.expand(writer.operand(node.args[1], dtype), shape)


@translation("numpy.concatenate", "numpy.stack")
def _joined(writer: Writer, node: GraphNode) -> str:
    parts, *rest = node.args
    axis = rest[0] if rest else node.kwargs.get("axis", 0)
    names = [writer.operand(p, node.results[0][1]) for p in parts]
    if node.label == "stack":
        names = [writer.unsqueeze(n, axis) for n in names]
    return str(writer.add("Concat", *names, axis=axis))


# -- picking ---------------------------------------------------------------------------------------


@translation("method.__getitem__")
def _indexed(writer: Writer, node: GraphNode) -> str:
    x, index = node.args
    parts = index if type(index) is tuple else (index,)
    name = writer.operand(x)
    if all([isinstance(p, (int, slice, Size)) for p in parts]):
        return _sliced(writer, name, parts, shape_of(x))
    if any([p is None or p is Ellipsis or dtype_of(p) == np.bool_ for p in parts]):
        raise unsupported(node, "with this index")
    arrays = [(i, p) for i, p in enumerate(parts) if not _is_all(p)]
    if len(arrays) == 1 and not isinstance(arrays[0][1], slice):
        (axis, places), = arrays
        return str(writer.add("Gather", name, writer.operand(places), axis=axis))
    if [i for i, _ in arrays] != list(range(len(arrays))) or any([
        isinstance(p, slice) for _, p in arrays
    ]):
        raise unsupported(node, "with arrays and slices among each other as index")
    return str(writer.add("GatherND", name, _places(writer, [p for _, p in arrays], shape_of(x))))


def _is_all(part: Any) -> bool:
    return isinstance(part, slice) and part == slice(None)


def _sliced(writer: Writer, name: str, parts: Any, shape: Any) -> str:
    starts, stops, axes, steps, gone = [], [], [], [], []
    for axis, (p, n) in enumerate(zip(parts, shape, strict=False)):
        if not isinstance(p, slice):
            gone.append(axis)
            starts.append(p)
            stops.append(p + 1 if isinstance(p, int) else p.minus(-1))
            steps.append(1)
        else:
            step = 1 if p.step is None else p.step
            if p.start in (0, None) and p.stop in (n, None) and step == 1:
                continue
            starts.append(0 if p.start is None else p.start)
            end = _BACKWARDS_TO_THE_START if step < 0 else n
            stops.append(end if p.stop is None else p.stop)
            steps.append(step)
        axes.append(axis)
    if axes:
        name = writer.add("Slice", name, writer.shape(starts), writer.shape(stops),
                          writer.ints(axes), writer.ints(steps))
    return writer.squeeze(name, *gone) if gone else name


def _places(writer: Writer, arrays: list[Any], base: Any) -> str:
    """Arrays of positions, one for each leading axis, as rows of GatherND and ScatterND."""
    int64 = np.dtype(np.int64)
    shapes = [a.shape if isinstance(a, Counting) else shape_of(a) for a in arrays]
    full = max(shapes, key=len)
    columns = []
    for a, shape, n in zip(arrays, shapes, base, strict=False):
        name = writer.operand(a, int64)
        if not isinstance(a, Counting):  # NumPy counts negative ones from the end
            behind = writer.add("Add", name, writer.operand(n, int64))
            is_negative = writer.add("Less", name, writer.constant(0, np.int64))
            name = writer.add("Where", is_negative, behind, name)
        if shape != full or len({*shapes}) > 1:
            name = writer.expand(name, _broadcast(shapes))
        columns.append(writer.unsqueeze(name, -1))
    return columns[0] if len(columns) == 1 else str(writer.add("Concat", *columns, axis=-1))


def _broadcast(shapes: list[Any]) -> list[Any]:
    ndim = max(map(len, shapes))
    padded = [(1,) * (ndim - len(s)) + tuple(s) for s in shapes]
    return [next((n for n in sizes if n != 1), 1) for sizes in zip(*padded, strict=True)]


@translation("method.take", "numpy.take")
def _taken(writer: Writer, node: GraphNode) -> str:
    x, index, *rest = node.args
    axis = rest[0] if rest else node.kwargs.get("axis")
    name = writer.operand(x)
    if axis is None:
        name, axis = writer.add("Reshape", name, writer.ints([-1])), 0
    return str(writer.add("Gather", name, writer.operand(index), axis=axis))


@translation("numpy.take_along_axis")
def _taken_along(writer: Writer, node: GraphNode) -> str:
    x, index, axis = node.args
    name, places = writer.operand(x), writer.operand(index, np.dtype(np.int64))
    shape = list(node.results[0][0])
    if list(shape_of(index)) != shape:
        places = writer.expand(places, shape)
    wanted = [n if d == axis % len(shape) else m
              for d, (n, m) in enumerate(zip(shape_of(x), shape, strict=True))]
    if list(shape_of(x)) != wanted:
        name = writer.expand(name, wanted)
    return str(writer.add("GatherElements", name, places, axis=axis))


@translation("numpy.sort", "method.argsort", "numpy.argsort")
def _sorted(writer: Writer, node: GraphNode) -> str:
    x, *rest = node.args
    axis = rest[0] if rest else node.kwargs.get("axis", -1)
    count = writer.shape([shape_of(x)[axis]])
    values, places = writer.add("TopK", writer.operand(x), count, outputs=2, axis=axis, largest=0)
    return str(places if "argsort" in node.label else values)


@translation("method.diagonal", "numpy.diagonal", "ours.window", "numpy.flip", "numpy.roll",
             "numpy.tile", "numpy.repeat", "method.repeat", "numpy.tril", "numpy.triu")
def _picked(writer: Writer, node: GraphNode) -> str:
    """A call that only moves elements of one array of known shape: their places are constants."""
    x, *rest = node.args
    shape = _known_shape(node, shape_of(x))
    if node.label in ("tril", "triu"):
        chosen = node.function(np.ones(shape, bool), *rest, **node.kwargs)  # type: ignore[misc]
        zero = writer.constant(0, dtype_of(x))
        return str(writer.add("Where", writer.constant(chosen), writer.operand(x), zero))
    places = np.arange(math.prod(shape)).reshape(shape)
    if node.label == "window":
        scale = 8 / dtype_of(x).itemsize
        sizes, strides, offset = rest
        rest = [sizes, tuple([int(s * scale) for s in strides]), int(offset * scale)]
    moved = np.asarray(node.function(places, *rest, **node.kwargs))  # type: ignore[misc]
    flat = writer.add("Reshape", writer.operand(x), writer.ints([-1]))
    return str(writer.add("Gather", flat, writer.constant(moved), axis=0))


def _known_shape(node: GraphNode, shape: Any) -> tuple[int, ...]:
    if any([isinstance(n, Size) for n in shape]):
        raise unsupported(node, "of a dynamic size")
    return tuple(shape)


# -- placing ---------------------------------------------------------------------------------------


@translation("ours.scatter", "ours.scatter_add")
def _scattered(writer: Writer, node: GraphNode) -> str:
    shape, number, index, value = node.args
    dtype = node.results[0][1]
    parts = index if type(index) is tuple else (index,)
    margins = _margins(parts, shape)
    if margins is not None and node.label == "scatter":
        begins, ends = margins
        inside = [_difference(n, b + e) for n, b, e in zip(shape, begins, ends, strict=True)]
        name = writer.operand(value, dtype)
        if list(shape_of(value)) != inside:
            name = writer.expand(name, inside)
        return str(writer.add("Pad", name, writer.ints([*begins, *ends]),
                              writer.operand(number, dtype)))
    base = writer.expand(writer.operand(number, dtype), shape)
    if all([isinstance(p, (int, slice)) or p is Ellipsis for p in parts]):
        return _written(writer, node, base, shape, lambda places: places[index], value)
    if any([isinstance(p, slice) or p is None or p is Ellipsis for p in parts]):
        raise unsupported(node, "with this index")
    adds = "add" if node.label == "scatter_add" else None
    return _scatter_nd(writer, base, shape, list(parts), value, dtype, adds)


def _scatter_nd(writer: Writer, base: str, shape: Any, arrays: list[Any], value: Any, dtype: Any,
                reduction: str | None) -> str:
    """A base with a value at places that arrays name, one for each leading axis."""
    lead = _broadcast([a.shape if isinstance(a, Counting) else shape_of(a) for a in arrays])
    name = writer.expand(writer.operand(value, dtype), [*lead, *shape[len(arrays):]])
    places = _places(writer, arrays, shape)
    return str(writer.add("ScatterND", base, places, name, reduction=reduction))


def _margins(parts: Any, shape: Any) -> tuple[list[int], list[int]] | None:
    """What lies before and behind the slices that a value is written to."""
    if len(parts) != len(shape) or any([
        not isinstance(p, slice) or p.step not in (None, 1) for p in parts
    ]):
        return None
    begins = [p.start or 0 for p in parts]
    ends = [0 if p.stop is None else _difference(n, p.stop)
            for p, n in zip(parts, shape, strict=True)]
    known = all([isinstance(n, int) and n >= 0 for n in (*begins, *ends)])
    return (begins, ends) if known else None


def _difference(n: Any, m: Any) -> Any:
    """n - m, of ints and open sizes."""
    return n.minus(m) if isinstance(n, Size) else Size({(): n}).minus(m)


@translation("hidden(1).scatter.scatter_src", "hidden(1).scatter.scatter_value")
def _scattered_along(writer: Writer, node: GraphNode) -> list[str]:
    x, axis, index, value = node.args
    return [_scatter_elements(writer, node, x, axis, index, value)]


@translation("changed.put_along_axis")
def _put_along(writer: Writer, node: GraphNode) -> str:
    x, index, value, axis = node.args
    return _scatter_elements(writer, node, x, axis, index, value)


def _scatter_elements(
    writer: Writer, node: GraphNode, x: Any, axis: int, index: Any, value: Any
) -> str:
    """Elements of a value, or of its first part, at an index along one axis."""
    dtype = node.results[0][1]
    name, shape = writer.operand(value, dtype), shape_of(index)
    for d, (n, m) in enumerate(zip(shape_of(value), shape, strict=False)):
        if n not in (1, m):
            name = writer.slice(name, 0, m, d)
    if shape_of(value) != shape:
        name = writer.expand(name, shape)
    return str(writer.add("ScatterElements", writer.operand(x, dtype),
                          writer.operand(index, np.dtype(np.int64)), name, axis=axis))


@translation("changed.numpy.add.at")
def _added(writer: Writer, node: GraphNode) -> str:
    x, index, value = node.args
    arrays = list(index) if type(index) is tuple else [index]
    if writer.opset < 16 or any([isinstance(p, (int, slice)) for p in arrays]):
        raise unsupported(node, "with this index, or before opset 16")
    return _scatter_nd(writer, writer.operand(x), shape_of(x), arrays, value, node.results[0][1],
                       "add")


@translation("kernel.embedding.add_rows")
def _added_rows(writer: Writer, node: GraphNode) -> str:
    """Rows added to those of a table of zeros."""
    count, index, rows = node.args
    if writer.opset < 16:
        raise unsupported(node, "before opset 16")
    shape, dtype = [count, *shape_of(rows)[1:]], node.results[0][1]
    base = writer.expand(writer.constant(0, dtype), shape)
    return _scatter_nd(writer, base, shape, [index], rows, dtype, "add")


@translation("changed.setitem", "ours.write")
def _changed(writer: Writer, node: GraphNode) -> str:
    x, how, value = node.args
    base = writer.operand(x)
    if node.label == "write":
        return _written(writer, node, base, shape_of(x), lambda p: _by_steps(p, how), value)
    parts = how if type(how) is tuple else (how,)
    if not all([isinstance(p, (int, slice)) or p is Ellipsis for p in parts]):
        raise unsupported(node, "with arrays as index")
    return _written(writer, node, base, shape_of(x), lambda places: places[how], value)


def _by_steps(places: np.ndarray, steps: tuple[Step, ...]) -> Any:
    for step in steps:
        places = step(places)
    return places


def _written(writer: Writer, node: GraphNode, base: str, shape: Any, view: Any, value: Any) -> str:
    """An array of known shape with a value at the places that a view shows."""
    shape = _known_shape(node, shape)
    places = np.asarray(view(np.arange(math.prod(shape)).reshape(shape)))
    dtype = node.results[0][1]
    flat = writer.add("Reshape", base, writer.ints([-1]))
    values = writer.add("Reshape", writer.expand(writer.operand(value, dtype), places.shape),
                        writer.ints([-1]))
    result = writer.add("ScatterND", flat, writer.constant(places.reshape(-1, 1)), values)
    return writer.reshape(result, shape)
