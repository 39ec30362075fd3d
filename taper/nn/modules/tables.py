"""The dicts a module keeps its members and hooks in.

Note [members are mirrored]. PyTorch finds parameters, buffers and submodules in `__getattr__`,
which Python calls only after an ordinary lookup has failed: 0.4 µs for every `self.weight`. Here a
`MemberTable` writes its entries into the owner's `__dict__` as well, and every such access costs
what any attribute costs. The table is the truth: whoever changes it, by `setattr`, `del`,
`register_parameter` or as `module._parameters[name] = …`, changes the mirror with it.
`Module.__getattr__` still answers for a table that has lost its owner.

Note [hooked modules]. `Module.__call__` asks one flag, `_hooked`. A `HookTable` sets it in its
owner when it gets an entry; the slow path clears it when it finds that all tables are empty.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["HookTable", "MemberTable", "drop_mirror"]

_missing = object()


def _no_owner() -> None:
    """What a table asks for its owner once it has none."""




class MemberTable(dict[str, Any]):
    """A module's parameters, buffers or submodules by name; see Note [members are mirrored]."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Any, entries: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()):
        self._owner: Any = weakref.ref(owner)
        for name, value in dict(entries).items():
            self[name] = value

    def disown(self) -> None:
        """Stops mirroring."""
        self._owner = _no_owner

    def __setitem__(self, name: str, value: Any) -> None:
        owner = self._owner()
        if owner is not None:
            attributes = owner.__dict__
            current = attributes.get(name, _missing)
            # An attribute of another origin wins over the table, as it does in PyTorch.
            if current is _missing or current is self.get(name, _missing):
                attributes[name] = value
        dict.__setitem__(self, name, value)

    def __delitem__(self, name: str) -> None:
        value = self[name]
        dict.__delitem__(self, name)
        owner = self._owner()
        if owner is not None and owner.__dict__.get(name, _missing) is value:
            del owner.__dict__[name]

    def pop(self, name: str, default: Any = _missing) -> Any:
        if name not in self:
            if default is _missing:
                raise KeyError(name)
            return default
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        name = next(reversed(self))
        return name, self.pop(name)

    def clear(self) -> None:
        for name in list(self):
            del self[name]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other: Any) -> MemberTable:  # type: ignore[override, misc]
        self.update(other)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def __reduce__(self) -> Any:
        # A copy is a plain dict; Module.__setstate__ makes a table of it again.
        return dict, (), None, None, iter(self.items())

    def __repr__(self) -> str:
        return dict.__repr__(self)


def drop_mirror(module: Any, table: Any) -> None:
    """Takes a table's entries out of the attributes of `module`, which no longer uses it."""
    attributes = module.__dict__
    for name, value in table.items():
        if attributes.get(name, _missing) is value:
            del attributes[name]
    if isinstance(table, MemberTable) and table._owner() is module:
        table.disown()


class HookTable(OrderedDict[int, Any]):
    """A module's hooks of one kind, by the id of their handle; see Note [hooked modules]."""

    def __init__(self, owner: Any, entries: Iterable[tuple[int, Any]] = ()) -> None:
        super().__init__()
        self._owner = weakref.ref(owner)
        for key, hook in entries:
            self[key] = hook

    def __setitem__(self, key: int, hook: Any) -> None:
        super().__setitem__(key, hook)
        owner = self._owner()
        if owner is not None:
            owner.__dict__["_hooked"] = True

    def __reduce__(self) -> Any:
        return OrderedDict, (), None, None, iter(self.items())

    def __repr__(self) -> str:
        return repr(OrderedDict(self))
