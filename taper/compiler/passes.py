"""Which pass over a row computes what: an analysis of expressions with reductions inside."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from taper.compiler.expression import ELEMENT, REDUCTIONS, ROW, Expression, Node, is_float
from taper.compiler.vector_code import VectorCode

__all__ = ["Operand", "Pass", "combine", "identity", "passes_of", "row_values_in"]

_WORTH_KEEPING = 12  # element nodes; values that took fewer are computed anew in a later pass


class Operand(NamedTuple):
    """How a kernel meets one of its arrays.

    layout: "contiguous" along the innermost loop, "same" (one value for all of it), "every second"
        (with one element between neighbours), or "strided".
    """

    type: str
    layout: str


class Pass(NamedTuple):
    """One walk over the row: what is reduced, and what is written to which result."""

    reductions: list[Node]
    stores: list[tuple[int, Node]]
    kept: list[tuple[int, Node]]  # the same for values that a later pass reads again


def _depths(expression: Expression) -> list[int]:
    """For each node, the first pass in which it is known; for reductions, the pass after theirs."""
    depths: list[int] = []
    for node in expression.nodes:
        depth = max([depths[a.number] for a in node.args], default=0)
        depths.append(depth + 1 if node.op in REDUCTIONS else depth)
    return depths


def passes_of(expression: Expression) -> list[Pass]:
    """The passes of a row-wise expression, in order."""
    depths = _depths(expression)
    reductions = [n for n in expression.nodes if n.op in REDUCTIONS]
    elements = [(i, n) for i, n in enumerate(expression.results) if n.level == ELEMENT]
    count = max([depths[n.number] for n in reductions] +
                [depths[n.number] + 1 for _, n in elements], default=0)
    kept = _kept(expression, depths, elements)
    return [
        Pass([n for n in reductions if depths[n.number] == p + 1],
             [(i, n) for i, n in elements if depths[n.number] == p],
             [(i, n) for i, n in kept if depths[n.number] == p])
        for p in range(count)
    ]


def _kept(
    expression: Expression, depths: list[int], elements: list[tuple[int, Node]]
) -> list[tuple[int, Node]]:
    """Costly values that a later pass needs again: they wait in the memory of a later result."""
    users = _last_uses(expression, depths, elements)
    kept = []
    free = list(elements)
    for node in reversed(expression.nodes):
        if node.level != ELEMENT or users.get(node.number, 0) <= depths[node.number]:
            continue
        if _cost(node, depths) < _WORTH_KEEPING:
            continue
        place = next(((i, r) for i, r in free
                      if r.type == node.type and depths[r.number] >= users[node.number]), None)
        if place is not None:
            free.remove(place)
            kept.append((place[0], node))
    return kept


def _last_uses(
    expression: Expression, depths: list[int], elements: list[tuple[int, Node]]
) -> dict[int, int]:
    """The last pass that needs each value: also for values that are computed anew from it."""
    last: dict[int, int] = {}
    for _, node in elements:
        last[node.number] = depths[node.number]
    for node in reversed(expression.nodes):
        if node.op in REDUCTIONS:
            when = depths[node.number] - 1
        else:
            when = max(last.get(node.number, 0), depths[node.number])
        for a in node.args:
            last[a.number] = max(last.get(a.number, 0), when)
    return last


def _cost(node: Node, depths: list[int]) -> int:
    """How many element nodes of the same pass a value takes."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        n = waiting.pop()
        if n.number not in seen and n.level == ELEMENT and n.op != "input":
            seen.add(n.number)
            waiting.extend(n.args)
    return len(seen)


def row_values_in(step: Pass, known: set[int]) -> list[Node]:
    """The values of rows, and constants apart, that the element code of a pass uses."""
    found: dict[int, Node] = {}
    seen: set[int] = set()
    waiting = [n.args[0] for n in step.reductions]
    waiting += [n for _, n in step.stores] + [n for _, n in step.kept]
    while waiting:
        n = waiting.pop()
        if n.number in seen or n.number in known:
            continue
        seen.add(n.number)
        if n.level == ROW:
            found[n.number] = n
        elif n.level == ELEMENT:
            waiting.extend(n.args)
    return [found[k] for k in sorted(found)]


def identity(node: Node) -> Any:
    """What a reduction starts from."""
    kind = node.args[0].type
    if node.op == "reduce_sum":
        return 0
    if node.op == "reduce_prod":
        return 1
    lowest = node.op in ("reduce_max", "reduce_argmax")
    if is_float(kind):
        return -math.inf if lowest else math.inf
    if kind == "b1":
        return not lowest
    bits = int(kind[1:])
    if kind[0] == "u":
        return 0 if lowest else 2**bits - 1
    return -(2 ** (bits - 1)) if lowest else 2 ** (bits - 1) - 1


def combine(code: VectorCode, node: Node, total: str, new: str) -> str:
    """The reduction of two vectors. Extremes: NaN wins."""
    kind = node.args[0].type
    whole = code.type(kind)
    text = code.text
    if node.op in ("reduce_sum", "reduce_prod"):
        if kind == "b1":
            word = "or" if node.op == "reduce_sum" else "and"
            return text.value(f"{word} {whole} {total}, {new}")
        word = "add" if node.op == "reduce_sum" else "mul"
        return text.value(f"{'f' if is_float(kind) else ''}{word} {whole} {total}, {new}")
    if kind == "b1":
        return text.value(f"{'or' if node.op == 'reduce_max' else 'and'} {whole} {total}, {new}")
    wins = code.compare("gt" if node.op == "reduce_max" else "lt", kind, new, total)
    mask = code.type("b1")
    chosen = text.value(f"select {mask} {wins}, {whole} {new}, {whole} {total}")
    if not is_float(kind):
        return chosen
    is_nan = code.compare("ne", kind, new, new)
    return text.value(f"select {mask} {is_nan}, {whole} {new}, {whole} {chosen}")
