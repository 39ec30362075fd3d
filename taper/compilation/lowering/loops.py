"""The kernel of a group: its expression, the shape of its loops, and its argument block.

Dimensions that all operands walk alike are one. Then the loops are one of

    flat     one line: everything lies side by side, or is one number
    rows     the walk goes along memory, lanes side by side within it
    lanes    the walk goes across: lanes are columns, or short rows side by side
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from taper.arrays.element import kind_of
from taper.compilation.lowering.definitions import Definition
from taper.compilation.lowering.groups import (
    FULL,
    Group,
    is_inside,
    reading_level,
    strides_at,
)
from taper.compilation.lowering.launches import Address, Launch
from taper.compilation.lowering.operations import Map, Operation
from taper.compilation.lowering.values import Value, View
from taper.compiler import machine
from taper.compiler.expression import ELEMENT, ROW, Expression, Node
from taper.compiler.lane_kernels import lane_kernel
from taper.compiler.math_library import lowered
from taper.compiler.passes import Operand, passes_of
from taper.compiler.row_kernels import flat_kernel, row_kernel
from taper.compiler.vector_code import largest_size

__all__ = ["Access", "Loops", "loops_of"]

Ints = tuple[int, ...]

_GRAIN = 16384  # elements that are worth a thread of their own
_SHORT, _SHORT_APART = 12, 32  # rows up to this length are walked side by side
_NARROW = 128  # rows up to this length are walked downward, lanes across
_STEPS = 64  # rows of a task at least
_HEAVY_GRAIN = 4096  # of expressions with functions such as exp
_HEAVY = 40  # operations


class Access(NamedTuple):
    """An operand of a kernel: where it begins, and its strides in elements over all dimensions."""

    value: Value
    offset: int
    strides: Ints
    level: int = FULL


class Number(NamedTuple):
    """A number in an expression. Its text tells the zeros apart."""

    value: Any
    kind: str
    text: str


Source = int | tuple[int] | Number  # of an operand: a step before, (an operand of the kernel,)
Step = tuple[Definition | str, tuple[Source, ...]]  # what is computed; a reduction has a name


class Body:
    """The expression of a kernel, with its text, and whether one walk over memory is enough."""

    __slots__ = ("expression", "is_one_walk", "text")

    def __init__(self, expression: Expression) -> None:
        self.expression = expression
        self.text = str(expression)
        self.is_one_walk = len(passes_of(expression)) <= 1


@lru_cache(maxsize=1024)
def body_of(
    steps: tuple[Step, ...], operands: tuple[tuple[str, int], ...],
    results: tuple[tuple[int, bool], ...],
) -> Body:
    """What these steps compute. Groups that compute the same share it, within a program and among
    programs: those of layers that are alike, of parameters, of other sizes.

    Args:
        operands: type and level of each operand.
        results: steps that are stored, and whether at each element.
    """
    e = Expression()
    made: list[Node] = []
    for what, sources in steps:
        nodes = []
        for source in sources:
            if type(source) is int:
                nodes.append(made[source])
            elif isinstance(source, Number):
                nodes.append(e.constant(source.value, source.kind))
            else:
                index = source[0]  # type: ignore[index]
                nodes.append(e.input(index, *operands[index]))
        made.append(what.write(e, nodes) if isinstance(what, Definition)
                    else e.reduce(what, nodes[0]))
    e.results += [e.spread(made[at]) if is_spread else made[at] for at, is_spread in results]
    return Body(e.without_dead_code())


class Loops:
    """A kernel that computes a group."""

    __slots__ = ("accesses", "body", "count", "form", "grain", "inputs", "labels", "layouts",
                 "outer", "tile", "words")

    form: str
    body: Body
    accesses: list[Access]  # the operands, then the results
    layouts: list[Operand]
    inputs: int  # how many of them are operands
    outer: int  # how many dimensions there are beside the loops
    tile: int  # lanes of a unit
    words: list[int]  # of the argument block, behind the addresses
    count: int
    grain: int
    labels: str

    @property
    def expression(self) -> Expression:
        return self.body.expression

    def launch(self) -> Launch:
        """Its launch."""
        key = ("fused", self.form, self.outer, self.tile, self.body.text,
               tuple(self.layouts))
        moved = sum(a.value.bytes for a in self.accesses)
        results = ", ".join(str(a.value) for a in self.accesses[self.inputs :])
        text = f"{self.form} {results}: {self.labels} ({moved} bytes at most)"
        words: list[int | Address] = [Address(a.value, a.offset) for a in self.accesses]
        words += self.words
        return Launch(key, self.build, words, self.count, self.grain, text, self)

    def build(self) -> tuple[str, str]:
        """The text of its module, and the name of its function."""
        width = machine.vector_bytes()
        e = lowered(self.expression, width)
        if self.form == "flat":
            return flat_kernel("fused_flat", width, e, self.layouts), "fused_flat"
        if self.form == "rows":
            return row_kernel("fused_rows", width, e, self.layouts, self.outer), "fused_rows"
        return lane_kernel(
            "fused_lanes", width, e, self.layouts, self.outer, self.tile), "fused_lanes"


def loops_of(group: Group, place_of: Callable[[Value], View]) -> Launch:
    """The kernel of a group. `place_of` tells where a value that is stored goes."""
    return _Writer(group, place_of).run().launch()


class _Writer:
    def __init__(self, group: Group, place_of: Callable[[Value], View]) -> None:
        self.group = group
        self.place_of = place_of
        self.operations = group.operations
        self.loads: dict[tuple[Any, ...], int] = {}
        self.accesses: list[Access] = []

    def run(self) -> Loops:
        self.numbers = {operation: i for i, operation in enumerate(self.operations)}
        self.steps = tuple([
            (o.definition if isinstance(o, Map) else o.op,  # type: ignore[attr-defined]
             tuple([self._source_of(view, o) for view in o.views]))
            for o in self.operations])
        inputs = len(self.accesses)
        stored = [o for o in self.operations if o.out in self.group.stored]
        for o in stored:
            place = self.place_of(o.out)
            level = self.group.levels[o]
            across = strides_at(View(place.value, place.offset, o.out.shape, place.strides),
                                self.group.dims, level)
            self.accesses.append(Access(place.value, place.offset, across, level))
        sections, strides = self._merged()
        found = Loops()
        found.accesses, found.inputs = self.accesses, inputs
        found.labels = " ".join([o.label for o in self.operations])
        kinds = [kind_of(a.value.dtype) for a in self.accesses]
        self._shape(found, sections, strides, kinds, stored)
        return found

    def _source_of(self, view: View, reader: Operation) -> Source:
        """Where an operand comes from; equal loads are one."""
        number = _number_of(view)
        levels, maker = self.group.levels, view.value.maker
        own = levels.get(maker)
        at = reading_level(reader, levels[reader])
        if own is not None and is_inside(view, self.group.dims, at, own):
            return self.numbers[maker]
        if number is not None:
            return Number(number, kind_of(view.dtype), str(number))
        strides = strides_at(view, self.group.dims, at)
        key = view.value, view.offset, strides
        if key not in self.loads:
            self.loads[key] = len(self.accesses)
            self.accesses.append(Access(view.value, view.offset, strides, at))
        return (self.loads[key],)

    def _merged(self) -> tuple[list[list[int]], list[list[int]]]:
        """The sizes of (outer, reduced, inner) with as few dimensions as all operands allow, and
        the operands' strides over them."""
        sections: list[list[int]] = []
        strides: list[list[int]] = [[] for _ in self.accesses]
        place = 0
        for dims in self.group.dims:
            sizes: list[int] = []
            for n in dims:
                if sizes and all(s[-1] == a.strides[place] * n
                                 for s, a in zip(strides, self.accesses, strict=True)):
                    sizes[-1] *= n
                    for s, a in zip(strides, self.accesses, strict=True):
                        s[-1] = a.strides[place]
                else:
                    sizes.append(n)
                    for s, a in zip(strides, self.accesses, strict=True):
                        s.append(a.strides[place])
                place += 1
            sections.append(sizes)
        assert len(sections[1]) <= 1, "a reduction over several dimensions"
        return sections, strides

    def _shape(
        self, found: Loops, sections: list[list[int]], strides: list[list[int]],
        kinds: list[str], stored: list[Operation],
    ) -> None:
        outer, reduced, inner = sections
        sizes = [*outer, *reduced, *inner]
        items = [a.value.dtype.itemsize for a in self.accesses]
        is_heavy = sum(getattr(o, "cost", 1) for o in self.operations) > _HEAVY
        grain = _HEAVY_GRAIN if is_heavy else _GRAIN
        if not self.group.is_reduced:
            if len(sizes) <= 1 and all(s in ([], [0], [1]) for s in strides):
                found.form, found.words, found.outer, found.tile = "flat", [], 0, 0
                found.count, found.grain = prod(sizes), grain
                self._finish(found, [s[0] if s else 0 for s in strides], kinds, stored,
                             prod(sizes) == 1)
                found.layouts = [_layout(kind, s[0] if s else 0)
                                 for kind, s in zip(kinds, strides, strict=True)]
                return
            walk, lane = self._directions(sizes, strides)
            if walk == lane == len(sizes) - 1 and 8 <= sizes[-1] <= _NARROW and len(sizes) > 1 and (
                    sizes[-2] >= _STEPS):
                walk = len(sizes) - 2
                part = self._part_of(sizes[walk])
                if part != sizes[walk]:  # tasks of some rows each
                    sizes[walk : walk + 1] = [sizes[walk] // part, part]
                    for s in strides:
                        s[walk : walk + 1] = [s[walk] * part, s[walk]]
                    walk, lane = walk + 1, lane + 1
        elif inner:
            walk, lane = len(outer), len(sizes) - 1
        elif outer and sizes[-1] <= self._shortest(strides) and sizes[len(outer) - 1] >= 8:
            walk, lane = len(outer), len(outer) - 1
        else:
            walk, lane = (len(sizes) - 1,) * 2
        rest = [d for d in range(len(sizes)) if d not in (walk, lane)]
        found.outer = len(rest)
        outer_sizes = [sizes[d] for d in rest]
        along = [s[walk] for s in strides]
        self._finish(found, along, kinds, stored, False)
        if walk == lane:
            found.form, found.tile = "rows", 0
            found.layouts = [_layout(k, s) for k, s in zip(kinds, along, strict=True)]
            found.words = [sizes[walk], *outer_sizes]
            for s, item in zip(strides, items, strict=True):
                found.words += [*[s[d] * item for d in rest], s[walk] * item]
            found.count = prod(outer_sizes)
            found.grain = max(1, grain // sizes[walk])
        else:
            found.form = "lanes"
            found.layouts = [_layout(k, s[lane]) for k, s in zip(kinds, strides, strict=True)]
            narrow = max(1, machine.vector_bytes() // largest_size(found.expression))
            most = 4 if not is_heavy else 2
            found.tile = narrow * min(most, -(-sizes[lane] // narrow))
            if found.tile not in (narrow, 2 * narrow, 4 * narrow):
                found.tile = 2 * narrow
            found.words = [sizes[walk], sizes[lane], *outer_sizes]
            for s, item in zip(strides, items, strict=True):
                found.words += [*[s[d] * item for d in rest], s[walk] * item, s[lane] * item]
            found.count = prod(outer_sizes) * -(-sizes[lane] // found.tile)
            found.grain = max(1, grain // (sizes[walk] * found.tile))

    def _part_of(self, rows: int) -> int:
        """How many rows a task walks: a divisor."""
        return next((rows // p for p in range(rows // _STEPS, 1, -1) if rows % p == 0), rows)

    def _shortest(self, strides: list[list[int]]) -> int:
        """The length from which on rows are walked along memory, not side by side."""
        along = sum(s[-1] == 1 for s in strides)
        return _SHORT if along else _SHORT_APART

    def _directions(self, sizes: list[int], strides: list[list[int]]) -> tuple[int, int]:
        """Which dimension of a pointwise kernel is walked, and which has its lanes: that with the
        most neighbours in memory."""
        def gain(d: int) -> float:
            near = sum(s[d] in (0, 1) for s in strides)
            return near * min(1.0, sizes[d] / 16)

        last = len(sizes) - 1
        lane = max(range(len(sizes)), key=lambda d: (gain(d), d))
        if lane == last:
            return last, last
        walk = max((d for d in range(len(sizes)) if d != lane), key=lambda d: sizes[d])
        return walk, lane

    # -- the expression ------------------------------------------------------------------------

    def _finish(
        self, found: Loops, along: list[int], kinds: list[str], stored: list[Operation],
        is_single: bool,
    ) -> None:
        """Finds the expression, for a walk on which the operands have these strides."""
        operands = tuple([(kind, ELEMENT if stride else ROW) for kind, stride in zip(
            kinds[: found.inputs], along, strict=False)])
        results = tuple([
            (self.numbers[o], self.group.levels[o] == FULL and not is_single) for o in stored])
        found.body = body_of(self.steps, operands, results)


def _number_of(view: View) -> Any:
    """The number that a view of a constant shows everywhere; None for others, and for
    sizes."""
    constant = view.value.constant
    if constant is None or view.value.is_size or constant.size != 1 or constant.dtype.itemsize == 2:
        return None
    return constant.reshape(())[()].item()


def _layout(kind: str, stride: int) -> Operand:
    return Operand(kind, "same" if stride == 0 else "contiguous" if stride == 1 else "strided")
