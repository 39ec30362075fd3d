"""Random numbers that take a varying number of draws each: Poisson, binomial and gamma.

They are drawn one after the other, in the order of memory, as PyTorch's CPU kernels draw them, so
equal seeds give equal numbers. All of it is computed in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.core.generator import Generator
from taper.kernels.random_levels import for_each_sample

__all__ = ["binomial", "dirichlet", "gamma", "poisson"]

Array = np.ndarray[Any, np.dtype[Any]]

_AT_ONCE = 512  # uniform numbers looked at in one go


class Uniforms:
    """Uniform numbers one at a time; what was looked at and not used stays in the generator."""

    __slots__ = ("generator", "position", "values")

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.values: list[float] = []
        self.position = 0

    def __enter__(self) -> Uniforms:
        return self

    def __exit__(self, *problem: Any) -> None:
        self.generator.draw(2 * self.position)

    def next(self) -> float:
        """A number in [0, 1) of 53 bits, made of two draws."""
        position = self.position
        if position == len(self.values):
            self.generator.draw(2 * position)
            draws = self.generator.peek(2 * _AT_ONCE).astype(np.uint64)
            bits = (draws[0::2] << np.uint64(32) | draws[1::2]) & np.uint64((1 << 53) - 1)
            self.values = (bits.astype(np.float64) * 2.0**-53).tolist()
            position = 0
        self.position = position + 1
        return self.values[position]

    def normal(self) -> float:
        """A standard normal number; every second one is what Box and Muller's method left over."""
        kept = self.generator.next_normal
        if kept is not None:
            self.generator.next_normal = None
            return kept
        angle = 2 * math.pi * self.next()
        radius = math.sqrt(-2.0 * math.log1p(-self.next()))
        self.generator.next_normal = radius * math.sin(angle)
        return radius * math.cos(angle)


# Poisson ----------------------------------------------------------------------------------


@for_each_sample
def poisson(generator: Generator, rates: Array) -> Array:
    """Poisson counts with the given rates.

    Source: multiplication of uniforms below a rate of 10; from there W. Hörmann's transformed
    rejection, "The transformed rejection method for generating Poisson random variables" (1993).
    """
    with Uniforms(generator) as uniforms:
        values = [_poisson(uniforms, r) for r in rates.astype(np.float64).reshape(-1).tolist()]
    return np.array(values, np.float64).astype(rates.dtype).reshape(rates.shape)


def _poisson(uniforms: Uniforms, rate: float) -> int:
    if rate < 10:
        if rate == 0:
            return 0
        limit, product, count = math.exp(-rate), 1.0, 0
        while True:
            product *= uniforms.next()
            if product <= limit:
                return count
            count += 1
    root, log_rate = math.sqrt(rate), math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    bound = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = uniforms.next() - 0.5
        v = uniforms.next()
        distance = 0.5 - abs(u)
        if distance == 0:
            continue
        count = math.floor((2 * a / distance + b) * u + rate + 0.43)
        if distance >= 0.07 and v <= bound:
            return count
        if count < 0 or (distance < 0.013 and v > distance) or v == 0:
            continue
        left = math.log(v) + math.log(inverse_alpha) - math.log(a / (distance * distance) + b)
        if left <= -rate + count * log_rate - math.lgamma(count + 1):
            return count


# Binomial ---------------------------------------------------------------------------------


@for_each_sample
def binomial(generator: Generator, counts: Array, probabilities: Array) -> Array:
    """How many of so many trials succeed.

    Source: waiting times (L. Devroye, "Non-uniform random variate generation", 1986, X.4) where
    fewer than 10 successes are expected; from there W. Hörmann's BTRS, "The generation of binomial
    random variates" (1993).
    """
    shape = np.broadcast_shapes(counts.shape, probabilities.shape)
    pairs = [
        np.broadcast_to(x, shape).astype(np.float64).reshape(-1).tolist()
        for x in (counts, probabilities)
    ]
    with Uniforms(generator) as uniforms:
        values = [_binomial(uniforms, n, p) for n, p in zip(*pairs, strict=True)]
    return np.array(values, np.float64).astype(counts.dtype).reshape(shape)


