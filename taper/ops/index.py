"""Reading and writing parts of a tensor by ``x[…]``: __getitem__, __setitem__, index_put, select.

What an index means is worked out in core/index.py; here it is carried out and recorded. Views are
recorded as PyTorch does it: one node for each int, real slice or None.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from taper.arrays.levels import batched_like, in_place_error, is_batched, shapes_error
from taper.arrays.shape import DataNeeded
from taper.arrays.symbolic_shape import broadcast_shapes, is_symbolic
from taper.autograd.tangents import carried_by
from taper.core.dtype import bool_
from taper.core.errors import normalize_dim
from taper.core.index import Advanced, from_tensors, normalize
from taper.core.promotion import fitting_number, number_as, scalar_type_name
from taper.core.settings import settings
from taper.core.state import active, is_recording
from taper.core.storage import new_storage, refuse_repeated_memory
from taper.core.tensor import Parameter, Tensor, wrap
from taper.kernels.memory_order import copied, newly_in_rows
from taper.kernels.selection import elements_where
from taper.ops import slow
from taper.ops.argument_checks import values_known
from taper.ops.connect_views import result_of, view_of
from taper.ops.declare import OPERATORS, composite, operator
from taper.ops.native_forward import LARGE
from taper.ops.reduction import sum_to

ndarray = np.ndarray
_BOOL, _INT64 = np.dtype(bool), np.dtype(np.int64)
_ALL = slice(None)
_new = object.__new__

MANY_ROWS = 1024  # from which on a kernel is asked whether it picks them


# -- views ---------------------------------------------------------------------------------------


@operator("_placed", hidden=True)
def placed(input: Tensor, shape: Any, index: Any) -> Tensor:
    """Zeros of that shape with `input` at `index`: the gradient of reading a part."""
    result = np.zeros_like(input, shape=shape)
    result[index] = input
    return result


@placed.derivative("input")
def _(grad, index):
    return grad[index]


@operator(method=True, view=True)
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Takes the slice at position `index` of a dimension, which disappears. The result is a view.

    Example:
        >>> import taper as torch
        >>> torch.select(torch.tensor([[1, 2], [3, 4]]), 1, 0)
        tensor([1, 3])
    """
    ndim = input.ndim
    if ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = normalize_dim(dim, ndim)
    index = index if is_symbolic(index) else int(index)
    size = input.shape[dim]
    if not -size <= index < size:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at "
            f"dimension {dim}"
        )
    return input[(*(_ALL,) * dim, index, ...)]


@select.derivative("input")
def _(grad, input_shape, dim, index):
    return placed(grad, input_shape, (*(_ALL,) * (dim % len(input_shape)), index))


@operator("_slice", view=True, node="SliceBackward0", hidden=True)
def slice_dim(input: Tensor, dim: int, start: Any, stop: Any, step: Any) -> Tensor:
    return input[(*(_ALL,) * dim, slice(start, stop, step))]


@slice_dim.derivative("input")
def _(grad, input_shape, dim, start, stop, step):
    return placed(grad, input_shape, (*(_ALL,) * dim, slice(start, stop, step)))


slice_dim.name = "slice"


@operator("_alias", view=True, node="AliasBackward0", hidden=True)
def alias(input: Tensor) -> Tensor:
    return input[...]


@alias.derivative("input")
def _(grad):
    return grad


def rows_at(array: Any, index: Any) -> Any:
    """The rows of an array at an index of any shape; many by a kernel."""
    if index.size > MANY_ROWS and settings.native != "off":
        from taper.kernels import native_indexing

        found = native_indexing.rows_at(array, index)
        if found is not None:
            return found
    return array.take(index, 0)


@operator("_getitem", hidden=True, node="IndexBackward0")
def gather_at(input: Tensor, advanced: Any) -> Tensor:
    """The elements at an advanced index, see core/index.py."""
    arrays = advanced.arrays
    if len(arrays) == 1 and type(arrays[0]) is type(input) is ndarray:
        if arrays[0].dtype != _BOOL:
            return rows_at(input, arrays[0])
        if arrays[0].shape == input.shape:
            return elements_where(input, arrays[0])
    input = batched_like(input, *arrays)
    return newly_in_rows(input[_in_range(advanced, input).index])


