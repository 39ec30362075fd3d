"""The order of a program's units, and where each value lies.

A unit is a group, a product, a join or a call. A value lies in the arena, in memory that is made
for each run (results), in an input's memory (updates), in a part of a joined value, or wherever a
call puts it.

An update is written straight into its input's memory if everybody who reads the old value can come
before. The unit that writes may read it too, if each element is read where it is written.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from taper.compilation.lowering.groups import (
    FULL,
    Group,
    Grouping,
    is_inside_group,
    reading_level,
    strides_at,
)
from taper.compilation.lowering.operations import Call, Check, Join, Operation
from taper.compilation.lowering.values import Value, View

__all__ = ["Order", "Schedule", "reads_of"]

Unit = Any  # Group | Operation


def reads_of(unit: Unit) -> Iterator[View]:
    """The views that a unit reads from memory."""
    if not isinstance(unit, Group):
        yield from unit.views
        return
    for operation in unit.operations:
        for view in operation.views:
            maker = view.value.maker
            if maker not in unit.levels or not is_inside_group(view, unit, maker, operation):
                yield view


def _writes_of(unit: Unit) -> Iterable[Value]:
    return unit.stored if isinstance(unit, Group) else unit.outs


def _number(unit: Unit) -> int:
    """When a unit runs, if nothing else decides: where the first of what it stores stood."""
    if isinstance(unit, Group):
        return min(o.number for o in unit.levels if o.out in unit.stored)
    return int(unit.number)


class Order:
    """Units in order.

    Attributes:
        order: the units.
        in_place: updates that are written into an input's memory: value -> number of the input.
        parents: parts of joined values, with the place of each.
    """

    def __init__(
        self, order: list[Unit], in_place: dict[Value, int], parents: dict[Value, View],
        lives: dict[Value, tuple[int, int]],
    ) -> None:
        self.order = order
        self.in_place = in_place
        self.parents = parents
        self._known_lives = lives

    def place(self, value: Value) -> View:
        """Where a value lies: all of it, or its part of a joined one."""
        return self.parents.get(value) or View.of(value)

    def lives(self) -> dict[Value, tuple[int, int]]:
        """For each value that is made, the first and the last unit that touch its memory."""
        return self._known_lives


class Schedule(Order):
    """Finds the order."""

    def __init__(self, grouping: Grouping, updates: dict[Value, int]) -> None:
        used = {id(g): g for homes in grouping.homes.values() for g in homes if g.stored}
        self.units: list[Unit] = sorted([*used.values(), *grouping.others], key=_number)
        self.makers: dict[Value, Unit] = {
            value: unit for unit in self.units for value in _writes_of(unit)}
        self.parents: dict[Value, View] = {}
        for unit in self.units:
            if isinstance(unit, Join):
                for part, place in zip(unit.views, unit.places, strict=True):
                    self.parents[part.value] = place
        self.after: dict[int, set[int]] = {id(u): set() for u in self.units}
        self.by_id = {id(u): u for u in self.units}
        self.readers: dict[Value, list[Unit]] = {}
        self.reads = {id(u): list(dict.fromkeys([v.value for v in reads_of(u)]))
                      for u in self.units}
        self.of_inputs: dict[int, list[Value]] = {}  # values that are read of an input's memory
        for unit in self.units:
            for value in self.reads[id(unit)]:
                if value.input is not None and value not in self.readers:
                    self.of_inputs.setdefault(value.input, []).append(value)
                self.readers.setdefault(value, []).append(unit)
                maker = self.makers.get(value)
                if maker is not None and maker is not unit:
                    self.after[id(maker)].add(id(unit))
        effects = [u for u in self.units if isinstance(u, Call) and u.has_effect]
        effects.sort(key=_number)
        for first, second in itertools.pairwise(effects):
            self.after[id(first)].add(id(second))
        self.checks = [u for u in self.units if isinstance(u, Check)]
        self.in_place: dict[Value, int] = {}
        for value, target in updates.items():
            if self._may_overwrite(value, target):
                self.in_place[value] = target
        self.order = self._sorted()
        self._known_lives = self._lives(self.order)

    # -- updates -------------------------------------------------------------------------------

    def _may_overwrite(self, value: Value, target: int) -> bool:
        unit = self.makers.get(value)
        if value in self.parents or not isinstance(unit, Group):
            return False
        readers = []
        for old in self.of_inputs.get(target, ()):
            units = self.readers[old]
            if old.dtype != value.dtype:
                return False
            readers += [u for u in units if u is not unit]
            if unit in units and not _reads_in_place(unit, old, value):
                return False
        # Checks come before anything is changed.
        readers += self.checks
        if any(self._reaches(unit, reader) for reader in readers):
            return False
        for reader in readers:
            self.after[id(reader)].add(id(unit))
        return True

    def _reaches(self, start: Unit, goal: Unit) -> bool:
        seen: set[int] = set()
        waiting = [id(start)]
        while waiting:
            at = waiting.pop()
            if at == id(goal):
                return True
            if at not in seen:
                seen.add(at)
                waiting.extend(self.after[at])
        return False

    # -- order ---------------------------------------------------------------------------------

    def _sorted(self) -> list[Unit]:
        """The order that needs the least memory of two: whoever can runs as early as its number
        allows, or as late. They differ where somebody waits for what stands far behind."""
        place = {id(u): (_number(u), at) for at, u in enumerate(self.units)}
        for unit in self._first_of_all():
            place[unit] = -1, place[unit][1]
        before: dict[int, set[int]] = {id(u): set() for u in self.units}
        for unit, following in self.after.items():
            for later in following:
                before[later].add(unit)
        early = self._listed(self.after, before, place)
        backward = {unit: (-number, -at) for unit, (number, at) in place.items()}
        late = self._listed(before, self.after, backward)[::-1]
        return min(early, late, key=self._most_at_once)

    def _listed(
        self, after: dict[int, set[int]], before: dict[int, set[int]],
        place: dict[int, tuple[int, int]],
    ) -> list[Unit]:
        """The units, each when those before it are done and its place is the first."""
        waits_for = {unit: len(others) for unit, others in before.items()}
        ready = [(place[unit], unit) for unit, count in waits_for.items() if not count]
        heapq.heapify(ready)
        order = []
        while ready:
            _, unit = heapq.heappop(ready)
            order.append(self.by_id[unit])
            for later in after[unit]:
                waits_for[later] -= 1
                if not waits_for[later]:
                    heapq.heappush(ready, (place[later], later))
        assert len(order) == len(self.units), "units wait for each other"
        return order

    def _most_at_once(self, order: list[Unit]) -> int:
        """The bytes of all values that live when most of them do, in an order."""
        changes = [0] * (len(order) + 1)
        for value, (first, last) in self._lives(order).items():
            changes[first] += value.bytes
            changes[last + 1] -= value.bytes
        return max(itertools.accumulate(changes))

    def _first_of_all(self) -> set[int]:
        """Checks, and what they need: whoever changes something waits for them."""
        before: dict[int, list[int]] = {}
        for unit, following in self.after.items():
            for later in following:
                before.setdefault(later, []).append(unit)
        found = {id(u) for u in self.checks}
        waiting = list(found)
        while waiting:
            for earlier in before.get(waiting.pop(), ()):
                if earlier not in found:
                    found.add(earlier)
                    waiting.append(earlier)
        return found

    def _lives(self, order: list[Unit]) -> dict[Value, tuple[int, int]]:
        found: dict[Value, tuple[int, int]] = {}
        for index, unit in enumerate(order):
            for value in [*_writes_of(unit), *self.reads[id(unit)]]:
                whole = self.place(value).value
                if whole in self.makers:
                    first, _ = found.get(whole, (index, index))
                    found[whole] = (first, index)
        return found


def _reads_in_place(group: Group, old: Value, new: Value) -> bool:
    """Whether a group reads each element of a value only where it writes the new one."""
    operation: Operation = new.maker
    level = group.levels[operation]
    if group.is_reduced and level == FULL:
        return False  # walked several times
    written = strides_at(View.of(new), group.dims, level)
    for reader in group.operations:
        for view in reader.views:
            if view.value is old:
                at = reading_level(reader, group.levels[reader])
                if at != level or view.offset or strides_at(view, group.dims, at) != written:
                    return False
    return True
