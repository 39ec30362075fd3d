"""Box-Muller in float32, bit for bit as PyTorch's AVX2 kernel computes it.

PyTorch fills 16 normals from 16 uniforms: eight radii and eight angles, with Cephes' single
precision log, sin and cos (S. Moshier) and fused multiply-adds. Here whole arrays go through the
same steps. A fused step whose rounding reaches the result is done in float64 and rounded once;
earlier steps of a polynomial are plain float32, which changes about one result in 10,000, by an
ulp or two (counted over all 2²⁴ arguments of each function).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.kernels.native_twin import with_native

__all__ = [
    "COS", "HALF_PI", "LN2_HIGH", "LN2_LOW", "LOG", "SIN", "SQRT_HALF_BITS", "box_muller", "join",
    "split",
]

Array = np.ndarray[Any, np.dtype[Any]]

_f = np.float32
LOG = tuple(_f(c) for c in (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
))
LN2_LOW, LN2_HIGH = _f(-2.12194440e-4), _f(0.693359375)
COS = tuple(_f(c) for c in (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2))
SIN = tuple(_f(c) for c in (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1))
HALF_PI = tuple(_f(2 * c) for c in (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8))
SQRT_HALF_BITS = np.int32(0x3F3504F3)  # the float32 below which the exponent is one less
_EIGHT = np.dtype("V32")  # eight float32, moved as one item


def split(draws: Array) -> Array:
    """The first eight of every 16 draws, and the second eight."""
    halves = np.empty((2, len(draws) // 16), _EIGHT)
    halves[...] = draws.view(_EIGHT).reshape(-1, 2).T
    return halves


def join(halves: Array, result: Array) -> None:
    """Writes eight of the first half and eight of the second one, in turn."""
    result.view(_EIGHT).reshape(-1, 2)[...] = halves.T


@with_native("taper.kernels.native_box_muller", is_large=lambda draws: draws.size > 16384)
def box_muller(draws: Array) -> Array:
    """float32 normals from 32-bit draws, 16 from every 16, in order.

    Args: draws: uint32, contiguous, its length a multiple of 16; not changed.
    """
    halves = split(draws & np.uint32(0xFFFFFF))
    first, second = halves.view(np.int32)
    radius = _log_of_complement(first)
    radius *= _f(-2)
    np.sqrt(radius, out=radius)
    cos, sin = _cos_sin_of_turn(second)
    np.multiply(cos, radius, out=halves[0].view(np.float32))
    np.multiply(sin, radius, out=halves[1].view(np.float32))
    result = np.empty(len(draws), np.float32)
    join(halves, result)
    return result


def _polynomial(x: Array, x_wide: Array, coefficients: Any) -> Array:
    """The highest power first, each step a fused multiply-add of float32 numbers."""
    wide = x_wide * float(coefficients[0])
    wide += float(coefficients[1])
    result = wide.astype(np.float32)
    for c in coefficients[2:]:
        np.multiply(result, x_wide, out=wide)
        wide += float(c)
        np.copyto(result, wide, casting="same_kind")
    return result


def _log_of_complement(k: Array) -> Array:
    """log(1 - k 2⁻²⁴) for integers 0 ≤ k < 2²⁴; overwrites `k`."""
    np.subtract(np.int32(1 << 24), k, out=k)
    bits = k.astype(np.float32).view(np.int32)
    bits -= SQRT_HALF_BITS + np.int32(24 << 23)
    exponent = np.right_shift(bits, 23, out=k).astype(np.float32)
    bits &= np.int32(0x7FFFFF)
    bits += SQRT_HALF_BITS
    x = bits.view(np.float32)  # the mantissa, between √½ and √2
    x -= _f(1)
    wide = x.astype(np.float64)
    y = _polynomial(x, wide, LOG)
    y *= x
    square = x * x
    np.multiply(y, square, out=wide, dtype=np.float64)
    np.multiply(exponent, LN2_LOW, out=y)
    wide += y.astype(np.float64)
    np.copyto(y, wide, casting="same_kind")
    square *= _f(0.5)
    y -= square
    x += y
    exponent *= LN2_HIGH
    x += exponent
    return x


def _cos_sin_of_turn(k: Array) -> tuple[Array, Array]:
    """cos and sin of 2π k 2⁻²⁴ for integers 0 ≤ k < 2²⁴; overwrites `k`."""
    x = k.astype(np.float32)
    x *= _f(2 * np.pi) * _f(2.0**-24)
    k += np.int32(1 << 21)
    k >>= 22  # the nearest quarter turn
    quarter = k.astype(np.float32)
    step = np.empty_like(x)
    for part in HALF_PI:
        np.multiply(quarter, part, out=step)
        x -= step
    square = x * x
    square_wide = square.astype(np.float64)
    cos = _polynomial(square, square_wide, COS)
    cos *= square
    wide = cos.astype(np.float64)
    wide -= 0.5  # (cos - 0.5) square, exactly, is what the fused step rounds
    wide *= square_wide
    np.copyto(cos, wide, casting="same_kind")
    cos += _f(1)
    sin = _polynomial(square, square_wide, SIN)
    sin *= square
    np.copyto(wide, sin)
    x_wide = x.astype(np.float64)
    wide *= x_wide
    wide += x_wide
    np.copyto(sin, wide, casting="same_kind")
    # Odd quarters swap the two; quarters 1 and 2 negate cos, 2 and 3 negate sin.
    cos_bits, sin_bits = cos.view(np.int32), sin.view(np.int32)
    swap = np.negative(k & np.int32(1))
    swap &= cos_bits ^ sin_bits
    cos_bits ^= swap
    sin_bits ^= swap
    sin_bits ^= (k & np.int32(2)) << 30
    k += np.int32(1)
    cos_bits ^= (k & np.int32(2)) << 30
    return cos, sin
