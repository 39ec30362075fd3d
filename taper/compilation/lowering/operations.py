"""What the nodes of a graph are made of, as far as native code is concerned.

    Map        each element from the operands at its place: a NumPy function on ElementArrays
    Reduction  a sum, product, maximum or minimum over neighbouring dimensions of its operand
    Product    matrices times matrices
    RowPick    rows of a table, by an index; RowSum adds rows to those of a table
    Join       a value whose parts others write
    Check      ends the program if something is wrong with an index
    Prepared   what a recipe of kernels makes: convolutions, pooling, recurrent layers
    Call       everything else: a Python function of arrays

Dimensions of a reduction are (outer, reduced, inner); its result is (outer, inner).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from taper.arrays.element import NotElementwise, kind_of
from taper.compilation.lowering.definitions import Definition
from taper.compilation.lowering.values import Value, View

__all__ = [
    "Call", "Check", "Join", "Map", "Operation", "Prepared", "Product", "Reduction", "RowPick",
    "RowSum",
    "instances_in", "is_known", "mapped", "views_in",
]

Ints = tuple[int, ...]


class Operation:
    """Something that makes values from views of others, for a node of the graph (its number)."""

    __slots__ = ("label", "node", "number", "outs", "views")

    def __init__(self, label: str, views: Sequence[View], outs: Sequence[Value]) -> None:
        self.label = label
        self.number = 0  # its place in the program's order
        self.node: int | None = None
        self.views = list(views)
        self.outs = list(outs)
        for out in outs:
            out.maker = self

    @property
    def out(self) -> Value:
        return self.outs[0]

    def __repr__(self) -> str:
        results, operands = (", ".join(map(repr, some)) for some in (self.outs, self.views))
        return f"{results} = {self.label}({operands})"


class Map(Operation):
    """What a definition says, at each place of the result."""

    __slots__ = ("cost", "definition")

    def __init__(
        self, label: str, definition: Definition, views: Sequence[View], out: Value
    ) -> None:
        super().__init__(label, [v.broadcast(out.shape) for v in views], [out])
        self.definition = definition
        self.cost = definition.cost


class Reduction(Operation):
    """`op` ("reduce_sum" …) of a view of dimensions outer, reduced and inner."""

    __slots__ = ("inner", "op", "outer", "reduced")

    def __init__(
        self, label: str, op: str, view: View, dims: tuple[Ints, Ints, Ints], out: Value
    ) -> None:
        super().__init__(label, [view], [out])
        self.op = op
        self.outer, self.reduced, self.inner = (
            tuple([n for n in part if n != 1]) for part in dims)


class Product(Operation):
    """first @ second, of matrices or batches of them."""

    __slots__ = ()


class RowPick(Operation):
    """Rows of a table, by an index that is in range; all lie in C order."""

    __slots__ = ()


class RowSum(Operation):
    """Rows added to those of a table of zeros, by such an index."""

    __slots__ = ()


class Prepared(Operation):
    """What a recipe (kernels/launch_recipes.py) makes of operands in C order."""

    __slots__ = ("recipe",)

    def __init__(
        self, label: str, recipe: Any, views: Sequence[View], outs: Sequence[Value]
    ) -> None:
        super().__init__(label, views, outs)
        self.recipe = recipe


class Join(Operation):
    """A value that consists of parts; each is stored in its place of it."""

    __slots__ = ("places",)

    def __init__(self, label: str, parts: Sequence[View], out: Value, places: list[View]) -> None:
        super().__init__(label, parts, [out])
        self.places = places


class Check(Operation):
    """Ends the program if a flag isn't 0; `complain(index)` raises what is wrong then."""

    __slots__ = ("complain",)

    def __init__(self, flag: View, index: View, complain: Callable[[Any], None]) -> None:
        super().__init__("check", [flag, index], [])
        self.complain = complain


class Call(Operation):
    """`function(*args, **kwargs)`, whose arguments hold Views in the place of arrays."""

    __slots__ = ("args", "function", "has_effect", "kwargs", "several")

    def __init__(
        self, label: str, function: Callable[..., Any], args: tuple[Any, ...],
        kwargs: dict[str, Any], outs: Sequence[Value], several: bool, has_effect: bool,
    ) -> None:
        super().__init__(label, list(views_in((args, tuple(kwargs.values())))), outs)
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.several = several
        self.has_effect = has_effect


def views_in(value: Any) -> Iterator[View]:
    """All views inside nested tuples, lists and dicts."""
    return instances_in(View, value)


def instances_in(kind: type, value: Any) -> Iterator[Any]:
    """All instances of a class inside nested tuples, lists and dicts."""
    if isinstance(value, kind):
        yield value
    elif type(value) in (tuple, list):
        for item in value:
            yield from instances_in(kind, item)
    elif type(value) is dict:
        for item in value.values():
            yield from instances_in(kind, item)


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies `function` to everything inside nested tuples, lists and dicts."""
    if type(value) is tuple:
        return tuple([mapped(function, v) for v in value])
    if type(value) is list:
        return [mapped(function, v) for v in value]
    if type(value) is dict:
        return {k: mapped(function, v) for k, v in value.items()}
    return function(value)


def is_known(dtype: Any) -> bool:
    """Whether kernels can load and store elements of this dtype."""
    try:
        kind_of(dtype)
    except NotElementwise:
        return False
    return True
