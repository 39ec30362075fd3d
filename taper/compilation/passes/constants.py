"""Constants: calls whose operands are known are computed once, and arrays that hold one number
become `full` nodes, whose users read the number.

Needs: nothing. Gives: `full(shape, number)` in place of ones_like, zeros_like, full_like and
broadcast numbers; elementwise calls take a number in place of an array full of it, so that
`multiply(x, ones)` is seen to be x. The same bits: what a `full` is computed to is limited to
functions that IEEE arithmetic defines to the last bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.arrays.node_arguments import depends_on_size
from taper.arrays.symbolic_shape import broadcast_shapes
from taper.compilation.passes.rewriting import (
    Rewriting,
    Value,
    dtype_of,
    kind_of,
    recorded_strides,
    rewritten,
    shape_of,
)
from taper.compiler.graph import Graph, GraphNode, Reference, replaced

__all__ = ["RULES", "filled", "fold_constants", "number_of"]

_LARGEST = 1 << 16  # elements of a constant that is computed ahead

_EXACT = frozenset(
    "add subtract multiply divide negative positive absolute sqrt square reciprocal maximum "
    "minimum fmax fmin equal not_equal less less_equal greater greater_equal logical_and "
    "logical_or logical_not logical_xor isnan isinf isfinite sign conjugate floor ceil trunc rint "
    "bitwise_and bitwise_or bitwise_xor invert".split()
)
_NOT_FOLDED = frozenset(["empty", "empty_like", "full"])


def fold_constants(graph: Graph) -> Graph:
    """The graph with what is known computed."""
    return rewritten(graph, RULES)


def number_of(value: Any) -> Any:
    """The number, as an array without dimensions, that fills an operand; None if it isn't one."""
    if isinstance(value, Reference):
        node = value.node
        return node.args[1] if node.function is np.full else None
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value).reshape(()) if value.size == 1 else None
    return np.asarray(value) if isinstance(value, (bool, int, float, complex)) else None


def filled(walk: Rewriting, shape: tuple[int, ...], number: Any) -> Value:
    """An array of this shape, full of a number: as a node, or the array itself if it has one."""
    number = np.asarray(number)
    if math.prod(shape) == 1:
        return number.reshape(shape)
    return walk.emit("full", np.full, (shape, number), shape, number.dtype)


def _filled_arrays(node: GraphNode, walk: Rewriting) -> Value | None:
    shape, dtype = node.results[0]
    kind = kind_of(node)
    if kind in ("ones_like", "zeros_like", "ones", "zeros"):
        return filled(walk, shape, np.ones((), dtype) if kind[0] == "o" else np.zeros((), dtype))
    number = number_of(node.args[1]) if len(node.args) > 1 else None
    if kind == "full_like":
        return None if number is None else filled(walk, shape, number.astype(dtype))
    if number is None or (type(node.args[0]) is tuple and number.dtype == dtype
                          and not node.kwargs):
        return None
    return filled(walk, shape, number.astype(dtype))


def _rearranged_filled_array(node: GraphNode, walk: Rewriting) -> Value | None:
    """A view or a copy of an array full of one number."""
    number = number_of(node.args[0])
    if number is None or (kind_of(node) == "__getitem__" and node.inputs()[1:]):
        return None
    if kind_of(node) == "astype":
        number = number.astype(node.results[0][1])
    return filled(walk, node.results[0][0], number)


def _numbers_as_operands(node: GraphNode, walk: Rewriting) -> Value | None:
    """An elementwise call of arrays that hold one number each."""
    function = node.function
    assert isinstance(function, np.ufunc)
    if node.kwargs or function.signature is not None or function.nout != 1:
        return None
    numbers = [number_of(a) for a in node.args]
    shape, dtype = node.results[0]
    if kind_of(node) in _EXACT and all([n is not None for n in numbers]):
        operands = [a if dtype_of(a) is None else n
                    for a, n in zip(node.args, numbers, strict=True)]
        with np.errstate(all="ignore"):
            result = np.asarray(function(*operands))
        return filled(walk, shape, result) if result.dtype == dtype else None
    return _with_numbers(node, walk, numbers)


def _choices_of_numbers(node: GraphNode, walk: Rewriting) -> Value | None:
    """where(condition, a, b) with numbers among them."""
    if len(node.args) != 3 or node.kwargs:
        return None
    condition, *choices = node.args
    numbers = [number_of(a) for a in node.args]
    if numbers[0] is not None:
        chosen = choices[0] if numbers[0] else choices[1]
        if (shape_of(chosen), dtype_of(chosen)) == node.results[0]:
            return chosen
    if not isinstance(condition, Reference):
        numbers[0] = None
    return _with_numbers(node, walk, numbers)


def _with_numbers(node: GraphNode, walk: Rewriting, numbers: list[Any]) -> Value | None:
    """The same call with numbers in place of arrays full of them, if the shape stays."""
    args = [a if n is None or shape_of(a) == () else n
            for a, n in zip(node.args, numbers, strict=True)]
    if all([a is b for a, b in zip(args, node.args, strict=True)]):
        return None
    shape, dtype = node.results[0]
    if broadcast_shapes(*[shape_of(a) for a in args]) != shape:
        return None
    assert node.function is not None
    return walk.call(node.label, node.function, tuple(args), shape, dtype,
                     recorded_strides(node))


def _known_results(node: GraphNode, walk: Rewriting) -> Value | None:
    """A call of NumPy's whose operands are all known."""
    if node.effect or len(node.results) != 1 or any([
        r.node.function is not np.full for r in node.read
    ]):
        return None
    kind = kind_of(node)
    if depends_on_size((node.args, node.kwargs, node.results[0][0])) or any([
            depends_on_size(shape_of(r)) for r in node.read]):
        return None
    if not kind or kind in _NOT_FOLDED or any([
            math.prod(shape) > _LARGEST
            for shape in (node.results[0][0], *map(shape_of, node.read))]):
        return None
    assert node.function is not None
    if node.function in (np.copy, np.array) and isinstance(node.args[0], np.ndarray):
        return node.args[0]
    with np.errstate(all="ignore"):
        try:
            return np.asarray(node.function(*replaced(node.args, _array_of),
                                            **replaced(node.kwargs, _array_of)))
        except (ArithmeticError, TypeError, ValueError):
            return None  # raised when the graph runs, as it would have been


def _array_of(reference: Reference) -> np.ndarray:
    """The array of a `full` node."""
    return np.full(*reference.node.args)


_REARRANGEMENTS = (
    "transpose reshape broadcast_to __getitem__ copy astype swapaxes squeeze expand_dims moveaxis "
    "ravel flatten diagonal"
)

RULES = {
    **dict.fromkeys("ones_like zeros_like ones zeros full_like full".split(), (_filled_arrays,)),
    **dict.fromkeys(_REARRANGEMENTS.split(), (_rearranged_filled_array,)),
    "ufunc": (_numbers_as_operands,),
    "where": (_choices_of_numbers,),
    "any": (_known_results,),
}
