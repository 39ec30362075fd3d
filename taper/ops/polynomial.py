"""Orthogonal polynomials of degree n. They have no derivative here, as in PyTorch.

Each is its recurrence :math:`p_{k+1} = a_k(x)\\,p_k - c_k\\,p_{k-1}`; degrees may differ from
element to element. Source: Abramowitz and Stegun, Handbook of Mathematical Functions, chapter 22.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.ops.declare import operator

Step = Callable[[int, Any, Any, Any], Any]


def _evaluate(x: Any, n: Any, first: Any, step: Step) -> Any:
    """p_n(x) for elementwise n: 0 below degree 0, 1 for 0, `first` for 1, and so on."""
    x, n = np.broadcast_arrays(x, n)
    degrees = np.where(np.isfinite(n), np.trunc(n), -1)
    before = np.ones_like(x)
    result = np.where(np.equal(degrees, 0), before, np.zeros_like(x))
    result = np.where(np.isnan(n), n, result)
    highest = int(degrees.max()) if degrees.size else 0
    if highest < 1:
        return result
    now = first(x)
    result = np.where(np.equal(degrees, 1), now, result)
    for k in range(1, highest):
        before, now = now, step(k, x, now, before)
        result = np.where(np.equal(degrees, k + 1), now, result)
    return result


def _chebyshev_step(k: int, x: Any, now: Any, before: Any) -> Any:
    return np.subtract(np.multiply(np.add(x, x), now), before)


def _shifted(x: Any) -> Any:
    return np.subtract(np.add(x, x), x.dtype.type(1))


def _chebyshev(first: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, n: _evaluate(x, n, first, _chebyshev_step)


_chebyshev_t = _chebyshev(np.positive)
_chebyshev_u = _chebyshev(lambda x: np.add(x, x))
_chebyshev_v = _chebyshev(_shifted)
_chebyshev_w = _chebyshev(lambda x: np.add(np.add(x, x), x.dtype.type(1)))


def _hermite_h(x: Any, n: Any) -> Any:
    def step(k: int, x: Any, now: Any, before: Any) -> Any:
        double = np.subtract(np.multiply(x, now), np.multiply(before, x.dtype.type(k)))
        return np.add(double, double)

    return _evaluate(x, n, lambda x: np.add(x, x), step)


def _hermite_he(x: Any, n: Any) -> Any:
    def step(k: int, x: Any, now: Any, before: Any) -> Any:
        return np.subtract(np.multiply(x, now), np.multiply(before, x.dtype.type(k)))

    return _evaluate(x, n, np.positive, step)


def _laguerre_l(x: Any, n: Any) -> Any:
    number = x.dtype.type

    def step(k: int, x: Any, now: Any, before: Any) -> Any:
        ahead = np.multiply(np.subtract(number(2 * k + 1), x), now)
        return np.true_divide(np.subtract(ahead, np.multiply(before, number(k))), number(k + 1))

    return _evaluate(x, n, lambda x: np.subtract(number(1), x), step)


def _legendre_p(x: Any, n: Any) -> Any:
    number = x.dtype.type

    def step(k: int, x: Any, now: Any, before: Any) -> Any:
        ahead = np.multiply(np.multiply(x, now), number(2 * k + 1))
        return np.true_divide(np.subtract(ahead, np.multiply(before, number(k))), number(k + 1))

    return _evaluate(x, n, np.positive, step)


def _declare(name: str, evaluate: Callable[[Any, Any], Any], what: str, at_two: str) -> None:
    """Declares the operator for one family of polynomials."""

    def forward(input, n):
        return evaluate(input, n)

    forward.__annotations__ = {
        "input": "Tensor | Number", "n": "Tensor | Number", "return": "Tensor"
    }
    forward.__name__ = forward.__qualname__ = name
    forward.__doc__ = f"""{what} of degree `n`; 0 for negative degrees.

    Example:
        >>> import taper as torch
        >>> torch.special.{name}(torch.tensor([0.5]), 2)
        tensor([{at_two}])
    """
    op = operator(
        f"special.{name}", out=True, promote="float", kinds="f", kernel=f"{name}_cpu",
        differentiable=False,
    )(forward)
    op.shapes(_broadcast)


def _broadcast(input, n):
    found = np.add(input, n)
    return found.shape, input.dtype, found.strides


for _name, _evaluator, _what, _value in (
    ("chebyshev_polynomial_t", _chebyshev_t, "Chebyshev polynomials of the first kind", "-0.5000"),
    ("chebyshev_polynomial_u", _chebyshev_u, "Chebyshev polynomials of the second kind", "0."),
    ("chebyshev_polynomial_v", _chebyshev_v, "Chebyshev polynomials of the third kind", "-1."),
    ("chebyshev_polynomial_w", _chebyshev_w, "Chebyshev polynomials of the fourth kind", "1."),
    ("hermite_polynomial_h", _hermite_h, "Hermite polynomials of physics", "-1."),
    ("hermite_polynomial_he", _hermite_he, "Hermite polynomials of probability", "-0.7500"),
    ("laguerre_polynomial_l", _laguerre_l, "Laguerre polynomials", "0.1250"),
    ("legendre_polynomial_p", _legendre_p, "Legendre polynomials", "-0.1250"),
    ("shifted_chebyshev_polynomial_t", lambda x, n: _chebyshev_t(_shifted(x), n),
     "Chebyshev polynomials of the first kind, shifted to [0, 1],", "-1."),
    ("shifted_chebyshev_polynomial_u", lambda x, n: _chebyshev_u(_shifted(x), n),
     "Chebyshev polynomials of the second kind, shifted to [0, 1],", "-1."),
    ("shifted_chebyshev_polynomial_v", lambda x, n: _chebyshev_v(_shifted(x), n),
     "Chebyshev polynomials of the third kind, shifted to [0, 1],", "-1."),
    ("shifted_chebyshev_polynomial_w", lambda x, n: _chebyshev_w(_shifted(x), n),
     "Chebyshev polynomials of the fourth kind, shifted to [0, 1],", "-1."),
):
    _declare(_name, _evaluator, _what, _value)
