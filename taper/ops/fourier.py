"""The discrete Fourier transform in one, two and n dimensions: `torch.fft`.

Everything is made of three operators, as in PyTorch: complex to complex, real to (half of) complex,
and half of complex to real. Each divides by 1, sqrt(n) or n.
"""

from __future__ import annotations

from typing import Any

import taper
from taper.core.dtype import as_dtype, float16, get_default_dtype
from taper.core.errors import normalize_dim, normalize_dims
from taper.core.tensor import Tensor
from taper.kernels import fourier as kernel
from taper.kernels.memory_order import in_rows
from taper.ops.declare import composite, operator

_NUMPY_NORM = {"none": ("backward", "forward"), "sqrt": ("ortho", "ortho"),
               "full": ("forward", "backward")}


def _norm_name(scale: str, forward: bool) -> str:
    """NumPy's name of the norm that makes this transform divide by `scale`."""
    return _NUMPY_NORM[scale][0 if forward else 1]


def _scale(norm: str | None, forward: bool, name: str) -> str:
    """What `norm=` divides this direction by."""
    if norm is None or norm == "backward":
        return "none" if forward else "full"
    if norm == "forward":
        return "full" if forward else "none"
    if norm == "ortho":
        return "sqrt"
    raise RuntimeError(f"Invalid normalization mode: \"{norm}\"")


@operator(hidden=True, node="FftC2CBackward0")
def complex_to_complex(input: Tensor, dims: Any, scale: str, is_forward: bool) -> Tensor:
    """Transforms complex values along `dims`."""
    norm = _norm_name(scale, is_forward)
    return in_rows(kernel.complex_to_complex(input, dims, norm, is_forward))


@complex_to_complex.derivative("input")
def _(grad, dims, scale, is_forward):
    return complex_to_complex(grad, dims, scale, not is_forward)


@operator(hidden=True, node="FftR2CBackward0")
def real_to_complex(input: Tensor, dims: Any, scale: str, half: bool = True) -> Tensor:
    """Transforms real values; `half` keeps the non-redundant half of the last of `dims`."""
    return in_rows(kernel.real_to_complex(input, dims, _norm_name(scale, True), half))


@real_to_complex.derivative("input")
def _(grad, input_shape, dims, scale):
    last = dims[-1]
    missing = input_shape[last] - grad.shape[last]
    if missing:
        shape = list(grad.shape)
        shape[last] = missing
        grad = taper.cat([grad, grad.new_zeros(shape)], last)
    return complex_to_complex(grad, dims, scale, False).real


@operator(hidden=True, node="FftC2RBackward0")
def complex_to_real(input: Tensor, dims: Any, scale: str, last_size: int) -> Tensor:
    """Transforms half of a Hermitian spectrum back to `last_size` real values."""
    return in_rows(kernel.complex_to_real(input, dims, _norm_name(scale, False), last_size))


@complex_to_real.derivative("input")
def _(grad, dims, scale):
    found = real_to_complex(grad, dims, scale)
    # Every element but the first (and, for even sizes, the last) stands for two of the spectrum.
    twice = grad.shape[dims[-1]] - found.shape[dims[-1]]
    if twice > 0:
        factor = grad.new_ones(found.shape[dims[-1]])
        factor[1 : 1 + twice] = 2
        shape = [-1 if d == dims[-1] else 1 for d in range(found.ndim)]
        found = found * factor.reshape(shape)
    return found


def _as_complex(input: Tensor) -> Tensor:
    d = _checked(input).dtype
    if d.is_complex:
        return input
    real = d if d.is_floating_point else get_default_dtype()
    return input.to(real.to_complex())


def _as_real(input: Tensor, name: str) -> Tensor:
    d = _checked(input).dtype
    if d.is_complex:
        raise RuntimeError(f"{name} expects a real input tensor, but got {_long_name(d)}")
    return input if d.is_floating_point else input.to(get_default_dtype())


def _long_name(d: Any) -> str:
    from taper.core.promotion import scalar_type_name

    return scalar_type_name(d)


def _checked(input: Tensor) -> Tensor:
    if not isinstance(input, Tensor):
        raise TypeError(
            f"fft(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
        )
    if input.dtype is float16 or input.dtype.name == "bfloat16":
        raise RuntimeError(f"Unsupported dtype {_long_name(input.dtype)}")
    return input


def _resized(input: Tensor, dim: int, n: int) -> Tensor:
    """`input` cut or padded with zeros to size n along `dim`."""
    present = input.shape[dim]
    if n == present:
        return input
    if n < present:
        return input.narrow(dim, 0, n)
    shape = list(input.shape)
    shape[dim] = n - present
    return taper.cat([input, input.new_zeros(shape)], dim)


