"""From the nodes of a graph to operations: views are folded, definitions taken apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from taper.arrays.element import ElementArray, NotElementwise
from taper.arrays.node_arguments import depends_on_size
from taper.arrays.symbolic_shape import broadcast_shapes, is_symbolic
from taper.compilation.lowering.definitions import definition_of
from taper.compilation.lowering.operations import (
    Call,
    Join,
    Map,
    Operation,
    Product,
    Reduction,
    is_known,
    mapped,
)
from taper.compilation.lowering.parts import parts_of_depth, parts_of_sum
from taper.compilation.lowering.products import has_tiles, has_tiles_for_batch
from taper.compilation.lowering.values import (
    SizedConstant,
    Value,
    View,
    contiguous,
    inverse,
    order_in_memory,
)
from taper.compiler.graph import Graph, GraphNode, Reference, references
from taper.ops.other_arrays import WholeForward

__all__ = ["Lowering", "order_of_input", "reshaped", "source_of"]

Ints = tuple[int, ...]

VIEWS = frozenset(
    "transpose swapaxes squeeze diagonal expand_dims moveaxis broadcast_to reshape ravel".split())
_REDUCTIONS = {"add": "reduce_sum", "multiply": "reduce_prod", "maximum": "reduce_max",
               "minimum": "reduce_min"}
_FEW = 4  # products this thin are written out
_MOST_OPERANDS = 8
_SCALING = (np.multiply, np.divide)
_FLOATS = ("float32", "float64")
_FEW_ELEMENTS = 8  # up to so many, a number may be like a size by chance


def name_of(node: GraphNode) -> str:
    """What rules know a node's function by. Whole forwards may be called like one of NumPy's
    functions."""
    function = node.function
    name: str = getattr(function, "__name__", "")
    return f"whole {name}" if type(function) is WholeForward else name


def order_of_input(node: GraphNode) -> tuple[int, ...]:
    """The axes of an input in the order in which they lie in memory, as far as that is known: only
    arrays without gaps are taken as they are."""
    shape, dtype = node.results[0]
    usual = tuple(range(len(shape)))
    if node.strides is None or 0 in shape:
        return usual
    strides = tuple([s // dtype.itemsize if n != 1 else 1 << 62
                     for n, s in zip(shape, node.strides[0], strict=True)])
    order = order_in_memory(shape, strides)
    sizes = [shape[a] for a in order if shape[a] != 1]
    lies = contiguous(sizes) == tuple([strides[a] for a in order if shape[a] != 1])
    return order if lies else usual


def source_of(view: View) -> View:
    """What a copy in C order was made of, if the view shows all of such a copy."""
    maker = view.value.maker
    if view.is_whole and isinstance(maker, Map) and maker.label == "copy":
        source: View = maker.views[0]
        return source
    return view


class Lowering:
    """The state of it: what each node's results are views of, and the operations so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.operations: list[Operation] = []
        self.known: dict[tuple[int, int | None], View] = {}
        self.consumers: dict[int, list[GraphNode]] = {}
        self.constants: dict[int, tuple[Any, View]] = {}
        self.arguments: dict[Any, Any] = {}
        self.numbers = itertools.count()
        self._sizes: set[float] | None = None
        for index, node in enumerate(graph.inputs):
            shape, dtype = node.results[0]
            order = order_of_input(node)
            value = Value(node.label, tuple([shape[a] for a in order]), dtype)
            value.input = index
            self.known[node.number, None] = View.of(value).permuted(inverse(order))
        for node in graph.nodes:
            for reference in node.read:
                self.consumers.setdefault(reference.node.number, []).append(node)

    def run(self) -> None:
        from taper.compilation.lowering import (
            attention_rules,
            index_rules,
            recurrent_rules,
            rules,
            window_rules,
        )

        assert attention_rules and index_rules and recurrent_rules and window_rules
        RULES = rules.RULES

        for node in self.graph.nodes:
            rule = RULES.get(name_of(node))
            found = None
            first = len(self.operations)
            if not node.read and not node.effect and depends_on_size((node.args, node.kwargs)):
                assert node.function is not None
                found = self.sized_constant(
                    partial(node.function, **node.kwargs), node.args, *node.results[0])
            elif all(prod(shape) for shape, _ in node.results):
                found = self.lowered(node) if rule is None else rule(self, node)
                if found is None and rule is not None:
                    found = self.lowered(node)
            if found is None:
                found = self.call(node)
            for operation in self.operations[first:]:
                operation.node = node.number
            if type(found) is tuple:
                for i, view in enumerate(found):
                    self.known[node.number, i] = view
            else:
                self.known[node.number, None] = found

    # -- arguments -----------------------------------------------------------------------------

    def view(self, item: Any) -> View:
        """The view that an argument stands for; arrays are constants."""
        if isinstance(item, Reference):
            return self.known[item.node.number, item.output]
        if isinstance(item, View):
            return item
        found = self.constants.get(id(item))
        if found is None:
            array = np.ascontiguousarray(item).reshape(np.shape(item))
            value = Value(f"constant{len(self.constants)}", array.shape, array.dtype)
            value.constant = array
            found = self.constants[id(item)] = item, View.of(value)
        return found[1]

    def constant(self, key: Any, make: Callable[[], Any]) -> View:
        """The view of a constant array, made once for a key."""
        if key not in self.arguments:
            self.arguments[key] = make()
        return self.view(self.arguments[key])

    def size(self, number: Any, dtype: Any) -> View:
        """A number that depends on the sizes of arrays, such as how many elements a mean is of.
        Kernels read it from memory, so that programs for other sizes have the same ones."""
        if is_symbolic(number):
            return self.constant(("size", number, dtype), lambda: self.sized_constant(
                np.full, ((), number, dtype), (), dtype))
        found = self.constant(("size", float(number), dtype), lambda: np.full((), number, dtype))
        found.value.is_size = True
        return found

    def sized_constant(
        self, function: Callable[..., Any], args: tuple[Any, ...], shape: Ints, dtype: Any
    ) -> View:
        """The view of an array that depends on a symbolic size only."""
        value = Value(f"constant of size {next(self.numbers)}", shape, dtype)
        value.constant = SizedConstant(function, args, shape, dtype)
        value.is_size = True
        return View.of(value)

    def is_size(self, number: Any) -> bool:
        """Whether a number is how many elements some reduction of the graph is of, or follows from
        that: 1 / n and 2 / n of the derivatives of means and of means of squares; n - 1 in the
        place of n, and n / (n - 1), of unbiased variances."""
        if self._sizes is None:
            counts = [n for n in map(_count_of, self.graph.nodes) if not is_symbolic(n)]
            self._sizes = {
                float(kind(size)) for n in counts if n > _FEW_ELEMENTS
                for size in (n, n - 1, 1 / n, 1 / (n - 1), 2 / n, 2 / (n - 1), n / (n - 1))
                for kind in (np.float32, np.float64)}
        is_number = isinstance(number, (int, float, np.floating)) or (
            isinstance(number, np.ndarray) and number.ndim == 0 and number.dtype.kind == "f")
        return is_number and float(number) in self._sizes

    def is_array(self, item: Any) -> bool:
        return isinstance(item, (Reference, View)) or (
            isinstance(item, np.ndarray) and item.ndim > 0)

    def new_value(self, shape: Sequence[int], dtype: Any) -> Value:
        return Value(f"v{next(self.numbers)}", tuple(shape), dtype)

    def add(self, operation: Operation) -> None:
        operation.number = len(self.operations)
        self.operations.append(operation)

    # -- building ------------------------------------------------------------------------------

    def map(
        self, label: str, function: Callable[..., Any], *views: View, shape: Ints | None = None,
    ) -> View | None:
        """A new Map over the operands' common shape; None if the function can't be traced."""
        definition = definition_of(function, [v.dtype for v in views])
        if definition is None:
            return None
        if shape is None:
            shape = broadcast_shapes(*[v.shape for v in views])
        out = self.new_value(shape, definition.dtype)
        self.add(Map(label, definition, views, out))
        return View.of(out)

    def must_map(self, label: str, function: Callable[..., Any], *views: View) -> View:
        found = self.map(label, function, *views)
        if found is None:
            raise NotElementwise(label)
        return found

    def copied(self, view: View) -> View:
        """The same elements as a value of their own, in C order."""
        out = self.new_value(view.shape, view.dtype)
        if view.size and is_known(view.dtype):
            copy = definition_of(_itself, [view.dtype])
            assert copy is not None
            self.add(Map("copy", copy, [view], out))
        else:
            self.add(Call("copy", np.array, (view,), {}, [out], False, False))
        return View.of(out)

    def reduce(self, op: str, view: View, axes: Sequence[int], keepdims: bool = False) -> View:
        """A reduction over some axes, in steps if they aren't neighbours or are long."""
        axes = sorted(a % len(view.shape) for a in axes)
        kept = tuple([1 if i in axes else n for i, n in enumerate(view.shape)])
        after = kept if keepdims else tuple(
            [n for i, n in enumerate(view.shape) if i not in axes])
        # Axes that are neighbours are one; the last ones come first.
        while axes:
            last = axes.pop()
            first = last
            while axes and axes[-1] == first - 1:
                first = axes.pop()
            view = self._reduce_neighbours(op, view, first, last + 1)
        return View(view.value, 0, after, contiguous(after))

    def _reduce_neighbours(self, op: str, view: View, begin: int, end: int) -> View:
        shape = view.shape
        outer, reduced, inner = shape[:begin], shape[begin:end], shape[end:]
        kept = (*outer, *[1] * (end - begin), *inner)
        count = prod(reduced)
        if count == 1:
            return self.copied(View(view.value, view.offset, kept, view.strides))
        if not _is_one_line(reduced, view.strides[begin:end]):
            view = self.copied(view)
        parts = parts_of_sum(prod(outer), count, prod(inner))
        if parts > 1:
            stride = view.strides[end - 1]
            part = count // parts
            strides = (*view.strides[:begin], part * stride, stride, *view.strides[end:])
            split = View(view.value, view.offset, (*outer, parts, part, *inner), strides)
            found = self._reduction(op, split, (*outer, parts), (part,), inner)
            return View.of(self._reduction(op, View.of(found), outer, (parts,), inner, kept))
        return View.of(self._reduction(op, view, outer, reduced, inner, kept))

    def _reduction(
        self, op: str, view: View, outer: Ints, reduced: Ints, inner: Ints,
        shape: Ints | None = None,
    ) -> Value:
        out = self.new_value((*outer, *inner) if shape is None else shape, view.dtype)
        self.add(Reduction(op, op, view, (outer, reduced, inner), out))
        return out

    def joined(self, parts: Sequence[View], axis: int, shape: Ints, dtype: Any) -> View:
        """The parts side by side along an axis: a view, if that is how they lie."""
        parts = [part for part in parts if part.shape[axis]]
        first = parts[0] if parts else None
        if first is not None and all(
            after.value is first.value and after.strides == first.strides
            and after.offset == before.offset + before.shape[axis] * first.strides[axis]
            for before, after in itertools.pairwise(parts)
        ):
            return View(first.value, first.offset, shape, first.strides)
        out = self.new_value(shape, dtype)
        whole = View.of(out)
        copies, places = [], []
        start = 0
        for part in parts:
            n = part.shape[axis]
            copies.append(self.copied(part))
            places.append(View(out, start * whole.strides[axis], part.shape, whole.strides))
            start += n
        self.add(Join("concatenate", copies, out, places))
        return whole

    # -- nodes ---------------------------------------------------------------------------------

    def lowered(self, node: GraphNode) -> View | None:
        """A node as a view, a map or a reduction; None for others."""
        name = name_of(node)
        if name in VIEWS:
            return self._view_of(node, name)
        function = node.function
        if isinstance(function, np.ufunc):
            if function.signature is None and function.nout == 1 and not set(node.kwargs) - {
                    "dtype"}:
                return self._map_of(node)
            return None
        owner = getattr(function, "__self__", None)
        if isinstance(owner, np.ufunc) and name == "reduce":
            return self._reduction_of(node, owner)
        return None

    def _view_of(self, node: GraphNode, name: str) -> View | None:
        first, *rest = node.args
        if not isinstance(first, Reference) or any(True for _ in references(rest)):
            return None
        view = self.view(first)
        if name in ("reshape", "ravel"):
            shape = node.results[0][0]
            order = node.kwargs.get("order", "C")
            if order != "C":
                return None
            source = source_of(view)
            if source.shape == shape:  # a reshape that copied is taken back
                return source
            found = view.through(reshaped, shape)
            return self.copied(view).through(reshaped, shape) if found is None else found
        assert node.function is not None
        found = view.through(node.function, *rest, **node.kwargs)
        return found if found is not None and found.shape == node.results[0][0] else None

    def _map_of(self, node: GraphNode) -> View | None:
        if node.function is np.add and not node.kwargs:
            found = self._with_bias(node, *node.args)
            if found is not None:
                return found
        return self.map_call(node, node.function, node.args, node.kwargs)

    def map_call(
        self, node: GraphNode, function: Any, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> View | None:
        """A Map that calls a NumPy function with these arguments."""
        shape, dtype = node.results[0]
        if function in _SCALING and not kwargs and dtype.name in _FLOATS:
            args = [self.size(a, dtype) if is_symbolic(a) or self.is_size(a) else a for a in args]
        if any(map(is_symbolic, args)) or depends_on_size(kwargs):
            return None
        views = [self.view(a) for a in args if self.is_array(a)]
        if len(views) > _MOST_OPERANDS:
            return None
        pattern = [None if self.is_array(a) else (a,) for a in args]

        def call(*elements: ElementArray) -> Any:
            given = iter(elements)
            return function(*[next(given) if p is None else p[0] for p in pattern], **kwargs)

        found = call if function is np.where else _in_wider(
            call, [v.dtype for v in views], dtype)
        label = node.label + "".join([f" {p[0]}" for p in pattern if p is not None])
        made = self.map(label, found, *views, shape=shape)
        return made if made is None or made.dtype == dtype else None

    def _reduction_of(self, node: GraphNode, ufunc: Any) -> View | None:
        op = _REDUCTIONS.get(ufunc.__name__)
        options = dict(node.kwargs)
        names = ("axis", "dtype", "out", "keepdims")
        options.update(zip(names, node.args[1:], strict=False))
        dtype = node.results[0][1]
        source = node.args[0]
        if op is None or not self.is_array(source) or set(options) - set(names) or options.get(
                "out") is not None:
            return None
        view = self.view(source)
        if view.dtype != dtype or dtype.kind not in "fiu" or dtype.itemsize < 4 or not view.size:
            return None
        axis = options.get("axis", 0)
        axes = range(len(view.shape)) if axis is None else (
            axis if isinstance(axis, tuple) else (axis,))
        if not axes:
            return None
        return self.reduce(op, view, axes, bool(options.get("keepdims")))

    def call(self, node: GraphNode) -> Any:
        """A node as a call of its Python function."""
        assert node.function is not None

        def view_of(item: Any) -> Any:
            return self._as_recorded(item) if isinstance(item, Reference) else item

        args, kwargs = mapped(view_of, node.args), mapped(view_of, node.kwargs)
        outs = [self.new_value(shape, dtype) for shape, dtype in node.results]
        several = any(r.output is not None for n in self.consumers.get(node.number, ())
                      for r in n.read if r.node is node) or len(outs) > 1 or any(
            r.node is node and r.output is not None for r in self.graph.outputs.values())
        self.add(Call(node.label, node.function, args, kwargs, outs, several,
                      bool(getattr(node, "effect", None))))
        views = tuple([View.of(out) for out in outs])
        return views if several else views[0]

    def _as_recorded(self, reference: Reference) -> View:
        """The view for a Python function, which may count on C's order where it was recorded."""
        view = self.view(reference)
        strides = reference.node.strides
        if strides is None or not view.size or view.value.input is not None:
            return view
        item = view.dtype.itemsize
        lies = [(n, s // item, own) for n, s, own in zip(
            view.shape, strides[reference.output or 0], view.strides, strict=True) if n != 1]
        usual = list(contiguous([n for n, _, _ in lies]))
        if [s for _, s, _ in lies] == usual != [own for _, _, own in lies]:
            return self.copied(view)
        return view

    # -- products ------------------------------------------------------------------------------

    def product(self, node: GraphNode) -> View | None:
        """matmul and dot of matrices."""
        if len(node.args) != 2 or node.kwargs or not all(map(self.is_array, node.args)):
            return None
        a, b = map(self.view, node.args)
        shape, dtype = node.results[0]
        if a.dtype != dtype or b.dtype != dtype or dtype.name not in ("float32", "float64"):
            return None
        is_dot = name_of(node) == "dot"
        if not (a.shape and b.shape and a.size and b.size):
            return None
        if is_dot and (len(a.shape) > 2 or len(b.shape) > 2):
            return None
        if len(a.shape) == 1:
            a = View(a.value, a.offset, (1, *a.shape), (0, *a.strides))
        if len(b.shape) == 1:
            b = View(b.value, b.offset, (*b.shape, 1), (*b.strides, 0))
        if len(a.shape) == 2 and len(b.shape) == 2:
            found = self._thin_product(a, b)
            if found is None:
                found = self._matrix_product(a, b, self._is_turned(node))
        else:
            found = self.batched_product(a, b)
        return found if found.shape == shape else found.through(reshaped, shape)

    def batched_product(self, a: View, b: View) -> View:
        """The products of batches of matrices."""
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = self.new_value((*batch, a.shape[-2], b.shape[-1]), a.dtype)
        self.add(Product("product", [_for_blas(self, a), _for_blas(self, b)], [out]))
        return View.of(out)

    def _matrix_product(self, a: View, b: View, is_turned: bool) -> View:
        if is_turned:
            a, b = b.permuted((1, 0)), a.permuted((1, 0))
        parts = parts_of_depth(a.shape[0], a.shape[1], b.shape[1])
        if parts > 1:
            found = self._sum_of_products(a, b, parts)
            if found is not None:
                return found.permuted((1, 0)) if is_turned else found
        out = self.new_value((a.shape[0], b.shape[1]), a.dtype)
        self.add(Product("product", [_for_blas(self, a), _for_blas(self, b)], [out]))
        found = View.of(out)
        return found.permuted((1, 0)) if is_turned else found

    def _sum_of_products(self, a: View, b: View, parts: int) -> View | None:
        """A product of many terms as the sum of the products of parts of them, for all threads."""
        (m, k), n = a.shape, b.shape[1]
        part = k // parts
        first = View(a.value, a.offset, (parts, m, part), (part * a.strides[1], *a.strides))
        second = View(b.value, b.offset, (parts, part, n), (part * b.strides[0], *b.strides))
        if not has_tiles_for_batch(first, second):
            return None
        out = self.new_value((parts, m, n), a.dtype)
        self.add(Product("product", [first, second], [out]))
        return self.reduce("reduce_sum", View.of(out), (0,))

    def _with_bias(self, node: GraphNode, first: Any, second: Any) -> View | None:
        """A product plus a row, which the product begins with."""
        if not isinstance(first, Reference) or not self.is_array(second):
            return None
        view, row = self.view(first), self.view(second)
        product = view.value.maker
        columns = view.shape[-1] if view.shape else 0
        if (
            not isinstance(product, Product) or len(product.views) > 2 or not view.is_whole
            or len(view.value.shape) != 2 or view.value.shape[1] != columns
            or row.shape != (columns,) or row.strides != (1,) or row.dtype != view.dtype
            or len(self.consumers[first.node.number]) > 1
            or any(r.node is first.node for r in self.graph.outputs.values())
            or (row.value.constant is None and row.value.input is None)
            or not has_tiles(product)
        ):
            return None
        product.views.append(row)
        return view

    def _is_turned(self, node: GraphNode) -> bool:
        """Whether all who read the product read its transpose."""
        readers = self.consumers.get(node.number, [])
        if any(r.node is node for r in self.graph.outputs.values()):
            return False
        return bool(readers) and all(
            name_of(r) in ("transpose", "swapaxes") and len(r.results[0][0]) == 2
            and name_of(r) in VIEWS for r in readers)

    def _thin_product(self, a: View, b: View) -> View | None:
        """Products in which one size is small: sums of few terms, or of rows or columns."""
        (m, k), n = a.shape, b.shape[1]
        if type(k) is int and k <= _FEW and m * n >= 64:
            def terms(*elements: Any) -> Any:
                total = elements[0] * elements[1]
                for x, y in zip(elements[2::2], elements[3::2], strict=True):
                    total = total + x * y
                return total

            operands = []
            for i in range(k):
                operands += [_part(a, 1, i), _part(b, 0, i)]
            return self.must_map(f"product of {k}", terms, *operands)
        if n == 1:
            return self._with_vector(a, View(b.value, b.offset, (1, k), (0, b.strides[0])))
        if m == 1:
            found = self._with_vector(b.permuted((1, 0)), a)
            return View(found.value, 0, (1, n), contiguous((1, n)))
        if type(min(m, n)) is int and min(m, n) <= _FEW and m * n <= 256 and k >= 256:
            return self._sums_of_rows(a, b) if m <= n else self._sums_of_rows(
                b.permuted((1, 0)), a.permuted((1, 0))).permuted((1, 0))
        return None

    def _sums_of_rows(self, a: View, b: View) -> View:
        """A product with few rows: each is a sum of rows of the second factor, times numbers. All
        are taken in one walk over it, along with what else is summed there."""
        (m, k), n = a.shape, b.shape[1]
        rows, places = [], []
        out = self.new_value((m, n), a.dtype)
        for i in range(m):
            numbers = View(a.value, a.offset + i * a.strides[0], (k, 1), (a.strides[1], 0))
            products = self.must_map("multiply", np.multiply, b, numbers)
            rows.append(self.reduce("reduce_sum", products, (0,), keepdims=True))
            places.append(View(out, i * n, (1, n), (n, 1)))
        self.add(Join("rows", rows, out, places))
        return View.of(out)

    def _with_vector(self, a: View, row: View) -> View:
        """a @ row.T, as a column."""
        m, k = a.shape
        if a.strides[0] == 1 and k > 1 and m > 1:  # columns lie along memory
            column = row.permuted((1, 0))
            products = self.must_map("multiply", np.multiply, a.permuted((1, 0)), column)
            found = self.reduce("reduce_sum", products, (0,))
        else:
            products = self.must_map("multiply", np.multiply, a, row)
            found = self.reduce("reduce_sum", products, (1,))
        return View(found.value, 0, (m, 1), (1, 0))


def reshaped(array: Any, shape: Ints) -> Any:
    """A view in another shape; ValueError if there is none."""
    return np.reshape(array, shape, copy=False)


def _itself(x: Any) -> Any:
    return x


def _count_of(node: GraphNode) -> int:
    """How many elements each number is of that a node reduces, or normalizes, an array to."""
    if name_of(node) not in ("reduce", "normalize_channels") or not node.read:
        return 0
    first = node.read[0]
    whole = prod(first.node.results[first.output or 0][0])
    return whole // max(1, prod(node.results[-1][0]))


def _part(view: View, axis: int, index: int) -> View:
    shape = list(view.shape)
    shape[axis] = 1
    return View(view.value, view.offset + index * view.strides[axis], tuple(shape), view.strides)


def _for_blas(lowering: Lowering, view: View) -> View:
    """Matrices whose rows or columns lie along memory; a copy if they don't."""
    (n, m), (row, column) = view.shape[-2:], view.strides[-2:]
    if (column == 1 or m == 1) and (row >= m or n == 1):
        return view
    if (row == 1 or n == 1) and (column >= n or m == 1):
        return view
    return lowering.copied(view)


def _is_one_line(shape: Ints, strides: Ints) -> bool:
    """Whether dimensions can be walked as one."""
    kept = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    return all(s == t * m for (_, s), (m, t) in itertools.pairwise(kept))


def _in_wider(call: Callable[..., Any], dtypes: Sequence[Any], dtype: Any) -> Any:
    """The function itself, or for bfloat16 one that computes in float32 and rounds."""
    if all(d.itemsize != 2 or d.name != "bfloat16" for d in (*dtypes, dtype)):
        return call
    wide = np.dtype(np.float32)

    def rounding(*elements: ElementArray) -> Any:
        found = call(*[x.astype(wide) if x.dtype.name == "bfloat16" else x for x in elements])
        return found.astype(dtype) if dtype.name == "bfloat16" else found

    return rounding


