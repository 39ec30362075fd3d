"""The functions called ``…_copy``: what views show, as copies of their own."""

from __future__ import annotations

from typing import Any

from taper.core.tensor import Tensor
from taper.ops.declare import Operator, composite, operator
from taper.ops.index import alias, placed, select, slice_dim
from taper.ops.split import checked_dim, checked_sizes, equal_sizes, narrow, split_sizes, unbind
from taper.ops.strided import checked_window, strided, unfold
from taper.ops.transpose import permute, t, transpose
from taper.ops.view import expand, squeeze_all, squeeze_dim, squeeze_dims, unsqueeze, view


def copying(view_op: Operator, node: str | None = None) -> Operator:
    """The operator that copies what `view_op` shows; its gradients are the same."""
    forward = view_op.forward

    def copied(*args: Any, **kwargs: Any) -> Any:
        found = forward(*args, **kwargs)
        if isinstance(found, tuple):
            return tuple([part.copy() for part in found])
        return found.copy()

    op = Operator(
        _with_signature(copied, forward), f"{view_op.path}_copy", outputs=view_op.outputs,
        node=node or view_op.node + "_copy",
    )
    op.name = f"{view_op.name}_copy"
    op.derivatives = view_op.derivatives
    return op


def _with_signature(function: Any, model: Any) -> Any:
    """`function`, which takes anything, behind the parameters of `model`."""
    code = model.__code__
    names = code.co_varnames[: code.co_argcount]
    source = f"lambda {', '.join(names)}: function({', '.join(names)})"
    made = eval(source, {"function": function})
    made.__annotations__ = dict(model.__annotations__)
    made.__defaults__ = model.__defaults__
    made.__doc__ = model.__doc__
    return made


_copies = {
    op: copying(op) for op in (
        alias, expand, permute, select, slice_dim, split_sizes, squeeze_all, squeeze_dim,
        squeeze_dims, strided, t, transpose, unbind, unfold, unsqueeze, view,
    )
}


@composite(out=True)
def alias_copy(input: Tensor) -> Tensor:
    """Returns a copy of the tensor.

    Example:
        >>> import taper as torch
        >>> torch.alias_copy(torch.tensor([1, 2]))
        tensor([1, 2])
    """
    return _copies[alias](input)


@composite(out=True)
def expand_copy(input: Tensor, size: Any, *, implicit: bool = False) -> Tensor:
    """Returns a copy expanded to `size`; see `Tensor.expand`.

    Example:
        >>> import taper as torch
        >>> torch.expand_copy(torch.tensor([1, 2]), (2, 2))
        tensor([[1, 2],
                [1, 2]])
    """
    return _copies[expand](input, size)


@composite(out=True)
def permute_copy(input: Tensor, dims: Any) -> Tensor:
    """Returns a copy with its dimensions in the order `dims`; see `permute`.

    Example:
        >>> import taper as torch
        >>> torch.permute_copy(torch.tensor([[1, 2]]), (1, 0))
        tensor([[1],
                [2]])
    """
    return _copies[permute](input, dims)


@composite(out=True)
def select_copy(input: Tensor, dim: int, index: int) -> Tensor:
    """Returns a copy of the slice at a position of a dimension; see `select`.

    Example:
        >>> import taper as torch
        >>> torch.select_copy(torch.tensor([[1, 2], [3, 4]]), 0, 1)
        tensor([3, 4])
    """
    return _copies[select](input, dim, index)