@gather_at.derivative("input")
def _(grad, input_shape, advanced):
    advanced.check_unchanged()
    return added_at(grad, input_shape, advanced)


gather_at.name = "index"


def _in_range(advanced: Advanced, array: Any) -> Advanced:
    """The index for this array: nothing is read from an empty one or written to it, so no position
    is out of range."""
    return advanced if getattr(array, "laid", array).size else advanced.at_zero()


@operator("_added_at", hidden=True)
def added_at(input: Tensor, shape: Any, advanced: Any) -> Tensor:
    """Zeros of that shape to which `input` is added at an advanced index."""
    result = np.zeros_like(batched_like(input, *advanced.arrays), shape=shape)
    add_at(result, _in_range(advanced, result), input)
    return result


@added_at.derivative("input")
def _(grad, advanced):
    return gather_at(grad, advanced)


def add_at(target: Any, advanced: Advanced, values: Any) -> None:
    """Adds to an array at positions that may repeat."""
    arrays = [a for a in advanced.arrays if a is not None]
    if len(arrays) == 1 and arrays[0].dtype == _BOOL:
        target[advanced.index] += values  # a mask names each position once
    else:
        np.add.at(target, advanced.index, values)


def _is_whole(item: slice, size: int) -> bool:
    """Whether a slice plainly leaves nothing out; that is no step worth recording."""
    start, stop, step = item.start, item.stop, item.step
    return (
        (start is None or start == 0) and (stop is None or stop >= size)
        and (step is None or step == 1)
    )


def basic_view(input: Tensor, basic: list[Any]) -> Tensor:
    """Applies the basic part of an index, one recorded step for each item."""
    result = stepped(input, basic)
    return alias(input) if result is input else result


def stepped(input: Tensor, basic: list[Any]) -> Tensor:
    """`basic_view`, but the input itself if the index leaves nothing out."""
    result = input
    dim = 0
    for item in basic:
        if item is None:
            result = result.unsqueeze(dim)
            dim += 1
        elif type(item) is slice:
            if not _is_whole(item, result._array.shape[dim]):
                result = slice_dim(result, dim, item.start, item.stop, item.step)
            dim += 1
        else:  # an int, or a symbolic one
            result = select(result, dim, item)
    return result


# -- reading -------------------------------------------------------------------------------------


def getitem(self: Tensor, index: Any) -> Tensor:
    """Returns a part of the tensor: a view for ints, slices and None, else a copy.

    Masks (bool tensors) pick the elements where they are True; integer tensors and lists pick
    positions, and are broadcast together.
    """
    if (type(self) is Tensor or type(self) is Parameter) and not active.modes:
        a = self._array
        kind = type(index)
        try:
            if kind is int:
                r = a[index]
                if type(r) is not ndarray:
                    r = a[index, ...]
                if self._edge is not None:
                    return view_of(self, r, select, (a.shape, 0, index))
                storage = self._storage
                if storage is None:
                    storage = self._storage = new_storage(a)
                view = _new(Tensor)
                view._array = r
                view._edge = None
                view._storage = storage
                base = self._base
                view._base = self if base is None else base
                view._grad = None
                return view
            if kind is Tensor:
                at = index._array
                d = at.dtype
                if type(at) is ndarray and at.ndim and type(a) is ndarray:
                    if d is _INT64:
                        r = a.take(at, 0) if at.size <= MANY_ROWS and a.ndim else (
                            rows_at(a, at) if a.ndim else None)
                    elif d is _BOOL:
                        r = elements_where(a, at) if at.size > LARGE and at.shape == a.shape else (
                            a[at])
                    else:
                        r = None
                    if r is not None:
                        if self._edge is None or not is_recording():
                            return wrap(r)
                        return result_of(
                            self, r, gather_at, (a.shape, Advanced([at], [index]))
                        )
            elif kind is slice:
                step = index.step
                if step is None or step > 0:
                    saved = (a.shape, 0, index.start, index.stop, step)
                    return view_of(self, a[index], slice_dim, saved)
            elif self._edge is None or not is_recording():
                if kind is tuple:
                    for item in index:
                        kind = type(item)
                        if kind is slice:
                            step = item.step
                            if step is not None and step <= 0:
                                break
                        elif kind is not int and item is not None and item is not Ellipsis:
                            break
                    else:
                        r = a[index]
                        if type(r) is not ndarray:
                            r = a[(*index, ...)]
                        return view_of(self, r, alias)
                elif index is None or index is Ellipsis:
                    return view_of(self, a[index], alias)
        except Exception:
            pass
    return _getitem_in_full(self, index)


