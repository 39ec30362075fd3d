"""The walk through taper itself, and the other libraries that aren't looked into.

What their functions do is known, but not which function a name means: users replace them, as
``F.relu = other``, ``nn.Linear.forward = other`` or tests that patch. So the names that code reads
of their modules are watched, all members of those classes of taper that the state has instances of,
and what the functions of such classes read in their turn: `nn.Linear` calls ``F.linear``.
"""

from __future__ import annotations

import builtins
import functools
import operator
import pathlib
import types
from collections.abc import Iterable
from functools import cache
from typing import Any

from taper.compilation.code_facts import TEXTS, facts_of, is_opaque_name, is_own_module
from taper.compilation.parts import PartsWatch, slots_of
from taper.compilation.walk_base import BaseWalk
from taper.compilation.watches import (
    MISSING,
    ClassWatch,
    MethodsWatch,
    NamesWatch,
    Watch,
    is_same_method,
)
from taper.core import threads
from taper.core.printing import PRINT_OPTS, PrinterOptions
from taper.core.tensor import Tensor
from taper.nn import Module

__all__ = ["KnownNames", "has_known_base", "is_own_code", "overriding_names"]

Reads = tuple[tuple[types.ModuleType, frozenset[str]], ...]

_OPERATORS = frozenset([name for name in vars(Tensor) if name.startswith("__")])
_AUTOCAST = frozenset([
    "amp", "autocast", "get_autocast_dtype", "get_autocast_cpu_dtype", "is_autocast_enabled",
    "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "custom_fwd", "custom_bwd",
])
_AUTOCAST_MODULES = frozenset([
    "taper.amp.autocast_mode", "taper.amp.state", "taper.cpu.amp.autocast_mode",
    "taper.cuda.amp.autocast_mode",
])
_SETTINGS = ("deterministic", "warn_only", "precision", "warn_always")
_PLAIN = frozenset([int, float, complex, bool, str, bytes, type(None), types.BuiltinFunctionType])


class KnownNames(BaseWalk):
    """What users may put in the place of functions and methods that aren't theirs."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.known: dict[str, tuple[types.ModuleType, set[str]]] = {}
        self.builtins: set[str] = set()  # globals that aren't there, or are Python's own

    def visit_known_names(self, module: types.ModuleType, names: Iterable[str]) -> None:
        """The names that code reads of a module, and of those below it."""
        _, seen = self.known.setdefault(module.__name__, (module, set()))
        for name in sorted(names):
            if name in seen:
                continue
            seen.add(name)
            value = _value_of(module, name)
            if value is MISSING:  # but it may come
                continue
            if isinstance(value, types.ModuleType) and is_opaque_name(value.__name__):
                self.visit_known_names(value, names)
            self.visit_known(name, value)

    def visit_known(self, name: str, value: Any) -> None:
        """What stands under a name of a library: any other thing counts as another."""
        self.tokens.append((name, id(value)))
        self.held.append(value)
        self.note_settings(value)
        if not _is_known(value):
            self.visit(value, (None, name))

    def note_settings(self, value: Any) -> None:
        """Notes what else decides over what a class or a function gives."""
        kind = type(value)
        if kind is types.FunctionType:
            if value.__module__ in _AUTOCAST_MODULES:
                self.names.add("autocast")
        elif issubclass(kind, type):
            self.note_registered(value)
            if value is str:
                self.names |= TEXTS
            elif value.__module__ in _AUTOCAST_MODULES:
                self.names.add("autocast")

    def visit_known_class(self, cls: type) -> None:
        """One of taper's classes, which the state has an instance of."""
        if cls is Tensor:  # see below
            return
        watch = ClassWatch((None, f"class {cls.__name__}"), cls)
        self.watch(watch)
        _, members = watch.saved
        self.tokens.append(tuple(map(id, members)))
        self.held.append(members)
        foreign, reads = _facts_of_members(cls, members)
        for name, member in foreign:
            self.visit(member, (None, f"{cls.__name__}.{name}"))
        for module, names in reads:
            self.visit_known_names(module, names)

    def watch_known_names(self) -> None:
        """Watches what was found, the methods of tensors, and settings."""
        self.snapshot.watches.append(
            NamesWatch((None, "builtins"), vars(builtins), tuple(sorted(self.builtins))))
        asked: tuple[str, ...] = _SETTINGS
        if "get_num_threads" in self.wanted:
            threads.get_num_threads()  # which finds out how many there are
            asked = (*asked, "threads")
        settings: list[Watch] = [NamesWatch((None, "settings"), threads._settings, asked)]
        if not self.wanted.isdisjoint(TEXTS):
            settings.append(PartsWatch(
                (None, "print options"), PRINT_OPTS, slots_of(PrinterOptions)))
        for watch in settings:
            self.snapshot.watches.append(watch)
            self.tokens.append(watch.saved)
        if not self.wanted.isdisjoint(_AUTOCAST):
            self.snapshot.autocast = autocast_settings()
            self.tokens.append(self.snapshot.autocast)
        for module, names in self.known.values():
            self.snapshot.watches.append(
                NamesWatch((None, module.__name__), vars(module), tuple(sorted(names))))
        watched = _OPERATORS.union(self.wanted, vars(Tensor) if self.is_reflective else ())
        methods = MethodsWatch((None, "Tensor"), Tensor, tuple(watched))
        self.snapshot.watches.append(methods)
        known = _known_methods()
        for name, value in sorted(zip(methods.names, methods.saved, strict=True), key=_first):
            if not is_same_method(known.get(name, MISSING), value):
                self.visit_known(name, _function_of(value))


