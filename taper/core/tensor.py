"""The Tensor: an array with a history. Fields and facts only; the verbs are bound by `ops`.

A tensor is four things: `_array` (an `np.ndarray` with the tensor's own shape and strides, or
another array class of `arrays/`), `_edge` (where its gradient goes), `_storage` (the memory it
shares with its views, see core/storage.py) and, for leaves, `_grad`.

Note [edges]. `_edge` is None for a tensor without history that needs no gradient; LEAF for a leaf
that requires grad; a Node for the only output of an operator; a NodeOutput for one of several.
Nodes keep their inputs' edges in the same form, with the leaf Tensor itself in place of LEAF, so
that no reference cycle exists between a tensor and its history.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.core import device as devices
from taper.core.dtype import _BY_NUMPY, FLOATING, dtype, from_numpy_dtype
from taper.core.hidden_facts import ask, ask_history
from taper.core.size import Size
from taper.core.storage import (
    HEADER_WORDS,
    InferenceStorage,
    Storage,
    UntypedStorage,
    address_of,
    memory_words,
    new_storage,
    span_in_bytes,
)

__all__ = ["LEAF", "Buffer", "Parameter", "Tensor", "alias", "wrap"]

ndarray = np.ndarray
_new = object.__new__
_new_size = tuple.__new__


class LeafMarker:
    """The type of LEAF, the edge of a leaf tensor that requires grad."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "LEAF"


LEAF = LeafMarker()


class TensorMeta(type):
    """Presents Tensor classes as PyTorch's: `torch._C._TensorMeta`."""

    __module__ = "torch._C"


TensorMeta.__name__ = TensorMeta.__qualname__ = "_TensorMeta"


