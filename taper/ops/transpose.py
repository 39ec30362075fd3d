"""The dimensions in another order: transpose, permute, movedim, and the properties T, mT, H, mH."""

from __future__ import annotations

import warnings
from typing import Any

from taper.core.errors import normalize_dim
from taper.core.state import active
from taper.core.tensor import Parameter, Tensor
from taper.ops import slow
from taper.ops.connect_views import view_of
from taper.ops.declare import composite, operator


@operator(method=True, view=True, aliases=("swapaxes", "swapdims"))
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Exchanges two dimensions. The result is a view.

    Example:
        >>> import taper as torch
        >>> torch.transpose(torch.tensor([[1, 2], [3, 4]]), 0, 1)
        tensor([[1, 3],
                [2, 4]])
    """
    ndim = input.ndim
    dim0, dim1 = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    return input.swapaxes(dim0, dim1) if ndim else input[...]


@transpose.derivative("input")
def _(grad, dim0, dim1):
    return grad.transpose(dim0, dim1)


@transpose.short_path
def _(input: Tensor, dim0: Any = None, dim1: Any = None, **axes: Any) -> Tensor:
    if not active.modes and (type(input) is Tensor or type(input) is Parameter):
        try:
            r = input._array.swapaxes(dim0, dim1)
        except Exception:
            pass
        else:
            return view_of(input, r, transpose, (dim0, dim1))
    dim0 = axes.get("axis0", dim0)
    dim1 = axes.get("axis1", dim1)
    return slow.call(transpose, (input, dim0, dim1))


@operator(method=True, view=True)
def t(input: Tensor) -> Tensor:
    """Transposes a matrix; vectors and 0-d tensors stay as they are. The result is a view.

    Example:
        >>> import taper as torch
        >>> torch.t(torch.tensor([[1, 2]]))
        tensor([[1],
                [2]])
    """
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return input.transpose() if input.ndim == 2 else input[...]


@t.derivative("input")
def _(grad):
    return grad.t()


@t.short_path
def _(input: Tensor) -> Tensor:
    if not active.modes and (type(input) is Tensor or type(input) is Parameter):
        a = input._array
        if a.ndim == 2:
            return view_of(input, a.T, t)
    return slow.call(t, (input,))


@operator(method=True, view=True)
def permute(input: Tensor, dims: Any) -> Tensor:
    """Puts the dimensions in the order `dims`. The result is a view.

    Example:
        >>> import taper as torch
        >>> torch.permute(torch.zeros(2, 3, 5), (2, 0, 1)).shape
        torch.Size([5, 2, 3])
    """
    ndim = input.ndim
    if not isinstance(dims, (tuple, list)):
        dims = (dims,)
    if len(dims) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {ndim} is not equal "
            f"to len(dims) = {len(dims)}"
        )
    order = [normalize_dim(d, ndim) for d in dims]
    if len(set(order)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return input.transpose(order) if ndim else input[...]


@permute.derivative("input")
def _(grad, dims):
    ndim = grad._array.ndim
    inverse = [0] * ndim
    for position, d in enumerate(dims if isinstance(dims, (tuple, list)) else (dims,)):
        inverse[d % ndim] = position
    return grad.permute(inverse)


@permute.short_path
def _(input: Tensor, *given: Any, dims: Any = None) -> Tensor:
    if dims is None:
        dims = given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given
    if not active.modes and (type(input) is Tensor or type(input) is Parameter):
        a = input._array
        if len(dims) == a.ndim and dims:
            try:
                r = a.transpose(dims)
            except Exception:
                pass
            else:
                return view_of(input, r, permute, (dims,))
    return slow.call(permute, (input, dims))


def as_dims(value: Any) -> tuple[Any, ...]:
    """One dim or several, as a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


