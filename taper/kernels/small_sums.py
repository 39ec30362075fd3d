"""The sum of a few elements by NumPy's BLAS, without NumPy's cost per call.

`times_ones(x, ones)` is the product of all elements of `x` with as many ones: their sum. What
stands in for it calls the same routine with the same arguments, so it gives the same bits. Call it
by its module: `kernels/when_busy.py` says when it is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.kernels.when_busy import when_busy

__all__ = ["times_ones"]


def times_ones(x: Any, ones: Any) -> Any:
    """The sum of the elements of `x`, of which there are as many as `ones`."""
    return x.dot(ones) if x.ndim == 1 else x.ravel().dot(ones)


def _made() -> Callable[..., Any]:
    """The function for arrays in C order of both dtypes."""
    from taper.compiler import machine
    from taper.runtime.blas import find_blas
    from taper.runtime.direct_call import (
        Address,
        Array,
        DirectCall,
        Elements,
        Pointer,
        Result,
        Size,
        Status,
    )

    blas = find_blas()
    if blas is None:
        return by_numpy
    first = by_numpy
    for kind in ("f64", "f32"):
        call = DirectCall(
            (Array(kind), Array(kind, 1)),
            (Pointer(0), Address(0), Address(1), Address(2), Elements(0), Size(1, 0), Status()),
            1, result=Result(kind),
        )
        text = _text({"f32": "float", "f64": "double"}[kind], blas.integer)
        first = call.function_now(
            machine.compile_ir(text, "small_sum"), by_numpy, first, [blas.dot[kind]]
        )
    return first


def _text(real: str, integer: str) -> str:
    """The kernel; its status becomes 1 if there are not as many ones as elements."""
    count = "%count" if integer == "i64" else "%count.narrow"
    narrow = "" if integer == "i64" else f"  {count} = trunc i64 %count to {integer}\n"
    loads = "".join(
        f"  %{name}.at = getelementptr i64, ptr %block, i64 {i}\n"
        f"  %{name} = load {kind}, ptr %{name}.at\n"
        for i, (name, kind) in enumerate([
            ("dot", "ptr"), ("x", "ptr"), ("ones", "ptr"), ("result", "ptr"), ("count", "i64"),
            ("given", "i64"),
        ])
    )
    return f"""
define void @small_sum(ptr %block, i64 %begin, i64 %end) {{
{loads}{narrow}  %fits = icmp eq i64 %count, %given
  br i1 %fits, label %add, label %unusual
add:
  %sum = call {real} %dot({integer} {count}, ptr %x, {integer} 1, ptr %ones, {integer} 1)
  store {real} %sum, ptr %result
  ret void
unusual:
  %status = getelementptr i64, ptr %block, i64 6
  store i64 1, ptr %status
  ret void
}}
"""


by_numpy = times_ones
when_busy(globals(), "times_ones", _made)