_absent: set[tuple[str, str]] = set()


def _value_of(module: types.ModuleType, name: str) -> Any:
    """What a name of a module stands for; loaded if it is loaded when it is read."""
    place = module.__name__, name
    value = vars(module).get(name, MISSING)
    if value is MISSING and place not in _absent:
        value = getattr(module, name, MISSING)
        if value is MISSING:
            _absent.add(place)
    return value


@cache
def _known_bases(cls: type) -> tuple[type, ...]:
    """Those of taper's classes that a class is or derives from, of which the code counts: not the
    one of all modules, whose methods are called by name but for `forward`."""
    return tuple([base for base in cls.__mro__
                  if is_own_module(base.__module__) and base is not Module])


def has_known_base(cls: type) -> bool:
    """Whether code of taper's works with the instances of a class."""
    return bool(_known_bases(cls))


def overriding_names(cls: type) -> list[str]:
    """The methods and attributes of a user's class that stand before those of one of taper's."""
    return [name for name in vars(cls) if not name.startswith("__") and not hasattr(Module, name)
            and any([name in vars(base) for base in _known_bases(cls)])]


def is_own_code(code: Any, module: str | None) -> bool:
    """Whether code is taper's; `wraps` may have given its function, or a user's, other names."""
    return code.co_filename.startswith(_root()) or (
        is_own_module(module) and code.co_filename.startswith("<"))


def autocast_settings() -> Any:
    """What this thread has set for autocast."""
    from taper.amp.state import _settings

    return _settings.get()


@cache
def _root() -> str:
    import taper

    return str(pathlib.Path(taper.__file__).parent)


@cache
def _known_methods() -> dict[str, Any]:
    """The members of Tensor when something is first compiled, but for a user's."""
    return {name: value for name, value in vars(Tensor).items()
            if _is_known(_function_of(value))}


_first = operator.itemgetter(0)


def _function_of(member: Any) -> Any:
    """What a member of a class calls, if it is a function, method or property."""
    for name in ("__func__", "fget"):
        member = getattr(member, name, None) or member
    return member


def _is_known(value: Any) -> bool:
    """Whether a value is of a library whose code isn't looked at."""
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is types.FunctionType:
        return is_own_code(value.__code__, value.__module__) or (
            not is_own_module(value.__module__) and is_opaque_name(value.__module__))
    if issubclass(kind, (type, types.ModuleType)):
        name = value.__module__ if issubclass(kind, type) else value.__name__
        return is_opaque_name(name)
    return kind not in (types.MethodType, functools.partial) and is_opaque_name(kind.__module__)


_members: dict[type, tuple[tuple[Any, ...], list[tuple[str, Any]], Reads]] = {}


def _facts_of_members(cls: type, members: tuple[Any, ...]) -> tuple[list[tuple[str, Any]], Reads]:
    """Which members of one of taper's classes are a user's, and what the others read."""
    found = _members.get(cls)
    if found is None or len(found[0]) != len(members) or any([
        a is not b for a, b in zip(found[0], members, strict=True)
    ]):
        foreign, reads = [], dict[types.ModuleType, frozenset[str]]()
        for name, member in vars(cls).items():
            inner = _function_of(member)
            if not _is_known(inner):
                foreign.append((name, inner))
            elif isinstance(inner, types.FunctionType):
                for module, names in _reads_of(inner):
                    reads[module] = reads.get(module, frozenset()) | names
        found = _members[cls] = members, foreign, tuple(reads.items())
    return found[1:]


@cache
def _reads_of(function: types.FunctionType) -> Reads:
    """The names that one of taper's functions, and those that it calls, read of modules."""
    reads: dict[types.ModuleType, frozenset[str]] = {}
    waiting, seen = [function], set[Any]()
    while waiting:
        current = waiting.pop()
        if current in seen or current.__code__.co_filename.startswith("<"):
            continue
        seen.add(current)
        facts = facts_of(current.__code__)
        for name in facts.globals:
            value = current.__globals__.get(name)
            if isinstance(value, types.FunctionType) and not hasattr(builtins, name):
                waiting.append(value)
            elif isinstance(value, types.ModuleType) and is_own_module(value.__name__):
                names = facts.below.get(name, facts.names)
                reads[value] = reads.get(value, frozenset()) | names
    return tuple(reads.items())
