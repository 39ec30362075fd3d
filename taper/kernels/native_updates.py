"""Native optimizer updates: a rule of elementwise arithmetic, in place, in one pass over memory.

    rule(param, grad, *states, **settings) -> (param, *states)

A rule is traced at every step, as its numbers may change from step to step: the learning rate, what
corrects for the bias. Tracing takes some 50 µs, once for all parameters of a call. The operations
choose the kernel; the numbers are handed to it as operands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from taper.arrays.element import ElementArray, NotElementwise, kind_of
from taper.compiler import machine
from taper.compiler.background import request
from taper.compiler.expression import ELEMENT, ROW, Expression, Node
from taper.compiler.math_library import lowered
from taper.compiler.passes import Operand
from taper.compiler.row_kernels import flat_kernel
from taper.core.settings import settings as taper_settings
from taper.core.storage import address_of
from taper.kernels.native import GRAIN, Kernel

__all__ = ["apply_natively"]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class _Slotted(Expression):
    """An expression whose numbers are operands: each use of one gets a slot of its own."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first
        self.values: list[float] = []

    def number(self, value: Any, kind: str) -> Node:
        self.values.append(value)
        return self.input(self.first + len(self.values) - 1, kind, ROW)


class _Plan:
    """A traced call: its kernel, and this step's numbers."""

    def __init__(self, kernel: Kernel, values: list[float], dtype: Any) -> None:
        self.kernel = kernel
        self.numbers = np.array(values, dtype)
        start = address_of(self.numbers)
        self.addresses = [start + i * dtype.itemsize for i in range(len(values))]


_kernels: dict[Any, Kernel] = {}
_last: tuple[Any, _Plan | None] = (None, None)


def apply_natively(
    rule: Callable[..., Any], arrays: Sequence[Any], settings: dict[str, Any]
) -> bool:
    """Applies `rule` to flat arrays (param, grad, *states) in place; False if NumPy shall."""
    global _last
    dtype = arrays[0].dtype
    if taper_settings.native == "off" or dtype not in _FLOATS or not all(
        a.dtype is dtype and a.flags.c_contiguous for a in arrays
    ):
        return False
    key = rule, len(arrays), dtype, tuple(settings.items())
    known, plan = _last
    if known != key:
        plan = _planned(rule, len(arrays), dtype, settings)
        _last = key, plan
    if plan is None:
        return False
    kernel = plan.kernel
    address = request(kernel, kernel.build)
    if address is None:
        return False
    places = [address_of(a) for a in arrays]
    words = [*places, *plan.addresses, places[0], *places[2:]]
    kernel.run(address, words, arrays[0].size, GRAIN)
    return True


def _planned(
    rule: Callable[..., Any], count: int, dtype: Any, settings: dict[str, Any]
) -> _Plan | None:
    e = _Slotted(count)
    kind = kind_of(dtype)
    operands = [ElementArray(e, e.input(i, kind), dtype) for i in range(count)]
    try:
        results = rule(*operands, **settings)
    except (NotElementwise, TypeError, AttributeError):
        return None
    nodes = [r.node for r in results]
    if len(nodes) != count - 1 or any(n.level != ELEMENT or n.type != kind for n in nodes):
        return None
    e.results.extend(nodes)
    key = tuple([(n.op, tuple([a.number for a in n.args]), n.type, n.value) for n in e.nodes])
    key = key, tuple([n.number for n in nodes])
    kernel = _kernels.get(key)
    if kernel is None:
        kinds = [n.type for n in e.nodes if n.op == "input"]
        shown = [*["contiguous"] * count, *["same"] * len(e.values), *["contiguous"] * len(nodes)]
        layouts = [Operand(k, name) for k, name in zip([*kinds, *[kind] * len(nodes)], shown,
                                                       strict=True)]

        def build() -> tuple[str, str]:
            width = machine.host().vector_bytes
            return flat_kernel("update", width, lowered(e), layouts), "update"

        kernel = _kernels[key] = Kernel(build, len(layouts))
    if any(n.type != kind for n in e.nodes if n.op == "input"):
        return None
    return _Plan(kernel, e.values, dtype)
