"""What maps compute: definitions, traced once for each function and combination of dtypes.

The functions of maps are made anew for each node, as closures over the numbers among a call's
arguments. What tells two of them apart is their code and what they hold (`_key_of`), so calls that
do the same share one definition, within a program and among programs. It is an expression over its
operands, which a kernel takes over node by node (`Definition.write`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from taper.arrays.element import ElementArray, NotElementwise, kind_of
from taper.compiler.expression import ELEMENT, FIXED_LEVEL, Expression, Node

__all__ = ["Definition", "definition_of"]

_STORED = frozenset(["f16", "bf16"])  # types that are moved and converted, but not computed in
_OF_ANY_TYPE = frozenset(["input", "convert", "select", "spread"])
_MOST = 4096

_known: dict[Hashable, Definition | None] = {}


class Definition:
    """What a function computes of elements of some dtypes.

    Attributes:
        dtype: of the result.
        cost: how many operations it takes.
    """

    __slots__ = ("cost", "dtype", "nodes", "result")

    def __init__(self, expression: Expression, result: Node, dtype: Any) -> None:
        self.nodes = expression.nodes
        self.result = result
        self.dtype = dtype
        self.cost = sum([n.op not in ("input", "constant") for n in expression.nodes])

    def write(self, e: Expression, operands: Sequence[Node]) -> Node:
        """Writes it into an expression; returns the node of the result."""
        made: list[Node] = []
        for node in self.nodes:
            op = node.op
            if op == "input":
                found = operands[node.value]
            elif op == "select":  # alternatives may have become the same
                found = e.select(*[made[a.number] for a in node.args])
            else:
                found = e.make(op, [made[a.number] for a in node.args], node.type,
                               node.level if op in FIXED_LEVEL else None, node.value)
            made.append(found)
        return made[self.result.number]


def definition_of(function: Callable[..., Any], dtypes: Sequence[Any]) -> Definition | None:
    """The definition that a function of elements is; None if it can't be traced."""
    try:
        key = _key_of(function), *dtypes
    except (_NoKey, ValueError):  # or a cell that is still empty
        return _traced(function, dtypes)
    if key not in _known:
        if len(_known) >= _MOST:
            _known.clear()
        _known[key] = _traced(function, dtypes)
    return _known[key]


def _traced(function: Callable[..., Any], dtypes: Sequence[Any]) -> Definition | None:
    e = Expression()
    try:
        elements = [
            ElementArray(e, e.input(i, kind_of(d), ELEMENT), d) for i, d in enumerate(dtypes)]
        result = function(*elements) if elements else function(e)
    except (NotElementwise, TypeError, AttributeError, ValueError, NotImplementedError):
        return None
    if not isinstance(result, ElementArray) or any(
        n.op not in _OF_ANY_TYPE and not _STORED.isdisjoint([n.type, *[a.type for a in n.args]])
        for n in e.nodes
    ):
        return None
    return Definition(e, result.node, result.dtype)


class _NoKey(Exception):
    """Raised for a function that holds what can't be compared."""


_BY_VALUE = frozenset([int, bool, str, type(None)])


def _key_of(value: Any) -> Hashable:
    """Equal for functions, and what they hold, that do the same."""
    cls = type(value)
    if cls in _BY_VALUE:
        return cls, value
    if cls is float:
        return value.hex()
    if cls is FunctionType:
        cells = value.__closure__ or ()
        return (value.__code__, _key_of(value.__defaults__), _key_of(value.__kwdefaults__),
                *[_key_of(cell.cell_contents) for cell in cells])
    if cls is tuple or cls is list:
        return cls, *[_key_of(item) for item in value]
    if cls is dict:
        return cls, *[(name, _key_of(item)) for name, item in value.items()]
    if isinstance(value, (np.ufunc, np.dtype, type)) or cls in _FUNCTIONS:
        return value  # by identity, or as dtypes compare
    if isinstance(value, np.generic) or (cls is np.ndarray and value.ndim == 0):
        return value.dtype, value.tobytes()
    raise _NoKey


_FUNCTIONS = frozenset([type(len), type(np.where)])
