"""One way that calls of a function go: what has to hold for it, and the program that runs then."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from taper.compilation.call_checks import always, attempt_function, number_name
from taper.compilation.call_source import run_function
from taper.compilation.programs import Program
from taper.compilation.recorded import Known, Recorded, first_overlap
from taper.compilation.recording import take_state
from taper.compilation.snapshot import Snapshot
from taper.compilation.watches import GroupWatch, ListWatch, Watch
from taper.compilation.words import WordTable, first_difference, places_of, places_of_tensor
from taper.core.storage import address_of, span_in_bytes
from taper.core.tensor import LEAF, Tensor

__all__ = ["EagerVariant", "Variant"]


class TensorWatch:
    """A tensor of the state: its array, its history, whether it has a gradient and attributes."""

    __slots__ = ("array", "edge", "grad", "has_attributes", "is_read", "tensor")

    def __init__(self, tensor: Tensor, is_read: bool) -> None:
        self.tensor = tensor
        self.array = tensor._array
        self.edge = tensor._edge
        grad = tensor._grad  # another one at each call, so it isn't kept
        self.grad = None if grad is None else _layout(grad._array)
        self.is_read = is_read  # whether the program reads the gradient
        self.has_attributes = bool(tensor.__dict__)

    def holds(self) -> bool:
        """Whether the tensor is as it was."""
        t = self.tensor
        if t._array is not self.array or bool(t.__dict__) is not self.has_attributes:
            return False
        edge = t._edge
        if edge is not self.edge and (
            edge is None or edge is LEAF or self.edge is None or self.edge is LEAF
        ):
            return False
        grad = t._grad
        if grad is None or self.grad is None:
            return grad is None and self.grad is None
        if not self.is_read:
            return True
        array = grad._array
        return (type(grad) is Tensor and type(array) is np.ndarray and grad._edge is None
                and _layout(array) == self.grad)


def _layout(array: Any) -> Any:
    return array.shape, array.dtype, array.strides


class StateGuard:
    """Whether Python's state and the tensors in it are those of a snapshot."""

    def __init__(self, snapshot: Snapshot, read: frozenset[int] = frozenset()) -> None:
        self.numbers_changed: Callable[[], None] = _nothing
        self.attempt: Any = None  # the function whose scope has what native guards need
        self.bind(snapshot, read)

    def bind(self, snapshot: Snapshot, read: frozenset[int] = frozenset()) -> None:
        """Takes an equal snapshot in the place of the one before.

        Args:
            read: ids of the tensors whose gradients are read.
        """
        self.snapshot = snapshot
        self.watches: list[Watch] = [w for w in snapshot.watches if not w.in_arguments]
        self.tensors = [
            TensorWatch(found.tensor, id(found.tensor) in read) for found in snapshot.tensors
        ]
        self.table: WordTable | None = None
        self.slow: list[Any] = []

    def holds(self) -> bool:
        """Whether everything is as it was."""
        if self.table is not None:
            found = self.holds_by_words()
            if found is not None:
                return found
        for watch in self.watches:
            if not watch.holds() and not watch.holds_but_for_numbers():
                return False
        if not all([watch.holds() for watch in self.tensors]):
            return False
        self.numbers_changed()
        self.write_table()
        return True

    def holds_by_words(self) -> bool | None:
        """The same by comparing words first; None if their table has to be written anew."""
        native, table = first_difference(), self.table
        assert table is not None
        end = len(table.owners)
        i = native(table.address, 0, end)
        while i >= 0:
            watch = table.owners[i]
            if not watch.holds() and not (
                type(watch) is GroupWatch and watch.holds_but_for_numbers()
            ):
                return False
            if type(watch) is ListWatch:
                self.table = None
                return None
            if type(watch) is GroupWatch:
                self.numbers_changed()
            table.refresh(watch)
            i = native(table.address, i + 1, end)
        return all([watch.holds() for watch in self.slow])

    def write_table(self) -> None:
        """Writes down the words that tell of changes, where machine code can compare them."""
        if first_difference() is None:
            return
        table = WordTable()
        self.slow = []
        self.kept: list[Any] = []
        for watch in self.watches:
            places = places_of(watch, self.kept)
            if places is None:
                self.slow.append(watch)
            else:
                table.add(watch, places)
        for item in self.tensors:
            places = places_of_tensor(item.tensor, self.kept)
            if places is None or item.is_read:
                self.slow.append(item)
            if places is not None:
                table.add(item, places)
        table.finish()
        self.table = table
        if self.attempt is not None:
            scope = self.attempt.__globals__
            if not self.slow:
                scope["differs"] = first_difference()
            scope["table"], scope["count"] = table.address, len(table.owners)


def _nothing() -> None:
    pass


def _not_yet(tensors: list[Tensor]) -> Any:
    raise AssertionError("the program isn't bound")


