"""What all parts of the walk through Python's state share (state_walk.py)."""

from __future__ import annotations

import types
from abc import ABCMeta
from collections import OrderedDict, defaultdict, deque
from functools import cache
from typing import Any

from taper.compilation.code_facts import is_standard
from taper.compilation.parts import AbcWatch, has_memory_of_its_own
from taper.compilation.snapshot import Names, Snapshot
from taper.compilation.watches import WantedWatch, Watch, items_of, path_text

__all__ = ["NOT_READ", "BaseWalk", "Refused", "has_hidden_base", "is_opaque_class"]

NOT_READ = frozenset([
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks", "_non_persistent_buffers_set", "_compiled_call_impl",
    "_optimizer_state_dict_pre_hooks", "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks", "_optimizer_load_state_dict_post_hooks",
    "__objclass__",  # of the members of an enumeration: the class that they are found by
])


class Refused(Exception):
    """Raised in a walk that meets what can't be compared."""


class BaseWalk:
    """The state of a walk."""

    def __init__(
        self, names: Names, pinned: frozenset[str], free: frozenset[str] = frozenset()
    ) -> None:
        self.pinned = pinned
        self.free = free
        self.names = set(names.read)
        self.found_reflective = names.is_reflective
        self.imported: set[str] = set()  # by code, when it runs
        self.has_abstract = False  # a class was met that others may be registered for
        self.compares_types = names.compares_types
        self.reads_floats = names.reads_floats
        self.hides_floats = names.hides_floats
        # What attributes count, in this walk.
        self.wanted, self.is_reflective = names[:2]
        self.seen: dict[int, int] = {}
        self.members: set[Any] = set()
        self.held: list[Any] = []
        self.references: list[tuple[Any, Any]] = []  # what is referred to weakly, and its path
        self.tokens: list[Any] = []
        self.snapshot = Snapshot()
        self.globals: dict[int, tuple[dict[str, Any], set[str]]] = {}
        self.in_arguments = False

    def refuse(self, path: Any, reason: str) -> None:
        raise Refused(f"{path_text(path) or 'the function'} {reason}")

    def watch(self, watch: Watch) -> None:
        watch.in_arguments = self.in_arguments
        self.snapshot.watches.append(watch)

    def visit(self, value: Any, path: Any) -> None:
        """Finds what can be reached from a value."""
        raise NotImplementedError

    def note_registered(self, cls: Any) -> None:
        """Watches which classes count as derived from abstract ones, where the code may ask."""
        if not self.has_abstract and issubclass(type(cls), ABCMeta):
            self.has_abstract = True
            watch = AbcWatch((None, "abstract classes"), cls)
            self.snapshot.watches.append(watch)
            self.tokens.append(watch.saved)

    def visit_items(self, value: Any, path: Any) -> None:
        """The keys and values of a dict."""
        for key, item in items_of(value):
            self.visit(key, (path, ".keys()"))
            self.visit(item, (path, f"[{key!r}]" if type(key) in (str, int) else "[…]"))

    def visit_wanted(
        self, holder: dict[str, Any], path: Any, always: frozenset[str] = frozenset()
    ) -> tuple[str, ...]:
        """The names that the code may read, those that are there; returns them. Others may come."""
        watch = WantedWatch(path, holder, self.wanted | always)
        self.watch(watch)
        names = tuple(sorted(watch.saved))
        self.tokens.append(len(names))
        for name in names:
            self.tokens.append(name)
            self.visit(watch.saved[name], (path, f".{name}"))
        return names


def is_opaque_class(cls: type) -> bool:
    """Whether instances may have state that isn't in their attributes."""
    top = (cls.__module__ or "").partition(".")[0]
    if cls.__module__ == "types" and cls.__name__ == "SimpleNamespace":
        return False
    if top == "argparse" and cls.__name__ == "Namespace":
        return False
    return is_standard(top) and top not in ("abc", "typing", "contextlib", "dataclasses", "enum")


# Classes of C whose contents are compared, also those of classes derived from them.
_COMPARED = frozenset([
    object, dict, OrderedDict, defaultdict, list, tuple, set, frozenset, int, float, str, deque])


def has_hidden_base(cls: Any) -> str:
    """What the instances of a class have that the code needn't name: "state" that only C code sees,
    "attributes" that functions of the standard library read, as those of UserDict, or nothing."""
    return _hidden_in(cls.__mro__)


@cache
def _hidden_in(bases: tuple[Any, ...]) -> str:
    found = ""
    for base in bases:
        if base in _COMPARED:
            continue
        if base is not types.SimpleNamespace and has_memory_of_its_own(base):
            return "state"
        if is_standard(base.__module__) and base.__module__ not in ("abc", "typing"):
            found = "attributes"
    return found
