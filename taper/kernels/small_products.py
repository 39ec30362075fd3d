"""Small products of matrices by NumPy's BLAS, without NumPy's cost per call.

`product(a, b)` is that of two matrices and `affine(a, b, bias)` adds a row to it. A product of
8 x 8 matrices takes NumPy 0.7 µs, of which BLAS needs 0.05. What stands in for them calls the same
routine with the same arguments, so it gives the same bits. Call both by their module:
`kernels/when_busy.py` says when they are replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.kernels.matrix_product import NARROWEST, WIDE, WORTH_A_KERNEL_ACROSS
from taper.kernels.matrix_product import affine as affine_by_numpy
from taper.kernels.matrix_product import multiply as product_by_numpy
from taper.kernels.when_busy import when_busy

__all__ = ["affine", "product"]

_MOST_PRODUCTS = 1 << 18  # multiplications; the GIL is held meanwhile


product, affine = product_by_numpy, affine_by_numpy


def _made(with_bias: bool) -> Callable[..., Any]:
    """The function for all layouts and dtypes: it tries one after the other."""
    from taper.runtime.blas import find_blas

    by_numpy: Callable[..., Any] = affine_by_numpy if with_bias else product_by_numpy
    blas = find_blas()
    if blas is None:
        return by_numpy
    first = by_numpy
    for kind in ("f64", "f32"):
        of_other_dtype, first = first, by_numpy
        for layouts in ((True, True), (True, False), (False, False), (False, True)):
            first = _form(kind, layouts, with_bias, blas, first, of_other_dtype)
    return first


def _form(
    kind: str, transposed: tuple[bool, bool], with_bias: bool, blas: Any,
    otherwise: Callable[..., Any], of_other_dtype: Callable[..., Any],
) -> Callable[..., Any]:
    from taper.compiler import machine
    from taper.runtime.direct_call import Address, Array, DirectCall, Pointer, Result, Size, Status

    parameters = [Array(kind, 2, is_transposed=t) for t in transposed]
    if with_bias:
        parameters.append(Array(kind, 1))
    count = len(parameters)
    call = DirectCall(
        tuple(parameters),
        (Pointer(0), Address(0), Address(1), Address(2 if with_bias else 0), Address(count),
         Size(0, 0), Size(0, 1), Size(1, 0), Size(1, 1), Size(2, 0) if with_bias else Size(1, 1),
         Status()),
        1, result=Result(kind, sizes=(Size(0, 0), Size(1, 1))), largest=_MOST_PRODUCTS,
    )
    text = _text(kind, transposed, with_bias, blas.integer)
    return call.function_now(
        machine.compile_ir(text, "small_product"), otherwise, of_other_dtype, [blas.gemm[kind]]
    )


def _text(kind: str, transposed: tuple[bool, bool], with_bias: bool, integer: str) -> str:
    """The kernel: gemm, and the bias added to each row.

    It refuses, by its status, what NumPy gives to other routines or has to complain about: products
    with vectors, a matrix with itself, sizes that don't fit; and large ones.
    """
    from taper.runtime.blas import NO_TRANSPOSE, ROW_MAJOR, TRANSPOSE

    real = {"f32": "float", "f64": "double"}[kind]
    names = ("gemm", "a", "b", "bias", "c", "m", "k", "inner", "n", "width", "status")
    lines = []
    for i, name in enumerate(names):
        lines.append(f"  %{name}.at = getelementptr i64, ptr %block, i64 {i}")
        if name in ("gemm", "a", "b", "bias", "c"):
            lines.append(f"  %{name} = load ptr, ptr %{name}.at")
        elif name != "status":
            lines.append(f"  %{name} = load i64, ptr %{name}.at")
    narrow = {}
    for name in ("m", "k", "n"):
        narrow[name] = f"%{name}" if integer == "i64" else f"%{name}.narrow"
        if integer != "i64":
            lines.append(f"  {narrow[name]} = trunc i64 %{name} to {integer}")
    orders = [TRANSPOSE if t else NO_TRANSPOSE for t in transposed]
    leading = [narrow["m" if transposed[0] else "k"], narrow["k" if transposed[1] else "n"]]
    most = WORTH_A_KERNEL_ACROSS - 1 if transposed == (False, True) else _MOST_PRODUCTS
    lines += [
        "  %mk = mul i64 %m, %k",
        "  %mkn = mul i64 %mk, %n",
        "  %fits = icmp eq i64 %k, %inner",
        "  %wide = icmp eq i64 %n, %width",
        "  %tall = icmp sgt i64 %m, 1",
        "  %broad = icmp sgt i64 %n, 1",
        "  %deep = icmp sgt i64 %k, 1",
        f"  %is.wide = icmp sge i64 %n, {WIDE}",
        f"  %is.tall = icmp sge i64 %m, {NARROWEST}",
        "  %is.large = and i1 %is.wide, %is.tall",
        f"  %most = select i1 %is.large, i64 {most}, i64 {_MOST_PRODUCTS}",
        "  %small = icmp sle i64 %mkn, %most",
        "  %apart = icmp ne ptr %a, %b",
        "  %t1 = and i1 %fits, %tall",
        "  %t2 = and i1 %t1, %broad",
        "  %t3 = and i1 %t2, %deep",
        "  %t4 = and i1 %t3, %small",
        "  %t5 = and i1 %t4, %apart",
        "  %usual = and i1 %t5, %wide",
        "  br i1 %usual, label %compute, label %unusual",
        "unusual:",
        "  store i64 1, ptr %status.at",
        "  ret void",
        "compute:",
        f"  call void %gemm(i32 {ROW_MAJOR}, i32 {orders[0]}, i32 {orders[1]}, "
        f"{integer} {narrow['m']}, {integer} {narrow['n']}, {integer} {narrow['k']}, {real} 1.0, "
        f"ptr %a, {integer} {leading[0]}, ptr %b, {integer} {leading[1]}, {real} 0.0, ptr %c, "
        f"{integer} {narrow['n']})",
    ]
    if not with_bias:
        lines.append("  ret void")
    else:
        lines += [
            "  br label %row",
            "row:",
            "  %i = phi i64 [0, %compute], [%i.next, %row.end]",
            "  %first = mul i64 %i, %n",
            "  br label %column",
            "column:",
            "  %j = phi i64 [0, %row], [%j.next, %column]",
            "  %place = add i64 %first, %j",
            f"  %c.at.j = getelementptr {real}, ptr %c, i64 %place",
            f"  %found = load {real}, ptr %c.at.j",
            f"  %bias.at.j = getelementptr {real}, ptr %bias, i64 %j",
            f"  %added = load {real}, ptr %bias.at.j",
            f"  %sum = fadd {real} %found, %added",
            f"  store {real} %sum, ptr %c.at.j",
            "  %j.next = add i64 %j, 1",
            "  %more = icmp slt i64 %j.next, %n",
            "  br i1 %more, label %column, label %row.end",
            "row.end:",
            "  %i.next = add i64 %i, 1",
            "  %again = icmp slt i64 %i.next, %m",
            "  br i1 %again, label %row, label %done",
            "done:",
            "  ret void",
        ]
    return "\n".join([
        "define void @small_product(ptr %block, i64 %begin, i64 %end) {", *lines, "}\n",
    ])


when_busy(globals(), "product", lambda: _made(False))
when_busy(globals(), "affine", lambda: _made(True))