def _getitem_in_full(self: Tensor, index: Any) -> Tensor:
    overriding = (self, *index) if type(index) is tuple else (self, index)
    if active.modes or any(slow.overrides.has_override(o) for o in overriding):
        found = slow.overrides.intercept(Tensor.__getitem__, overriding, (self, index))
        if found is not slow.overrides.NOT_INTERCEPTED:
            return found
    basic, advanced = normalize(index, self._array.shape)
    if advanced is None:
        if type(index) is slice:  # PyTorch records this one even if it leaves nothing out
            return slice_dim(self, 0, index.start, index.stop, index.step)
        return basic_view(self, basic)
    view = stepped(self, basic)
    if any([is_batched(a) and a.dtype == _BOOL for a in advanced.arrays]):
        raise shapes_error("index")
    try:
        return gather_at(view, advanced)
    except (IndexError, RuntimeError) as error:
        found = index_error(error, advanced, view._array.shape)
        if str(found).endswith("with size 0") or view._array.size or (
            not str(found).startswith("index ")
        ):
            raise found from None
        # Nothing is read from an empty tensor, so no position is out of range.
        return gather_at(view, advanced.at_zero())


def index_error(error: Exception, advanced: Advanced, shape: tuple[int, ...]) -> Exception:
    """NumPy's complaint about an advanced index in PyTorch's words."""
    if any(a is not None and type(a) is not ndarray for a in advanced.arrays):
        return error
    positions: list[Any] = []
    dims: list[int] = []
    dim = 0
    for a in advanced.arrays:
        if a is not None and a.dtype == _BOOL:
            positions += a.nonzero()
            dims += range(dim, dim + a.ndim)
        elif a is not None:
            positions.append(a)
            dims.append(dim)
        dim += 1 if a is None or a.dtype != _BOOL else a.ndim
    try:
        broadcast_shapes(*[p.shape for p in positions])
    except ValueError:
        shapes = ", ".join(str(list(p.shape)) for p in positions)
        return IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        )
    for dim, p in zip(dims, positions, strict=True):
        size = shape[dim]
        if p.size and (p.max() >= size or p.min() < -size):
            if size == 0:
                return IndexError("index is out of bounds for dimension with size 0")
            flat = p.reshape(-1)
            bad = flat[(flat >= size) | (flat < -size)][0]
            return IndexError(f"index {bad} is out of bounds for dimension {dim} with size {size}")
    return error


# -- writing -------------------------------------------------------------------------------------


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """Overwrites a part of the tensor with a number or with a tensor that is broadcast to it."""
    if not active.modes and (type(self) is Tensor or type(self) is Parameter):
        base = self._base
        if (self._edge is None and (base is None or base._edge is None)) or not is_recording():
            kind = type(value)
            a = self._array
            values = None
            if kind is int or kind is bool or (kind is float and a.dtype.kind in "fc"):
                values = value
            elif kind is Tensor and (value._edge is None or not is_recording()):
                values = value._array
                if values.dtype.kind == "c" and a.dtype.kind != "c":
                    values = None
            if values is not None and type(a) is ndarray and 0 not in a.strides and (
                _is_simple(index)
            ):
                storage = self._storage
                if storage is None:
                    storage = self._storage = new_storage(a)
                try:
                    version = storage.version + 1
                    a[index] = values
                except Exception:  # the general way tells what is wrong
                    pass
                else:
                    storage.version = version
                    frame = sys._getframe(1)
                    storage.changed_at = ("__setitem__", frame.f_code, frame.f_lasti)
                    return
    _setitem_in_full(self, index, value)


def _is_simple(index: Any) -> bool:
    """Whether NumPy reads the index as PyTorch does: ints, slices, None, Ellipsis."""
    for item in index if type(index) is tuple else (index,):
        kind = type(item)
        if kind is slice:
            step = item.step
            if step is not None and step <= 0:
                return False
        elif kind is not int and item is not None and item is not Ellipsis:
            return False
    return True


