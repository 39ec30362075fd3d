"""Windows for signal processing: `torch.signal.windows` and the older `torch.hann_window` family.

A window of M points is computed in the chosen dtype from evenly spaced arguments; `sym=False` (the
older functions' `periodic=True`) makes it one period of M + 1 points without the last.
Source: Harris, On the use of windows for harmonic analysis with the DFT (1978).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import taper
from taper.core.device import strided
from taper.core.dtype import float32, float64, get_default_dtype
from taper.core.tensor import Tensor
from taper.ops.declare import composite
from taper.ops.signature import Truth


def _check(name: str, count: int, dtype: Any, layout: Any) -> Any:
    """The dtype to compute in; ValueError for what PyTorch's windows don't take."""
    dtype = get_default_dtype() if dtype is None else dtype
    if count < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={count}")
    if layout is not None and layout is not strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (float32, float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    return dtype


def _steps(start: float, end: float, count: int, dtype: Any, requires_grad: bool) -> Tensor:
    return taper.linspace(start, end, count, dtype=dtype, requires_grad=requires_grad)


def _trivial(count: int, dtype: Any, requires_grad: bool) -> Tensor:
    """A window of no points, or of one, which is 1."""
    return taper.ones((count,), dtype=dtype, requires_grad=requires_grad)


@composite("signal.windows.general_cosine")
def general_cosine(
    M: Any, *, a: Iterable[float], sym: Truth = True, dtype: Any = None, layout: Any = strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:
    r"""Makes a window that is a sum of cosines: :math:`\sum_i (-1)^i a_i \cos(2\pi i n / (M-1))`.

    Raises:   ValueError: if `a` is empty;  TypeError: if it is no list
    Example:
        >>> import taper as torch
        >>> torch.signal.windows.general_cosine(3, a=[0.5, 0.5])
        tensor([0., 1., 0.])
    """
    dtype = _check("general_cosine", M, dtype, layout)
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    coefficients = list(a)
    if not coefficients:
        raise ValueError("Coefficients cannot be empty")
    if M <= 1:
        return _trivial(M, dtype, requires_grad)
    step = 2 * math.pi / (M if not sym else M - 1) if M > 1 else 0.0
    k = _steps(0, (M - 1) * step, M, dtype, requires_grad)
    signed = taper.tensor([(-1) ** i * w for i, w in enumerate(coefficients)], dtype=dtype)
    order = taper.arange(len(coefficients), dtype=dtype)
    return (signed.unsqueeze(-1) * (order.unsqueeze(-1) * k).cos()).sum(0)


def _cosine_window(name: str, coefficients: list[float], doc: str) -> None:
    def window(
        M: int, *, sym: Truth = True, dtype: Any = None, layout: Any = strided,
        device: Any = None, requires_grad: bool = False,
    ) -> Tensor:
        return general_cosine(
            M, a=coefficients, sym=sym, dtype=dtype, layout=layout, device=device,
            requires_grad=requires_grad,
        )

    window.__name__ = window.__qualname__ = name
    window.__doc__ = doc
    composite(f"signal.windows.{name}")(window)


_cosine_window("hann", [0.5, 0.5], """Makes a Hann window: half of 1 minus a cosine.

    Example:
        >>> import taper as torch
        >>> torch.signal.windows.hann(5)
        tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """)
_cosine_window("hamming", [0.54, 0.46], """Makes a Hamming window: 0.54 minus 0.46 of a cosine.

    Example:
        >>> import taper as torch
        >>> torch.signal.windows.hamming(3)
        tensor([0.0800, 1.0000, 0.0800])
    """)
_cosine_window("blackman", [0.42, 0.5, 0.08], """Makes a Blackman window: three cosine terms.

    Example:
        >>> import taper as torch
        >>> torch.signal.windows.blackman(4)[1:3]
        tensor([0.6300, 0.6300])
    """)
_cosine_window(
    "nuttall", [0.3635819, 0.4891775, 0.1365995, 0.0106411],
    """Makes a Nuttall window: four cosine terms with low side lobes.

    Example:
        >>> import taper as torch
        >>> torch.signal.windows.nuttall(4)[1:3]
        tensor([0.5292, 0.5292])
    """)


@composite("signal.windows.general_hamming")
def general_hamming(
    M: Any, *, alpha: float = 0.54, sym: Truth = True, dtype: Any = None, layout: Any = strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:
    r"""Makes a window :math:`\alpha - (1 - \alpha) \cos(2\pi n / (M - 1))`.

    Example:
        >>> import taper as torch
        >>> torch.signal.windows.general_hamming(3, alpha=0.6)
        tensor([0.2000, 1.0000, 0.2000])
    """
    return general_cosine(
        M, a=[alpha, 1.0 - alpha], sym=sym, dtype=dtype, layout=layout, device=device,
        requires_grad=requires_grad,
    )


@composite("signal.windows.bartlett")
def bartlett(
    M: int, *, sym: Truth = True, dtype: Any = None, layout: Any = strided, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Makes a Bartlett window: a triangle that is zero at both ends.

    Example:
        >>> import taper as torch
        >>> torch.signal.windows.bartlett(5)
        tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    dtype = _check("bartlett", M, dtype, layout)
    if M <= 1:
        return _trivial(M, dtype, requires_grad)
    step = 2 / (M if not sym else M - 1)
    return 1 - _steps(-1, -1 + (M - 1) * step, M, dtype, requires_grad).abs()


@composite("signal.windows.cosine")
def cosine(
    M: int, *, sym: Truth = True, dtype: Any = None, layout: Any = strided, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Makes a window of half a sine wave.

    Example:
        >>> import taper as torch
        >>> torch.signal.windows.cosine(3)
        tensor([0.5000, 1.0000, 0.5000])
    """
    dtype = _check("cosine", M, dtype, layout)
    if M <= 1:
        return _trivial(M, dtype, requires_grad)
    step = math.pi / (M + 1 if not sym else M)
    return _steps(0.5 * step, (0.5 + M - 1) * step, M, dtype, requires_grad).sin()


