"""Other shapes for the same memory: view, reshape, flatten, squeeze, unsqueeze, expand.

Exchanging dimensions is in transpose.py, cutting in split.py, indexing in index.py, windows,
diagonals and other strides in strided.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.arrays.levels import is_batched
from taper.core.dtype import dtype as dtype_class
from taper.core.errors import normalize_dim, normalize_dims
from taper.core.state import active
from taper.core.storage import strided_view
from taper.core.symbolic import value_at_hint
from taper.core.tensor import Parameter, Tensor, wrap
from taper.ops import slow
from taper.ops.connect_views import view_of
from taper.ops.declare import composite, method, operator
from taper.ops.public_functions import register
from taper.ops.reduction import sum_to
from taper.ops.sizes import as_sizes, inferred_shape
from taper.ops.strided import view_dtype

ndarray = np.ndarray


def viewed(array: Any, shape: tuple[int, ...]) -> Any:
    """The array in another shape without copying; raises PyTorch's error where that can't be."""
    shape = inferred_shape(shape, array.size)
    if type(array) is not ndarray and not is_batched(array):
        return array.reshape(shape)
    try:
        return array.reshape(shape, copy=False)
    except ValueError:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        ) from None


@operator("_view", view=True, node="ViewBackward0", hidden=True)
def view(input: Tensor, size: Any) -> Tensor:
    return viewed(input, as_sizes("view", size))


@view.derivative("input")
def _(grad, input_shape):
    return grad.reshape(input_shape)


view.name = "view"


@operator("_reshape_alias", view=True, hidden=True, node="ReshapeAliasBackward0")
def reshape_alias(input: Tensor, size: Any) -> Tensor:
    """`reshape` of what is not contiguous, where no copy is needed; PyTorch tells them apart."""
    return viewed(input, as_sizes("view", size))


@reshape_alias.derivative("input")
def _(grad, input_shape):
    return grad.reshape(input_shape)


@method("view")
def tensor_view(input: Tensor, *shape: Any, dtype: Any = None, size: Any = None) -> Tensor:
    """Returns the same memory in another shape, or read as another dtype.

    Args:
        shape (ints, or one tuple): one of them may be -1, which is inferred from the others.
        dtype (torch.dtype): instead of a shape: read the bytes as this dtype.

    Raises: RuntimeError: if the elements are not laid out so that no copy is needed.
    Example:
        >>> import taper as torch
        >>> torch.arange(6).view(2, -1)
        tensor([[0, 1, 2],
                [3, 4, 5]])
    """
    if (type(input) is Tensor or type(input) is Parameter) and not active.modes:
        a = input._array
        try:
            r = a.reshape(*shape)
        except Exception:
            pass
        else:
            base = r.base
            if (base is a or (base is not None and base is a.base)) and (
                (found := r.shape) == shape or (first := shape[0]) == -1 or found == first
                or min(shape) == -1
            ):
                return view_of(input, r, view, (a.shape,))
    if dtype is not None or (shape and type(shape[0]) is dtype_class):
        return view_dtype(input, shape[0] if dtype is None else dtype)
    if not shape and size is None:
        raise TypeError(
            "view() received an invalid combination of arguments - got (), but expected one of:\n"
            " * (torch.dtype dtype)\n * (tuple of ints size)\n"
        )
    return slow.call(view, (input, slow.collect_variadic(view, shape, size)))


view._function = register(tensor_view, "Tensor.view")


@method()
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """Returns a view in the shape of `other`."""
    return input.view(other._array.shape)


@operator("_unsafe_view", node="UnsafeViewBackward0", hidden=True)
def unsafe_view(input: Tensor, size: Any) -> Tensor:
    # Only called on memory that nobody else sees, see `reshape`.
    return input.reshape(size)


@unsafe_view.derivative("input")
def _(grad, input_shape):
    return grad.reshape(input_shape)


@operator(
    method=True, view=True, variadic="shape", node="ViewBackward0",
    variant=("not input.is_contiguous()", "ReshapeAliasBackward0"),
)
def reshape(input: Tensor, shape: Any) -> Tensor:
    """Returns the same elements in another shape: a view where possible, else a copy.

    Args: shape (ints, or one tuple): one of them may be -1, which is inferred from the others.
    Example:
        >>> import taper as torch
        >>> torch.reshape(torch.arange(6), (3, 2))
        tensor([[0, 1],
                [2, 3],
                [4, 5]])
    """
    return viewed(input, as_sizes("reshape", shape))


@reshape.derivative("input")
def _(grad, input_shape):
    return grad.reshape(input_shape)


_LARGE = 1 << 13  # elements


@reshape.short_path
def _(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    if (type(input) is Tensor or type(input) is Parameter) and not active.modes:
        a = input._array
        if input._edge is not None and a.size > _LARGE and not a.flags.c_contiguous:
            # Where it is a copy, a kernel makes that, not NumPy.
            return _reshape(input, slow.collect_variadic(reshape, sizes, shape))
        try:
            r = a.reshape(*sizes)
        except Exception:
            pass
        else:
            base = r.base
            if (
                (found := r.shape) == sizes or (first := sizes[0]) == -1 or found == first
                or min(sizes) == -1
            ):
                if base is a or (base is not None and base is a.base):
                    if input._edge is None or a.flags.c_contiguous:
                        return view_of(input, r, view, (a.shape,))
                    return view_of(input, r, reshape_alias, (a.shape,))
                if input._edge is None and type(r) is ndarray:
                    return wrap(r)  # NumPy had to copy, and nothing is to be recorded
    return _reshape(input, slow.collect_variadic(reshape, sizes, shape))


def _reshape(input: Tensor, shape: Any) -> Tensor:
    if not isinstance(input, Tensor):
        return slow.call(reshape, (input, shape))
    a = input._array
    shape = inferred_shape(as_sizes("reshape", shape), a.size)
    if _is_copied(a, shape) and not slow.overrides.has_override(input):
        return unsafe_view(input.clone(memory_format=_contiguous()), shape)
    return slow.call(reshape, (input, shape))


def _is_copied(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether an array can be had in another shape only as a copy."""
    if type(array) is not ndarray and not is_batched(array):
        stand_in = getattr(getattr(array, "meta", array), "_stand_in", None)
        if stand_in is None:  # sparse
            return False
        array = stand_in()
        shape = tuple([value_at_hint(n) for n in shape])
    try:
        array.reshape(shape, copy=False)
    except ValueError:
        return True
    return False


