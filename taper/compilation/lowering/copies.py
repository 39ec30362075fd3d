"""Copies of values that couldn't be written where they belong: a step at the program's end."""

from __future__ import annotations

from functools import partial

from taper.arrays.element import kind_of
from taper.compilation.lowering.launches import Address, Launch
from taper.compilation.lowering.values import Value
from taper.compiler.expression import Expression
from taper.compiler.machine import vector_bytes
from taper.compiler.passes import Operand
from taper.compiler.row_kernels import flat_kernel

__all__ = ["copy_into_input"]

_GRAIN = 1 << 14  # elements that are worth a thread of their own
_NAME = "copy_value"


def copy_into_input(value: Value, place: int) -> Launch:
    """The launch that writes a value, as it lies, into the memory of an input."""
    kind = kind_of(value.dtype)
    target = Value(f"input {place}", value.shape, value.dtype)
    target.input = place
    return Launch(("copy", kind), partial(_copier, kind), [Address(value), Address(target)],
                  value.size, _GRAIN, f"copy of {value} into input {place}")


def _copier(kind: str) -> tuple[str, str]:
    e = Expression()
    e.results.append(e.input(0, kind))
    return flat_kernel(_NAME, vector_bytes(), e, [Operand(kind, "contiguous")] * 2), _NAME
