"""Collects the nodes of an ONNX graph: names, constants, casts and shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from taper.compiler.graph import GraphNode, Reference
from taper.core.rule_tables import entered_in
from taper.export.sizes import Counting, Size

__all__ = ["TRANSLATIONS", "Translation", "Writer", "translation", "unsupported"]

# By the name of a function (export/functions.py): what writes a call of it. It returns the name of
# the result, or a list of names; None stands for results that it doesn't give.
Translation = Callable[["Writer", GraphNode], Any]
TRANSLATIONS: dict[str, Translation] = {}

translation = entered_in(TRANSLATIONS)


def unsupported(node: GraphNode, why: str = "") -> NotImplementedError:
    """The error for a call that can't be written."""
    return NotImplementedError(
        f"ONNX export of the operation {node.label!r} is not supported{why and f': {why}'}"
    )


class Writer:
    """The ONNX graph that is being written.

    Args:
        opset: the version of ONNX's operators.
        size: gives the name of an open size, as a tensor of one int64.
    """

    def __init__(self, opset: int, size: Callable[[Writer, str], str]) -> None:
        import onnx

        self.onnx = onnx
        self.opset = opset
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.names: dict[tuple[int, int | None], str] = {}  # by the graph's value
        self._size = size
        self._constants: dict[Any, str] = {}
        self._sizes: dict[Size, str] = {}  # each is computed once
        self._open: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def fresh(self, base: str) -> str:
        """A name that nothing has."""
        self._counts[base] = count = self._counts.get(base, -1) + 1
        return f"{base}_{count}"

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; gives the name of its result, or a list of names."""
        made = [self.fresh(op.lower()) for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(
            op, list(inputs), made, name=self.fresh(f"/{op}"),
            **{k: v for k, v in attributes.items() if v is not None}))
        return made[0] if outputs == 1 else made

    def type_of(self, dtype: Any) -> int:
        """ONNX's number for a dtype."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def constant(self, value: Any, dtype: Any = None) -> str:
        """An initializer; equal ones are one."""
        array = np.asarray(value, dtype)
        key = (array.dtype, array.shape, array.tobytes())
        name = self._constants.get(key)
        if name is None:
            name = self._constants[key] = self.fresh("constant")
            self.initializers[name] = array
        return name

    def ints(self, values: Sequence[int]) -> str:
        """A constant list of int64."""
        return self.constant(np.array(values, np.int64).reshape(-1))

    def cast(self, name: str, before: Any, after: Any) -> str:
        """A value in another dtype."""
        if before == after:
            return name
        return str(self.add("Cast", name, to=self.type_of(after)))

    def operand(self, value: Any, dtype: Any = None) -> str:
        """The name of an argument that is an array or a number, cast to `dtype` if given."""
        if isinstance(value, Reference):
            name = self.names.get((value.node.number, value.output))
            if name is None:
                raise unsupported(value.node, f"its result number {value.output}")
            return name if dtype is None else self.cast(name, dtype_of(value), dtype)
        if isinstance(value, Counting):
            return self._counting(value, dtype)
        if isinstance(value, Size):
            return self.cast(self.squeeze(self.shape([value]), 0), np.dtype(np.int64),
                             dtype or np.dtype(np.int64))
        return self.constant(value, dtype)

    def shape(self, sizes: Sequence[Any]) -> str:
        """A list of int64 from ints and dynamic sizes."""
        if all([isinstance(n, (int, np.integer)) for n in sizes]):
            return self.ints(list(sizes))
        parts = [self._of_size(n) if isinstance(n, Size) else self.ints([n]) for n in sizes]
        return parts[0] if len(parts) == 1 else str(self.add("Concat", *parts, axis=0))

    def _of_size(self, size: Size) -> str:
        name = self._sizes.get(size)
        if name is None:
            terms = []
            for product, count in size.terms.items():
                factors = [self._open_size(n) for n in product]
                if count != 1 or not factors:
                    factors.append(self.ints([count]))
                terms.append(reduce(lambda a, b: self.add("Mul", a, b), factors))
            name = self._sizes[size] = reduce(lambda a, b: self.add("Add", a, b), terms)
        return name

    def _open_size(self, name: str) -> str:
        if name not in self._open:
            self._open[name] = self._size(self, name)
        return self._open[name]

    def reshape(self, name: str, shape: Sequence[Any]) -> str:
        """A value in another shape."""
        dynamic = [i for i, n in enumerate(shape) if isinstance(n, Size)]
        if len(dynamic) == 1 and 0 not in [n for n in shape if not isinstance(n, Size)]:
            shape = [-1 if i in dynamic else n for i, n in enumerate(shape)]
        return str(self.add("Reshape", name, self.shape(shape)))

    def expand(self, name: str, shape: Sequence[Any]) -> str:
        """A value broadcast to a shape."""
        return str(self.add("Expand", name, self.shape(shape)))

    def reduce(self, op: str, name: str, axes: Sequence[int] | None, keepdims: bool) -> str:
        """A reduction over axes; None for all."""
        if axes is not None and not axes:
            return name
        if axes is None:
            return str(self.add(op, name, keepdims=int(keepdims)))
        since = 13 if op == "ReduceSum" else 18
        return self._with_axes(op, name, axes, since, keepdims=int(keepdims))

    def unsqueeze(self, name: str, *axes: int) -> str:
        """A value with new axes of one element."""
        return self._with_axes("Unsqueeze", name, axes, 13)

    def squeeze(self, name: str, *axes: int) -> str:
        """A value without these axes, of one element each."""
        return self._with_axes("Squeeze", name, axes, 13)

    def _with_axes(
        self, op: str, name: str, axes: Sequence[int], since: int, **attributes: Any
    ) -> str:
        """A node that takes its axes as an operand since that opset, as an attribute before."""
        if self.opset >= since:
            return str(self.add(op, name, self.ints(list(axes)), **attributes))
        return str(self.add(op, name, axes=list(axes), **attributes))

    def slice(self, name: str, start: Any, stop: Any, axis: int, step: int = 1) -> str:
        """A part of a value along one axis."""
        return str(self.add("Slice", name, self.shape([start]), self.shape([stop]),
                            self.ints([axis]), self.ints([step])))

    def _counting(self, value: Counting, dtype: Any) -> str:
        if value.step == 0:
            result = self.operand(value.start, value.dtype)
            result = self.expand(result, value.shape) if value.shape else result
        else:
            count = self.add("ReduceProd", self.shape(value.shape), keepdims=0)
            zero, one = self.constant(0, np.int64), self.constant(1, np.int64)
            places = self.cast(self.add("Range", zero, count, one), np.dtype(np.int64), value.dtype)
            scaled = self.add("Mul", places, self.constant(value.step, value.dtype))
            flat = self.add("Add", scaled, self.constant(value.start, value.dtype))
            result = self.reshape(flat, value.shape)
        return self.cast(result, value.dtype, dtype or value.dtype)


def dtype_of(reference: Reference) -> Any:
    return reference.node.results[reference.output or 0][1]
