"""Histograms, counts and covariances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.core.dtype import FLOATING, INTEGER, from_numpy_dtype
from taper.core.promotion import scalar_type_name
from taper.core.tensor import Tensor
from taper.ops.argument_checks import values_known
from taper.ops.declare import composite, operator
from taper.ops.return_types import named
from taper.ops.slow import write_out

# -- histograms --------------------------------------------------------------------


def _range_of(input: Any, low: float, high: float, name: str) -> tuple[float, float]:
    """The ends of a histogram: those given, or the data's; never equal."""
    if low == 0 and high == 0 and input.size:
        low, high = float(input.min()), float(input.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"{name}: range of [{low:g}, {high:g}] is not finite")
    if low == high:
        low, high = low - 1, high + 1
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min")
    return low, high


def _bin_numbers(values: Any, low: Any, high: Any, bins: int) -> tuple[Any, Any]:
    """The number of each value's bin, of equal width, and which values lie inside at all."""
    inside = (values >= low) & (values <= high)
    scaled = (values - low) * bins / (high - low)
    with np.errstate(invalid="ignore"):
        numbers = np.where(inside, scaled, 0).astype(np.int64)
    return np.minimum(numbers, bins - 1), inside


@operator(method=True, out=True, differentiable=False, kinds="f", kernel="histogram_cpu",
          upcast=True)
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts the elements in `bins` equal intervals from `min` to `max`; others are left out.

    If both ends are 0, the data's smallest and largest elements are taken.
    Example:
        >>> import taper as torch
        >>> torch.histc(torch.tensor([1., 2., 1.]), bins=4, min=0, max=3)
        tensor([0., 2., 1., 0.])
    """
    if bins <= 0:
        raise RuntimeError(
            f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0"
        )
    low, high = _range_of(input, min, max, "torch.histc")
    kind = input.dtype.type
    numbers, inside = _bin_numbers(input.ravel(), kind(low), kind(high), bins)
    return np.bincount(numbers[inside], minlength=bins).astype(input.dtype)


@histc.shapes
def _(input, bins):
    return (bins,), input.dtype


def _histogram_edges(values: Any, bins: Any, limits: Any) -> list[Any]:
    """The edges of the bins of each column of `values`."""
    dtype = values.dtype
    edges = []
    for d, bin_count in enumerate(bins):
        if isinstance(bin_count, np.ndarray):
            edges.append(bin_count)
            continue
        if bin_count <= 0:
            raise RuntimeError(
                f"torch.histogram(): bins must be > 0, but got {bin_count} for dimension {d}"
            )
        if limits is not None:
            low, high = limits[2 * d], limits[2 * d + 1]
            if not (math.isfinite(low) and math.isfinite(high)):
                raise RuntimeError(
                    f"torch.histogramdd(): range [{low:g}, {high:g}] is not finite"
                )
            if low > high:
                raise RuntimeError(
                    f"torch.histogramdd(): min should not exceed max, but got min {low:g} max "
                    f"{high:g} for dimension {d}"
                )
        elif len(values):
            low, high = values[:, d].min(), values[:, d].max()
        else:
            low, high = 0, 1
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges.append(_spaced(low, high, bin_count + 1, dtype))
    return edges


def _spaced(low: Any, high: Any, n: int, dtype: Any) -> Any:
    """`linspace` as PyTorch rounds it: from both ends to the middle."""
    low, high = dtype.type(low), dtype.type(high)
    step = (high - low) / dtype.type(n - 1)
    i = np.arange(n).astype(dtype)
    return np.where(np.arange(n) < n // 2, low + step * i, high - step * (n - 1 - i))


def _count(values: Any, edges: list[Any], equal: bool, weight: Any, density: bool) -> Any:
    """The (weighted) number of rows of `values` in each box between `edges`."""
    shape = tuple(len(e) - 1 for e in edges)
    inside = np.ones(len(values), np.bool_)
    position = np.zeros(len(values), np.int64)
    for d, edge in enumerate(edges):
        column = values[:, d]
        n = len(edge) - 1
        numbers = np.clip(edge.searchsorted(column, "right") - 1, 0, n - 1)
        inside &= (column >= edge[0]) & (column <= edge[-1])
        position = position * n + numbers
    size = math.prod(shape)
    weights = None if weight is None else weight[inside].astype(np.float64)
    hist = np.bincount(position[inside], weights, minlength=size).astype(values.dtype)
    if density:
        volumes = np.ones(shape)
        for d, edge in enumerate(edges):
            volumes = volumes * np.diff(edge).reshape([-1 if i == d else 1 for i in range(
                len(edges))])
        hist = hist / hist.sum() / volumes.reshape(-1).astype(values.dtype)
    return hist.reshape(shape)


@operator("histogram", hidden=True, out=True, outputs=("hist", "bin_edges"), kinds="f",
          kernel="histogramdd")
def histogram_of(
    input: Tensor, bins: Any, weight: Tensor | None, density: bool, limits: Any
) -> Tensor:
    """`histogram` with arrays."""
    if input.dtype.kind != "f":
        name = scalar_type_name(from_numpy_dtype(input.dtype))
        raise NotImplementedError(f'"histogramdd" not implemented for \'{name}\'')
    values = input.reshape(-1, 1)
    edges = _histogram_edges(values, [bins], limits)
    hist = _count(values, edges, False, None if weight is None else weight.ravel(), density)
    return hist, edges[0].copy()


@histogram_of.shapes
def _(input, bins):
    n = bins if isinstance(bins, int) else bins.size - 1
    return [((n,), input.dtype), ((n + 1,), input.dtype)]


@composite(method=True)
def histogram(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
    density: bool = False, out: Any = None,
) -> Any:
    """Counts the elements in bins: `bins` equal ones over `range`, or between given edges.

    Args:   weight (Tensor): what each element counts      density (bool): integrate to 1
    Example:
        >>> import taper as torch
        >>> torch.histogram(torch.tensor([1., 2., 1.]), bins=2, range=(0., 3.)).hist
        tensor([2., 1.])
    """
    if weight is not None:
        if weight.dtype != input.dtype:
            raise RuntimeError(
                "torch.histogramdd(): if weight tensor is provided, input tensor and weight tensor "
                f"should have the same dtype, but got input(s) {input.dtype.name}, and weight "
                f"{weight.dtype.name}"
            )
        if weight.numel() != input.numel():
            raise RuntimeError(
                "torch.histogramdd(): if weight tensor is provided it should have the same shape "
                f"as the input tensor excluding its innermost dimension, but got input with shape "
                f"{list(input.shape)} and weight with shape {list(weight.shape)}"
            )
    if isinstance(bins, Tensor):
        bins = bins._array
    return histogram_of.function(input, bins, weight, density, range, out=out)


@operator("histogramdd", hidden=True, outputs="list", kinds="f", kernel="histogramdd")
def histogram_of_rows(
    input: Tensor, bins: Any, weight: Tensor | None, density: bool, limits: Any
) -> Tensor:
    """`histogramdd` with arrays: the histogram, then the edges."""
    values = input.reshape(-1, input.shape[-1])
    edges = _histogram_edges(values, bins, limits)
    hist = _count(values, edges, False, None if weight is None else weight.ravel(), density)
    return [hist, *(e.copy() for e in edges)]


@histogram_of_rows.shapes
def _(input, bins):
    counts = [n if isinstance(n, int) else n.size - 1 for n in bins]
    return [(tuple(counts), input.dtype), *[((n + 1,), input.dtype) for n in counts]]


@composite()
def histogramdd(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
    density: bool = False, out: Any = None,
) -> Any:
    """A histogram of points: the innermost dimension holds their coordinates.

    Args:   bins (int, list of ints, or list of edge tensors): for each coordinate
    Example:
        >>> import taper as torch
        >>> torch.histogramdd(torch.tensor([[0., 1.], [1., 0.]]), bins=[2, 2]).hist
        tensor([[0., 1.],
                [1., 0.]])
    """
    if input.dim() < 2:
        raise RuntimeError(
            "torch.histogramdd(): input tensor should have at least 2 dimensions"
        )
    n = input.shape[-1]
    if isinstance(bins, int):
        bins = [bins] * n
    if len(bins) != n:
        raise RuntimeError(
            "histogramdd: The size of bins must be equal to the innermost dimension of the input."
        )
    arrays = [b._array if isinstance(b, Tensor) else b for b in bins]
    hist, *edges = histogram_of_rows.function(input, arrays, weight, density, range)
    edges = [b if isinstance(b, Tensor) else e for b, e in zip(bins, edges, strict=True)]
    if out is not None:
        hist = write_out(histogram_of_rows, hist, out[0])
        edges = [write_out(histogram_of_rows, e, o) for e, o in zip(edges, out[1], strict=True)]
    return named("histogramdd", ("hist", "bin_edges"))((hist, tuple(edges)))


@operator("bincount", method=True, kinds="bi", kernel="bincount_cpu")
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Counts how often each non-negative integer occurs, or adds up its `weights`.

    Shape:    (n) → (max(input) + 1, or minlength)
    Raises:   RuntimeError: if an element is negative, or `input` no vector.
    Example:
        >>> import taper as torch
        >>> torch.bincount(torch.tensor([1, 1, 3]))
        tensor([0, 2, 0, 1])
    """
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if input.dtype.kind == "f":
        from taper.core.dtype import from_numpy_dtype
        from taper.core.promotion import scalar_type_name

        name = scalar_type_name(from_numpy_dtype(input.dtype))
        raise NotImplementedError(f'"bincount_cpu" not implemented for \'{name}\'')
    if input.ndim == 1 and input.size == 0:
        return np.zeros_like(input, np.int64, shape=minlength)
    if input.ndim != 1 or (input.dtype.kind == "i" and input.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return np.bincount(input, minlength=minlength)
    if weights.ndim != 1 or weights.shape != input.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    size = max(int(input.max()) + 1, minlength)
    result = np.zeros_like(weights, weights.dtype if weights.dtype == np.float32 else np.float64,
                           shape=size)
    np.add.at(result, input, weights.astype(result.dtype))
    return result


# -- covariance --------------------------------------------------------------------


def _check_weights(
    weights: Tensor | None, name: str, observations: int, integral: bool
) -> None:
    if weights is None:
        return
    if weights.dim() > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got "
                           f"{name} with {weights.dim()} dimensions")
    if integral and weights.dtype.category > INTEGER:
        raise RuntimeError(
            f"cov(): expected {name} to have integral dtype but got {name} with "
            f"{weights.dtype.name} dtype"
        )
    if not integral and weights.dtype.category != FLOATING:
        raise RuntimeError(
            f"cov(): expected {name} to have floating point dtype but got {name} with "
            f"{weights.dtype.name} dtype"
        )
    if weights.numel() != observations:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the "
            f"input but got {weights.numel()} != {observations}"
        )
    if values_known(weights) and weights.numel() and bool((weights < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


@composite(method=True)
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    """The covariance matrix of variables (rows) observed many times (columns).

    Args:   correction (int): subtracted from the number of observations
            fweights, aweights (Tensor): how often each observation occurred, how much it counts
    Shape:    (variables, observations) → (variables, variables)
    Example:
        >>> import taper as torch
        >>> torch.cov(torch.tensor([[0., 1., 2.], [2., 1., 0.]]))
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    if input.dim() > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{input.dim()} dimensions"
        )
    if input.dtype.category == 0:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    rows = input.reshape(1, -1) if input.dim() < 2 else input
    observations = rows.shape[1]
    _check_weights(fweights, "fweights", observations, True)
    _check_weights(aweights, "aweights", observations, False)
    if fweights is not None and aweights is not None:
        weights = fweights * aweights
    else:
        weights = fweights if fweights is not None else aweights
    if weights is not None:
        weights = weights.reshape(-1)
    if observations == 0:
        mean, total = rows.new_zeros((), dtype=_inexact(rows)) / 0, 0.0
        mean = mean.expand(rows.shape[0])
    elif weights is None:
        total = observations
        mean = rows.sum(1) / observations
    else:
        total = weights.sum()
        mean = (rows * weights).sum(1) / total
    if weights is not None and aweights is not None and correction != 0 and observations:
        norm = total - correction * (weights * aweights).sum() / total
    else:
        norm = total - correction
    centred = rows - mean.unsqueeze(1)
    other = (centred if weights is None else centred * weights).t()
    if isinstance(norm, Tensor):
        norm = norm.clamp(min=0)
    else:
        norm = max(norm, 0)
        _warn_freedom(norm)
    return (centred.matmul(other.conj()) / norm).squeeze()


def _inexact(t: Tensor) -> Any:
    from taper.core.promotion import to_inexact

    return to_inexact(t.dtype)


def _warn_freedom(norm: float) -> None:
    if norm <= 0:
        import warnings

        warnings.warn("cov(): degrees of freedom is <= 0. Correction should be strictly less than "
                      "the number of observations.", UserWarning, stacklevel=4)


@composite(method=True)
def corrcoef(input: Tensor) -> Tensor:
    """The matrix of Pearson's correlation coefficients of variables (rows).

    Shape:    (variables, observations) → (variables, variables)
    Example:
        >>> import taper as torch
        >>> torch.corrcoef(torch.tensor([[0., 1., 2.], [2., 1., 0.]]))
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    if input.dim() > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{input.dim()} dimensions"
        )
    covariance = cov.function(input)
    if covariance.dim() == 0:
        return covariance / covariance
    deviation = covariance.diagonal().sqrt()
    result = covariance / deviation.unsqueeze(1) / deviation
    return result if result.is_complex() else result.clamp(-1, 1)