def _binomial(uniforms: Uniforms, count: float, p: float) -> float:
    if not count > 0 or not p > 0:
        return 0.0 if count == count and p == p else math.nan
    if p >= 1:
        return count
    if p > 0.5:  # failures are rarer
        return count - _rare_successes(uniforms, count, 1.0 - p)
    return _rare_successes(uniforms, count, p)


def _rare_successes(uniforms: Uniforms, count: float, p: float) -> float:
    if count * p >= 10:
        return _many_successes(uniforms, count, p)
    trials, successes, log_failure = 0.0, 0, math.log1p(-p)
    while True:
        u = uniforms.next()
        trials += math.ceil(math.log(u) / log_failure) if u > 0 else math.inf
        if trials > count:
            return successes
        successes += 1


def _many_successes(uniforms: Uniforms, count: float, p: float) -> float:
    """BTRS; its last test compares with the probability of the mode, m."""
    deviation = math.sqrt(count * p * (1 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    alpha = (2.83 + 5.1 / b) * deviation
    bound = 0.92 - 4.2 / b
    log_odds = math.log(p / (1 - p))
    m = math.floor((count + 1) * p)
    of_mode = math.lgamma(m + 1) + math.lgamma(count - m + 1)
    while True:
        u = uniforms.next() - 0.5
        v = uniforms.next()
        distance = 0.5 - abs(u)
        if distance == 0:
            continue
        k = math.floor((2 * a / distance + b) * u + count * p + 0.5)
        if distance >= 0.07 and v <= bound:
            return k
        if k < 0 or k > count:
            continue
        v *= alpha / (a / (distance * distance) + b)
        of_k = math.lgamma(k + 1) + math.lgamma(count - k + 1)
        if v == 0 or math.log(v) <= of_mode - of_k + (k - m) * log_odds:
            return k


# Gamma ------------------------------------------------------------------------------------


_THIRD = 0.3333333432674408  # a float32, as in PyTorch, and so is what follows from it


@for_each_sample
def gamma(generator: Generator, shapes: Array) -> Array:
    """Gamma variates of rate 1 and the given shapes, at least the dtype's smallest normal number.

    Source: G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables" (2000),
    which for a shape below 1 takes one of shape + 1 times u^(1 / shape). What depends on the
    shape alone is computed in its dtype, as PyTorch does.
    """
    one = shapes.dtype.type(1)
    small = shapes < one
    with np.errstate(divide="ignore"):
        power = np.where(small, one / shapes, 0)
    d = np.where(small, shapes + one, shapes) - shapes.dtype.type(_THIRD)
    pairs = (x.astype(np.float64).reshape(-1).tolist() for x in (d, power))
    with Uniforms(generator) as uniforms:
        values = [_gamma(uniforms, a, p) for a, p in zip(*pairs, strict=True)]
    result = np.array(values, np.float64).astype(shapes.dtype).reshape(shapes.shape)
    return np.maximum(result, _smallest(shapes.dtype))


def _gamma(uniforms: Uniforms, d: float, power: float) -> float:
    if not (power >= 0 and d == d):  # what isn't positive has no variates
        return 0.0 if d == d else math.nan
    scale = math.pow(1.0 - uniforms.next(), power) if power else 1.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = uniforms.normal()
        y = 1.0 + c * x
        if y <= 0:
            continue
        v = y * y * y
        u = 1.0 - uniforms.next()
        square = x * x
        if u < 1.0 - 0.0331 * square * square or math.log(u) < 0.5 * square + d * (
            1.0 - v + math.log(v)
        ):
            return scale * d * v


@for_each_sample
def dirichlet(generator: Generator, concentrations: Array) -> Array:
    """Points of the simplex: gamma variates divided by their sum along the last axis."""
    values = gamma(generator, concentrations.astype(np.float64))
    values /= np.add.reduce(values, -1, None, None, True)
    dtype = concentrations.dtype
    smallest = _smallest(dtype)
    return np.clip(values.astype(dtype), smallest, dtype.type(1) - np.finfo(dtype).eps)


def _smallest(dtype: np.dtype[Any]) -> Any:
    import ml_dtypes

    return ml_dtypes.finfo(dtype).smallest_normal
