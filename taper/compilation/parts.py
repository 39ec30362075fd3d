"""Parts of objects that lie in their own memory, watched one by one.

An object's class, the dict of its attributes, its slots, a function's code and defaults, a class's
bases and name: each has a descriptor of C that reads and writes it. Only these are asked, so that a
class's own `__getattribute__`, or a property called `__class__`, isn't run by those who look; and
each is one pointer in memory, which machine code can compare (words.py).
"""

from __future__ import annotations

import abc
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from importlib import import_module
from operator import is_
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

from taper.compilation.watches import MISSING, Watch, changed_names
from taper.core.storage import HEADER_WORDS, memory_words

__all__ = [
    "FACTORY", "FUNCTION_PARTS", "AbcWatch", "Parts", "PartsWatch", "attributes_of", "class_parts",
    "has_memory_of_its_own", "is_heap_type", "named_parts", "object_parts", "slots_of",
]

Parts = tuple[Any, ...]  # descriptors

_CLASS = vars(object)["__class__"]
FUNCTION_PARTS: Parts = tuple([vars(FunctionType)[name] for name in (
    "__code__", "__defaults__", "__kwdefaults__", "__dict__", "__name__", "__qualname__")])
CLASS_PARTS: Parts = tuple([vars(type)[name] for name in ("__bases__", "__name__", "__qualname__")])
FACTORY: Parts = (vars(defaultdict)["default_factory"],)
_NAMED = ("__annotations__", "__doc__", "__module__")  # parts of functions that few ask for
_MANAGED_DICT = 1 << 4  # flags of classes
_MANAGED_WEAK_REFERENCES = 1 << 3
_HEAP_TYPE = 1 << 9
_WORD = 8


def object_parts(cls: Any) -> Parts:
    """The class of an instance, and the dict of its attributes if it has one."""
    return _object_parts(cls.__mro__)  # which isn't the same for good


@cache
def _object_parts(bases: tuple[Any, ...]) -> Parts:
    for base in bases:
        found = vars(base).get("__dict__")
        if type(found) in (GetSetDescriptorType, MemberDescriptorType) and base is not type:
            return _CLASS, found
    return (_CLASS,)


def slots_of(cls: Any) -> Parts:
    """The slots of the instances of a class, also those whose names are private."""
    return _slots_of(cls.__mro__)


@cache
def _slots_of(bases: tuple[Any, ...]) -> Parts:
    return tuple([member for base in bases for member in vars(base).values()
                  if type(member) is MemberDescriptorType and member.__name__ != "__dict__"])


@cache
def named_parts(wanted: frozenset[str]) -> Parts:
    """The parts of functions that code names, and that aren't always watched."""
    return tuple([vars(FunctionType)[name] for name in _NAMED if name in wanted])


def class_parts(cls: Any) -> Parts:
    """What a class derives from and is called, if that can change."""
    return CLASS_PARTS if is_heap_type(cls) else ()


def is_heap_type(cls: Any) -> bool:
    """Whether a class was made by a program, and not by C code as the builtin ones."""
    return bool(cls.__flags__ & _HEAP_TYPE)


def attributes_of(value: Any) -> Any:
    """The dict of an object's attributes, whatever its class says that it is; None without one."""
    parts = object_parts(type(value))
    return parts[1].__get__(value) if len(parts) > 1 else None


@cache
def has_memory_of_its_own(cls: Any) -> bool:
    """Whether instances have more memory than those of the class's base, beside slots: what C code
    keeps there can't be compared."""
    own, base = vars(cls), cls.__base__
    if base is None:
        return False
    size = cls.__basicsize__ - base.__basicsize__
    size -= _WORD * len([m for m in own.values() if type(m) is MemberDescriptorType])
    size -= _WORD * ("__dict__" in own and not cls.__flags__ & _MANAGED_DICT)
    size -= _WORD * ("__weakref__" in own and not cls.__flags__ & _MANAGED_WEAK_REFERENCES)
    return size > 0 or cls.__itemsize__ != base.__itemsize__


class PartsWatch(Watch):
    """Some parts of an object."""

    __slots__ = ("parts",)

    def __init__(self, path: Any, holder: Any, parts: Parts) -> None:
        self.parts = parts
        super().__init__(path, holder)

    def read(self) -> tuple[Any, ...]:
        holder = self.holder
        try:
            return tuple([part.__get__(holder) for part in self.parts])
        except (AttributeError, TypeError):
            return tuple([_part(part, holder) for part in self.parts])

    def holds(self) -> bool:
        return all(map(is_, self.read(), self.saved))

    def restore(self) -> None:
        for part, before, now in zip(self.parts, self.saved, self.read(), strict=True):
            if before is MISSING and now is not MISSING:
                part.__delete__(self.holder)
            elif before is not now:
                part.__set__(self.holder, before)

    def change(self) -> str:
        names = [part.__name__ for part in self.parts]
        return changed_names(self.path, dict(zip(names, self.saved, strict=True)),
                             dict(zip(names, self.read(), strict=True)), ".{}")

    def places(self) -> list[int] | None:
        """The addresses of the words where the parts are; None if that isn't known."""
        assert memory_words is not None
        found = []
        for part, value in zip(self.parts, self.saved, strict=True):
            offset = _offset(part, type(self.holder))
            if offset is None:
                return None
            place = id(self.holder) + offset
            if memory_words[place >> 3] not in (
                (0,) if value is MISSING else (0, id(value)) if value is None else (id(value),)
            ):
                return None
            found.append(place)
        return found