def _contiguous() -> Any:
    from taper.core.device import contiguous_format

    return contiguous_format


@composite(method=True)
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """Returns the same elements in the shape of `other`.

    Example:
        >>> import taper as torch
        >>> torch.arange(4).reshape_as(torch.zeros(2, 2))
        tensor([[0, 1],
                [2, 3]])
    """
    return input.reshape(other._array.shape)


@composite(method=True)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Joins the dimensions from `start_dim` to `end_dim` into one.

    Example:
        >>> import taper as torch
        >>> torch.flatten(torch.zeros(2, 3, 4), start_dim=1).shape
        torch.Size([2, 12])
    """
    shape = input._array.shape
    ndim = len(shape)
    start = normalize_dim(start_dim, ndim)
    end = normalize_dim(end_dim, ndim)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not ndim:
        return input.reshape(1)
    if start == end:
        return input
    return input.reshape((*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@composite(method=True)
def ravel(input: Tensor) -> Tensor:
    """Returns the elements in one dimension: a view where possible, else a copy.

    Example:
        >>> import taper as torch
        >>> torch.ravel(torch.tensor([[1, 2], [3, 4]]))
        tensor([1, 2, 3, 4])
    """
    return input.contiguous().view(-1)


@composite(method=True)
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """Splits one dimension into several, whose sizes multiply to its size; one may be -1.

    Example:
        >>> import taper as torch
        >>> torch.unflatten(torch.zeros(3, 4), 1, (2, 2)).shape
        torch.Size([3, 2, 2])
    """
    if isinstance(sizes, int):
        sizes = (sizes,)
    if len(sizes) == 0:
        raise RuntimeError("unflatten: sizes must be non-empty")
    shape = input._array.shape
    dim = normalize_dim(dim, len(shape))
    size = shape[dim] if shape else 1
    sizes = list(as_sizes("unflatten", sizes))
    known = math.prod([s for s in sizes if s != -1])
    if sizes.count(-1) == 1 and known and size % known == 0:
        sizes[sizes.index(-1)] = size // known
    elif known != size or -1 in sizes:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
            f"({size}) in the input tensor"
        )
    return input.view((*shape[:dim], *sizes, *shape[dim + 1 :]))


@operator(method=True, view=True)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Inserts a dimension of size 1 at `dim`. The result is a view.

    Example:
        >>> import taper as torch
        >>> torch.unsqueeze(torch.zeros(3), 0).shape
        torch.Size([1, 3])
    """
    shape = input.shape
    dim = normalize_dim(dim, len(shape) + 1)
    return input.reshape((*shape[:dim], 1, *shape[dim:]))


