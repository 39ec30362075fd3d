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

__all__ = ["box_muller"]

Array = np.ndarray[Any, np.dtype[Any]]

_f = np.float32
_LOG = tuple(_f(c) for c in (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
))
_LN2_LOW, _LN2_HIGH = _f(-2.12194440e-4), _f(0.693359375)
_COS = tuple(_f(c) for c in (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2))
_SIN = tuple(_f(c) for c in (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1))
_HALF_PI = tuple(_f(2 * c) for c in (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8))
_SQRT_HALF_BITS = np.int32(0x3F3504F3)  # the float32 below which the exponent is one less
_EIGHT = np.dtype("V32")  # eight float32, moved as one item


def box_muller(draws: Array) -> Array:
    """float32 normals from 32-bit draws, 16 from every 16, in order.

    Args: draws: uint32, contiguous, its length a multiple of 16; not changed.
    """
    halves = np.empty((2, len(draws) // 16), _EIGHT)
    halves[...] = (draws & np.uint32(0xFFFFFF)).view(_EIGHT).reshape(-1, 2).T
    first, second = halves.view(np.int32)
    radius = _log_of_complement(first)
    radius *= _f(-2)
    np.sqrt(radius, out=radius)
    cos, sin = _cos_sin_of_turn(second)
    np.multiply(cos, radius, out=halves[0].view(np.float32))
    np.multiply(sin, radius, out=halves[1].view(np.float32))
    result = np.empty((len(draws) // 16, 2), _EIGHT)
    result[...] = halves.T
    return result.reshape(-1).view(np.float32)


def _log_of_complement(k: Array) -> Array:
    """log(1 - k 2⁻²⁴) for integers 0 ≤ k < 2²⁴; overwrites `k`."""
    np.subtract(np.int32(1 << 24), k, out=k)
    bits = k.astype(np.float32).view(np.int32)
    bits -= _SQRT_HALF_BITS + np.int32(24 << 23)
    exponent = np.right_shift(bits, 23, out=k).astype(np.float32)
    bits &= np.int32(0x7FFFFF)
    bits += _SQRT_HALF_BITS
    x = bits.view(np.float32)  # the mantissa, between √½ and √2
    x -= _f(1)
    y = x * _LOG[0]
    for c in _LOG[1:-2]:
        y += c
        y *= x
    y += _LOG[-2]
    wide = y.astype(np.float64)
    wide *= x.astype(np.float64)
    wide += _LOG[-1]
    np.copyto(y, wide, casting="same_kind")
    y *= x
    square = x * x
    np.copyto(wide, y)
    wide *= square.astype(np.float64)
    np.multiply(exponent, _LN2_LOW, out=y)
    wide += y.astype(np.float64)
    np.copyto(y, wide, casting="same_kind")
    square *= _f(0.5)
    y -= square
    x += y
    exponent *= _LN2_HIGH
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
    for part in _HALF_PI:
        np.multiply(quarter, part, out=step)
        x -= step
    square = x * x
    square_wide = square.astype(np.float64)
    cos = square * _COS[0]
    cos += _COS[1]
    cos *= square
    cos += _COS[2]
    cos *= square
    wide = cos.astype(np.float64)
    wide -= 0.5  # (cos - 0.5) square, exactly, is what the fused step rounds
    wide *= square_wide
    np.copyto(cos, wide, casting="same_kind")
    cos += _f(1)
    sin = square * _SIN[0]
    sin += _SIN[1]
    np.copyto(wide, sin)
    wide *= square_wide
    wide += _SIN[2]
    np.copyto(sin, wide, casting="same_kind")
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
