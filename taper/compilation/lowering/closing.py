"""Plans for one size, from a plan in which the size is symbolic (core/symbolic.py).

What was decided for all sizes - which operations there are, what is computed together, in which
order - is kept; everything that has a size gets a copy with plain numbers. The copies are units as
any others: their kernels, argument blocks and memory are worked out as if they had been planned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taper.arrays.node_arguments import at_size
from taper.compilation.lowering.groups import Group
from taper.compilation.lowering.operations import (
    Call,
    Join,
    Operation,
    Prepared,
    Reduction,
    mapped,
    views_in,
)
from taper.compilation.lowering.recipes import SizedRecipe
from taper.compilation.lowering.schedule import Order, Schedule
from taper.compilation.lowering.values import SizedConstant, Value, View

__all__ = ["Closing"]

_ONLY_INTS = frozenset([int])
_NAMES: dict[type, list[str]] = {}  # the attributes of each kind of operations


def _copied(operation: Operation) -> Operation:
    """What `copy.copy` makes, in a quarter of the time."""
    kind = type(operation)
    names = _NAMES.get(kind)
    if names is None:
        names = _NAMES[kind] = [
            name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    found = object.__new__(kind)
    for name in names:
        setattr(found, name, getattr(operation, name))
    return found


class Closing:
    """Makes the copies for one size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.values: dict[Value, Value] = {}
        self.operations: dict[Operation, Operation] = {}

    def number(self, number: Any) -> Any:
        """A number, or numbers in tuples; most of them are plain, and stay the same objects."""
        if type(number) is int or (type(number) is tuple and _ONLY_INTS.issuperset(
                map(type, number))):
            return number
        return at_size(number, self.size)

    def value(self, value: Value) -> Value:
        """A value of this size."""
        found = self.values.get(value)
        if found is None:
            found = self.values[value] = Value(value.name, self.number(value.shape), value.dtype)
            found.input, found.is_size = value.input, value.is_size
            constant = value.constant
            found.constant = constant.at(self.size) if type(constant) is SizedConstant else constant
        return found

    def view(self, view: View) -> View:
        """A view of a value of this size."""
        return View(self.value(view.value), self.number(view.offset), self.number(view.shape),
                    self.number(view.strides))

    def unit(self, unit: Any) -> Any:
        """A group, or an operation by itself."""
        if not isinstance(unit, Group):
            return self.operation(unit)
        found = Group(self.number(unit.dims), unit.is_reduced)
        found.levels = {self.operation(o): level for o, level in unit.levels.items()}
        found.stored = {self.value(v) for v in unit.stored}
        return found

    def operation(self, operation: Operation) -> Operation:
        """An operation on views of this size."""
        found = self.operations.get(operation)
        if found is not None:
            return found
        found = self.operations[operation] = _copied(operation)
        found.outs = [self.value(out) for out in operation.outs]
        for out in found.outs:
            out.maker = found
        if isinstance(operation, Call) and isinstance(found, Call):
            found.args, found.kwargs = (
                mapped(self._argument, part) for part in (operation.args, operation.kwargs))
            found.views = list(views_in((found.args, tuple(found.kwargs.values()))))
            return found
        found.views = [self.view(view) for view in operation.views]
        if isinstance(found, Reduction):
            found.outer, found.reduced, found.inner = map(
                self.number, (found.outer, found.reduced, found.inner))
        elif isinstance(found, Join):
            found.places = [self.view(place) for place in found.places]
        elif isinstance(found, Prepared) and type(found.recipe) is SizedRecipe:
            found.recipe = found.recipe.at(self.size)
        return found

    def _argument(self, item: Any) -> Any:
        return self.view(item) if isinstance(item, View) else self.number(item)

    def order(self, schedule: Schedule | Order) -> Order:
        """The units in order, and where values lie."""
        units = [self.unit(unit) for unit in schedule.order]
        lives: Mapping[Value, tuple[int, int]] = schedule.lives()
        return Order(
            units, {self.value(v): place for v, place in schedule.in_place.items()},
            {self.value(v): self.view(place) for v, place in schedule.parents.items()},
            {self.value(v): life for v, life in lives.items()})
