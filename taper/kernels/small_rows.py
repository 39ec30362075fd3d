"""Softmax, logsumexp and cross entropy of small matrices in machine code: 0.15 µs where NumPy
takes 2 to 5.

`row_sums.py` has the same functions on NumPy, and puts these in their place with the first call.
What they don't take, they leave to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from taper.compiler import machine
from taper.compiler.expression import Expression, Node
from taper.compiler.math_library import lowered
from taper.compiler.passes import Operand
from taper.compiler.row_kernels import row_kernel
from taper.runtime.direct_call import (
    Address,
    Array,
    DirectCall,
    Result,
    Size,
    Status,
    Word,
    is_possible,
)

__all__ = ["make"]

LARGEST = 8192  # elements; the GIL is held meanwhile

_SIZES = {"f32": 4, "f64": 8}
_DTYPES: dict[str, Any] = {"f32": np.float32, "f64": np.float64}
_LLVM = {"f32": "float", "f64": "double"}
_KERNEL = "small_rows"  # what kernels are called


def make(name: str, by_numpy: Callable[..., Any]) -> Callable[..., Any] | None:
    """The function that takes over from NumPy's of this name; None where there can be none."""
    if not is_possible() or not machine.is_available():
        return None
    made = by_numpy
    for kind in _SIZES:
        text, call = _PARTS[name](kind)
        code = machine.compile_ir(text, _KERNEL)
        made = call.function_now(code, made, made)
    return made


def _softmax(e: Expression, x: Node) -> list[Node]:
    powers = e.unary("exp", e.sub(x, e.reduce("reduce_max", x)))
    return [e.div(powers, e.reduce("reduce_sum", powers))]


def _log_softmax(e: Expression, x: Node) -> list[Node]:
    largest, log_of_sum = _parts(e, x)
    return [e.sub(e.sub(x, largest), log_of_sum)]


def _parts(e: Expression, x: Node) -> list[Node]:
    """The largest element, and the logarithm of the sum of exponentials relative to it."""
    largest = e.reduce("reduce_max", x)
    powers = e.unary("exp", e.sub(x, largest))
    return [largest, e.unary("log", e.reduce("reduce_sum", powers))]


def _logsumexp(e: Expression, x: Node) -> list[Node]:
    largest = _finite(e, e.reduce("reduce_max", x))
    powers = e.unary("exp", e.sub(x, largest))
    return [e.add(e.unary("log", e.reduce("reduce_sum", powers)), largest)]


def _logsumexp_of_pairs(e: Expression, x: Node, y: Node) -> list[Node]:
    """The same for rows of two, whose elements lie at every second place: no row is walked."""
    largest = _finite(e, e.larger(x, y))
    powers = [e.unary("exp", e.sub(z, largest)) for z in (x, y)]
    return [e.add(e.unary("log", e.add(*powers)), largest)]


def _finite(e: Expression, x: Node) -> Node:
    """`x` within the finite numbers, so that inf - inf does not come up."""
    most = float(np.finfo(_DTYPES[x.type]).max)
    return e.smaller(e.larger(x, e.constant(-most, x.type)), e.constant(most, x.type))


def _row_text(
    kind: str, form: Callable[..., list[Node]], name: str, layouts: Sequence[str] = ("contiguous",)
) -> str:
    e = Expression()
    e.results.extend(form(e, *[e.input(i, kind) for i in range(len(layouts))]))
    operands = [Operand(kind, name) for name in (*layouts, *["contiguous"] * len(e.results))]
    return row_kernel(name, machine.host().vector_bytes, lowered(e), operands, outer=1)


def _logsumexp_text(kind: str) -> str:
    """The logarithm of the sum of exponentials of each row.

    The block: matrix, its second column, result, rows, columns.
    """
    size = _SIZES[kind]
    rows = _row_text(kind, _logsumexp, "one_by_one")
    pairs = _row_text(kind, _logsumexp_of_pairs, "pairs", ["every second"] * 2)
    text = _internal(rows, pairs)
    names = "x", "second", "result", "rows", "columns"
    loads = "".join([
        f"  %{name}.at = getelementptr i64, ptr %block, i64 {i}\n"
        f"  %{name} = load i64, ptr %{name}.at\n" for i, name in enumerate(names)
    ])
    by_row = ["%x", "%result", "%columns", "%rows", "%row", size, size, 0]
    by_pair = ["%x", "%second", "%result", "%rows", 1, 0, 2 * size, 0, 2 * size, 0, size]
    return text + f"""
define void @{_KERNEL}(ptr %block, i64 %begin, i64 %end) {{
{loads}  %inner = alloca [11 x i64], align 8
  %are.pairs = icmp eq i64 %columns, 2
  br i1 %are.pairs, label %by.pair, label %by.row
by.pair:
{_stores("%inner", by_pair, "pair")}
  call void @pairs(ptr %inner, i64 0, i64 1)
  ret void
by.row:
  %row = mul i64 %columns, {size}
{_stores("%inner", by_row, "row")}
  call void @one_by_one(ptr %inner, i64 0, i64 %rows)
  ret void
}}
"""


def _of_matrix(kind: str) -> DirectCall:
    """A function of a matrix with a result of its shape; the block is that of `row_kernel`."""
    size = _SIZES[kind]
    strides: tuple[Word, ...] = (Size(0, 1, size), size)
    return DirectCall(
        (Array(kind, 2),), (Address(0), Address(1), Size(0, 1), Size(0, 0), *strides, *strides),
        Size(0, 0), result=Result(kind, shape_of=0), largest=LARGEST,
    )


