"""Results that take the place of an operand: the operand isn't needed any more, and each element is
read where it is written, in a single walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taper.compilation.lowering.groups import FULL
from taper.compilation.lowering.launches import Launch
from taper.compilation.lowering.loops import Loops
from taper.compilation.lowering.values import Value

__all__ = ["with_places_of_operands"]

Life = tuple[int, int, int]  # bytes, first use, last use


def with_places_of_operands(
    launches: Sequence[Sequence[Launch]], lives: Mapping[Value, Life]
) -> tuple[dict[Value, Life], dict[Value, Value]]:
    """The lives of memory that results share with operands, and who lies in whose memory.

    Args:
        launches: for each unit in order.      lives: of the values in the arena.
    """
    merged = dict(lives)
    home: dict[Value, Value] = {}
    for index, some in enumerate(launches):
        for launch in some:
            loops = launch.source
            if isinstance(loops, Loops) and loops.body.is_one_walk:
                for result, operand in _pairs(loops, lives, index):
                    root = home.get(operand, operand)
                    home[result] = root
                    size, first, last = merged[root]
                    merged[root] = size, first, max(last, lives[result][2])
                    del merged[result]
    return merged, home


def _pairs(loops: Loops, lives: Mapping[Value, Life], index: int) -> list[tuple[Value, Value]]:
    """Results of a kernel, each with an operand whose memory it can have."""
    operands = loops.accesses[: loops.inputs]
    free = [
        value for value in dict.fromkeys(a.value for a in operands)
        if value in lives and lives[value][2] == index]
    pairs: list[tuple[Value, Value]] = []
    for result in loops.accesses[loops.inputs :]:
        value = result.value
        if value not in lives or lives[value][1] != index or result.level != FULL:
            continue
        if any([known is value for known, _ in pairs]):  # another part of what is joined
            continue
        for operand in free:
            if operand.size == value.size and operand.bytes == value.bytes and all(
                a.strides == result.strides and a.offset == result.offset
                for a in operands if a.value is operand
            ):
                pairs.append((value, operand))
                free.remove(operand)
                break
    return pairs
