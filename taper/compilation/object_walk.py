"""The walk through classes, objects, modules and optimizers, see state_walk.py."""

from __future__ import annotations

import functools
import sys
from collections import namedtuple
from types import MemberDescriptorType
from typing import Any

from taper.compilation.code_facts import is_own_module, is_standard, refused_module
from taper.compilation.known_names import KnownNames, has_known_base, overriding_names
from taper.compilation.parts import (
    PartsWatch,
    attributes_of,
    class_parts,
    object_parts,
    slots_of,
)
from taper.compilation.walk_base import (
    NOT_READ,
    has_hidden_base,
    is_opaque_class,
)
from taper.compilation.watches import (
    MISSING,
    DictWatch,
    GroupWatch,
    ListWatch,
    StateWatch,
    TypeWatch,
    has_numbers,
)
from taper.core.generator import Generator
from taper.nn import Module
from taper.optim import Optimizer

__all__ = ["ObjectWalk"]

# Methods that Python calls without code naming them.
_CONSTRUCTION = frozenset(["__init__", "__new__", "__del__", "__init_subclass__"])
_UNNAMED = frozenset(["__repr__", "__str__", "__format__", "__getstate__", "__setstate__",
                      "__reduce__", "__reduce_ex__", "__dir__", "__sizeof__", "__doc__"])
# Methods that Python looks for without code naming them, also where there are none yet.
_SPECIAL = frozenset("""
    forward __add__ __and__ __bool__ __call__ __contains__ __delattr__ __delitem__ __divmod__
    __enter__ __eq__ __exit__ __float__ __floordiv__ __ge__ __get__ __getattr__ __getattribute__
    __getitem__ __gt__ __hash__ __iadd__ __imul__ __index__ __instancecheck__ __int__ __invert__
    __isub__ __iter__ __subclasscheck__ __subclasshook__
    __itruediv__ __le__ __len__ __lt__ __matmul__ __missing__ __mod__ __mul__ __ne__ __neg__
    __next__ __or__ __pos__ __pow__ __radd__ __reversed__ __rmatmul__ __rmul__ __rpow__ __rsub__
    __rtruediv__ __set__ __setattr__ __setitem__ __sub__ __truediv__ __xor__
""".split())
_GENERATOR_STATE = frozenset(["get_state", "initial_seed", "clone_state", "graphsafe_get_state"])
_STORES = frozenset(["state_dict", "load_state_dict", "_save_to_state_dict"])
_CALLS = {  # methods that those of modules call
    "state_dict": ("get_extra_state", "_save_to_state_dict"),
    "load_state_dict": ("set_extra_state", "_load_from_state_dict"),
    "__repr__": ("extra_repr", "_get_name"),
}
_NEVER_READ = frozenset(["_compiled_call_impl"])
_FIELDS = (type(vars(namedtuple("Example", "field"))["field"]), MemberDescriptorType)
_MODULE_STATE = frozenset([
    "training", "_parameters", "_buffers", "_modules", "_hooked", "_backward_pre_hooks",
    "_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_is_full_backward_hook",
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
    "forward",
])


