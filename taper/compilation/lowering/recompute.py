"""Values that are computed again where they are needed late, instead of waiting in memory.

What a forward pass computes elementwise from values that its backward pass reads anyway, such as
activations and normalized rows, needs no memory in between.
"""

from __future__ import annotations

from taper.compilation.lowering.operations import Call, Map, Operation, Product
from taper.compilation.lowering.values import Value, View

__all__ = ["with_late_copies"]

_SMALLEST = 1 << 16  # bytes that are worth it
_FAR = 24  # operations between two readers that make the second one late
_DEAREST = 24  # operations that are done again for an element


def with_late_copies(operations: list[Operation], wanted: set[Value]) -> list[Operation]:
    """The operations, with copies of some maps before late products that read them."""
    last: dict[Value, int] = {}
    readers: dict[Value, list[Operation]] = {}
    for operation in operations:
        for view in operation.views:
            last[view.value] = operation.number
            readers.setdefault(view.value, []).append(operation)
    before: dict[Operation, list[Operation]] = {}
    behind: dict[Operation, list[Operation]] = {}
    moved: set[Operation] = set()
    for operation in operations:
        value = operation.outs[0] if operation.outs else None
        if not isinstance(operation, Map) or value is None or value.bytes < _SMALLEST or (
                value in wanted):
            continue
        late = _late_readers(operation, readers.get(value, []))
        if late is None:
            continue
        chain = _chain(operation, late[0].number, last)
        if chain is None:
            continue
        copies = _copied(chain)
        first = _last_maker(late[0], value) if len(late) == 1 else None
        if first is None or first.number < operation.number or late[0] in moved:
            before.setdefault(late[0], []).extend(copies)
        else:
            # At once when that can be: the copy shall be gone before much else is computed.
            behind.setdefault(first, []).extend([*copies, late[0]])
            moved.add(late[0])
        for reader in late:
            reader.views = [_moved(view, value, copies[-1].out) for view in reader.views]
            last[value] = operation.number
    found: list[Operation] = []
    for operation in operations:
        if operation not in moved:
            found += [*before.get(operation, []), operation]
        found += behind.get(operation, [])
    for number, operation in enumerate(found):
        operation.number = number
    return found


def _last_maker(reader: Operation, value: Value) -> Operation | None:
    """The operation that makes the last of a reader's other operands."""
    makers = [v.value.maker for v in reader.views if v.value is not value and v.value.maker]
    return max(makers, key=lambda o: o.number) if makers else None


def _late_readers(operation: Operation, readers: list[Operation]) -> list[Operation] | None:
    """Those behind a long gap, if they all can be given a copy; None if there are none."""
    at = operation.number
    for i, reader in enumerate(readers):
        if reader.number - at > _FAR:
            late = readers[i:]
            span = late[-1].number - late[0].number
            if i and span <= _FAR and all(isinstance(r, Product) for r in late):
                return late
            return None
        at = reader.number
    return None


def _chain(operation: Map, late: int, last: dict[Value, int]) -> list[Map] | None:
    """The maps to be done again, in order: down to values that are there until then anyway."""
    chain: list[Map] = []
    waiting: list[Map] = [operation]
    cost = 0
    while waiting:
        current = waiting.pop()
        if current in chain:
            continue
        chain.append(current)
        cost += max(1, current.cost)
        if cost > _DEAREST:
            return None
        for view in current.views:
            value = view.value
            if value.input is not None or value.constant is not None or last[value] >= late:
                continue
            if value.size * 16 <= operation.out.size and not isinstance(value.maker, Call):
                continue  # so small that it may stay
            if not isinstance(value.maker, Map):
                return None
            waiting.append(value.maker)
    return sorted(chain, key=lambda o: o.number)


def _copied(chain: list[Map]) -> list[Map]:
    """Operations of their own for a chain."""
    made: dict[Value, Value] = {}
    copies = []
    for operation in chain:
        out = operation.out
        value = Value(f"{out}'", out.shape, out.dtype)
        views = list(operation.views)
        for old, new in made.items():
            views = [_moved(view, old, new) for view in views]
        copies.append(Map(operation.label, operation.function, views, value, operation.cost))
        copies[-1].node = operation.node
        made[out] = value
    return copies


def _moved(view: View, old: Value, new: Value) -> View:
    return View(new, view.offset, view.shape, view.strides) if view.value is old else view
