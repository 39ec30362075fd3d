"""Scalar expressions: the small typed language that kernels are written in.

An `Expression` is a list of nodes in the order they are computed; equal nodes are made once. Every
node has a type and a level:

    constant   the same everywhere
    row        one value for a row: what a reduction gives, and what follows from it
    element    one value for each element

so a row-wise kernel such as softmax is an expression with `reduce` nodes inside, and the number
of passes over the row follows from their nesting. Mathematical functions are nodes such as `exp`
here, and become arithmetic in compiler/math_library.py.

    %0 = input 0                : f32 element
    %1 = reduce_max %0          : f32 row
    %2 = sub %0 %1              : f32 element
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

__all__ = [
    "CONSTANT", "ELEMENT", "FIXED_LEVEL", "FLOATS", "INTEGERS", "MATH", "REDUCTIONS", "ROW",
    "SIZE_OF", "Expression", "Node", "RareCase", "check", "is_float", "is_signed",
]

CONSTANT, ROW, ELEMENT = 0, 1, 2
_LEVELS = ("constant", "row", "element")

SIZE_OF = {
    "b1": 1, "i8": 1, "u8": 1, "i16": 2, "u16": 2, "i32": 4, "u32": 4, "i64": 8, "u64": 8,
    "f16": 2, "bf16": 2, "f32": 4, "f64": 8,
}
"""Bytes that an element of each type takes in memory."""

FLOATS = ("f32", "f64")  # what is computed in; f16 and bf16 are only loaded and stored
INTEGERS = ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")

_ARITHMETIC = frozenset(["add", "sub", "mul"])
_BITWISE = frozenset(["and", "or", "xor"])
_SHIFTS = frozenset(["shl", "shr"])
_COMPARISONS = frozenset(["eq", "ne", "lt", "le", "gt", "ge"])
_FLOAT_UNARY = frozenset(["sqrt", "floor", "ceil", "trunc", "round"])
_MATH_OF_TWO = frozenset(["pow", "atan2", "hypot"])
MATH = _MATH_OF_TWO | frozenset(
    """exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh
    atanh sigmoid erf erfc rsqrt""".split()
)
REDUCTIONS = frozenset(
    ["reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_argmax", "reduce_argmin"]
)


def is_float(kind: str) -> bool:
    return kind in FLOATS


def is_signed(kind: str) -> bool:
    return kind[0] == "i"


class Node:
    """One operation: what it computes, from which nodes, as which type."""

    __slots__ = ("args", "level", "number", "op", "type", "value")

    def __init__(
        self, number: int, op: str, args: tuple[Node, ...], kind: str, level: int, value: Any
    ) -> None:
        self.number = number
        self.op = op
        self.args = args
        self.type = kind
        self.level = level
        self.value = value  # of a constant; of an input or the row's length, its index

    def __repr__(self) -> str:
        return f"%{self.number}"

    def __str__(self) -> str:
        words = [self.op]
        if self.value is not None:
            words.append(str(self.value))
        words += [repr(a) for a in self.args]
        return f"%{self.number} = {' '.join(words)}  : {self.type} {_LEVELS[self.level]}"


def _key_of(value: Any) -> Any:
    """What tells constants apart: -0.0 from 0.0, and NaN is itself."""
    return struct.pack("<d", value) if isinstance(value, float) else value


class RareCase:
    """What a value is for operands that hardly ever come: an expression of them, with a name."""

    def __init__(self, name: str, expression: Expression) -> None:
        self.name = name
        self.expression = expression

    def __str__(self) -> str:
        return self.name


class Expression:
    """Nodes in order, and which of them are results.

    Example:
        >>> from taper.compiler.expression import Expression
        >>> e = Expression()
        >>> x = e.input(0, "f32")
        >>> e.results.append(e.add(x, e.constant(1.0, "f32")))
        >>> print(e)
        %0 = input 0  : f32 element
        %1 = constant 1.0  : f32 constant
        %2 = add %0 %1  : f32 element
        return %2
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.results: list[Node] = []
        self._known: dict[Any, Node] = {}

    def make(
        self, op: str, args: Iterable[Node], kind: str, level: int | None = None, value: Any = None
    ) -> Node:
        """The node for an operation; one that is known is not made again."""
        args = tuple(args)
        if level is None:
            level = max([a.level for a in args], default=CONSTANT)
        key = (op, tuple([a.number for a in args]), kind, level, _key_of(value))
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = Node(len(self.nodes), op, args, kind, level, value)
            self.nodes.append(node)
        return node

    # -- leaves --------------------------------------------------------------------------------

    def input(self, index: int, kind: str, level: int = ELEMENT) -> Node:
        """An operand; of level row if each row has one."""
        return self.make("input", (), kind, level, index)

    def constant(self, value: Any, kind: str) -> Node:
        """A number."""
        if kind in ("f16", "bf16"):
            return self.convert(self.constant(value, "f32"), kind)
        if kind == "b1":
            value = bool(value)
        else:
            value = float(value) if is_float(kind) else int(value)
        return self.make("constant", (), kind, CONSTANT, value)

    def number(self, value: Any, kind: str) -> Node:
        """A number that a definition uses: a constant, unless a subclass knows better."""
        return self.constant(value, kind)

    def spread(self, x: Node) -> Node:
        """A value of the row, or a constant, at each of its elements."""
        return x if x.level == ELEMENT else self.make("spread", (x,), x.type, ELEMENT)

    def row_length(self, kind: str) -> Node:
        """How many elements the row has, as a float."""
        return self.make("row_length", (), kind, ROW)

    # -- operations ----------------------------------------------------------------------------

    def unary(self, op: str, x: Node) -> Node:
        return self.make(op, (x,), x.type)

    def binary(self, op: str, x: Node, y: Node) -> Node:
        return self.make(op, (x, y), x.type)

    def add(self, x: Node, y: Node) -> Node:
        return self.binary("add", x, y)

    def sub(self, x: Node, y: Node) -> Node:
        return self.binary("sub", x, y)

    def mul(self, x: Node, y: Node) -> Node:
        return self.binary("mul", x, y)

    def div(self, x: Node, y: Node) -> Node:
        return self.binary("div", x, y)

    def fma(self, x: Node, y: Node, z: Node) -> Node:
        """x * y + z, rounded once."""
        return self.make("fma", (x, y, z), x.type)

    def neg(self, x: Node) -> Node:
        return self.unary("neg", x)

    def compare(self, op: str, x: Node, y: Node) -> Node:
        """eq, ne, lt, le, gt, ge; false for NaN, but `ne` is true."""
        return self.make(op, (x, y), "b1")

    def is_nan(self, x: Node) -> Node:
        return self.compare("ne", x, x)

    def select(self, condition: Node, x: Node, y: Node) -> Node:
        """x where the condition holds, else y."""
        return x if x is y else self.make("select", (condition, x, y), x.type)

    def rarely(self, condition: Node, case: RareCase, usual: Node, *operands: Node) -> Node:
        """The rare case of the operands where the condition holds, else the usual value. Code for
        the rare case runs only if the condition holds somewhere in a vector."""
        return self.make("rarely", (condition, usual, *operands), usual.type, value=case)

    def lookup(self, table: tuple[float, ...], index: Node) -> Node:
        """table[index]; the table has as many entries as a power of two, the index is taken in its
        last bits."""
        within = self.binary("and", index, self.constant(len(table) - 1, index.type))
        return self.make("lookup", (within,), "f64", value=table)

    def convert(self, x: Node, kind: str) -> Node:
        """The same number in another type, as C converts it."""
        return x if x.type == kind else self.make("convert", (x,), kind)

    def bitcast(self, x: Node, kind: str) -> Node:
        """The same bits as another type of the same size."""
        return self.make("bitcast", (x,), kind)

    def larger(self, x: Node, y: Node) -> Node:
        """The larger one; NaN if any is."""
        return self._extreme("gt", x, y)

    def smaller(self, x: Node, y: Node) -> Node:
        """The smaller one; NaN if any is."""
        return self._extreme("lt", x, y)

    def _extreme(self, op: str, x: Node, y: Node) -> Node:
        chosen = self.select(self.compare(op, x, y), x, y)
        return self.select(self.is_nan(x), x, chosen) if is_float(x.type) else chosen

    def reduce(self, op: str, x: Node) -> Node:
        """Sum, product, maximum … over the row: reduce_sum, …; positions for arg-reductions."""
        kind = "i64" if op.startswith("reduce_arg") else x.type
        return self.make(op, (x,), kind, ROW)

    def __str__(self) -> str:
        lines = [str(n) for n in self.nodes]
        return "\n".join([*lines, "return " + " ".join(map(repr, self.results))])

    def without_dead_code(self) -> Expression:
        """The same expression with only the nodes that results need, numbered anew."""
        needed = {n.number for n in self.results}
        for node in reversed(self.nodes):
            if node.number in needed:
                needed.update(a.number for a in node.args)
        return self.rewritten({}, needed)

    def rewritten(
        self, rules: dict[str, Any], needed: set[int] | None = None, new: Expression | None = None
    ) -> Expression:
        """A copy in which ``rules[op](new, node, args)`` replaces the nodes of an operation."""
        new = Expression() if new is None else new
        of: dict[int, Node] = {}
        for node in self.nodes:
            if needed is not None and node.number not in needed:
                continue
            args = tuple([of[a.number] for a in node.args])
            rule = rules.get(node.op)
            if rule is not None:
                of[node.number] = rule(new, node, args)
            else:
                level = node.level if node.op in FIXED_LEVEL else None
                of[node.number] = new.make(node.op, args, node.type, level, node.value)
        new.results = [of[n.number] for n in self.results]
        return new