class Tensor(metaclass=TensorMeta):
    """A multi-dimensional array of one dtype that records how it was computed.

    Make one with ``torch.tensor``, ``torch.zeros``, ``torch.from_numpy`` …; calling the class
    itself is PyTorch's older way: sizes give uninitialised memory, a sequence gives its values,
    both in the default dtype.

    Example:
        >>> import taper as torch
        >>> torch.Tensor([[1, 2], [3, 4]])
        tensor([[1., 2.],
                [3., 4.]])
    """

    __slots__ = ("__dict__", "__weakref__", "_array", "_base", "_edge", "_grad", "_storage")
    __module__ = "torch"
    __hash__ = object.__hash__
    __array_priority__ = 1000

    _array: Any
    _edge: Any
    _storage: Storage | None
    _base: Tensor | None
    _grad: Tensor | None

    # Rarely used state: class-level defaults, shadowed by the instance's __dict__ when set.
    _backward_hooks: Any = None
    _post_accumulate_grad_hooks: Any = None
    _tangents: Any = None  # see autograd/tangents.py
    _accumulator: Any = None
    _inference = False
    _created_as: str | None = None  # why in-place changes to this view are forbidden, if so
    _forbidden = "this tensor has no history"
    name: Any = None

    if TYPE_CHECKING:
        # Bound by `ops` from the table of operators; here for type checkers. A real __getattr__
        # would cost every attribute of every tensor Python's quick lookup of slots.
        grad: Any

        def __getattr__(self, name: str) -> Any: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...
        def __len__(self) -> int: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __bool__(self) -> bool: ...
        def __int__(self) -> int: ...
        def __float__(self) -> float: ...
        def __index__(self) -> int: ...
        def __eq__(self, other: Any) -> Any: ...
        def __ne__(self, other: Any) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __iadd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __isub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __imul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __itruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __ipow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __rand__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __ror__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __rxor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...

    @staticmethod
    def _make_wrapper_subclass(*args: Any, **kwargs: Any) -> Any:
        """Not available: tensors without memory of their own need a dispatcher below the tape."""
        raise NotImplementedError(
            "Tensor._make_wrapper_subclass: taper has no __torch_dispatch__ for classes; subclass "
            "Tensor with a __torch_function__, or use a TorchDispatchMode"
        )

    # -- type, shape and memory ----------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return _new_size(Size, self._array.shape)

    @property
    def dtype(self) -> dtype:
        """The type of the elements."""
        found = _BY_NUMPY.get(self._array.dtype)
        return from_numpy_dtype(self._array.dtype) if found is None else found

    @property
    def device(self) -> devices.device:
        """Where the data lives."""
        return devices.CPU if type(self._array) is ndarray else self._array.device

    @property
    def layout(self) -> devices.layout:
        """``torch.strided``, or one of the sparse layouts."""
        return devices.strided if type(self._array) is ndarray else self._array.layout

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim  # type: ignore[no-any-return]

    def dim(self) -> int:
        """Returns the number of dimensions."""
        return self._array.ndim  # type: ignore[no-any-return]

    ndimension = dim

    def numel(self) -> int:
        """Returns the number of elements."""
        return self._array.size  # type: ignore[no-any-return]

    nelement = numel

    def size(self, dim: int | None = None) -> Any:
        """Returns the shape, or the size of dimension `dim`."""
        if dim is None:
            return _new_size(Size, self._array.shape)
        try:
            return self._array.shape[dim]
        except IndexError:
            raise _dim_error(dim, self._array.ndim) from None

    def stride(self, dim: int | None = None) -> Any:
        """Returns how many elements lie between neighbours along each (or one) dimension."""
        array = self._array
        itemsize = array.dtype.itemsize
        if dim is None:
            if 0 in array.shape:
                return contiguous_strides(array.shape)
            strides = [s // itemsize for s in array.strides]
            if 0 in strides:
                _give_strides_to_ones(array.shape, strides)
            return tuple(strides)
        try:
            return self.stride()[dim]
        except IndexError:
            raise _dim_error(dim, array.ndim) from None

    def storage_offset(self) -> int:
        """Returns the index, in the storage, of this tensor's first element."""
        storage = self._storage
        array = self._array
        if storage is None or storage.array is array or type(array) is not ndarray:
            ask(array, "storage_offset()", of_inputs=True)
            return getattr(array, "storage_offset", 0)
        return int(address_of(array) - address_of(storage.array)) // int(array.dtype.itemsize)

    def data_ptr(self) -> int:
        """Returns the address of the first element."""
        array = self._array
        if type(array) is not ndarray:
            ask(array, "data_ptr()")
            return 0
        return address_of(array)

    def element_size(self) -> int:
        """Returns the size of one element in bytes."""
        return self._array.dtype.itemsize  # type: ignore[no-any-return]

    @property
    def itemsize(self) -> int:
        """The size of one element in bytes."""
        return self._array.dtype.itemsize  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        """The number of elements times the size of one, in bytes."""
        return self._array.size * self._array.dtype.itemsize  # type: ignore[no-any-return]

    def untyped_storage(self) -> UntypedStorage:
        """Returns the memory that this tensor and its views share, as bytes."""
        ask(self._array, "untyped_storage()", of_inputs=True)
        return UntypedStorage(self._shared_storage())

    def _shared_storage(self) -> Storage:
        storage = self._storage
        if storage is None:
            storage = self._storage = new_storage(self._array)
        return storage

    def is_floating_point(self) -> bool:
        """Returns whether the dtype is a floating point one."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Returns whether the dtype is a complex one."""
        return self.dtype.is_complex

    def is_signed(self) -> bool:
        """Returns whether the dtype holds negative numbers."""
        return self.dtype.is_signed

    def is_conj(self) -> bool:
        """Returns False: taper conjugates at once, it has no lazily conjugated tensors."""
        return False

    def is_neg(self) -> bool:
        """Returns False: taper negates at once, it has no lazily negated tensors."""
        return False

    def is_inference(self) -> bool:
        """Returns whether the tensor, or what it is a view of, was made in inference mode."""
        return self._inference or type(self._storage) is InferenceStorage

    @property
    def is_sparse(self) -> bool:
        return self.layout is devices.sparse_coo

    @property
    def is_sparse_csr(self) -> bool:
        return self.layout is devices.sparse_csr

    @property
    def is_meta(self) -> bool:
        return self.device.type == "meta"

    @property
    def is_cpu(self) -> bool:
        return self.device.type == "cpu"

    is_cuda = is_mps = is_xpu = is_mkldnn = is_quantized = is_nested = is_vulkan = False
    is_ipu = is_xla = is_hpu = is_mtia = is_maia = False

    def get_device(self) -> int:
        """Returns -1: the tensor is on the CPU."""
        return -1

    def is_pinned(self) -> bool:
        return False

    # -- history -------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded, to compute gradients."""
        try:
            return self._edge is not None
        except RuntimeError:  # a view that lost its history still requires grad
            return True

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        edge = self._edge
        if edge is not None and edge is not LEAF:
            if value:
                return
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        if self._created_as is not None:
            self._created_as = None
        if not value:
            self._edge = None
            return
        d = self.dtype
        if not (d.is_floating_point or d.is_complex):
            raise RuntimeError(
                "only Tensors of floating point and complex dtype can require gradients"
            )
        if self._inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside "
                               "InferenceMode is not allowed.")
        self._edge = LEAF

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets whether operations on this leaf are recorded; returns the tensor."""
        if requires_grad and self._edge is None and self.dtype.category < FLOATING:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        edge = self._edge
        if edge is LEAF and type(self._array) is not ndarray:
            ask_history(self._array, "is_leaf")
        return edge is None or edge is LEAF

    @property
    def output_nr(self) -> int:
        """Which output of its `grad_fn` this tensor is."""
        ask_history(self._array, "output_nr")
        return getattr(self._edge, "index", 0)

    @property
    def _version(self) -> int:
        if self.is_inference():
            raise RuntimeError("Inference tensors do not track version counter.")
        ask(self._array, "_version", of_inputs=True)
        storage = self._storage
        return 0 if storage is None else storage.version

    def _is_view(self) -> bool:
        ask(self._array, "_is_view()", of_inputs=True)
        return self._base is not None

    def _bump_version(self, change: Any = None) -> None:
        """Counts one in-place change of the memory, made by `change` (see autograd/node.py)."""
        if self._inference:
            return
        storage = self._storage
        if storage is None:
            storage = self._storage = new_storage(self._array)
        elif type(storage) is InferenceStorage:
            return
        storage.version += 1
        storage.changed_at = change


if memory_words is not None:

    def data_ptr(self: Tensor) -> int:
        """Returns the address of the first element."""
        # `address_of` inlined: programs and benchmarks ask for addresses in their loops.
        array = self._array
        if type(array) is ndarray:
            return memory_words[(id(array) >> 3) + HEADER_WORDS]  # type: ignore[no-any-return]
        ask(array, "data_ptr()")
        return 0

    Tensor.data_ptr = data_ptr  # type: ignore[method-assign]


Tensor.__qualname__ = "Tensor"


def _dim_error(dim: int, ndim: int) -> IndexError:
    low, high = (-ndim, ndim - 1) if ndim else (-1, 0)
    if ndim == 0:
        return IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return IndexError(
        f"Dimension out of range (expected to be in range of [{low}, {high}], but got {dim})"
    )


def _give_strides_to_ones(shape: tuple[int, ...], strides: list[int]) -> None:
    """Gives inserted dimensions of size 1 the strides that PyTorch does: NumPy leaves them at 0."""
    for d in range(len(shape) - 1, -1, -1):
        if shape[d] == 1 and strides[d] == 0:
            strides[d] = shape[d + 1] * strides[d + 1] if d + 1 < len(shape) else 1


class StaleView(Tensor):
    """What becomes of a view that may no longer be used: it has lost its `_edge`, and says why.

    Note [views that lose their history] in autograd/views.py has the reasons.
    """

    __slots__ = ()
    __module__ = "torch"

    def __getattr__(self, name: str) -> Any:
        if name == "_edge":
            raise RuntimeError(self._forbidden)
        return object.__getattribute__(self, name)


StaleView.__name__ = StaleView.__qualname__ = "Tensor"


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in elements, of a contiguous tensor; sizes of 0 count as 1, as in PyTorch."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size or 1
    return tuple(reversed(strides))


def wrap(array: Any) -> Tensor:
    """A new tensor around an array that nobody else holds; without history."""
    tensor = _new(Tensor)
    tensor._array = array
    tensor._edge = None
    tensor._storage = None
    tensor._base = None
    tensor._grad = None
    return tensor


def alias(source: Tensor) -> Tensor:
    """A tensor with the same memory, sharing storage and version, without history."""
    storage = source._storage
    if storage is None:
        storage = source._storage = new_storage(source._array)
    tensor = _new(Tensor)
    tensor._array = source._array
    tensor._edge = None
    tensor._storage = storage
    tensor._base = None
    tensor._grad = None
    return tensor


class ParameterMeta(TensorMeta):
    """Lets `isinstance(x, Parameter)` also see tensors that are marked as parameters."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(cls, instance) or (
            cls._marker is not None
            and isinstance(instance, Tensor)
            and getattr(instance, cls._marker, False)
        )

    _marker: str | None = None