class EagerVariant:
    """Calls that run as they are, and why.

    Attributes:
        returns: how often calls came back to it after others.
    """

    returns = 0

    def __init__(
        self, key: Any, snapshot: Snapshot, args: Any, kwargs: Any, lock: Any,
    ) -> None:
        self.key = key
        self.state = StateGuard(snapshot)
        self.attempt = self.state.attempt = attempt_function(
            args, kwargs, key[0], lock, self.state.holds, snapshot
        )

    def rebind(self, snapshot: Snapshot) -> bool:
        """Takes another state that is equal by value."""
        self.state.bind(snapshot)
        return True


class Variant(EagerVariant):
    """Calls that run as a program.

    Args:
        programs: of the call, and of the backwards of its results.
    """

    def __init__(
        self, key: Any, snapshot: Snapshot, args: Any, kwargs: Any, lock: Any, recorded: Recorded,
        programs: list[Program],
    ) -> None:
        self.key = key
        self.recorded = recorded
        self.program, *others = programs
        for backward, program in zip(recorded.backwards, others, strict=True):
            backward.program = program
        self.state = StateGuard(snapshot, self.read_gradients())
        self.state.numbers_changed = self.take_numbers
        self.attempt = self.state.attempt = attempt_function(
            args, kwargs, key[0], lock, self.state.holds, snapshot, _not_yet,
            Apart.of(recorded.known),
        )
        self.bind()

    def read_gradients(self) -> frozenset[int]:
        """The ids of tensors whose gradients the program reads."""
        known = self.recorded.known
        return frozenset([
            id(known[k.place].tensor) for k in known if k.role == "gradient" and k.input >= 0
        ])

    def rebind(self, snapshot: Snapshot) -> bool:
        """Takes another state that is equal by value; tells whether the program fits it."""
        if not take_state(self.recorded, snapshot):
            return False
        self.state.bind(snapshot, self.read_gradients())
        self.bind()
        return True

    def bind(self) -> None:
        """Finds the arrays of the state, and writes the function around the program."""
        recorded = self.recorded
        static: list[Any] = [None] * len(recorded.graph.inputs)
        for item in recorded.known:
            if item.input >= 0 and item.role == "state":
                static[item.input] = item.array
        self.numbers = []
        for number in recorded.numbers:
            if number.place >= 0:
                array = static[number.place] = np.array(number.value(), np.float64)
                self.numbers.append((number, array))
        self.program.expect(static)
        self.run = run_function(recorded, self.program, static)
        if self.attempt is not None:
            scope = self.attempt.__globals__
            scope.update(run=self.run, apart=Apart.of(recorded.known), differs=always)
            scope.update({number_name(n.name): array for n, array in self.numbers
                          if n.is_passed})
        for item in recorded.known:
            item.release()

    def take_numbers(self) -> None:
        """Hands the program the numbers that there are now."""
        for number, array in self.numbers:
            array[()] = number.value()


class Apart:
    """Whether the memory of arguments, and of their gradients that are read, lies apart from what a
    program writes to."""

    def __init__(self, known: list[Known]) -> None:
        self.spans = _Spans([k.array for k in known if k.role == "state" and k.written])
        self.all = _Spans([k.array for k in known if k.role == "state"])
        gradients = [(k, known[k.place]) for k in known if k.role == "gradient"]
        self.owners = [owner for k, owner in gradients if k.written and owner.role == "state"]
        read = [(k, owner) for k, owner in gradients if k.input >= 0 and owner.role == "argument"]
        self.with_gradients = [owner.place for _, owner in read]
        self.written = [k.written for k in known if k.role == "argument"]
        self.written += [k.written for k, _ in read]
        self.writes_arguments = any(self.written)

    @classmethod
    def of(cls, known: list[Known]) -> Apart | None:
        """None if nothing is written to."""
        return cls(known) if any(k.written for k in known) else None

    def __call__(self, tensors: tuple[Tensor, ...]) -> bool:
        arrays = [t._array for t in tensors]
        arrays += [tensors[i]._grad._array for i in self.with_gradients]  # type: ignore[union-attr]
        spans = [(address_of(a), span_in_bytes(a)) for a in arrays]
        if self.owners:
            now = [k.tensor._grad for k in self.owners]
            gradients = _Spans([grad._array for grad in now if grad is not None])
            if gradients.overlap() or any([gradients.meet(*span) for span in spans]):
                return False
        if any([self.spans.meet(*span) for span in spans]):
            return False
        if not self.writes_arguments:
            return True
        for array, span, is_written in zip(arrays, spans, self.written, strict=True):
            if is_written and (not array.flags.writeable or self.all.meet(*span)):
                return False
        return first_overlap(arrays, self.written) is None


class _Spans:
    """Pieces of memory."""

    def __init__(self, arrays: list[Any]) -> None:
        spans = sorted((address_of(a), address_of(a) + span_in_bytes(a)) for a in arrays)
        self.starts = [start for start, _ in spans]
        self.reach = list(accumulate([end for _, end in spans], max))

    def overlap(self) -> bool:
        """Whether two of them share a byte."""
        return any([start < end for start, end in zip(
            self.starts[1:], self.reach[:-1], strict=True)])

    def meet(self, start: int, size: int) -> bool:
        """Whether one of them shares a byte with this one."""
        i = bisect_left(self.starts, start + size)
        return i > 0 and self.reach[i - 1] > start
