"""Values that are computed again where they are needed late, instead of waiting in memory.

What a forward pass computes elementwise from values that its backward pass reads anyway, such as
activations and normalized rows, needs no memory in between. Nor do results of shallow products,
which are many numbers for little arithmetic: such as those in the middle of a perceptron.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import prod

from taper.compilation.lowering.operations import Call, Map, Operation, Product
from taper.compilation.lowering.values import Value, View

__all__ = ["with_late_copies"]

_SMALLEST = 1 << 16  # bytes that are worth it
_FAR = 24  # operations between two readers that make the second one late
_DEAREST = 24  # operations that are done again for an element
_DEEPEST = 128  # terms of the sums of a product that is done again
_SHARE = 10  # of all multiplications, at most one in so many is done again

Readers = dict[Value, list[Operation]]


def with_late_copies(operations: list[Operation], wanted: set[Value]) -> list[Operation]:
    """The operations, with copies of some maps before late products that read them, and copies of
    some products before all who read them late."""
    return _with_late_products(_with_late_maps(operations, wanted), wanted)


def _reading(operations: list[Operation]) -> tuple[dict[Value, int], Readers]:
    """When values are read last, and who reads them."""
    last: dict[Value, int] = {}
    readers: Readers = {}
    for operation in operations:
        for view in operation.views:
            last[view.value] = operation.number
            readers.setdefault(view.value, []).append(operation)
    return last, readers


def _numbered(operations: list[Operation]) -> list[Operation]:
    for number, operation in enumerate(operations):
        operation.number = number
    return operations


# -- maps ------------------------------------------------------------------------------------------


def _with_late_maps(operations: list[Operation], wanted: set[Value]) -> list[Operation]:
    last, readers = _reading(operations)
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
        chain = _chain([operation], late[0].number, last)
        if chain is None:
            continue
        copies = list(_copied(chain).values())
        first = _last_maker(late[0], value) if len(late) == 1 else None
        if first is None or first.number < operation.number or late[0] in moved:
            before.setdefault(late[0], []).extend(copies)
        else:
            # At once when that can be: the copy shall be gone before much else is computed.
            behind.setdefault(first, []).extend([*copies, late[0]])
            moved.add(late[0])
        _redirect(late, value, copies[-1].out)
        last[value] = operation.number
    found: list[Operation] = []
    for operation in operations:
        if operation not in moved:
            found += [*before.get(operation, []), operation]
        found += behind.get(operation, [])
    return _numbered(found)


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


# -- products --------------------------------------------------------------------------------------


def _with_late_products(operations: list[Operation], wanted: set[Value]) -> list[Operation]:
    last, readers = _reading(operations)
    budget = sum(_multiplications(o) for o in operations if isinstance(o, Product)) // _SHARE
    candidates: list[tuple[Product, list[Map], int]] = []
    for operation in operations:
        if isinstance(operation, Product) and operation.out.bytes >= _SMALLEST and (
                operation.views[0].shape[-1] <= _DEEPEST):
            maps, late = _before_gap(operation, readers)
            if late is not None and not wanted & {operation.out, *[o.out for o in maps]}:
                candidates.append((operation, maps, late))
    before: dict[int, list[Operation]] = {}
    # Of equal sizes, who is read last has waited longest, and so when memory is scarcest, too.
    for product, maps, late in sorted(candidates, key=lambda c: (-c[0].out.bytes, -c[2])):
        chain = _chain_of_product(product, maps, late, last)
        if chain is None or _multiplications(product) > budget:
            continue
        budget -= _multiplications(product)
        copies = _copied(chain)
        before.setdefault(late, []).extend(copies.values())
        for old, copy in copies.items():
            _redirect([r for r in readers[old.out] if r.number >= late], old.out, copy.out)
    return _numbered([o for operation in operations for o in (
        *before.get(operation.number, ()), operation)])


def _before_gap(product: Product, readers: Readers) -> tuple[list[Map], int | None]:
    """The maps that are computed from a product before a long time in which nobody reads it or one
    of them; and when it is over."""
    maps: list[Map] = []
    waiting = {o.number: o for o in readers.get(product.out, [])}
    at = product.number
    while waiting:
        number = min(waiting)
        if number - at > _FAR:
            return maps, number if at > product.number else None
        at = number
        reader = waiting.pop(number)
        if isinstance(reader, Map):
            maps.append(reader)
            waiting.update({o.number: o for o in readers.get(reader.out, [])})
    return maps, None


def _chain_of_product(
    product: Product, maps: list[Map], late: int, last: dict[Value, int]
) -> list[Operation] | None:
    """What has to be done again so that a product needn't wait: what it is computed from, and what
    is computed from it and read late."""
    made = {o.out for o in maps}
    read_late = [o for o in maps if last.get(o.out, 0) >= late]
    behind = _chain(read_late, late, last, {product.out}, made)
    ahead: list[Map] | None = []
    for view in product.views:
        if not _is_there(view.value, late, last, product.out):
            maker = view.value.maker
            some = _chain([maker], late, last) if isinstance(maker, Map) else None
            ahead = None if some is None or ahead is None else [*ahead, *some]
    if ahead is None or behind is None:
        return None
    return sorted({*ahead, product, *behind}, key=lambda o: o.number)


def _multiplications(product: Operation) -> int:
    return prod(product.out.shape) * product.views[0].shape[-1]


# -- copies ----------------------------------------------------------------------------------------


def _chain(
    maps: list[Map], late: int, last: dict[Value, int], there: Collection[Value] = (),
    gone: Collection[Value] = (),
) -> list[Map] | None:
    """What is to be done again to have the results of maps late, in order: down to values that are
    there until then anyway.

    Args:
        there: other values that are.     gone: values that aren't, though they are read late.
    """
    chain: list[Map] = []
    waiting = list(maps)
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
            if value in there or (value not in gone and _is_there(value, late, last, current.out)):
                continue
            if not isinstance(value.maker, Map):
                return None
            waiting.append(value.maker)
    return sorted(chain, key=lambda o: o.number)


def _is_there(value: Value, late: int, last: dict[Value, int], made: Value) -> bool:
    """Whether a value needn't be computed again for another one that is: it is there until then, or
    so small that it may stay."""
    if value.input is not None or value.constant is not None or last[value] >= late:
        return True
    return value.size * 16 <= made.size and not isinstance(value.maker, Call)


def _copied(chain: Iterable[Operation]) -> dict[Operation, Operation]:
    """Operations of their own for a chain."""
    copies: dict[Operation, Operation] = {}
    for operation in chain:
        out = operation.out
        value = Value(f"{out}'", out.shape, out.dtype)
        views = list(operation.views)
        for old, new in copies.items():
            views = [_moved(view, old.out, new.out) for view in views]
        own: Operation
        if isinstance(operation, Map):
            own = Map(operation.label, operation.definition, views, value)
        else:
            own = Product(operation.label, views, [value])
        own.node = operation.node
        copies[operation] = own
    return copies


def _redirect(readers: list[Operation], old: Value, new: Value) -> None:
    for reader in readers:
        reader.views = [_moved(view, old, new) for view in reader.views]


def _moved(view: View, old: Value, new: Value) -> View:
    return View(new, view.offset, view.shape, view.strides) if view.value is old else view