class Parameter(Tensor, metaclass=ParameterMeta):
    """A tensor that a module learns: registered when assigned to one, requires grad by default.

    Args:
        data (Tensor): the values; their memory is shared. Default: an empty tensor.
        requires_grad (bool): default True.
    """

    __slots__ = ()
    __module__ = "torch.nn.parameter"
    _marker = "_is_param"

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = wrap(np.empty(0, np.float32))
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Cannot make a Parameter from {type(data).__name__}: it needs a Tensor; "
                "use torch.tensor(...) first."
            )
        if requires_grad and not (data.is_floating_point() or data.is_complex()):
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        if type(data) is not Tensor and cls is Parameter and type(data) is not Parameter:
            return _marked_as_parameter(data, requires_grad)  # type: ignore[no-any-return]
        return subclass_alias(cls, data, requires_grad)  # type: ignore[return-value]

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: Any) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]  # type: ignore[no-any-return]
        copy = type(self)(wrap(self._array.copy(order="K")), self.requires_grad)
        copy._grad = self._grad.__deepcopy__(memo) if self._grad is not None else None
        memo[id(self)] = copy
        return copy


def _marked_as_parameter(data: Tensor, requires_grad: bool) -> Any:
    """A parameter that stays of the class of `data`; its mark makes it a Parameter."""
    made = data.detach().requires_grad_(requires_grad)
    if type(made) is not type(data):
        raise RuntimeError(
            f"Creating a Parameter from an instance of type {type(data).__name__} requires that "
            f"detach() returns an instance of the same type, but return type "
            f"{type(made).__name__} was found instead. To use the type as a Parameter, please "
            "correct the detach() semantics defined by its __torch_dispatch__() implementation."
        )
    made._is_param = True  # type: ignore[attr-defined]
    return made