def _setitem_in_full(self: Tensor, index: Any, value: Any) -> None:
    overriding = (self, value, *index) if type(index) is tuple else (self, index, value)
    if active.modes or any(slow.overrides.has_override(o) for o in overriding):
        found = slow.overrides.intercept(Tensor.__setitem__, overriding, (self, index, value))
        if found is not slow.overrides.NOT_INTERCEPTED:
            return
    if isinstance(index, Tensor) and index.dtype is bool_ and not values_known(index) and (
        not is_batched(index._array)
    ):
        _assign_where(self, index, value)
        return
    basic, advanced = normalize(index, self._array.shape)
    if not isinstance(value, (Tensor, int, float, complex, bool, np.number, np.bool_)):
        from taper.core.dtype import legacy_type_name

        name = type(value).__name__
        if type(value).__module__ == "numpy":
            name = "numpy." + name
        raise TypeError(f"can't assign a {name} to a {legacy_type_name(self.dtype)}")
    if self._created_as is not None:
        slow.check_inplace(self, (value,))
    target = stepped(self, basic)
    if not isinstance(value, Tensor):
        value = wrap(number_as(fitting_number(value, self.dtype), self.dtype))
    if advanced is None:
        _assign(target, value)
        return
    value = _without_leading_ones(value)
    put(target, advanced, value, False, "__setitem__", sys._getframe(2))


def _assign_where(self: Tensor, mask: Tensor, value: Any) -> None:
    """``self[mask] = value`` by a mask whose values nobody knows yet: one value for all places, or,
    in a step that is compiled, as many as the program will find the mask to have True."""
    shape = mask._array.shape
    rest = self._array.ndim - len(shape)
    if isinstance(value, Tensor):
        value = value.reshape(()) if value.numel() == 1 else _without_leading_ones(value)
        if value._array.ndim > rest:
            value = _at_true_places(mask, value, self.dtype)
    mask = mask.reshape(tuple(shape) + (1,) * rest)
    self.copy_(OPERATORS["where"](mask, value, self).to(self.dtype))


def _at_true_places(mask: Tensor, values: Tensor, dtype: Any) -> Tensor:
    """The values one by one where the mask is True, anything elsewhere."""
    count = values._array.shape[0]
    flat = mask.reshape(-1)
    claim = getattr((flat.sum() == count)._array, "claim", None)  # arrays/traced.py
    try:
        is_claimed = claim is not None and values.dtype is dtype and count != 0 and claim()
    except NotImplementedError:  # nobody will check what is recorded; said below in better words
        is_claimed = False
    if not is_claimed:
        raise DataNeeded(
            "x[mask] = values takes as many values as the mask has True, which is not known of "
            "meta tensors and of steps that are recorded: use torch.where() with values for all"
        )
    places = (flat.cumsum(0) - 1) % count  # in range even if the claim is broken
    return values.index_select(0, places).reshape(mask._array.shape + values._array.shape[1:])


def _without_leading_ones(value: Tensor) -> Tensor:
    shape = value._array.shape
    count = 0
    while count < len(shape) and shape[count] == 1:
        count += 1
    return value.view(shape[count:]) if count else value


def _assign(target: Tensor, value: Tensor) -> None:
    shape, wanted = value._array.shape, target._array.shape
    if not shape and wanted:
        slow.check_inplace(target)
        if type(target._array) is ndarray:
            refuse_repeated_memory(target._array)
        target.fill_(value)
        return
    if shape != wanted:
        value = _without_leading_ones(value)
    if value._array.shape != wanted:
        value = value.expand(wanted)
    target.copy_(value)


# -- index_put -----------------------------------------------------------------------------------


@operator("_index_put", hidden=True, node="IndexPutBackward0")
def put_into(input: Tensor, values: Tensor, advanced: Any, accumulate: bool) -> Tensor:
    result = copied(batched_like(input, values, *advanced.arrays))
    advanced = _in_range(advanced, result)
    if accumulate:
        add_at(result, advanced, values)
    else:
        result[advanced.index] = values
    return result


@put_into.derivative("input")
def _(grad, advanced, accumulate):
    if accumulate:
        return grad
    advanced.check_unchanged()
    return put_into(grad, grad.new_zeros(()), advanced, False)


