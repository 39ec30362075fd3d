"""Many draws of a generator at once, and numbers made of them, by native kernels."""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any

import numpy as np

from taper.compiler import machine
from taper.compiler.expression import ELEMENT, ROW, Expression, Node
from taper.compiler.passes import Operand
from taper.compiler.row_kernels import flat_kernel
from taper.compiler.twister_kernels import BLOCK, twister
from taper.core.storage import address_of
from taper.kernels.native import GRAIN, Elementwise, Kernel
from taper.runtime.large_arrays import new_array

__all__ = ["draws", "ones_below", "to_uniform32", "to_uniform64"]

_U32 = np.dtype(np.uint32)

_kernel = Kernel.of(twister, 2, name="twist", exact=True)


def draws(bits: Any, blocks: int) -> Any:
    """The next blocks of 624 numbers of NumPy's `MT19937`, which goes on behind them; None if
    NumPy shall draw them. Its block must be used up."""
    state = bits.state
    if state["state"]["pos"] != BLOCK:
        return None
    address = _kernel.address()
    if address is None:
        return None
    count = blocks * BLOCK
    stream = new_array((count + BLOCK,), _U32, count + BLOCK)
    stream[:BLOCK] = state["state"]["key"]
    numbers = new_array((count,), _U32, count)
    _kernel.run(address, [address_of(stream), address_of(numbers)], count, count)
    state["state"]["key"] = stream[count:]
    bits.state = state
    return numbers


def _uniform32(draws: Any) -> Any:
    low = np.bitwise_and(draws, np.uint32(0xFFFFFF))
    return np.multiply(low.astype(np.float32), np.float32(2.0**-24))


_to_uniform32 = Elementwise(_uniform32, (0,))


def _bits53(e: Expression, pair: Node) -> Node:
    """The 53 bits of a number in [0, 1). The first of two draws is the high one."""
    def number(value: int) -> Node:
        return e.constant(value, "u64")

    upper = e.binary("and", e.binary("shl", pair, number(32)), number((1 << 53) - 1))
    return e.binary("or", upper, e.binary("shr", pair, number(32)))


def _text(e: Expression, result: Node, *inputs: Operand) -> tuple[str, str]:
    e.results.append(result)
    operands = [*inputs, Operand(result.type, "contiguous")]
    return flat_kernel("draws", machine.host().vector_bytes, e, operands), "draws"


def _uniform64() -> tuple[str, str]:
    e = Expression()
    bits = e.convert(_bits53(e, e.input(0, "u64", ELEMENT)), "f64")
    return _text(e, e.mul(bits, e.constant(2.0**-53, "f64")), Operand("u64", "contiguous"))


def _below(kind: str) -> tuple[str, str]:
    """One where the number is less than a limit, else zero."""
    e = Expression()
    bits = _bits53(e, e.input(0, "u64", ELEMENT))
    is_below = e.compare("lt", bits, e.input(1, "u64", ROW))
    return _text(e, e.select(is_below, e.constant(1, kind), e.constant(0, kind)),
                 Operand("u64", "contiguous"), Operand("u64", "same"))


_to_uniform64 = Kernel(_uniform64, 2)
_ones_below = {np.dtype(name): Kernel(partial(_below, kind), 3)
               for name, kind in (("f4", "f32"), ("f8", "f64"))}
for kernel in (_to_uniform64, *_ones_below.values()):
    kernel.exact = True


def _from_pairs(kernel: Kernel, draws: Any, dtype: Any, *more: Any) -> Any:
    address = kernel.address()
    if address is None:
        return None
    count = len(draws) // 2
    result = new_array((count,), dtype, count)
    kernel.launch(address, (draws, *more, result), (), count, GRAIN)
    return result


def to_uniform32(draws: Any) -> Any:
    return _to_uniform32.compute((draws,), {})


def to_uniform64(draws: Any) -> Any:
    return _from_pairs(_to_uniform64, draws, np.dtype(np.float64))


def ones_below(draws: Any, limit: float, dtype: Any) -> Any:
    kernel = _ones_below.get(dtype)
    if kernel is None:
        return None
    return _from_pairs(kernel, draws, dtype, np.array(ceil(limit * 2.0**53), np.uint64))