@composite(method=True, aliases=("moveaxis",))
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Moves the dimensions `source` to the positions `destination`; the others keep their order.

    Example:
        >>> import taper as torch
        >>> torch.movedim(torch.zeros(2, 3, 5), 0, -1).shape
        torch.Size([3, 5, 2])
    """
    ndim = input._array.ndim
    sources, targets = as_dims(source), as_dims(destination)
    if len(sources) != len(targets):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source "
            f"({list(sources)} dims) should contain the same number of dims as destination "
            f"({list(targets)} dims)"
        )
    sources = tuple([normalize_dim(d, ndim) for d in sources])
    targets = tuple([normalize_dim(d, ndim) for d in targets])
    for name, dims in (("source", sources), ("destination", targets)):
        if len(set(dims)) != len(dims):
            given = source if name == "source" else destination
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(as_dims(given))})")
    if not ndim:
        return input[...]
    rest = iter([d for d in range(ndim) if d not in sources])
    where = dict(zip(targets, sources, strict=True))
    return input.permute([where[d] if d in where else next(rest) for d in range(ndim)])


@composite(method=True)
def adjoint(input: Tensor) -> Tensor:
    """Transposes the last two dimensions and conjugates, as `Tensor.mH` does.

    Example:
        >>> import taper as torch
        >>> torch.adjoint(torch.tensor([[1j, 2]]))
        tensor([[0.-1.j],
                [2.-0.j]])
    """
    if input._array.ndim == 1:
        raise RuntimeError("tensor.adjoint() is only supported on matrices or batches of matrices. "
                           "Got 1-D tensor.")
    return _conjugated(input.transpose(-2, -1)) if input._array.ndim else _conjugated(input)


def _conjugated(input: Tensor) -> Tensor:
    return input.conj() if input._array.dtype.kind == "c" else input


def _T(input: Tensor) -> Tensor:
    """The tensor with its dimensions reversed."""
    a = input._array
    ndim = a.ndim
    if type(input) is not Tensor or active.modes or ndim > 2:
        if ndim not in (0, 2):
            _warn_about_transposing("x.T", ndim)
        return input.permute(tuple(range(ndim - 1, -1, -1)))
    if ndim < 2:
        _warn_about_transposing("x.T", ndim)
    return view_of(input, a.T, permute, (tuple(range(ndim - 1, -1, -1)),))


_warned: set[str] = set()


def _warn_about_transposing(what: str, ndim: int) -> None:
    if ndim == 2 or what in _warned:
        return
    _warned.add(what)
    warnings.warn(
        f"The use of `{what}` on tensors of dimension other than 2 to reverse their shape is "
        "deprecated and it will throw an error in a future release. Consider `x.mT` to transpose "
        "batches of matrices or `x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the "
        "dimensions of a tensor.",
        UserWarning, stacklevel=3,
    )


def _mT(input: Tensor) -> Tensor:
    """The tensor with its last two dimensions exchanged."""
    if input._array.ndim < 2:
        if input._array.ndim == 0:
            return input
        raise RuntimeError("tensor.mT is only supported on matrices or batches of matrices. Got "
                           f"{input._array.ndim}-D tensor.")
    return input.transpose(-2, -1)


def _H(input: Tensor) -> Tensor:
    """The conjugate transpose of a matrix."""
    ndim = input._array.ndim
    if ndim == 0:
        return _conjugated(input)
    if ndim != 2:
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {ndim}-D tensor."
            + (" For batches of matrices, consider using tensor.mH" if ndim > 2 else "")
        )
    return _conjugated(input.transpose(0, 1))


def _mH(input: Tensor) -> Tensor:
    """The conjugate of the tensor with its last two dimensions exchanged."""
    ndim = input._array.ndim
    if ndim == 0:
        return _conjugated(input)
    if ndim < 2:
        raise RuntimeError("tensor.mH is only supported on matrices or batches of matrices. Got "
                           f"{ndim}-D tensor.")
    return _conjugated(input.transpose(-2, -1))


Tensor.T = property(_T)
Tensor.mT = property(_mT)
Tensor.H = property(_H)
Tensor.mH = property(_mH)
