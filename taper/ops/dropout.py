"""Dropout: elements, or whole channels, set to zero at random while training.

The random numbers are PyTorch's: equal seeds drop equal elements.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper.core.generator import default_generator
from taper.core.tensor import Tensor, wrap
from taper.kernels.random import bernoulli, fill
from taper.ops.declare import composite, operator
from taper.ops.signature import Truth

# What alpha dropout sets elements to: the value selu tends to at minus infinity.
_ALPHA = 1.7580993408473766


def _check(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(input: Tensor, p: float, feature: bool) -> Any:
    """Ones where elements (or channels) are kept, zeros where they are dropped."""
    array = input._array
    if array.dtype.kind not in "fcV":
        raise RuntimeError("result type Float can't be cast to the desired output type Long")
    shape = (*array.shape[:2], *(1,) * (array.ndim - 2)) if feature else array.shape
    if feature and array.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    if input.is_meta:
        return np.ones_like(array, shape=shape)
    if feature:
        return bernoulli(default_generator, shape, array.dtype, 1 - p)
    if array.flags.c_contiguous:
        return bernoulli(default_generator, array.shape, array.dtype, 1 - p)
    kept = np.empty_like(array)
    fill(kept, bernoulli, default_generator, 1 - p)
    return kept


def _dropped(
    input: Tensor, p: float, training: bool, inplace: bool, feature: bool, alpha: bool
) -> Tensor:
    if not training or p == 0 or not input._array.size:
        return input
    if p == 1:
        zero = wrap(np.zeros((), input._array.dtype))
        return input.mul_(zero) if inplace else input * zero
    noise = _kept(input, p, feature)
    number = noise.dtype.type
    if not alpha:
        noise /= number(1 - p)
        return input.mul_(wrap(noise)) if inplace else input * wrap(noise)
    scale = 1.0 / ((_ALPHA * _ALPHA * p + 1) * (1 - p)) ** 0.5
    offset = wrap((noise - number(1)) * number(_ALPHA * scale) + number(_ALPHA * scale * p))
    noise *= number(scale)
    if inplace:
        return input.mul_(wrap(noise)).add_(offset)
    return input * wrap(noise) + offset


@composite("nn.functional.dropout")
def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: Truth = False
) -> Tensor:
    """Sets each element to zero with probability `p`; the others are divided by 1 - p.

    Raises:   ValueError: if `p` is not a probability.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.dropout(torch.ones(3), 0.5, training=False)
        tensor([1., 1., 1.])
    """
    _check(p)
    return _dropped(input, p, training, inplace, False, False)


@composite("nn.functional.alpha_dropout")
def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: Truth = False
) -> Tensor:
    """Dropout that keeps mean 0 and variance 1, for networks of selu.

    Source: Klambauer et al., Self-Normalizing Neural Networks, 2017.
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.alpha_dropout(torch.tensor([1., 2.]), 0.5)
        tensor([1., 2.])
        >>> _ = torch.manual_seed(0)
        >>> torch.nn.functional.alpha_dropout(torch.ones(4), 0.5, training=True)
        tensor([-0.7792, -0.7792,  1.6656, -0.7792])
    """
    _check(p)
    return _dropped(input, p, training, inplace, False, True)


@composite("nn.functional.feature_alpha_dropout")
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: Truth = False
) -> Tensor:
    """`alpha_dropout` of whole channels.  Shape: (N, C, *) → the same.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.feature_alpha_dropout(torch.ones(1, 2, 2), 0.5)
        tensor([[[1., 1.],
                 [1., 1.]]])
    """
    _check(p)
    return _dropped(input, p, training, inplace, True, True)


@composite("nn.functional.dropout1d")
def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: Truth = False
) -> Tensor:
    """Dropout of whole channels.  Shape: (N, C, L) or (C, L) → the same.

    Example:
        >>> import taper as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.nn.functional.dropout1d(torch.ones(4, 2), 0.5)
        tensor([[0., 0.],
                [0., 0.],
                [2., 2.],
                [0., 0.]])
    """
    _check(p)
    ndim = input._array.ndim
    if ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {ndim}D input. Note that dropout1d"
            " exists to provide channel-wise dropout on inputs with 1 spatial dimension, a channel "
            "dimension, and an optional batch dimension (i.e. 2D or 3D inputs)."
        )
    return _with_batch(input, p, training, inplace, ndim == 2)


def _with_batch(
    input: Tensor, p: float, training: bool, inplace: bool, unbatched: bool
) -> Tensor:
    if not unbatched:
        return _dropped(input, p, training, inplace, True, False)
    if inplace:
        _dropped(input.unsqueeze(0), p, training, True, True, False)
        return input
    return _dropped(
        input.unsqueeze(0), p, training, False, True, False
    ).squeeze(0)


def _warn_of_dims(count: int, ndim: int) -> None:
    warnings.warn(
        f"dropout{count}d: Received a {ndim}-D input to dropout{count}d, which is deprecated and "
        "will result in an error in a future release. To retain the behavior and silence this "
        f"warning, please use dropout instead. Note that dropout{count}d exists to provide "
        f"channel-wise dropout on inputs with {count} spatial dimensions, a channel dimension, and "
        f"an optional batch dimension (i.e. {count + 1}D or {count + 2}D inputs).",
        UserWarning, stacklevel=4,
    )


@composite("nn.functional.dropout2d")
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: Truth = False
) -> Tensor:
    """Dropout of whole channels.  Shape: (N, C, H, W) → the same.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.dropout2d(torch.ones(1, 3, 2, 2), 0.5).shape
        torch.Size([1, 3, 2, 2])
    """
    _check(p)
    ndim = input._array.ndim
    if ndim not in (3, 4):
        _warn_of_dims(2, ndim)
    if ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout "
            "behavior is desired - input is interpreted as shape (N, C, L), where C is the channel "
            "dim. This behavior will change in a future release to interpret the input as one "
            "without a batch dimension, i.e. shape (C, H, W). To maintain the 1D channel-wise "
            "dropout behavior, please switch to using dropout1d instead.",
            UserWarning, stacklevel=3,
        )
    return _dropped(input, p, training, inplace, True, False)


@composite("nn.functional.dropout3d")
def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: Truth = False
) -> Tensor:
    """Dropout of whole channels.  Shape: (N, C, D, H, W) or (C, D, H, W) → the same.

    Example:
        >>> import taper as torch
        >>> torch.nn.functional.dropout3d(torch.ones(1, 3, 1, 2, 2), 0.5).shape
        torch.Size([1, 3, 1, 2, 2])
    """
    _check(p)
    ndim = input._array.ndim
    if ndim not in (4, 5):
        _warn_of_dims(3, ndim)
    return _with_batch(input, p, training, inplace, ndim == 4)


# -- the forms without defaults ------------------------------------------------------------------


def _declare(name: str, feature: bool, alpha: bool) -> None:
    def plain(input: Tensor, p: float, train: bool) -> Tensor:
        _check_probability(p)
        return _dropped(input, p, train, False, feature, alpha)

    def inplace(input: Tensor, p: float, train: bool) -> Tensor:
        _check_probability(p)
        return _dropped(input, p, train, True, feature, alpha)

    plain.__name__ = plain.__qualname__ = name
    plain.__doc__ = f"""`nn.functional.{name}` without defaults.

    Example:
        >>> import taper as torch
        >>> torch.{name}(torch.ones(2, 3), 0.5, False)
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
    """
    inplace.__name__ = inplace.__qualname__ = name + "_"
    inplace.__doc__ = f"""The in-place form of `{name}`.

    Example:
        >>> import taper as torch
        >>> x = torch.ones(2, 3)
        >>> torch.{name}_(x, 0.5, True) is x
        True
    """
    composite(name)(plain)
    composite(name + "_")(inplace)


def _check_probability(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")


for _name, _feature, _alpha in (
    ("dropout", False, False), ("alpha_dropout", False, True), ("feature_dropout", True, False),
    ("feature_alpha_dropout", True, True),
):
    _declare(_name, _feature, _alpha)


@operator(outputs=2, differentiable=True, node="NativeDropoutBackward0")
def native_dropout(input: Tensor, p: float, train: bool | None) -> Any:
    """`dropout`, with the mask of what was kept.

    Example:
        >>> import taper as torch
        >>> torch.native_dropout(torch.ones(3), 0.5, False)
        (tensor([1., 1., 1.]), tensor([True, True, True]))
    """
    if train is False or p == 0:
        return input.copy(), np.ones(input.shape, np.bool_)
    kept = bernoulli(default_generator, input.shape, np.dtype(np.float32), 1 - p) != 0
    scale = input.dtype.type(0 if p == 1 else 1 / (1 - p))
    return input * (kept * scale), kept


@native_dropout.derivative("input")
def _(grad, result1, p, train):
    scale = 1 if train is False or p == 0 else 0 if p == 1 else 1 / (1 - p)
    return grad * result1 * scale