@unsqueeze.derivative("input")
def _(grad, dim):
    return grad.squeeze(dim)


_NEW_AXIS = [(slice(None),) * at + (None,) for at in range(64)]


@unsqueeze.short_path
def _(input: Tensor, dim: int) -> Tensor:
    if (
        (type(input) is Tensor or type(input) is Parameter) and type(dim) is int
        and not active.modes
    ):
        a = input._array
        n = a.ndim + 1
        if -n <= dim < n:
            r = a[_NEW_AXIS[dim if dim >= 0 else dim + n]]
            return view_of(input, r, unsqueeze, (dim,))
    return slow.call(unsqueeze, (input, dim))


@operator("_squeeze_all", view=True, node="SqueezeBackward0", hidden=True)
def squeeze_all(input: Tensor) -> Tensor:
    return input.reshape(tuple([n for n in input.shape if n != 1]))


@squeeze_all.derivative("input")
def _(grad, input_shape):
    return grad.reshape(input_shape)


@operator("_squeeze_dim", view=True, node="SqueezeBackward1", hidden=True)
def squeeze_dim(input: Tensor, dim: int) -> Tensor:
    shape = input.shape
    dim = normalize_dim(dim, len(shape))
    return input.reshape((*shape[:dim], *shape[dim + 1 :])) if shape and shape[dim] == 1 else (
        input[...])


@squeeze_dim.derivative("input")
def _(grad, input_shape):
    return grad.reshape(input_shape)


@operator("_squeeze_dims", view=True, node="SqueezeBackward2", hidden=True)
def squeeze_dims(input: Tensor, dim: Any) -> Tensor:
    shape = input.shape
    dims = normalize_dims(dim, len(shape))
    return input.reshape(tuple([n for d, n in enumerate(shape) if n != 1 or d not in dims]))


@squeeze_dims.derivative("input")
def _(grad, input_shape):
    return grad.reshape(input_shape)


squeeze_all.name = squeeze_dim.name = squeeze_dims.name = "squeeze"


@composite(method=True, inplace=False)
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Removes the dimensions of size 1, or only those named by `dim`. The result is a view.

    Example:
        >>> import taper as torch
        >>> torch.squeeze(torch.zeros(1, 2, 1)).shape, torch.squeeze(torch.zeros(1, 2, 1), 0).shape
        (torch.Size([2]), torch.Size([2, 1]))
    """
    if dim is None:
        return squeeze_all(input)
    if isinstance(dim, (tuple, list)):
        return squeeze_dims(input, tuple(dim))
    return squeeze_dim(input, dim)


def expanded_shape(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `shape` is expanded to by `size`, in which -1 keeps a dimension."""
    lead = len(size) - len(shape)
    result = []
    for d, n in enumerate(size):
        have = shape[d - lead] if d >= lead else 1
        if n == -1:
            if d < lead:
                raise RuntimeError(
                    f"The expanded size of the tensor (-1) isn't allowed in a leading, "
                    f"non-existing dimension {d}"
                )
            n = have
        elif n != have and have != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                f"non-singleton dimension {d}.  Target sizes: {list(size)}.  Tensor sizes: "
                f"{list(shape)}"
            )
        elif n < 0:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) isn't allowed at dimension {d}."
            )
        result.append(n)
    return tuple(result)


