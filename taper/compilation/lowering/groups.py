"""Which maps and reductions are computed together, in one pass over memory.

A group has dimensions (outer, reduced, inner). Its operations are on one of three levels: FULL (an
element for each place), KEPT (one for each place of outer and inner: what reductions give, and what
follows from it) and SINGLE (one number). A value is used within its group where the reader meets it
at the same place; every other use reads it from memory.

Operations are taken from the last to the first, so each finds those that read it in their groups
already, and joins them:

- what only one group reads belongs to it;
- what several read is computed in each if it is cheap, else in one of them, or alone;
- what others read from memory too is stored. A group mustn't wait for somebody who waits for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import prod
from typing import Any

from taper.compilation.lowering.operations import Call, Join, Map, Operation, Reduction
from taper.compilation.lowering.values import Value, View, contiguous, refined, split_at

__all__ = [
    "FULL", "KEPT", "SINGLE", "Group", "Grouping", "is_inside", "is_inside_group", "reading_level",
    "strides_at",
]

Ints = tuple[int, ...]
Dims = tuple[Ints, Ints, Ints]

SINGLE, KEPT, FULL = range(3)
_MOST_OPERATIONS = 160
_MOST_LOADS = 24
_NEAR = 40  # operations between what is computed together for want of a reason
_SMALL = 1 << 14  # bytes that may wait
_FEW_ROWS = 16  # for which numbers may be computed anew in each row


class Group:
    """Operations with their levels, over common dimensions."""

    def __init__(self, dims: Dims, is_reduced: bool) -> None:
        self.dims = dims
        self.is_reduced = is_reduced
        self.levels: dict[Operation, int] = {}
        self.stored: set[Value] = set()
        self.loads: Loads | None = None  # what its operations load, as long as that is known
        self.after: list[Any] = []  # who reads what the first `looked_at` of its operations give
        self.looked_at = 0

    @property
    def operations(self) -> list[Operation]:
        return sorted(self.levels, key=lambda o: o.number)

    @property
    def size(self) -> int:
        return prod(self.dims[0]) * prod(self.dims[1]) * prod(self.dims[2])

    @property
    def kept_size(self) -> int:
        return prod(self.dims[0]) * prod(self.dims[2])


Loads = dict[tuple[Value, int, Ints], int]  # where a load begins, its strides: how many there are


def strides_at(view: View, dims: Dims, level: int) -> Ints:
    """The strides of an operand of an operation at a level, over (outer, reduced, inner)."""
    outer, reduced, inner = dims
    if level == FULL:
        return view.strides_over((*outer, *reduced, *inner))
    if level == KEPT:
        found = view.strides_over((*outer, *inner))
        return (*found[: len(outer)], *[0] * len(reduced), *found[len(outer) :])
    return (0,) * (len(outer) + len(reduced) + len(inner))


def own_strides(dims: Dims, level: int) -> Ints:
    """The strides of a value of a level, which lies in C order."""
    outer, reduced, inner = dims
    if level == FULL:
        return contiguous((*outer, *reduced, *inner))
    if level == KEPT:
        found = contiguous((*outer, *inner))
        return (*found[: len(outer)], *[0] * len(reduced), *found[len(outer) :])
    return (0,) * (len(outer) + len(reduced) + len(inner))


def is_inside(view: View, dims: Dims, level: int, own_level: int) -> bool:
    """Whether an operation at `level` meets a value of `own_level` at its own place."""
    if own_level >= level:  # on one level, all of a value is met in its order
        return own_level == level and view.is_whole
    if own_level == SINGLE:
        return view.offset == 0
    return view.offset == 0 and strides_at(view, dims, level) == own_strides(dims, own_level)


def reading_level(operation: Operation, level: int) -> int:
    """The level at which an operation reads its operands."""
    return FULL if isinstance(operation, Reduction) else level


Fit = tuple[Dims, bool, int, bool]  # dimensions, is_reduced, the level, whether FULL becomes KEPT


def fits(group: Group, operation: Operation) -> Iterator[Fit]:
    """The ways in which an operation could be part of a group."""
    if isinstance(operation, Reduction):
        yield from _fits_of_reduction(group, operation)
        return
    shape = tuple([n for n in operation.out.shape if n != 1])
    count = prod(shape)
    dims, size = group.dims, group.size
    if count == size:
        found = _full_dims(dims, shape)
        if found is not None:
            yield found, group.is_reduced, FULL, False
    if group.is_reduced and count == group.kept_size:
        found = _kept_dims(dims, shape)
        if found is not None:
            yield found, True, KEPT, False
    if count == 1 and size != 1:
        yield dims, group.is_reduced, SINGLE, False


def _fit_of_rows(group: Group, operation: Map, view: View) -> Dims | None:
    """The dimensions in which an operation that a pointwise group sees through `view` has one value
    for each row: those along which the view stays where it is are the row."""
    dims = group.dims[0]
    strides = view.strides_over(dims)
    still = [d for d, s in enumerate(strides) if not s]
    if not still or still != list(range(still[0], still[-1] + 1)):
        return None
    begin, end = still[0], still[-1] + 1
    return _kept_dims((dims[:begin], dims[begin:end], dims[end:]),
                      tuple([n for n in operation.out.shape if n != 1]))


def _fits_of_reduction(group: Group, operation: Reduction) -> Iterator[Fit]:
    outer, reduced, inner = operation.outer, operation.reduced, operation.inner
    whole = (*outer, *reduced, *inner)
    if group.is_reduced:
        parts = [refined(a, b) if prod(a) == prod(b) else None
                 for a, b in zip(group.dims, (outer, reduced, inner), strict=True)]
        if None not in parts:
            yield (parts[0], parts[1], parts[2]), True, KEPT, False  # type: ignore[misc]
        return
    if prod(whole) == group.size:
        found = _full_dims((outer, reduced, inner), group.dims[0])
        if found is not None:
            yield found, True, KEPT, False
    if prod(outer) * prod(inner) == group.size:
        found = _kept_dims((outer, reduced, inner), group.dims[0])
        if found is not None:
            yield found, True, KEPT, True


def _full_dims(dims: Dims, shape: Ints) -> Dims | None:
    outer, reduced, inner = dims
    found = refined((*outer, *reduced, *inner), shape)
    if found is None:
        return None
    rest, inner_part = split_at(found, prod(inner)) or (None, ())
    if rest is None:
        return None
    parts = split_at(rest, prod(reduced))
    return None if parts is None else (parts[0], parts[1], inner_part)


def _kept_dims(dims: Dims, shape: Ints) -> Dims | None:
    outer, reduced, inner = dims
    found = refined((*outer, *inner), shape)
    parts = None if found is None else split_at(found, prod(inner))
    return None if parts is None else (parts[0], reduced, parts[1])


class Grouping:
    """All groups of a program. `wanted`: values that are read from outside of it."""

    def __init__(self, operations: list[Operation], wanted: set[Value]) -> None:
        self.operations = operations
        self.wanted = wanted
        self.readers: dict[Value, list[tuple[Operation, View]]] = {}
        for operation in operations:
            for view in operation.views:
                self.readers.setdefault(view.value, []).append((operation, view))
        self.homes: dict[Operation, list[Group]] = {}
        self.others: set[Operation] = set()  # that are no part of groups
        self.places = {
            part.value: place for o in operations if isinstance(o, Join)
            for part, place in zip(o.views, o.places, strict=True)}
        self._known_readers: dict[Value, list[Any]] = {}
        self.groups: list[Group] = []

    def run(self) -> None:
        """Puts every map and reduction that somebody needs into groups."""
        for operation in reversed(self.operations):
            if not isinstance(operation, (Map, Reduction)):
                if any(self._is_needed(out) for out in operation.outs) or not operation.outs or (
                        isinstance(operation, Call) and operation.has_effect):
                    self.others.add(operation)
            elif self._is_needed(operation.out):
                self._place(operation)

    def _is_needed(self, value: Value) -> bool:
        return value in self.wanted or any(
            reader in self.others or reader in self.homes
            for reader, _ in self.readers.get(value, ()))

    # -- who reads whom ------------------------------------------------------------------------

    def _units_after(self, unit: Any) -> list[Any]:
        """The groups and operations that read what a group or operation stores."""
        if not isinstance(unit, Group):
            return [reader for out in unit.outs for reader in self._readers_from_memory(out)]
        if unit.looked_at != len(unit.levels):
            found = {id(reader): reader for reader in unit.after}
            for operation in itertools.islice(unit.levels, unit.looked_at, None):
                found.update({id(r): r for r in self._readers_from_memory(operation.out)})
            unit.after, unit.looked_at = list(found.values()), len(unit.levels)
        return unit.after

    def _readers_from_memory(self, value: Value) -> list[Any]:
        """Who reads a value that isn't computed where it is read. Once its operation has its place,
        so have all of its readers."""
        found = self._known_readers.get(value)
        if found is None:
            found = self._known_readers[value] = []
            maker = value.maker
            for reader, view in self.readers.get(value, ()):
                if reader in self.others:
                    found.append(reader)
                found += [home for home in self.homes.get(reader, ())
                          if not is_inside_group(view, home, maker, reader)]
        return found

    def _reaches(self, starts: list[Any], goal: Group) -> bool:
        """Whether a group waits, directly or not, for one of these."""
        seen = {id(unit) for unit in starts}
        waiting = list(starts)
        while waiting:
            unit = waiting.pop()
            if unit is goal:
                return True
            for later in self._units_after(unit):
                if id(later) not in seen:
                    seen.add(id(later))
                    waiting.append(later)
        return False

    # -- placing -------------------------------------------------------------------------------

    def _place(self, operation: Operation) -> None:
        value = operation.out
        readers: list[Group] = []
        outside: list[Any] = []
        for reader, _ in self.readers.get(value, ()):
            if reader in self.others:
                outside.append(reader)
            for home in self.homes.get(reader, ()):
                if home not in readers:
                    readers.append(home)
        must_store = value in self.wanted or bool(outside)
        joined = self._join_readers(operation, readers, must_store)
        left = [group for group in readers if group not in joined]
        if not left and not must_store and joined:
            self.homes[operation] = joined
            return
        # Somebody reads it from memory: a group that doesn't wait for any of them stores it.
        self.homes[operation] = joined
        for group in [*joined, *left, *self._siblings(operation)]:
            if self._may_store(operation, group, joined, left, outside):
                group.stored.add(value)
                if group not in joined:
                    joined.append(group)
                return
        group = self._new_group(operation)
        group.stored.add(value)
        joined.append(group)

    def _join_readers(
        self, operation: Operation, readers: list[Group], must_store: bool
    ) -> list[Group]:
        """Makes an operation part of the groups that read it, where that pays: then it is in all of
        them, and nobody has to read its value from memory; but for single numbers."""
        is_single = operation.out.size == 1
        is_cheap = self._is_cheap(operation)
        if (not is_cheap and (must_store or len(readers) > 1)) or (must_store and not is_single):
            return []
        ways = [(group, self._way_into(group, operation)) for group in readers]
        if not is_single and any(way is None for _, way in ways):
            return []
        for group, way in ways:
            if way is not None:
                self._enter(group, operation, way)
        return [group for group, way in ways if way is not None]

    def _may_store(
        self, operation: Operation, group: Group, joined: list[Group], left: list[Group],
        outside: list[Any],
    ) -> bool:
        """Lets a group store a value, if that is possible; it is part of the group then."""
        others = [*outside, *[g for g in left if g is not group]]
        if self._reaches(others, group):
            return False
        if group in joined:
            return group.levels[operation] != SINGLE
        return self._join(operation, group) and (
            group.levels[operation] != SINGLE or self._leave(operation, group))

    def _leave(self, operation: Operation, group: Group) -> bool:
        del group.levels[operation]
        group.loads = None
        return False

    def _siblings(self, operation: Operation) -> list[Group]:
        """Groups that read the same operands, or other groups of single numbers. What a reduction
        reads is what the map before it reads, which comes along."""
        found: list[Group] = []
        if operation.out.size == 1 and isinstance(operation, Map):
            found += [g for g in self.groups if g.size == 1]
            return found[-4:]
        views = operation.views
        if isinstance(operation, Reduction) and isinstance(views[0].value.maker, Map):
            views = [*views, *views[0].value.maker.views]
        for view in views:
            for reader, _ in self.readers.get(view.value, ()):
                # What is needed much later would wait in memory.
                if abs(reader.number - operation.number) > _NEAR and operation.out.bytes > _SMALL:
                    continue
                for home in self.homes.get(reader, ()):
                    if home not in found and home.size == _extent(operation):
                        found.append(home)
        return found[:4]

    def _is_cheap(self, operation: Operation) -> bool:
        """Whether computing it again beats reading it."""
        if not isinstance(operation, Map):
            return False
        large = [v for v in operation.views if v.size > 1 and any(v.strides)]
        if operation.out.size == 1:
            return operation.cost <= 4
        full = [v for v in large if v.value.size * 4 > operation.out.size]
        return operation.cost <= 3 and len(full) <= 1

    def _new_group(self, operation: Operation) -> Group:
        if isinstance(operation, Reduction):
            group = Group((operation.outer, operation.reduced, operation.inner), True)
            group.levels[operation] = KEPT
        else:
            shape = tuple([n for n in operation.out.shape if n != 1])
            group = Group((shape, (), ()), False)
            group.levels[operation] = FULL
        self.groups.append(group)
        return group

    def _join(self, operation: Operation, group: Group) -> bool:
        """Makes an operation part of a group, if all who read it there meet it at its place."""
        if operation in group.levels:
            return True
        way = self._way_into(group, operation)
        if way is not None:
            self._enter(group, operation, way)
        return way is not None

    def _way_into(self, group: Group, operation: Operation) -> tuple[Fit, Loads] | None:
        """How an operation could be part of a group, and what the group loads then."""
        if len(group.levels) >= _MOST_OPERATIONS:
            return None
        for way in self._fits(group, operation):
            dims, _, level, is_raised = way
            levels = _raised(group.levels) if is_raised else group.levels
            if self._meets(operation, dims, level, levels) and self._may_walk(
                    operation, dims, level):
                loads = self._loads_with(group, operation, way)
                if loads is not None and len(loads) <= _MOST_LOADS:
                    return way, loads
        return None

    def _enter(self, group: Group, operation: Operation, way: tuple[Fit, Loads]) -> None:
        (group.dims, group.is_reduced, level, is_raised), loads = way
        if is_raised:
            group.levels = _raised(group.levels)
        for reader, view in self.readers.get(operation.out, ()):
            if reader in group.levels:  # it need not load that any more
                at = reading_level(reader, group.levels[reader])
                if is_inside(view, group.dims, at, level):
                    key = view.value, view.offset, strides_at(view, group.dims, at)
                    loads[key] -= 1
                    if not loads[key]:
                        del loads[key]
        group.loads = loads
        group.levels[operation] = level

    def _fits(self, group: Group, operation: Operation) -> Iterator[Fit]:
        yield from fits(group, operation)
        if group.is_reduced or not isinstance(operation, Map) or operation.out.size == 1 or (
                operation.out.size >= group.size) or not self._follows_reduction(
                    operation, group.size):
            return
        for reader, view in self.readers.get(operation.out, ()):
            if group.levels.get(reader) == FULL:
                dims = _fit_of_rows(group, operation, view)
                if dims is not None:
                    yield dims, True, KEPT, False
                return

    def _follows_reduction(self, operation: Operation, size: int) -> bool:
        """Whether an operation is computed from a reduction of so many elements."""
        waiting, looked = [operation], 0
        while waiting and looked < 12:
            looked += 1
            for view in waiting.pop().views:
                maker = view.value.maker
                if isinstance(maker, Reduction) and _extent(maker) == size:
                    return True
                if isinstance(maker, Map) and maker.out.size <= operation.out.size:
                    waiting.append(maker)
        return False

    def _meets(
        self, operation: Operation, dims: Dims, level: int, levels: dict[Operation, int]
    ) -> bool:
        for reader, view in self.readers.get(operation.out, ()):
            found = levels.get(reader)
            if found is not None and not is_inside(
                    view, dims, reading_level(reader, found), level):
                return False
        return True

    def _may_walk(self, operation: Operation, dims: Dims, level: int) -> bool:
        """Whether an operation isn't too dear to be done in each row for all of them."""
        return level != SINGLE or not isinstance(operation, Map) or not dims[1] or (
            operation.cost <= 4 or prod(dims[0]) * prod(dims[2]) <= _FEW_ROWS)

    def _loads_with(self, group: Group, operation: Operation, way: Fit) -> Loads | None:
        """What a group and an operation load if it becomes part of it in this way; None if the
        reduced dimensions can't be walked as one then, in what is loaded and in the parts of joined
        values that are written to."""
        dims, _, level, is_raised = way
        if dims != group.dims or is_raised:
            levels = _raised(group.levels) if is_raised else group.levels
            known = self._loads_of(levels, dims, levels)
        else:
            if group.loads is None:
                group.loads = self._loads_of(group.levels, dims, group.levels)
            known, levels = group.loads, group.levels
        added = None if known is None else self._loads_of({operation: level}, dims, levels)
        if known is None or added is None:
            return None
        loads = known.copy()
        for key, times in added.items():
            loads[key] = loads.get(key, 0) + times
        return loads

    def _loads_of(
        self, readers: dict[Operation, int], dims: Dims, levels: dict[Operation, int]
    ) -> Loads | None:
        """What operations, with their levels, load in a group of these levels."""
        loads: Loads = {}
        for o, own_level in readers.items():
            at = reading_level(o, own_level)
            for view in o.views:
                own = levels.get(view.value.maker)
                if own is not None and is_inside(view, dims, at, own):
                    continue
                strides = strides_at(view, dims, at)
                if not _is_one_walk(dims, strides):
                    return None
                key = view.value, view.offset, strides
                loads[key] = loads.get(key, 0) + 1
            place = self.places.get(o.out)
            if place is not None and not _is_one_walk(dims, strides_at(place, dims, own_level)):
                return None
        return loads


def _is_one_walk(dims: Dims, strides: Ints) -> bool:
    """Whether the reduced dimensions can be walked as one."""
    if len(dims[1]) < 2:
        return True
    begin = len(dims[0])
    return all(strides[d] == strides[d + 1] * dims[1][d + 1 - begin]
               for d in range(begin, begin + len(dims[1]) - 1))


def is_inside_group(view: View, group: Group, maker: Operation, reader: Operation) -> bool:
    """Whether a reader in a group gets a value from its maker in that group."""
    own = group.levels.get(maker)
    if own is None:
        return False
    return is_inside(view, group.dims, reading_level(reader, group.levels[reader]), own)


def _raised(levels: dict[Operation, int]) -> dict[Operation, int]:
    """Levels once the full elements are what is kept of a reduction."""
    return {o: KEPT if level == FULL else level for o, level in levels.items()}


def _extent(operation: Operation) -> int:
    if isinstance(operation, Reduction):
        return prod(operation.outer) * prod(operation.reduced) * prod(operation.inner)
    return operation.out.size
