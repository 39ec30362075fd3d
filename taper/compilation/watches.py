"""What a compiled program watches: places in Python's state that must hold what they held.

A watch remembers one holder (a dict, some names of a dict, a list, a cell …) and what it held.
`holds()` compares by identity, which is quick and never wrong in the direction that matters: what
holds is the same. `restore()` puts back what was there, after a recording that is given up.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterator
from itertools import repeat
from operator import is_
from typing import Any

from taper.ops.declare import LazyAttribute

__all__ = [
    "MISSING", "ArrayWatch", "CellWatch", "ClassWatch", "DictWatch",
    "GroupWatch", "ListWatch", "MethodsWatch", "NamesWatch", "Path", "SetWatch", "TypeWatch",
    "WantedWatch", "Watch", "changed_names", "elements_of", "has_numbers", "is_same_method",
    "items_of", "path_text",
]

Path = tuple[Any, str]  # the path to the holder, or None, and one step from it


class Missing:
    """Stands for a name that isn't there."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()


def path_text(path: Any) -> str:
    """A path as explanations show it: ``self.layers[0].weight``."""
    steps = []
    while path is not None:
        path, step = path
        steps.append(step)
    return "".join(reversed(steps))


class Watch:
    """One holder and what it held."""

    __slots__ = ("holder", "in_arguments", "path", "saved")

    is_optimizer_state = False

    def __init__(self, path: Any, holder: Any) -> None:
        self.path = path
        self.holder = holder
        self.in_arguments = False
        self.saved: Any = self.read()

    def read(self) -> Any:
        """What the holder holds now."""
        raise NotImplementedError

    def holds(self) -> bool:
        """Whether the holder holds the same objects as then."""
        raise NotImplementedError

    def holds_but_for_numbers(self) -> bool:
        """Whether only numbers have changed that programs read at each call."""
        return False

    def restore(self) -> None:
        """Puts back what was there."""
        raise NotImplementedError

    def put(self, name: str, value: Any) -> None:
        """Gives a name of the holder its value."""
        self.holder[name] = value

    def remove(self, name: str) -> None:
        """Removes a name from the holder."""
        self.holder.pop(name, None)

    def put_back(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        """Gives the names of a part of the holder the values that they had."""
        for name in now.keys() - before.keys():
            self.remove(name)
        for name, value in before.items():
            if now.get(name, MISSING) is not value:
                self.put(name, value)

    def change(self) -> str:
        """How the holder differs now, in words."""
        return f"{path_text(self.path)} changed"


class DictWatch(Watch):
    """A dict, all of it."""

    __slots__ = ()

    def read(self) -> Any:
        items = items_of(self.holder)
        return tuple([key for key, _ in items]), tuple([value for _, value in items])

    def holds(self) -> bool:
        keys, values = self.saved
        holder = self.holder
        if type(holder) is not dict:  # a class of its own may iterate otherwise
            found, others = self.read()
            return len(found) == len(keys) and all(map(is_, others, values)) and all(
                map(is_, found, keys))
        return (
            len(holder) == len(keys) and all(map(is_, holder.values(), values))
            and all(map(is_, holder, keys))
        )

    def restore(self) -> None:
        self.holder.clear()
        self.holder.update(zip(*self.saved, strict=True))

    def change(self) -> str:
        before = dict(zip(map(_as_key, self.saved[0]), self.saved[1], strict=True))
        now = {_as_key(k): v for k, v in self.holder.items()}
        return changed_names(self.path, before, now, "[{!r}]")


class StateWatch(DictWatch):
    """An optimizer's state, which it makes when it first steps."""

    __slots__ = ()
    is_optimizer_state = True


class GroupWatch(DictWatch):
    """A parameter group, whose floats programs read at each call."""

    __slots__ = ("free",)

    free: tuple[str, ...]  # names of entries that may change

    def __init__(self, path: Any, holder: Any, free: tuple[str, ...] = ()) -> None:
        super().__init__(path, holder)
        self.free = free

    def holds_but_for_numbers(self) -> bool:
        keys, values = self.saved
        holder = self.holder
        if len(holder) != len(keys):
            return False
        for key, value, now_key in zip(keys, values, holder, strict=True):
            if now_key is not key:
                return False
            now = holder[key]
            if now is not value and not (key in self.free and _differ_in_numbers(value, now)):
                return False
        return True


def has_numbers(entry: Any) -> bool:
    """Whether an entry of a parameter group is a float, or a tuple with floats in it and nothing
    else but integers and None."""
    if type(entry) is tuple:
        kinds = set(map(type, entry))
        return float in kinds and kinds <= {float, int, type(None)}
    return type(entry) is float


def _differ_in_numbers(before: Any, now: Any) -> bool:
    """Whether two entries of a parameter group are floats in the same places, and else equal."""
    if type(before) is float:
        return type(now) is float
    return type(now) is tuple and len(now) == len(before) and all([
        type(a) is type(b) and (type(a) is float or a == b)
        for a, b in zip(before, now, strict=True)
    ])


class NamesWatch(Watch):
    """Some names of a dict: a module's globals, an object's attributes."""

    __slots__ = ("names",)

    def __init__(self, path: Any, holder: Any, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(path, holder)

    def read(self) -> Any:
        return tuple(map(self.holder.get, self.names, repeat(MISSING)))

    def holds(self) -> bool:
        return all(map(is_, map(self.holder.get, self.names, repeat(MISSING)), self.saved))

    def restore(self) -> None:
        for name, value, now in zip(self.names, self.saved, self.read(), strict=True):
            if self.is_same(value, now):
                continue
            if value is MISSING:
                self.remove(name)
            else:
                self.put(name, value)

    def is_same(self, before: Any, now: Any) -> bool:
        """Whether a name still has its value."""
        return before is now

    def change(self) -> str:
        now = self.read()
        return changed_names(
            self.path, dict(zip(self.names, self.saved, strict=True)),
            dict(zip(self.names, now, strict=True)), self.step_text(),
        )

    def step_text(self) -> str:
        return ".{}" if self.path is not None else "{}"


class GlobalsWatch(NamesWatch):
    """Some globals of a user's module."""

    __slots__ = ()

    def step_text(self) -> str:
        return "global `{}`"


class WantedWatch(Watch):
    """Those names of a dict that code may read: also of those that aren't there yet, and would then
    stand before others, of a class or of `__getattr__`."""

    __slots__ = ("wanted",)

    def __init__(self, path: Any, holder: Any, wanted: Container[str]) -> None:
        self.wanted = wanted
        super().__init__(path, holder)

    def read(self) -> dict[str, Any]:
        wanted = self.wanted
        return {name: value for name, value in self.holder.items() if name in wanted}

    def holds(self) -> bool:
        now, saved = self.read(), self.saved
        return len(now) == len(saved) and all(
            map(is_, map(now.get, saved, repeat(MISSING)), saved.values()))

    def restore(self) -> None:
        self.put_back(self.saved, self.read())

    def change(self) -> str:
        return changed_names(self.path, self.saved, self.read(), ".{}")


class OfClass(Watch):
    """What watches of a class have in common: it is written to by another way than read."""

    __slots__ = ()
    cls: type

    def put(self, name: str, value: Any) -> None:
        setattr(self.cls, name, value)

    def remove(self, name: str) -> None:
        delattr(self.cls, name)


class TypeWatch(OfClass, WantedWatch):
    """Some attributes of a user's class."""

    __slots__ = ("cls",)

    def __init__(self, path: Any, cls: type, wanted: Container[str]) -> None:
        self.cls = cls
        super().__init__(path, cls.__dict__, wanted)


class ClassWatch(OfClass, DictWatch):
    """One of taper's classes, all of it."""

    __slots__ = ("cls",)

    def __init__(self, path: Any, cls: type) -> None:
        self.cls = cls
        super().__init__(path, cls.__dict__)

    def restore(self) -> None:
        self.put_back(dict(zip(*self.saved, strict=True)), dict(self.holder))


class MethodsWatch(OfClass, NamesWatch):
    """Some attributes of one of taper's classes, which may make them when they are first used."""

    __slots__ = ("cls",)

    def __init__(self, path: Any, cls: type, names: tuple[str, ...]) -> None:
        self.cls = cls
        super().__init__(path, cls.__dict__, names)

    def holds(self) -> bool:
        return all(map(is_same_method, self.saved, self.read()))

    def is_same(self, before: Any, now: Any) -> bool:
        return is_same_method(before, now)


def items_of(holder: Any) -> list[tuple[Any, Any]]:
    """The items of a dict, whatever methods its class has."""
    if isinstance(holder, OrderedDict):
        return [*OrderedDict.items(holder)]
    return [*(dict.items(holder) if isinstance(holder, dict) else holder.items())]


def elements_of(holder: Any) -> Iterator[Any]:
    """The elements of a list or deque, whatever methods its class has."""
    return list.__iter__(holder) if isinstance(holder, list) else deque.__iter__(holder)


def is_same_method(before: Any, now: Any) -> bool:
    """Whether a method is the one that there was, or has been made in its place."""
    return before is now or (type(before) is LazyAttribute and before.function is now)


class ListWatch(Watch):
    """A list, or a deque."""

    __slots__ = ()

    def read(self) -> Any:
        return tuple(elements_of(self.holder))

    def holds(self) -> bool:
        found = self.read()
        return len(found) == len(self.saved) and all(map(is_, found, self.saved))

    def restore(self) -> None:
        kind = list if isinstance(self.holder, list) else deque
        kind.clear(self.holder)
        kind.extend(self.holder, self.saved)

    def change(self) -> str:
        before, now = len(self.saved), len(self.holder)
        if before != now:
            verb = "grew" if now > before else "shrank"
            return f"{path_text(self.path)} {verb} from {before} to {now} elements"
        for i, (a, b) in enumerate(zip(self.saved, self.holder, strict=True)):
            if a is not b:
                return _difference(f"{path_text(self.path)}[{i}]", a, b)
        return super().change()


class SetWatch(Watch):
    """A set, in the order in which it gives its elements."""

    __slots__ = ()

    def read(self) -> Any:
        return tuple(set.__iter__(self.holder))

    def holds(self) -> bool:
        found = self.read()
        return len(found) == len(self.saved) and all(map(is_, found, self.saved))

    def restore(self) -> None:
        set.clear(self.holder)
        set.update(self.holder, self.saved)


class CellWatch(Watch):
    """A variable of an enclosing function."""

    __slots__ = ()

    def read(self) -> Any:
        try:
            return self.holder.cell_contents
        except ValueError:
            return MISSING

    def holds(self) -> bool:
        return self.read() is self.saved

    def restore(self) -> None:
        if self.saved is MISSING:
            if self.read() is not MISSING:
                del self.holder.cell_contents
        else:
            self.holder.cell_contents = self.saved

    def change(self) -> str:
        return _difference(path_text(self.path), self.saved, self.read())


class ArrayWatch(Watch):
    """A small NumPy array, by its bytes."""

    __slots__ = ()

    def read(self) -> Any:
        return self.holder.shape, self.holder.dtype, self.holder.tobytes()

    def holds(self) -> bool:
        return bool(self.read() == self.saved)

    def restore(self) -> None:
        import numpy as np

        shape, dtype, content = self.saved
        self.holder[...] = np.frombuffer(content, dtype).reshape(shape)


def _as_key(key: Any) -> Any:
    return key if isinstance(key, (str, int, float, tuple, bytes)) else id(key)


def changed_names(path: Any, before: dict[Any, Any], now: dict[Any, Any], step: str) -> str:
    """How names with their values differ now, in words."""
    for name in (*before, *now):
        old, new = before.get(name, MISSING), now.get(name, MISSING)
        if old is not new:
            return _difference(path_text(path) + step.format(name), old, new)
    return f"{path_text(path)} changed"


_show: Callable[[Any], str] = repr


def _difference(where: str, old: Any, new: Any) -> str:
    if old is MISSING:
        return f"{where} was made"
    if new is MISSING:
        return f"{where} was deleted"
    plain = (int, float, str, bool, type(None))
    if isinstance(old, plain) and isinstance(new, plain):
        return f"{where} changed from {_show(old)[:60]} to {_show(new)[:60]}"
    return f"{where} was replaced"