FIXED_LEVEL = REDUCTIONS | {"input", "constant", "row_length", "spread"}


def check(expression: Expression) -> None:
    """Raises TypeError, naming the node, where types or levels don't fit together."""
    for position, node in enumerate(expression.nodes):
        if node.number != position or any(a.number >= position for a in node.args):
            raise TypeError(f"node out of order: {node}")
        if not _fits(node):
            raise TypeError(f"wrong types: {node}; of {[a.type for a in node.args]}")
    for node in expression.results:
        if expression.nodes[node.number] is not node:
            raise TypeError(f"result of another expression: {node}")


def _fits(node: Node) -> bool:
    op, kind = node.op, node.type
    args = [a.type for a in node.args]
    if op in ("input", "constant", "row_length"):
        return not args and kind in SIZE_OF
    if op in _ARITHMETIC:
        return args == [kind, kind] and kind != "b1"
    if op == "div":
        return args == [kind, kind] and kind != "b1"
    if op == "rem":
        return args == [kind, kind] and kind in INTEGERS
    if op in _BITWISE:
        return args == [kind, kind] and not is_float(kind)
    if op in _SHIFTS:
        return args == [kind, kind] and kind in INTEGERS
    if op in _COMPARISONS:
        return kind == "b1" and len(args) == 2 and args[0] == args[1]
    if op in _FLOAT_UNARY or op in MATH:
        return args == [kind] * (2 if op in _MATH_OF_TWO else 1) and is_float(kind)
    if op == "rarely":
        inside = node.value.expression
        wanted = [n.type for n in inside.nodes if n.op == "input"]
        return args == ["b1", kind, *wanted] and inside.results[0].type == kind
    if op == "lookup":
        return args == ["i64"] and kind == "f64"
    if op in ("neg", "abs"):
        return args == [kind] and kind != "b1"
    if op == "not":
        return args == [kind] and not is_float(kind)
    if op == "fma":
        return args == [kind] * 3 and is_float(kind)
    if op in ("copysign", "scale"):  # scale: x * 2**n, of a whole number n
        return args == [kind] * 2 and is_float(kind)
    if op == "spread":
        return args == [kind] and node.level == ELEMENT
    if op == "select":
        return args == ["b1", kind, kind]
    if op == "convert":
        return len(args) == 1 and args[0] != kind
    if op == "bitcast":
        return len(args) == 1 and SIZE_OF[args[0]] == SIZE_OF[kind]
    if op in REDUCTIONS:
        return node.level == ROW and len(args) == 1
    return False
