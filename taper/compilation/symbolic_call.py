"""Calls recorded for any batch size: the graph of one size from that of all.

A call is recorded with a symbolic size (core/symbolic.py) once a function was called with two. For
another size its graph is had by putting numbers in, without running the function, if all guards
hold, and if the rules for shapes say at this size what the polynomials say that were found at
others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.arrays.node_arguments import as_shapes, at_size, depends_on_size
from taper.arrays.node_functions import shape_of_write, write
from taper.arrays.shape import ShapeArray
from taper.compilation.programs import Program, SymbolicProgram
from taper.compilation.recorded import Alias, Fresh, Recorded
from taper.compilation.size_pattern import SizePattern
from taper.compilation.symbolic_graph import numbers_at
from taper.compiler.graph import GraphNode, Reference, replaced
from taper.core.symbolic import ShapeEnvironment, value_at

__all__ = ["SymbolicCall"]

MOST_REFUSED = 64


class SymbolicCall:
    """A recorded call whose batch size is open.

    Args:
        context: what the call depends on beside its snapshot.
        pattern: how its arguments follow from the size.
        recorded: with symbolic sizes in its graphs.
    """

    def __init__(self, context: Any, pattern: SizePattern, recorded: Recorded) -> None:
        assert recorded.environment is not None
        self.context = context
        self.pattern = pattern
        self.recorded = recorded
        self.environment: ShapeEnvironment = recorded.environment
        self.forward = SymbolicProgram(recorded.graph, recorded.updates, self.environment)
        self.backwards = [SymbolicProgram(backward.graph, {}, self.environment)
                          for backward in recorded.backwards]
        # Also those whose results nobody needs: they raise errors, as they do in the function.
        self.asked = [node for node in recorded.nodes if not node.effect and _is_open(node)]
        self.refused: dict[int, None] = {}  # sizes at which shapes are others
        self.seconds = 0.0  # that recording took, until somebody was told

    def describe(self) -> str:
        """For which sizes it holds."""
        guards = str(self.environment.guards).replace("\n", ", ")
        return "any batch size s" + (f" for which {guards}" if guards else "")

    def size_of(self, key: tuple[Any, Any]) -> int | None:
        """The batch size of a call, if this is for it."""
        context, state = key
        if context != self.context:
            return None
        size = self.pattern.size_of(state)
        if size is None or size in self.refused or not self.environment.guards.hold_for(size):
            return None
        if size != self.environment.hint and not self._shapes_hold(size):
            self.refuse(size)
            return None
        return size

    def refuse(self, size: int) -> None:
        """This is for no call of that size."""
        self.refused[size] = None
        if len(self.refused) > MOST_REFUSED:
            del self.refused[next(iter(self.refused))]

    def _shapes_hold(self, size: int) -> bool:
        """Whether functions give the shapes at this size that are expected of them."""
        for node in self.asked:
            def shape_of(reference: Reference) -> ShapeArray:
                return _shapes(reference.node, size)[reference.output or 0]

            args, kwargs = (as_shapes(at_size(replaced(part, shape_of), size))
                            for part in (node.args, node.kwargs))
            function: Any = node.function
            function = shape_of_write if function is write else getattr(
                function, "shapes_of", function)
            try:
                found = function(*args, **kwargs)
            except Exception:  # whatever it is, the function itself will raise it
                return False
            results = found if type(found) is tuple else (found,)
            expected = _shapes(node, size)
            if len(results) != len(expected) or any([
                (a.shape, a.dtype, a.strides) != (b.shape, b.dtype, b.strides)
                for a, b in zip(map(_described, results), expected, strict=True)
            ]):
                return False
        return True

    def recorded_at(self, size: int) -> Recorded:
        """The call for one size; its known tensors are to be set."""
        whole = self.recorded
        found = Recorded(whole.graph, whole.known)
        found.size = size
        found.numbers = whole.numbers
        found.updates, found.output_count = whole.updates, whole.output_count
        found.uses, found.only, found.result = whole.uses, whole.only, whole.result
        found.warnings, found.returned = whole.warnings, whole.returned
        found.tensors = [_tensor_at(made, size) for made in whole.tensors]
        found.backwards = [
            backward.at([(numbers_at(shape, size), dtype) for shape, dtype in backward.metadata])
            for backward in whole.backwards]
        return found

    def programs_at(self, size: int) -> list[Program]:
        """The program for one size, and those of the backwards of its results."""
        return [program.at(size) for program in (self.forward, *self.backwards)]


def _is_open(node: GraphNode) -> bool:
    return depends_on_size((node.args, node.kwargs)) or any([
        depends_on_size(shape) for shape, _ in node.results]) or any([
            depends_on_size(reference.node.results[reference.output or 0][0])
            for reference in node.read])


def _shapes(node: GraphNode, size: int) -> tuple[ShapeArray, ...]:
    strides: Any = node.strides or [None] * len(node.results)
    if node.function is None and not any([value_at(n, size) for n in strides[0] or ()]):
        strides = [None]  # a gradient, which may lie in any way: recorded as if it was in rows
    return tuple([ShapeArray(numbers_at(shape, size), dtype,
                             None if s is None else numbers_at(s, size))
                  for (shape, dtype), s in zip(node.results, strides, strict=True)])


def _described(value: Any) -> Any:
    return value if isinstance(value, ShapeArray) else np.asarray(value)


def _tensor_at(made: Any, size: int) -> Any:
    if type(made) is Fresh:
        strides = None if made.strides is None else numbers_at(made.strides, size)
        return Fresh(made.output, at_size(made.steps, size), made.edge, strides,
                     is_inference=made.is_inference)
    if type(made) is Alias:
        return Alias(made.known, at_size(made.steps, size), made.edge)
    return made