def _one_dim(input: Tensor, n: int | None, dim: int) -> tuple[int, int]:
    dim = _dim_of(input, dim)
    size = n if n is not None else (input.shape[dim] if input.ndim else 1)
    if size < 1:
        raise RuntimeError(f"Invalid number of data points ({size}) specified")
    return dim, size


def _dim_of(input: Tensor, dim: int) -> int:
    """A dimension counted from the front; tensors without dimensions have none to transform."""
    if input.ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return normalize_dim(dim, input.ndim)


def _declare_one(name: str, doc: str, body: Any) -> None:
    def function(
        input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
    ) -> Tensor:
        return body(input, n, dim, norm)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    composite(f"fft.{name}", out=True)(function)


def _fft(input: Tensor, n: Any, dim: int, norm: Any) -> Tensor:
    dim, size = _one_dim(input, n, dim)
    if not _checked(input).dtype.is_complex:
        values = _resized(_as_real(input, "fft"), dim, size)
        return real_to_complex(values, (dim,), _scale(norm, True, "fft"), False)
    return complex_to_complex(
        _resized(input, dim, size), (dim,), _scale(norm, True, "fft"), True
    )


def _ifft(input: Tensor, n: Any, dim: int, norm: Any) -> Tensor:
    dim, size = _one_dim(input, n, dim)
    if not _checked(input).dtype.is_complex:
        values = _resized(_as_real(input, "ifft"), dim, size)
        return real_to_complex(values, (dim,), _scale(norm, False, "ifft"), False).conj()
    return complex_to_complex(
        _resized(input, dim, size), (dim,), _scale(norm, False, "ifft"), False
    )


def _rfft(input: Tensor, n: Any, dim: int, norm: Any) -> Tensor:
    dim, size = _one_dim(input, n, dim)
    real = _resized(_as_real(input, "rfft"), dim, size)
    return real_to_complex(real, (dim,), _scale(norm, True, "rfft"))


def _half_size(input: Tensor, n: int | None, dim: int) -> tuple[int, int]:
    dim = _dim_of(input, dim)
    size = n if n is not None else 2 * (input.shape[dim] - 1)
    if size < 1:
        raise RuntimeError(f"Invalid number of data points ({size}) specified")
    return dim, size