class BufferMeta(TensorMeta):
    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(cls, instance) or (
            isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)
        )


class Buffer(Tensor, metaclass=BufferMeta):
    """A tensor that becomes a module's buffer when assigned to one.

    Args:
        data (Tensor): the values; their memory is shared. Default: an empty tensor.
        persistent (bool): whether it is part of the module's `state_dict`. Default True.
    """

    __module__ = "torch.nn.parameter"
    __slots__ = ()

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = wrap(np.empty(0, np.float32))
        result = alias(data)
        result._edge = data._edge
        result.persistent = persistent  # type: ignore[attr-defined]
        result._is_buffer = True  # type: ignore[attr-defined]
        return result


def subclass_alias(cls: type, data: Tensor, requires_grad: bool = False) -> Tensor:
    """A tensor of class `cls` over the memory of `data`, a leaf."""
    tensor: Tensor = _new(cls)
    tensor._array = data._array
    tensor._edge = LEAF if requires_grad else None
    # Its own version counter, as `.data` has: the copy is a new leaf over the same memory.
    tensor._storage = None
    if data._storage is not None:
        storage = tensor._storage = new_storage(data._storage.array)
        storage.version = 0
    tensor._base = None
    tensor._grad = None
    return tensor


def memory_span(tensor: Tensor) -> int:
    """The bytes between the first and the last element of a tensor, both included."""
    return span_in_bytes(tensor._array)