@composite("signal.windows.exponential")
def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: Truth = True, dtype: Any = None,
    layout: Any = strided, device: Any = None, requires_grad: bool = False,
) -> Tensor:
    r"""Makes a window :math:`e^{-|n - c| / \tau}`.

    Raises:   ValueError: if `tau` is not positive, or `center` is given for a symmetric window
    Example:
        >>> import taper as torch
        >>> torch.signal.windows.exponential(3)
        tensor([0.3679, 1.0000, 0.3679])
    """
    dtype = _check("exponential", M, dtype, layout)
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    if M <= 1:
        return _trivial(M, dtype, requires_grad)
    middle = center if center is not None else (M if not sym and M > 1 else M - 1) / 2.0
    step = 1 / tau
    k = _steps(-middle * step, (-middle + M - 1) * step, M, dtype, requires_grad)
    return (-k.abs()).exp()


@composite("signal.windows.gaussian")
def gaussian(
    M: int, *, std: float = 1.0, sym: Truth = True, dtype: Any = None, layout: Any = strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:
    r"""Makes a window :math:`e^{-(n - c)^2 / 2\sigma^2}`.

    Raises:   ValueError: if `std` is not positive
    Example:
        >>> import taper as torch
        >>> torch.signal.windows.gaussian(3)
        tensor([0.6065, 1.0000, 0.6065])
    """
    dtype = _check("gaussian", M, dtype, layout)
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    if M <= 1:
        return _trivial(M, dtype, requires_grad)
    start = -(M if not sym and M > 1 else M - 1) / 2.0
    step = 1 / (std * math.sqrt(2))
    k = _steps(start * step, (start + (M - 1)) * step, M, dtype, requires_grad)
    return (-(k**2)).exp()


@composite("signal.windows.kaiser")
def kaiser(
    M: int, *, beta: float = 12.0, sym: Truth = True, dtype: Any = None, layout: Any = strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:
    r"""Makes a window :math:`I_0(\beta \sqrt{1 - x^2}) / I_0(\beta)`, x from -1 to 1.

    Raises:   ValueError: if `beta` is negative
    Example:
        >>> import taper as torch
        >>> torch.signal.windows.kaiser(5, beta=2.)
        tensor([0.4387, 0.8348, 1.0000, 0.8348, 0.4387])
    """
    dtype = _check("kaiser", M, dtype, layout)
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    if M <= 1:
        return _trivial(M, dtype, requires_grad)
    peak = taper.tensor(float(beta), dtype=dtype)
    step = 2.0 * beta / (M if not sym else M - 1)
    end = min(float(beta), -beta + (M - 1) * step)
    k = _steps(-beta, end, M, dtype, requires_grad)
    return taper.i0((peak * peak - k**2).sqrt()) / taper.i0(peak)


# -- the older functions -----------------------------------------------------------------------


def _check_older(name: str, count: int, dtype: Any) -> Any:
    dtype = get_default_dtype() if dtype is None else dtype
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
    if count < 0:
        raise RuntimeError(
            f"{name} requires non-negative window_length, got window_length={count}"
        )
    return dtype


def _finish_older(values: Tensor, periodic: bool, dtype: Any, requires_grad: bool) -> Tensor:
    if periodic:
        values = values[:-1]
    return values.to(dtype).contiguous().requires_grad_(requires_grad)


def _older_cosine(
    name: str, count: int, periodic: bool, coefficients: tuple[float, ...], dtype: Any,
    requires_grad: bool,
) -> Tensor:
    dtype = _check_older(name, count, dtype)
    if count <= 1:
        return taper.ones(count, dtype=dtype, requires_grad=requires_grad)
    points = count + 1 if periodic else count
    work = dtype if dtype.itemsize >= 4 else float32
    n = taper.arange(points, dtype=work)
    values = coefficients[0] - coefficients[1] * (n * (2 * math.pi / (points - 1))).cos()
    if len(coefficients) > 2:
        values = values + coefficients[2] * (n * (4 * math.pi / (points - 1))).cos()
    return _finish_older(values, periodic, dtype, requires_grad)


@composite()
def hann_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a Hann window, by default one period of it.

    Example:
        >>> import taper as torch
        >>> torch.hann_window(4)
        tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    return _older_cosine("hann_window", window_length, periodic, (0.5, 0.5), dtype, requires_grad)


@composite()
def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    r"""Makes a window :math:`\alpha - \beta \cos(2\pi n / N)`, by default one period of it.

    Example:
        >>> import taper as torch
        >>> torch.hamming_window(4)
        tensor([0.0800, 0.5400, 1.0000, 0.5400])
    """
    return _older_cosine(
        "hamming_window", window_length, periodic, (alpha, beta), dtype, requires_grad
    )


@composite()
def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a Blackman window, by default one period of it.

    Example:
        >>> import taper as torch
        >>> torch.blackman_window(4)[1:]
        tensor([0.3400, 1.0000, 0.3400])
    """
    return _older_cosine(
        "blackman_window", window_length, periodic, (0.42, 0.5, 0.08), dtype, requires_grad
    )


@composite()
def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a Bartlett window, by default one period of it.

    Example:
        >>> import taper as torch
        >>> torch.bartlett_window(4)
        tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    dtype = _check_older("bartlett_window", window_length, dtype)
    if window_length <= 1:
        return taper.ones(window_length, dtype=dtype, requires_grad=requires_grad)
    points = window_length + 1 if periodic else window_length
    n = taper.arange(points, dtype=dtype if dtype.itemsize >= 4 else float32)
    values = 1 - (n * (2.0 / (points - 1)) - 1).abs()
    return _finish_older(values, periodic, dtype, requires_grad)


@composite()
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:
    """Makes a Kaiser window, by default one period of it.

    Example:
        >>> import taper as torch
        >>> torch.kaiser_window(4, periodic=False, beta=2.)
        tensor([0.4387, 0.9243, 0.9243, 0.4387])
    """
    dtype = _check_older("kaiser_window", window_length, dtype)
    if window_length <= 1:
        return taper.ones(window_length, dtype=dtype, requires_grad=requires_grad)
    points = window_length + 1 if periodic else window_length
    n = taper.arange(points, dtype=dtype if dtype.itemsize >= 4 else float32)
    x = n * (2.0 / (points - 1)) - 1
    peak = taper.tensor(float(beta), dtype=n.dtype)
    values = taper.i0(beta * (1 - x**2).clamp(min=0).sqrt()) / taper.i0(peak)
    return _finish_older(values, periodic, dtype, requires_grad)