def _irfft(input: Tensor, n: Any, dim: int, norm: Any) -> Tensor:
    dim, size = _half_size(input, n, dim)
    half = _resized(_as_complex(input), dim, size // 2 + 1)
    return complex_to_real(half, (dim,), _scale(norm, False, "irfft"), size)


def _hfft(input: Tensor, n: Any, dim: int, norm: Any) -> Tensor:
    dim, size = _half_size(input, n, dim)
    half = _resized(_as_complex(input), dim, size // 2 + 1).conj()
    return complex_to_real(half, (dim,), _scale(norm, True, "hfft"), size)


def _ihfft(input: Tensor, n: Any, dim: int, norm: Any) -> Tensor:
    dim, size = _one_dim(input, n, dim)
    real = _resized(_as_real(input, "ihfft"), dim, size)
    return real_to_complex(real, (dim,), _scale(norm, False, "ihfft")).conj()


_ONE = {
    "fft": (_fft, r"""Computes :math:`X_k = \sum_j x_j e^{-2\pi i jk/n}` along `dim`.

    Args:     n: cut or pad with zeros to this length first.    norm: "backward" (divide the
        inverse by n), "ortho" (both by sqrt n) or "forward" (the forward one by n)
    Example:
        >>> import taper as torch
        >>> torch.fft.fft(torch.tensor([1., 0.]))
        tensor([1.+0.j, 1.+0.j])
    """),
    "ifft": (_ifft, r"""Computes the inverse of `fft`.

    Example:
        >>> import taper as torch
        >>> torch.fft.ifft(torch.fft.fft(torch.tensor([1., 2.])))
        tensor([1.+0.j, 2.+0.j])
    """),
    "rfft": (_rfft, r"""Computes `fft` of real values; keeps the n//2 + 1 non-redundant ones.

    Example:
        >>> import taper as torch
        >>> torch.fft.rfft(torch.ones(4)).shape
        torch.Size([3])
    """),
    "irfft": (_irfft, r"""Computes the inverse of `rfft`; `n` is the length of the real result.

    Example:
        >>> import taper as torch
        >>> torch.fft.irfft(torch.tensor([4., 0., 0.]))
        tensor([1., 1., 1., 1.])
    """),
    "hfft": (_hfft, r"""Computes `fft` of a signal that is Hermitian in time: the result is real.

    Example:
        >>> import taper as torch
        >>> torch.fft.hfft(torch.ones(2))
        tensor([2., 0.])
    """),
    "ihfft": (_ihfft, r"""Computes the inverse of `hfft`.

    Example:
        >>> import taper as torch
        >>> torch.fft.ihfft(torch.ones(2)).shape
        torch.Size([2])
    """),
}
for _name, (_body, _doc) in _ONE.items():
    _declare_one(_name, _doc, _body)


# -- several dimensions ----------------------------------------------------------------------------


def _shapes_and_dims(input: Tensor, s: Any, dim: Any) -> tuple[list[int], tuple[int, ...]]:
    """The sizes to transform and the dims, with -1 in `s` meaning the input's size."""
    if isinstance(s, int):
        s = (s,)
    if isinstance(dim, int):
        dim = (dim,)
    if dim is None:
        if s is None:
            dims = tuple(range(input.ndim))
        else:
            if len(s) > input.ndim:
                raise RuntimeError(
                    f"Got shape with {len(s)} values but input tensor only has {input.ndim} "
                    "dimensions."
                )
            dims = tuple(range(input.ndim - len(s), input.ndim))
    else:
        dims = tuple(_dim_of(input, d) for d in dim)
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError(
                "When given, dim and shape arguments must have the same length"
            )
    sizes = [input.shape[d] for d in dims] if s is None else [
        input.shape[d] if n == -1 else n for d, n in zip(dims, s, strict=True)
    ]
    for n in sizes:
        if n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return sizes, dims


def _resize_all(input: Tensor, sizes: list[int], dims: tuple[int, ...]) -> Tensor:
    for d, n in zip(dims, sizes, strict=True):
        input = _resized(input, d, n)
    return input


def _fftn(input: Tensor, s: Any, dim: Any, norm: Any, forward: bool = True) -> Tensor:
    sizes, dims = _shapes_and_dims(input, s, dim)
    scale = _scale(norm, forward, "fftn")
    if forward and dims and not _checked(input).dtype.is_complex:  # half the work
        values = _resize_all(_as_real(input, "fftn"), sizes, dims)
        return real_to_complex(values, dims, scale, False)
    values = _resize_all(_as_complex(input), sizes, dims)
    return complex_to_complex(values, dims, scale, forward) if dims else values.clone()


def _ifftn(input: Tensor, s: Any, dim: Any, norm: Any) -> Tensor:
    return _fftn(input, s, dim, norm, False)


def _rfftn(input: Tensor, s: Any, dim: Any, norm: Any, name: str = "rfftn",
           forward: bool = True) -> Tensor:
    sizes, dims = _shapes_and_dims(input, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    if _checked(input).dtype.is_complex:
        raise RuntimeError(
            f"{name} expects a real-valued input tensor, but got {_long_name(input.dtype)}"
        )
    values = _resize_all(_as_real(input, name), sizes, dims)
    scale = _scale(norm, forward, name)
    return real_to_complex(values, dims, scale)


def _half_sizes(input: Tensor, s: Any, dim: Any, name: str) -> tuple[list[int], Any, int]:
    """Sizes with the last one halved, the dims, and the full last size."""
    if s is not None and not isinstance(s, int) and len(s) and s[-1] == -1:
        last = _dim_of(input, -1 if dim is None else dim[-1])
        s = (*s[:-1], 2 * (input.shape[last] - 1))
    sizes, dims = _shapes_and_dims(input, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    last = 2 * (input.shape[dims[-1]] - 1) if s is None else sizes[-1]
    if last < 1:
        raise RuntimeError(f"Invalid number of data points ({last}) specified")
    return [*sizes[:-1], last // 2 + 1], dims, last


def _irfftn(input: Tensor, s: Any, dim: Any, norm: Any) -> Tensor:
    sizes, dims, last = _half_sizes(input, s, dim, "irfftn")
    values = _resize_all(_as_complex(input), sizes, dims)
    return complex_to_real(values, dims, _scale(norm, False, "irfftn"), last)


def _hfftn(input: Tensor, s: Any, dim: Any, norm: Any) -> Tensor:
    sizes, dims, last = _half_sizes(input, s, dim, "hfftn")
    values = _resize_all(_as_complex(input), sizes, dims)
    scale = _scale(norm, True, "hfftn")
    if len(dims) > 1:
        values = complex_to_complex(values, dims[:-1], scale, True)
    return complex_to_real(values.conj(), dims[-1:], scale, last)


def _ihfftn(input: Tensor, s: Any, dim: Any, norm: Any) -> Tensor:
    sizes, dims = _shapes_and_dims(input, s, dim)
    if not dims:
        raise RuntimeError("ihfftn must transform at least one axis")
    if _checked(input).dtype.is_complex:
        raise RuntimeError(
            f"Only supports floating-point dtypes, but found: {_long_name(input.dtype)}"
        )
    values = _resize_all(_as_real(input, "ihfftn"), sizes, dims)
    scale = _scale(norm, False, "ihfftn")
    half = real_to_complex(values, dims[-1:], scale).conj()
    return complex_to_complex(half, dims[:-1], scale, False) if len(dims) > 1 else half


def _declare_many(name: str, body: Any, default_dim: Any, doc: str) -> None:
    if default_dim is None:
        def function(
            input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None
        ) -> Tensor:
            return body(input, s, dim, norm)
    else:
        def function(
            input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None
        ) -> Tensor:
            return body(input, s, dim, norm)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    composite(f"fft.{name}", out=True)(function)


# What is transformed, and the two rows that come out.
_OVER_SEVERAL = {
    "fft": (_fftn, "[1., 2.], [3., 4.]", ("[10.+0.j, -2.+0.j]", "[-4.+0.j,  0.+0.j]")),
    "ifft": (_ifftn, "[10., -2.], [-4., 0.]", ("[1.+0.j, 2.+0.j]", "[3.+0.j, 4.+0.j]")),
    "rfft": (_rfftn, "[1., 2.], [3., 4.]", ("[10.+0.j, -2.+0.j]", "[-4.+0.j,  0.+0.j]")),
    "irfft": (_irfftn, "[10., -2.], [-4., 0.]", ("[1., 2.]", "[3., 4.]")),
    "hfft": (_hfftn, "[1., 2.], [3., 4.]", ("[10., -2.]", "[-4.,  0.]")),
    "ihfft": (_ihfftn, "[10., -2.], [-4., 0.]", ("[1.-0.j, 2.-0.j]", "[3.+0.j, 4.+0.j]")),
}
_SEVERAL_DOC = """Computes `{base}` over {which}.

    Args:     s: sizes to cut or pad to first, one per dimension.
    Raises:   RuntimeError: if a dimension is named twice, or `s` and `dim` differ in length.
    Example:
        >>> import taper as torch
        >>> torch.fft.{name}(torch.tensor([{given}]))
        tensor([{rows[0]},
                {rows[1]}])
    """
for _name, (_body, _given, _rows) in _OVER_SEVERAL.items():
    _declare_many(f"{_name}2", _body, (-2, -1), _SEVERAL_DOC.format(
        base=_name, name=_name + "2", which="two dimensions, by default the last two",
        given=_given, rows=_rows,
    ))
    _declare_many(f"{_name}n", _body, None, _SEVERAL_DOC.format(
        base=_name, name=_name + "n", which="several dimensions, by default all", given=_given,
        rows=_rows,
    ))


# -- frequencies and shifts ------------------------------------------------------------------------


@composite("fft.fftfreq", out=True)
def fftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Returns the frequencies of `fft`'s n results for samples `d` apart.

    Example:
        >>> import taper as torch
        >>> torch.fft.fftfreq(4)
        tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    kind = as_dtype(dtype) or get_default_dtype()
    half = (n + 1) // 2
    values = taper.cat([taper.arange(0, half, dtype=kind), taper.arange(-(n // 2), 0, dtype=kind)])
    return (values * (1.0 / (n * d))).to(device or "cpu").requires_grad_(requires_grad)


@composite("fft.rfftfreq", out=True)
def rfftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Returns the frequencies of `rfft`'s n//2 + 1 results for samples `d` apart.

    Example:
        >>> import taper as torch
        >>> torch.fft.rfftfreq(4)
        tensor([0.0000, 0.2500, 0.5000])
    """
    kind = as_dtype(dtype) or get_default_dtype()
    values = taper.arange(0, n // 2 + 1, dtype=kind) * (1.0 / (n * d))
    return values.to(device or "cpu").requires_grad_(requires_grad)


@composite("fft.fftshift")
def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """Moves the zero frequency to the middle of `dim` (default: of all dimensions).

    Example:
        >>> import taper as torch
        >>> torch.fft.fftshift(torch.tensor([0, 1, -2, -1]))
        tensor([-2, -1,  0,  1])
    """
    dims = _shift_dims(input, dim)
    return taper.roll(input, [input.shape[d] // 2 for d in dims], dims)


@composite("fft.ifftshift")
def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """Undoes `fftshift`.

    Example:
        >>> import taper as torch
        >>> torch.fft.ifftshift(torch.tensor([-2, -1, 0, 1]))
        tensor([ 0,  1, -2, -1])
    """
    dims = _shift_dims(input, dim)
    return taper.roll(input, [(input.shape[d] + 1) // 2 for d in dims], dims)


def _shift_dims(input: Tensor, dim: Any) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(input.ndim))
    if input.ndim == 0:
        _dim_of(input, dim[0] if isinstance(dim, (tuple, list)) else dim)
    return normalize_dims(dim if isinstance(dim, (tuple, list)) else (dim,), input.ndim)