def _part(part: Any, holder: Any) -> Any:
    try:
        return part.__get__(holder)
    except (AttributeError, TypeError):  # of a class from which the holder's isn't derived now
        return MISSING


def _offset(part: Any, cls: Any) -> int | None:
    """Where a part lies, from the start of an object."""
    if part is _CLASS:
        return _WORD
    if part.__objclass__ is FunctionType:
        return _offsets_in_functions().get(part.__name__)
    if part.__objclass__ is type:
        return _offsets_in_classes().get(part.__name__)
    if part.__name__ == "__dict__":
        if cls.__flags__ & _MANAGED_DICT:
            return -3 * _WORD
        return cls.__dictoffset__ if cls.__dictoffset__ > 0 else None
    return _offset_of_slot(part) if type(part) is MemberDescriptorType else None


def _found(holder: Any, values: dict[str, Any]) -> dict[str, int]:
    """Where the values of an object lie, those that are found once."""
    assert memory_words is not None
    words = [memory_words[(id(holder) >> 3) + i] for i in range(type(holder).__basicsize__ // 8)]
    return {name: _WORD * words.index(id(value)) for name, value in values.items()
            if words.count(id(value)) == 1}


@cache
def _offsets_in_functions() -> dict[str, int]:
    def probe(x: Any = object(), *, y: Any = object()) -> None:  # noqa: B008
        """A text."""

    probe.__qualname__ = "a name that no other has"
    probe.__module__ = "a module that no other has"
    names = [part.__name__ for part in FUNCTION_PARTS] + [*_NAMED]
    return _found(probe, {name: getattr(probe, name) for name in names})


@cache
def _offsets_in_classes() -> dict[str, int]:
    probe = type("Probe", (), {"__qualname__": "a name that no other has"})
    return _found(probe, {part.__name__: part.__get__(probe) for part in CLASS_PARTS})


def _offset_of_slot(part: Any) -> int | None:
    """Where the slot lies that a descriptor stands for: it points to a PyMemberDef."""
    assert memory_words is not None
    if not _descriptors_tell_offsets():
        return None
    return memory_words[(memory_words[(id(part) >> 3) + HEADER_WORDS + 3] >> 3) + 2]


@cache
def _descriptors_tell_offsets() -> bool:
    class Probe:
        __slots__ = ("x", "y", "z")

    assert memory_words is not None
    probe, slots = Probe(), slots_of(Probe)
    for part in slots:
        part.__set__(probe, object())
    for part in slots:
        # Past the header: the class, the name and the name with the class's.
        if memory_words[(id(part) >> 3) + HEADER_WORDS] != id(Probe):
            return False
        offset = memory_words[(memory_words[(id(part) >> 3) + HEADER_WORDS + 3] >> 3) + 2]
        if not 16 <= offset < Probe.__basicsize__ or (
            memory_words[(id(probe) + offset) >> 3] != id(part.__get__(probe))
        ):
            return False
    return True


class AbcWatch(Watch):
    """How often classes were registered as those of an abstract class, of all that there are: what
    `isinstance` says depends on it."""

    __slots__ = ()

    def read(self) -> Any:
        return abc.get_cache_token()

    def holds(self) -> bool:
        return bool(self.saved == abc.get_cache_token())

    def restore(self) -> None:
        """Nobody can: a class that was registered stays so."""

    def change(self) -> str:
        return "a class was registered as one of an abstract class"

    def places(self) -> list[int] | None:
        """Where the count is."""
        place = _place_of_the_count()
        return None if place is None else [place]


@cache
def _place_of_the_count() -> int | None:
    """In the state of the module `_abc`: a class, then the count."""
    _abc = import_module("_abc")

    assert memory_words is not None
    if memory_words[(id(_abc) >> 3) + HEADER_WORDS] != id(vars(_abc)):
        return None
    state = memory_words[(id(_abc) >> 3) + HEADER_WORDS + 2]
    if not state:
        return None
    place = state + _WORD
    probe = abc.ABCMeta("Probe", (), {})
    register: Callable[[Any], Any] = probe.register
    for _ in range(2):
        if memory_words[place >> 3] != abc.get_cache_token():
            return None
        register(type("Other", (), {}))
    return place if memory_words[place >> 3] == abc.get_cache_token() else None
