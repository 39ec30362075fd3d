"""Guards at the speed of memory: which words of which objects tell that nothing has changed.

Every dict of CPython up to 3.12 counts its changes, every slot and cell is one pointer. So what a
program depends on comes down to some hundreds of machine words, that a few instructions of machine
code compare. A word that differs says only "look": then the watch that it belongs to compares what
its holder holds, as it would have done for all of them without this.

All objects whose memory is read are held by the guard, and their words are read in order: those of
a list only after its header has been found unchanged.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from array import array as words_array
from collections import OrderedDict
from functools import cache
from types import MappingProxyType
from typing import Any

from taper.compilation.parts import AbcWatch, PartsWatch
from taper.compilation.watches import (
    CellWatch,
    DictWatch,
    ListWatch,
    NamesWatch,
    WantedWatch,
    Watch,
)
from taper.compiler import background
from taper.core.storage import HEADER_WORDS, memory_words
from taper.core.tensor import Parameter, Tensor

__all__ = ["WordTable", "first_difference", "places_of", "slot_places"]

_NAME = "taper_first_difference"
_TEXT = f"""
define i64 @{_NAME}(i64 %table, i64 %start, i64 %end) {{
entry:
  %words = inttoptr i64 %table to ptr
  br label %check
check:
  %i = phi i64 [ %start, %entry ], [ %next, %same ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %look, label %none
look:
  %at = shl i64 %i, 1
  %place = getelementptr i64, ptr %words, i64 %at
  %address = load i64, ptr %place
  %beside = or i64 %at, 1
  %other = getelementptr i64, ptr %words, i64 %beside
  %expected = load i64, ptr %other
  %pointer = inttoptr i64 %address to ptr
  %found = load i64, ptr %pointer
  %is_same = icmp eq i64 %found, %expected
  br i1 %is_same, label %same, label %differs
same:
  %next = add i64 %i, 1
  br label %check
differs:
  ret i64 %i
none:
  ret i64 -1
}}
"""


@cache
def _counts_changes() -> bool:
    """Whether dicts tell by a word that they were changed."""
    if memory_words is None or not (3, 11) <= sys.version_info < (3, 13):
        return False

    class Probe:
        pass

    probe = Probe()
    probe.x = 1  # type: ignore[attr-defined]
    holders: tuple[dict[str, Any], ...] = vars(probe), {"x": 1}
    for holder in holders:
        place = id(holder) + 8 * (HEADER_WORDS + 1)
        seen = {read(place)}
        for change in ("set", "set", "add", "delete"):
            if change == "set" and holder is not vars(probe):
                holder["x"] = object()
            elif change == "set":
                for _ in range(20):  # until the interpreter has specialized it
                    probe.x = object()  # type: ignore[attr-defined]
            elif change == "add":
                holder["y"] = 2
            else:
                del holder["y"]
            seen.add(read(place))
        if len(seen) != 5:
            return False
    return True


def read(address: int) -> int:
    """The word at an address."""
    assert memory_words is not None
    word: int = memory_words[address >> 3]
    return word


_code: list[Any] = []


def first_difference() -> Any:
    """A function ``(table, start, end)``: which pair's word differs first, or -1. None if there is
    none here, or not yet."""
    if not _code:
        if not _counts_changes():
            return None
        address = background.request(("taper.compilation", _NAME), lambda: (_TEXT, _NAME),
                                     exact=True)
        if address is None:
            return None
        _code.append(ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 3)(address))
    return _code[0]


@cache
def slot_places(cls: type) -> dict[str, int] | None:
    """Where the slots of a class of tensors lie, from the start of an object, in bytes."""
    names = ("_array", "_edge", "_grad")
    probe: Any = object.__new__(cls)
    for name in ("_storage", "_base"):
        setattr(probe, name, None)
    found = {}
    for name in names:
        marker = object()
        setattr(probe, name, marker)
        places = [p for p in range(16, cls.__basicsize__, 8) if read(id(probe) + p) == id(marker)]
        if len(places) != 1:
            return None
        found[name] = places[0]
        setattr(probe, name, None)
    return found


def places_of(watch: Watch, held: list[Any]) -> list[int] | None:
    """The addresses of the words that change whenever what is watched does; None if there are none.

    What has to stay alive for them is added to `held`.
    """
    holder = watch.holder
    kind = type(holder)  # the object itself isn't asked, which may run code of its class
    if kind is MappingProxyType:  # of a class
        (holder,) = [o for o in gc.get_referents(holder) if type(o) is dict] or (None,)
    if isinstance(watch, (DictWatch, NamesWatch, WantedWatch)):
        if not issubclass(type(holder), dict):
            return None
        if isinstance(watch, DictWatch) and issubclass(kind, OrderedDict) and dict.__len__(
            holder
        ) > 1:
            return None  # its order is kept elsewhere, and no count of changes tells of it
        held.append(holder)
        return [id(holder) + 8 * (HEADER_WORDS + 1)]
    if isinstance(watch, ListWatch):
        if not issubclass(kind, list):
            return None
        start = id(holder) + 8 * HEADER_WORDS  # its size, then the address of its items
        items = read(start + 8)
        return [start, start + 8, *range(items, items + 8 * list.__len__(holder), 8)]
    if isinstance(watch, CellWatch):
        return [id(holder) + 8 * HEADER_WORDS]
    if isinstance(watch, (PartsWatch, AbcWatch)):
        return watch.places()
    return None


def places_of_tensor(t: Any, held: list[Any]) -> list[int] | None:
    """The same for a tensor's array, history and gradient, and whether it has attributes."""
    kind: type = type(t)
    places = slot_places(kind) if kind in (Tensor, Parameter) else None
    if places is None:
        return None
    attributes, array = t.__dict__, t._array
    held += [attributes, array]
    return [*[id(t) + p for p in places.values()], id(attributes) + 8 * (HEADER_WORDS + 1),
            id(array) + 8 * HEADER_WORDS]


class WordTable:
    """Words and what they are, with the one to ask where they differ."""

    def __init__(self) -> None:
        self.pairs = words_array("q")
        self.owners: list[Any] = []
        self.first: dict[int, int] = {}  # by id of an owner, its first pair
        self.address = 0

    def add(self, owner: Any, places: list[int]) -> None:
        """Adds words, as they are now."""
        self.first[id(owner)] = len(self.owners)
        for place in places:
            self.pairs.extend((place, _signed(read(place))))
            self.owners.append(owner)

    def finish(self) -> None:
        self.address = self.pairs.buffer_info()[0]

    def refresh(self, owner: Any) -> None:
        """Takes the words of an owner as they are now; those of a list may lie elsewhere."""
        i = self.first[id(owner)]
        while i < len(self.owners) and self.owners[i] is owner:
            self.pairs[2 * i + 1] = _signed(read(self.pairs[2 * i]))
            i += 1


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