class ObjectWalk(KnownNames):
    """What can be reached from objects."""

    def visit_class(self, value: Any, path: Any) -> None:
        self.tokens.append(("class", id(value)))
        module = sys.modules.get(value.__module__ or "")
        if module is not None and is_standard(value.__module__):
            reason = refused_module(module, frozenset(self.wanted))
            if reason is not None:
                self.refuse(path, f"is from {reason}")
        self.note_settings(value)
        self.visit_members(value, path, constructs=True)
        self.visit_members(type(value), path, constructs=False)

    def visit_members(self, cls: type, path: Any, *, constructs: bool) -> None:
        """The methods and attributes of a user's class that the code names: state, whoever has it.
        """
        in_arguments, self.in_arguments = self.in_arguments, False
        for base in cls.__mro__:
            if base is object or is_opaque_class(base):
                continue
            is_known = is_own_module(base.__module__)
            mark = (base, constructs or is_known)
            if mark in self.members:
                continue
            self.members.add(mark)
            if is_known:
                self.visit_known_class(base)
                continue
            self.visit_class_parts(base)
            watch = TypeWatch((None, f"class {base.__name__}"), base, self.members_of(
                base, constructs))
            self.watch(watch)
            self.tokens.append(len(watch.saved))
            if is_standard(base.__module__):  # whose code isn't looked at
                self.tokens.append(tuple(map(id, watch.saved.values())))
                self.held.append(watch.saved)
                continue
            for name, member in watch.saved.items():
                below = (None, f"{base.__name__}.{name}")
                self.tokens.append(name)
                kind = type(member)
                if issubclass(kind, (staticmethod, classmethod)):
                    if issubclass(kind, classmethod):
                        self.names.add("__class__")  # which it may call
                    member = member.__func__
                elif issubclass(kind, functools.cached_property):
                    member = member.func
                if name == "__match_args__" and type(member) is tuple:
                    self.names |= {*member}
                if issubclass(kind, property):
                    if kind is not property:
                        self.visit(kind, below)
                    for function in (member.fget, member.fset, member.fdel):
                        self.visit(function, below)
                elif type(member) not in _FIELDS:
                    self.visit(member, below)
        self.in_arguments = in_arguments

    def visit_class_parts(self, cls: type) -> None:
        """What a class is called and derives from, and what counts as derived from it."""
        if "__subclasses__" in self.wanted:
            self.refuse((None, f"class {cls.__name__}"), "is asked for the classes derived from it")
        parts = class_parts(cls)
        if parts:
            watch = PartsWatch((None, f"class {cls.__name__}"), cls, parts)
            self.watch(watch)
            bases, *names = watch.saved
            self.tokens += [tuple(map(id, bases)), *names]
            self.held.append(bases)
        self.note_registered(cls)

    def members_of(self, cls: type, constructs: bool) -> frozenset[str]:
        """The names that code may read of a class, also those that aren't there."""
        skipped = _UNNAMED if constructs else _UNNAMED | _CONSTRUCTION
        names = overriding_names(cls)
        for name, member in cls.__dict__.items():
            if name.startswith("__") and name.endswith("__"):
                counts = name not in skipped and (
                    callable(member) or isinstance(member, (staticmethod, classmethod)))
            else:
                counts = self.is_reflective and name != "_abc_impl"
            if counts:
                names.append(name)
        for name in self.wanted & _CALLS.keys():
            names += _CALLS[name]
        return self.wanted.union(names, _SPECIAL)

    def visit_object(self, value: Any, path: Any) -> None:
        """An instance of a user's class: the attributes and methods that the code names."""
        cls: Any = type(value)
        if has_hidden_base(cls) == "state":
            self.refuse(path, f"is a {cls.__name__}, whose state can't be compared")
        is_passed = self.snapshot.boxes[id(value)] = self.in_arguments
        self.tokens.append((cls, "passed" if is_passed else id(value)))
        self.visit_members(cls, path, constructs="__class__" in self.wanted)
        self.watch(PartsWatch(path, value, object_parts(cls)))
        attributes = attributes_of(value)
        if type(attributes) is dict:
            if has_known_base(cls) or has_hidden_base(cls):
                self.visit_all(attributes, path)
                names = tuple(attributes)
            else:
                names = self.visit_attributes(attributes, path)
            if is_passed:
                self.snapshot.passed[id(value)] = names
        self.visit_slots(value, path)

    def visit_attributes(
        self, attributes: dict[str, Any], path: Any, always: frozenset[str] = frozenset()
    ) -> tuple[str, ...]:
        """The attributes of an object that the code may read or assign; returns their names."""
        if self.is_reflective:
            self.watch(DictWatch(path, attributes))
            always = always.union([n for n in attributes if n not in NOT_READ])
        return self.visit_wanted(attributes, path, always)

    def visit_all(self, attributes: dict[str, Any], path: Any) -> None:
        """All attributes of what taper's own code works with, also those that may come."""
        self.watch(DictWatch(path, attributes))
        skipped = NOT_READ if self.wanted.isdisjoint(_STORES) else _NEVER_READ
        for name in sorted(attributes):
            if name not in skipped:
                self.tokens.append(name)
                self.visit(attributes[name], (path, f".{name}"))

    def visit_slots(self, value: Any, path: Any) -> None:
        cls: Any = type(value)
        slots = slots_of(cls)
        if not slots:
            return
        watch = PartsWatch(path, value, slots)
        self.watch(watch)
        for slot, item in zip(slots, watch.saved, strict=True):
            self.tokens.append(slot.__name__)
            if item is not MISSING:
                self.visit(item, (path, f".{slot.__name__}"))

    def visit_own_object(self, value: Any, path: Any) -> None:
        """An instance of one of taper's classes: all of its attributes."""
        cls = type(value)
        self.tokens.append((cls, id(value)))
        self.watch(PartsWatch(path, value, object_parts(cls)))
        attributes = attributes_of(value)
        if attributes is None and not any("__slots__" in c.__dict__ for c in cls.__mro__):
            self.refuse(path, f"is a {cls.__name__}, whose state can't be compared")
        self.visit_members(cls, path, constructs=False)
        if attributes is not None:
            self.visit_all(attributes, path)
        self.visit_slots(value, path)

    def visit_module_instance(self, value: Module, path: Any) -> None:
        cls = type(value)
        self.tokens.append((cls, id(value)))
        self.watch(PartsWatch(path, value, object_parts(cls)))
        attributes = attributes_of(value)
        self.visit_members(cls, path, constructs=False)
        if has_known_base(cls):
            self.visit_all(attributes, path)
        else:
            self.visit_attributes(attributes, path, _MODULE_STATE)

    def visit_optimizer(self, value: Optimizer, path: Any) -> None:
        cls = type(value)
        self.tokens.append((cls, id(value)))
        self.visit_members(cls, path, constructs=False)
        self.watch(PartsWatch(path, value, object_parts(cls)))
        attributes = attributes_of(value)
        names = tuple(n for n in attributes if n not in NOT_READ and n != "defaults")
        self.watch(DictWatch(path, attributes))
        for name in names:
            item = attributes[name]
            below = (path, f".{name}")
            if name == "param_groups":
                self.seen[id(item)] = len(self.seen)
                self.watch(ListWatch(below, item))
                self.tokens.append(len(item))
                for i, group in enumerate(item):
                    self.visit_group(group, (below, f"[{i}]"), is_own_module(cls.__module__))
            elif name == "state":
                self.visit_state(item, below)
            else:
                self.visit(item, below)

    def visit_group(self, group: dict[str, Any], path: Any, is_own: bool) -> None:
        free = tuple([
            name for name, item in group.items() if name not in self.pinned and has_numbers(item)
        ]) if is_own and not (self.hides_floats and "param_groups" in self.wanted) else ()
        self.watch(GroupWatch(path, group, free))
        for name, item in group.items():
            self.tokens.append(name)
            if name in free:
                self.tokens.append("number" if type(item) is float else tuple(
                    ["number" if type(part) is float else part for part in item]))
            else:
                self.visit(item, (path, f"[{name!r}]"))

    def visit_state(self, state: Any, path: Any) -> None:
        self.watch(StateWatch(path, state))
        self.tokens.append(("state", len(state)))
        for key, entry in state.items():
            self.visit(key, (path, ".keys()"))
            below = (path, "[…]")
            if type(entry) is dict:
                self.watch(StateWatch(below, entry))
                self.visit_items(entry, below)
            else:
                self.visit(entry, below)

    def visit_generator(self, value: Generator, path: Any) -> None:
        if not self.wanted.isdisjoint(_GENERATOR_STATE):
            self.refuse(path, "is a generator whose state the code may read")
        self.tokens.append(("generator", id(value)))
        self.snapshot.generators.append(value)

    def visit_reference(self, value: Any, path: Any) -> None:
        """A weak reference, to what is reached otherwise: else the snapshot would keep it alive."""
        self.tokens.append("reference")
        target = value()
        self.references.append((target, path))
        self.tokens.append((id(target), target is None))