@put_into.derivative("values")
def _(grad, values_shape, advanced):
    advanced.check_unchanged()
    found = gather_at(grad, advanced)
    lead = len(values_shape) - found._array.ndim
    if lead > 0:
        return sum_to(found, values_shape[lead:]).reshape(values_shape)
    return sum_to(found, values_shape)


put_into.name = "index_put"


def _is_one_mask(advanced: Advanced) -> bool:
    given = [a for a in advanced.arrays if a is not None]
    return len(given) == 1 and given[0].dtype == _BOOL


def _check_put(input: Tensor, values: Tensor) -> None:
    if input.dtype is not values.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{scalar_type_name(input.dtype)} for the destination and "
            f"{scalar_type_name(values.dtype)} for the source."
        )


def _put_error(
    error: Exception, input: Tensor, advanced: Advanced, values: Tensor
) -> Exception:
    found = index_error(error, advanced, input._array.shape)
    if found is not error:
        return found
    wanted = input._array[advanced.index].shape
    return RuntimeError(
        f"shape mismatch: value tensor of shape {list(values._array.shape)} cannot be broadcast to "
        f"indexing result of shape {list(wanted)}"
    )


def put(
    input: Tensor, advanced: Advanced, values: Tensor, accumulate: bool, change: str, frame: Any
) -> None:
    """Writes `values` into `input` at an advanced index, and records it."""
    if not accumulate and values._array.size == 1 and _is_one_mask(advanced):
        values = values.to(input.dtype)  # then it is masked_fill_, which casts
    slow.check_inplace(input)
    _check_put(input, values)
    where = (frame.f_code, frame.f_lasti)
    array = input._array
    if batched_like(array, values._array, *advanced.arrays) is not array:
        raise in_place_error()
    recorded = is_recording() and (input._edge is not None or values._edge is not None)
    if not (recorded or carried_by((input, values))) and (
        type(array) is ndarray or is_batched(array)
    ):
        if not array.flags.writeable:
            slow._make_writeable(input)
            array = input._array
        refuse_repeated_memory(array)
        at = _in_range(advanced, array)
        try:
            if accumulate:
                add_at(array, at, values._array)
            else:
                array[at.index] = values._array
        except (IndexError, ValueError) as error:
            raise _put_error(error, input, advanced, values) from None
        input._bump_version((change, *where))
        return
    original = slow.alias_with_history(input)
    try:
        arguments = (original, values, advanced, accumulate)
        result = slow.execute(put_into, slow.signature_of(put_into), arguments, None, where)
    except (IndexError, RuntimeError) as error:
        raise _put_error(error, input, advanced, values) from None
    slow.overwrite(input, original, result, change, where)


@composite(method=True)
def index_put(
    input: Tensor, indices: Any, values: Tensor, accumulate: bool = False
) -> Tensor:
    """Returns a copy with `values` written, or added, at the positions that `indices` name.

    Args: indices (tuple of tensors): one for each leading dimension, broadcast together.
    Example:
        >>> import taper as torch
        >>> at = (torch.tensor([0, 0]),)
        >>> torch.index_put(torch.zeros(2), at, torch.ones(2), accumulate=True)
        tensor([2., 0.])
    """
    advanced = from_tensors(indices, input._array.ndim)
    _check_put(input, values)
    try:
        return put_into(input, values, advanced, accumulate)
    except (IndexError, RuntimeError) as error:
        raise _put_error(error, input, advanced, values) from None


@composite(method=True)
def index_put_(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """The in-place form of `index_put`.

    Example:
        >>> import taper as torch
        >>> x = torch.zeros(3)
        >>> x.index_put_((torch.tensor([0, 2]),), torch.tensor([1., 2.]))
        tensor([1., 0., 2.])
    """
    advanced = from_tensors(indices, input._array.ndim)
    put(input, advanced, values, accumulate, "index_put_", sys._getframe(2))
    return input


def _delitem(self: Tensor, index: Any) -> None:
    raise TypeError("Tensor does not support deleting items")


for _name, _function in {
    "__getitem__": getitem, "__setitem__": setitem, "__delitem__": _delitem
}.items():
    _function.__name__ = _name
    _function.__qualname__ = f"Tensor.{_name}"
    _function.__module__ = "torch"
    setattr(Tensor, _name, _function)
