"""How a gamma or beta variate moves with the shape that it was drawn with.

A variate x is the quantile of an unseen uniform number: P(a, x) = u stays as it is while a moves,
so dx/da = -(∂P/∂a) / p(x), p being the density. (Implicit reparametrization: M. Figurnov,
S. Mohamed and A. Mnih, 2018.) The smaller of the two tails, P or 1 - P, is differentiated, as a
logarithm and by central differences of eighth order: the distribution functions are smooth in their
shapes, and SciPy has them to 14 digits, which leaves about nine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["beta_derivative", "gamma_derivative"]

Array = np.ndarray[Any, np.dtype[Any]]

_WEIGHTS = (4 / 5, -1 / 5, 4 / 105, -1 / 280)  # of f(a + kh) - f(a - kh), k = 1 … 4


def _derivative_of_logarithm(function: Callable[[Array], Array], a: Array, step: Array) -> Array:
    total = np.zeros_like(a)
    for k, weight in enumerate(_WEIGHTS, 1):
        total += weight * (np.log(function(a + k * step)) - np.log(function(a - k * step)))
    return total / step


def _implicit(
    lower: Callable[..., Array], upper: Callable[..., Array], is_lower: Array, log_density: Array,
    a: Array, step: Array, *others: Array,
) -> Array:
    """dx/da, from the distribution functions (shape a first) and the log density at x."""
    result = np.empty_like(a)
    for tail, chosen, sign in ((lower, is_lower, -1.0), (upper, ~is_lower, 1.0)):
        if not chosen.any():
            continue
        here = [other[chosen] for other in others]

        def of_shape(shape: Array, tail: Any = tail, here: Any = here) -> Array:
            return tail(shape, *here)

        slope = _derivative_of_logarithm(of_shape, a[chosen], step[chosen])
        log_tail = np.log(tail(a[chosen], *here))
        result[chosen] = sign * slope * np.exp(log_tail - log_density[chosen])
    return result


def gamma_derivative(shape: Array, x: Array) -> Array:
    """dx/dα of x drawn from Gamma(α, 1)."""
    from scipy import special

    a, x = (np.array(v, np.float64).reshape(-1) for v in np.broadcast_arrays(shape, x))
    log_density = (a - 1) * np.log(x) - x - special.gammaln(a)
    step = 0.03 * np.minimum(a, np.sqrt(a))
    return _implicit(special.gammainc, special.gammaincc, x < a, log_density, a, step, x)


def beta_derivative(a: Array, b: Array, x: Array) -> Array:
    """dx/da of x drawn from Beta(a, b)."""
    from scipy import special

    a, b, x = (np.array(v, np.float64).reshape(-1) for v in np.broadcast_arrays(a, b, x))
    log_density = (a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - special.betaln(a, b)
    # log tails change at the scale of 1 / (deviation of log x), about sqrt(a (a + b) / b).
    step = 0.03 * np.minimum(a, np.sqrt(a * (a + b) / b))
    lower, upper = special.betainc, special.betaincc
    return _implicit(lower, upper, x * (a + b) < a, log_density, a, step, b, x)