def expanded(array: Any, size: tuple[int, ...]) -> Any:
    """The array broadcast to `size`, as a view; it stays writeable."""
    shape = array.shape
    if len(size) < len(shape):
        raise RuntimeError(
            f"expand(torch.{_legacy_name(array)}{{{list(shape)}}}, size={list(size)}): the number "
            f"of sizes provided ({len(size)}) must be greater or equal to the number of "
            f"dimensions in the tensor ({len(shape)})"
        )
    size = expanded_shape(shape, size)
    if type(array) is not ndarray:
        return np.broadcast_to(array, size)
    return _expanded_view(array, size)


def _expanded_view(array: Any, size: tuple[int, ...]) -> Any:
    shape, strides = array.shape, array.strides
    lead = len(size) - len(shape)
    whole = [0] * lead
    for i, n in enumerate(shape):
        whole.append(strides[i] if n == size[lead + i] else 0)
    return strided_view(array, size, whole)


def _legacy_name(array: Any) -> str:
    from taper.core.dtype import from_numpy_dtype, legacy_type_name

    return legacy_type_name(from_numpy_dtype(array.dtype)).removeprefix("torch.")


@operator("_expand", view=True, node="ExpandBackward0", hidden=True)
def expand(input: Tensor, size: Any) -> Tensor:
    return expanded(input, as_sizes("expand", size))


@expand.derivative("input")
def _(grad, input_shape):
    return grad if grad._array.shape == input_shape else sum_to(grad, input_shape)


expand.name = "expand"


@method("expand")
def tensor_expand(input: Tensor, *sizes: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """Returns a view in which dimensions of size 1 are repeated, without copying.

    Args: sizes (ints, or one tuple): the new size; -1 keeps a dimension; new ones come in front.
    Example:
        >>> import taper as torch
        >>> torch.tensor([[1], [2]]).expand(2, 3)
        tensor([[1, 1, 1],
                [2, 2, 2]])
    """
    if (type(input) is Tensor or type(input) is Parameter) and not active.modes:
        a = input._array
        shape = a.shape
        given = sizes
        if len(sizes) == 1 and type(sizes[0]) is not int:
            given = tuple(sizes[0]) if isinstance(sizes[0], (tuple, list)) else sizes
        lead = len(given) - len(shape)
        if given and lead >= 0 and type(a) is ndarray and size is None and (
            not lead or min(given[:lead]) >= 0
        ):
            strides = [0] * lead
            for have, want, stride in zip(  # noqa: B905 - of one length
                shape, given[lead:] if lead else given, a.strides
            ):
                if have == want:
                    strides.append(stride)
                elif have == 1 and want >= 0:
                    strides.append(0)
                else:
                    break
            else:
                try:
                    # Fails for anything that is no size.
                    return view_of(input, strided_view(a, given, strides), expand, (shape,))
                except Exception:
                    pass
    return slow.call(expand, (input, slow.collect_variadic(expand, sizes, size)))


expand._function = register(tensor_expand, "Tensor.expand")


@method()
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Returns a view expanded to the shape of `other`."""
    return input.expand(other._array.shape)


@composite(method=True)
def broadcast_to(input: Tensor, size: Any = None, *, shape: Any = None) -> Tensor:
    """Expands the tensor to `size`, as `Tensor.expand` does.

    Example:
        >>> import taper as torch
        >>> torch.broadcast_to(torch.tensor([1, 2]), (2, 2))
        tensor([[1, 2],
                [1, 2]])
    """
    return input.expand(shape if size is None else size)


@composite("_sum_to_size", method="sum_to_size", variadic="size", hidden=True)
def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Sums over the dimensions that broadcasting to `size` would expand."""
    sizes = as_sizes("sum_to_size", size[0] if len(size) == 1 else size)
    shape = input._array.shape
    lead = len(shape) - len(sizes)
    if lead < 0 or any(n not in (1, m) for n, m in zip(sizes, shape[lead:], strict=True)):
        raise RuntimeError(
            f"size {{{list(sizes)}}} is not expandable to size {{{list(shape)}}}."
        )
    return sum_to(input, sizes) if sizes else input.sum()