@composite(out=True)
def slice_copy(
    input: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Tensor:
    """Returns a copy of the positions ``start:end:step`` of a dimension.

    Example:
        >>> import taper as torch
        >>> torch.slice_copy(torch.arange(4), 0, 1, 3)
        tensor([1, 2])
    """
    return _copies[slice_dim](input, dim % max(input._array.ndim, 1), start, end, step)


@composite(out=True)
def split_with_sizes_copy(input: Tensor, split_sizes: Any, dim: int = 0) -> Any:
    """Returns copies of parts of the given sizes of a dimension; see `split`.

    Example:
        >>> import taper as torch
        >>> torch.split_with_sizes_copy(torch.arange(3), [1, 2])
        (tensor([0]), tensor([1, 2]))
    """
    at = checked_dim("split_with_sizes", input, dim)
    return _copies[split_sizes_op](input, checked_sizes(input, split_sizes, at), at)


split_sizes_op = split_sizes


@composite(out=True)
def split_copy(input: Tensor, split_size: int, dim: int = 0) -> Any:
    """Returns copies of parts of equal size of a dimension; see `split`.

    Example:
        >>> import taper as torch
        >>> torch.split_copy(torch.arange(3), 2)
        (tensor([0, 1]), tensor([2]))
    """
    at = checked_dim("split", input, dim)
    return _copies[split_sizes_op](input, equal_sizes(input._array.shape[at], split_size), at)


@composite(out=True)
def squeeze_copy(input: Tensor, dim: Any = None) -> Tensor:
    """Returns a copy without the dimensions of size 1; see `squeeze`.

    Example:
        >>> import taper as torch
        >>> torch.squeeze_copy(torch.tensor([[1, 2]]))
        tensor([1, 2])
    """
    if dim is None:
        return _copies[squeeze_all](input)
    if isinstance(dim, (tuple, list)):
        return _copies[squeeze_dims](input, tuple(dim))
    return _copies[squeeze_dim](input, dim)


@composite(out=True)
def as_strided_copy(
    input: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """Returns a copy of what `as_strided` shows.

    Example:
        >>> import taper as torch
        >>> torch.as_strided_copy(torch.arange(4), (2,), (2,))
        tensor([0, 2])
    """
    window = checked_window(input, size, stride, storage_offset)
    return _copies[strided](input, *window, input.stride())


@composite(out=True)
def t_copy(input: Tensor) -> Tensor:
    """Returns a transposed copy of a matrix; see `t`.

    Example:
        >>> import taper as torch
        >>> torch.t_copy(torch.tensor([[1, 2]]))
        tensor([[1],
                [2]])
    """
    return _copies[t](input)


@composite(out=True)
def transpose_copy(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Returns a copy with two dimensions exchanged; see `transpose`.

    Example:
        >>> import taper as torch
        >>> torch.transpose_copy(torch.tensor([[1, 2]]), 0, 1)
        tensor([[1],
                [2]])
    """
    return _copies[transpose](input, dim0, dim1)


@composite(out=True)
def unbind_copy(input: Tensor, dim: int = 0) -> Any:
    """Returns copies of the slices along a dimension; see `unbind`.

    Example:
        >>> import taper as torch
        >>> torch.unbind_copy(torch.tensor([[1, 2], [3, 4]]))
        (tensor([1, 2]), tensor([3, 4]))
    """
    return _copies[unbind](input, dim)


@composite(out=True)
def unfold_copy(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Returns a copy of all windows along a dimension; see `Tensor.unfold`.

    Example:
        >>> import taper as torch
        >>> torch.unfold_copy(torch.arange(4), 0, 2, 1)
        tensor([[0, 1],
                [1, 2],
                [2, 3]])
    """
    return _copies[unfold](input, dimension, size, step)


@composite(out=True)
def unsqueeze_copy(input: Tensor, dim: int) -> Tensor:
    """Returns a copy with a dimension of size 1 inserted; see `unsqueeze`.

    Example:
        >>> import taper as torch
        >>> torch.unsqueeze_copy(torch.tensor([1, 2]), 0)
        tensor([[1, 2]])
    """
    return _copies[unsqueeze](input, dim)


@composite(out=True)
def view_copy(input: Tensor, size: Any = None, *, dtype: Any = None) -> Tensor:
    """Returns a copy in another shape, or of the bytes read as another dtype; see `Tensor.view`.

    Example:
        >>> import taper as torch
        >>> torch.view_copy(torch.arange(4), (2, 2))
        tensor([[0, 1],
                [2, 3]])
    """
    from taper.core.dtype import dtype as dtype_class

    if dtype is not None or isinstance(size, dtype_class):
        return input.view(dtype or size).clone()
    return _copies[view](input, size)


@operator("_narrow_copy", node="NarrowCopyBackward0", hidden=True)
def narrowed_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    return input[(*(slice(None),) * dim, slice(start, start + length))].copy()


@narrowed_copy.derivative("input")
def _(grad, input_shape, dim, start, length):
    return placed(grad, input_shape, (*(slice(None),) * dim, slice(start, start + length)))


@composite(method=True, out=True)
def narrow_copy(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """Returns a copy of `length` positions of a dimension; see `narrow`.

    Example:
        >>> import taper as torch
        >>> torch.narrow_copy(torch.arange(4), 0, 1, 2)
        tensor([1, 2])
    """
    if 0 < input._array.ndim <= dim:
        raise RuntimeError(
            "Expected dim < static_cast<int64_t>(self_sizes.size()) to be true, but got false."
        )
    if length < 0 and input._array.ndim:
        raise RuntimeError(
            f"start ({start}) + length ({length}) exceeds dimension size "
            f"({input._array.shape[dim]})."
        )
    narrow.forward(input.detach(), dim, start, length)
    at = dim % input._array.ndim
    first = int(start)
    return narrowed_copy(input, at, first % (input._array.shape[at] + 1) if first >= 0 else (
        first + input._array.shape[at]), length)


