"""`TracedArray`: records every NumPy call as a node of a graph, and computes nothing.

Shapes and dtypes come from `ShapeArray`, so a function that has a rule there can be recorded.
A write into an array makes a new node, which the array stands for from then on.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.arrays.shape import ShapeArray
from taper.compiler.graph import Graph, Reference
from taper.core import device as devices

__all__ = ["TracedArray"]

_VIEWS = frozenset("reshape transpose swapaxes squeeze diagonal view __getitem__ ravel".split())


class TracedArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that will be computed by `node` of `graph`."""

    __slots__ = ("__weakref__", "graph", "meta", "reference", "view_of", "views")
    device = devices.CPU
    layout = devices.strided
    base = None
    storage_offset = 0
    if TYPE_CHECKING:  # bound below, with the other methods of arrays

        def astype(self, dtype: Any) -> TracedArray: ...

    def __init__(self, graph: Graph, reference: Reference, meta: ShapeArray) -> None:
        self.graph = graph
        self.reference = reference
        self.meta = meta
        self.view_of: TracedArray | None = None
        self.views: list[weakref.ref[TracedArray]] = []

    @classmethod
    def as_input(cls, graph: Graph, name: str, array: Any) -> TracedArray:
        """A new input of `graph`, like `array`."""
        node = graph.add_input(name, array.shape, array.dtype)
        return cls(graph, Reference(node), ShapeArray(array.shape, array.dtype, array.strides))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.meta.shape

    @property
    def dtype(self) -> Any:
        return self.meta.dtype

    @property
    def strides(self) -> tuple[int, ...]:
        return self.meta.strides

    @property
    def ndim(self) -> int:
        return self.meta.ndim

    @property
    def size(self) -> int:
        return self.meta.size

    @property
    def itemsize(self) -> int:
        return self.meta.itemsize

    @property
    def flags(self) -> Any:
        return self.meta.flags

    def __len__(self) -> int:
        return self.meta.shape[0]

    def __repr__(self) -> str:
        return f"TracedArray({self.reference!r}, {self.shape}, {self.dtype})"

    def _needs_value(self, what: str) -> Any:
        raise NotImplementedError(
            f"{what} needs a value, but this step is being recorded and nothing is computed: "
            "keep values as tensors inside the step, or run it without recording"
        )

    def __bool__(self) -> bool:
        return self._needs_value("a branch on a tensor")  # type: ignore[no-any-return]

    def __float__(self) -> float:
        return self._needs_value("float(tensor)")  # type: ignore[no-any-return]

    def __int__(self) -> int:
        return self._needs_value("int(tensor)")  # type: ignore[no-any-return]

    __index__ = __int__

    def item(self, *index: Any) -> Any:
        return self._needs_value("tensor.item()")

    def tolist(self) -> Any:
        return self._needs_value("tensor.tolist()")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._needs_value("tensor.numpy()")

    # -- recording ---------------------------------------------------------------------------------

    def _record(
        self, label: str, function: Callable[..., Any], args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        shapes = function(*_map(_meta_of, args), **_map(_meta_of, kwargs))
        return self._result(label, function, args, kwargs, shapes)

    def _result(
        self, label: str, function: Any, args: Any, kwargs: Any, shapes: Any
    ) -> Any:
        several = type(shapes) is tuple
        metas = [_as_meta(s) for s in (shapes if several else (shapes,))]
        node = self.graph.add(
            label, function, _map(_reference_of, args), _map(_reference_of, kwargs),
            [(m.shape, m.dtype) for m in metas],
        )
        if not several:
            return TracedArray(self.graph, Reference(node), metas[0])
        return tuple(
            TracedArray(self.graph, Reference(node, i), m) for i, m in enumerate(metas)
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        label = ufunc.__name__ + ("" if method == "__call__" else f".{method}")
        if method == "at":
            return self._record_at(label, function, inputs)
        result = self._record(label, function, inputs, kwargs)
        if out is None:
            return result
        (target,) = out
        if not isinstance(target, TracedArray):
            raise NotImplementedError(
                "a recorded step writes into a tensor that it was not told of; pass the tensor, "
                "or the module or optimizer that holds it, as state"
            )
        target.overwrite(result)
        return target

    def _record_at(self, label: str, function: Any, inputs: Any) -> None:
        def updated(array: Any, *rest: Any) -> Any:
            if isinstance(array, ShapeArray):
                return array
            array = array.copy()
            function(array, *rest)
            return array

        target, *rest = inputs
        target.overwrite(self._record(label, updated, (target, *rest), {}))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self._record(function.__name__, function, args, kwargs)

    def overwrite(self, value: TracedArray) -> None:
        """From here on this array stands for `value`, cast to its own dtype and shape."""
        if self.view_of is not None or any(r() is not None for r in self.views):
            raise NotImplementedError(
                "a recorded step writes in place into memory that views share; this recorder "
                "can't follow that yet, use an out-of-place operation"
            )
        if value.dtype != self.dtype:
            value = value.astype(self.dtype)
        if value.shape != self.shape:
            value = self._record("broadcast_to", np.broadcast_to, (value, self.shape), {})
        self.reference = value.reference
        self.meta = ShapeArray(self.shape, self.dtype, self.strides)

    def __setitem__(self, index: Any, value: Any) -> None:
        if index is Ellipsis or index == slice(None):
            self.overwrite(value if isinstance(value, TracedArray) else
                           self._record("full_like", np.full_like, (self, value), {}))
            return

        def replaced(array: Any, where: Any, new: Any) -> Any:
            if isinstance(array, ShapeArray):
                return array
            array = array.copy()
            array[where] = new
            return array

        self.overwrite(self._record("replace", replaced, (self, index, value), {}))

    def fill(self, value: Any) -> None:
        self[...] = value

    # -- methods -----------------------------------------------------------------------------------

    def _method(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        caller = _method_caller(name)
        result = self._record(name, caller, (self, *args), kwargs)
        if name in _VIEWS:
            root = self.view_of if self.view_of is not None else self
            result.view_of = root
            root.views.append(weakref.ref(result))
        return result

    def __getitem__(self, index: Any) -> Any:
        return self._method("__getitem__", (index,), {})

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    @property
    def T(self) -> Any:  # ndarray's name
        return self._method("transpose", (), {})

    @property
    def real(self) -> Any:
        return self._record("real", operator.attrgetter("real"), (self,), {})

    @property
    def imag(self) -> Any:
        return self._record("imag", operator.attrgetter("imag"), (self,), {})


class _MethodCaller:
    """Calls an array method by name: the function of a recorded method call."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, array: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(array, self.__name__)(*args, **kwargs)


_CALLERS: dict[str, _MethodCaller] = {}


def _method_caller(name: str) -> _MethodCaller:
    if name not in _CALLERS:
        _CALLERS[name] = _MethodCaller(name)
    return _CALLERS[name]


def _add_methods() -> None:
    def make(name: str) -> Callable[..., Any]:
        def method(self: TracedArray, *args: Any, **kwargs: Any) -> Any:
            return self._method(name, args, kwargs)

        method.__name__ = name
        return method

    for name in (
        "reshape", "transpose", "swapaxes", "squeeze", "diagonal", "view", "astype", "copy",
        "ravel", "flatten", "conj", "conjugate", "dot", "take", "repeat",
    ):
        setattr(TracedArray, name, make(name))


_add_methods()


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies `function` to everything inside nested tuples, lists and dicts."""
    if type(value) is tuple:
        return tuple(_map(function, v) for v in value)
    if type(value) is list:
        return [_map(function, v) for v in value]
    if type(value) is dict:
        return {k: _map(function, v) for k, v in value.items()}
    return function(value)


def _meta_of(value: Any) -> Any:
    if isinstance(value, TracedArray):
        return value.meta
    if isinstance(value, np.ndarray) and value.ndim:
        return ShapeArray(value.shape, value.dtype, value.strides)
    return value


def _reference_of(value: Any) -> Any:
    return value.reference if isinstance(value, TracedArray) else value


def _as_meta(value: Any) -> ShapeArray:
    if isinstance(value, ShapeArray):
        return value
    array = np.asarray(value)
    return ShapeArray(array.shape, array.dtype)