def _of_rows(kind: str) -> DirectCall:
    """A function of a matrix with one number for each row."""
    return DirectCall(
        (Array(kind, 2),),
        (Address(0), Address(0, _SIZES[kind]), Address(1), Size(0, 0), Size(0, 1)),
        1, result=Result(kind, sizes=(Size(0, 0),)), largest=LARGEST,
    )


_OF_CLASSES = {
    kind: DirectCall(
        (Array(kind, 2), Array("i64", 1)),
        (Address(0), Address(1), Address(2), Size(0, 0), Size(0, 1), Size(1, 0), Status()),
        1, result=Result(kind), largest=LARGEST,
    )
    for kind in _SIZES
}


def _cross_entropy_text(kind: str) -> str:
    """The mean over rows of log(sum(exp(x - m))) - (x[target] - m), m being the row's largest.

    The block: logits, classes, result, rows, columns, how many classes are given, status. The
    status becomes 1, and the result stays unwritten, if there are no rows, not as many classes, or
    one of them is no column.
    """
    rows = _internal(_row_text(kind, _parts, "parts"))
    real, size = _LLVM[kind], _SIZES[kind]
    if kind == "f64":
        widened = rounded = ""
    else:
        widened = "  %term = fpext float %narrow to double\n"
        rounded = "  %mean = fptrunc double %quotient to float\n"
    term, mean = ("%term", "%mean") if kind == "f32" else ("%narrow", "%quotient")
    return rows + f"""
define void @{_KERNEL}(ptr %block, i64 %begin, i64 %end) {{
start:
  %status = getelementptr i64, ptr %block, i64 6
  %x.int = load i64, ptr %block
  %x = inttoptr i64 %x.int to ptr
  %classes.at = getelementptr i64, ptr %block, i64 1
  %classes.int = load i64, ptr %classes.at
  %classes = inttoptr i64 %classes.int to ptr
  %result.at = getelementptr i64, ptr %block, i64 2
  %result.int = load i64, ptr %result.at
  %result = inttoptr i64 %result.int to ptr
  %rows.at = getelementptr i64, ptr %block, i64 3
  %rows = load i64, ptr %rows.at
  %columns.at = getelementptr i64, ptr %block, i64 4
  %columns = load i64, ptr %columns.at
  %given.at = getelementptr i64, ptr %block, i64 5
  %given = load i64, ptr %given.at
  %some = icmp sgt i64 %rows, 0
  %alike = icmp eq i64 %rows, %given
  %usual = and i1 %some, %alike
  br i1 %usual, label %compute, label %unusual
compute:
  %largest = alloca {real}, i64 %rows, align 64
  %logs = alloca {real}, i64 %rows, align 64
  %inner = alloca [11 x i64], align 8
  %row = mul i64 %columns, {size}
{_stores("%inner", ["%x.int", "%largest", "%logs", "%columns", "%rows", "%row", size, size, 0,
                    size, 0])}
  call void @parts(ptr %inner, i64 0, i64 %rows)
  br label %more
more:
  %i = phi i64 [0, %compute], [%next, %add]
  %total = phi double [0.0, %compute], [%sum, %add]
  %done = icmp eq i64 %i, %rows
  br i1 %done, label %finish, label %look
look:
  %class.at = getelementptr i64, ptr %classes, i64 %i
  %class = load i64, ptr %class.at
  %known = icmp ult i64 %class, %columns
  br i1 %known, label %add, label %unusual
add:
  %first = mul i64 %i, %columns
  %place = add i64 %first, %class
  %picked.at = getelementptr {real}, ptr %x, i64 %place
  %picked = load {real}, ptr %picked.at
  %largest.at = getelementptr {real}, ptr %largest, i64 %i
  %top = load {real}, ptr %largest.at
  %log.at = getelementptr {real}, ptr %logs, i64 %i
  %log = load {real}, ptr %log.at
  %below = fsub {real} %picked, %top
  %narrow = fsub {real} %log, %below
{widened}  %sum = fadd double %total, {term}
  %next = add i64 %i, 1
  br label %more
finish:
  %count = sitofp i64 %rows to double
  %quotient = fdiv double %total, %count
{rounded}  store {real} {mean}, ptr %result
  ret void
unusual:
  store i64 1, ptr %status
  ret void
}}
"""


def _internal(*texts: str) -> str:
    """Functions for one module that only others in it call; each declaration once."""
    lines = [line for text in texts for line in text.splitlines()]
    declared = dict.fromkeys([line for line in lines if line.startswith("declare")])
    body = [line for line in lines if not line.startswith("declare")]
    return "\n".join([*body, *declared]).replace("define void", "define internal void")


def _stores(block: str, words: list[Any], prefix: str = "word") -> str:
    """Fills an argument block."""
    lines = []
    for i, word in enumerate(words):
        place = f"%{prefix}.{i}"
        lines.append(f"  {place} = getelementptr i64, ptr {block}, i64 {i}")
        kind = "ptr" if word in ("%largest", "%logs") else "i64"
        lines.append(f"  store {kind} {word}, ptr {place}")
    return "\n".join(lines)


_PARTS: dict[str, Callable[[str], tuple[str, DirectCall]]] = {
    "softmax_of_rows": lambda kind: (_row_text(kind, _softmax, _KERNEL), _of_matrix(kind)),
    "log_softmax_of_rows": lambda kind: (_row_text(kind, _log_softmax, _KERNEL), _of_matrix(kind)),
    "logsumexp_of_rows": lambda kind: (_logsumexp_text(kind), _of_rows(kind)),
    "mean_cross_entropy": lambda kind: (_cross_entropy_text(kind), _OF_CLASSES[kind]),
}
"""By name and dtype, the kernel's text and what calls it."""
