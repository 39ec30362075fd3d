"""The walk through all Python state that a function can reach, see snapshot.py.

Values, tensors and containers are here; objects in object_walk.py, code in code_walk.py.
"""

from __future__ import annotations

import enum
import functools
import math
import pathlib
import sys
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.compilation.code_facts import is_own_module
from taper.compilation.code_walk import CodeWalk
from taper.compilation.parts import FACTORY, PartsWatch, attributes_of, is_heap_type
from taper.compilation.snapshot import Found, Names, Snapshot
from taper.compilation.walk_base import Refused, is_opaque_class
from taper.compilation.watches import (
    ArrayWatch,
    DictWatch,
    GlobalsWatch,
    ListWatch,
    NamesWatch,
    SetWatch,
)
from taper.core.dtype import dtype
from taper.core.generator import Generator
from taper.core.size import Size
from taper.core.tensor import LEAF, Buffer, Parameter, Tensor
from taper.nn import Module
from taper.nn.modules.hooks import everywhere
from taper.optim import Optimizer, optimizer

__all__ = ["Walk"]

MOST_OBJECTS = 20_000
_LARGEST_ARRAY = 4096
_PLAIN_TENSORS = (Tensor, Parameter, Buffer)
_LEAVES = frozenset([
    int, str, bytes, bool, type(None), complex, type(...), type(NotImplemented), range, slice,
    dtype, Size, np.dtype, types.GenericAlias, pathlib.PurePosixPath, pathlib.PosixPath,
])
_PATHS = frozenset([pathlib.PurePosixPath, pathlib.PosixPath])
_FILES = frozenset("""
    exists expanduser glob is_dir is_file iterdir lstat mkdir open owner read_bytes read_text rename
    replace resolve rglob rmdir samefile stat touch unlink write_bytes write_text
""".split())
_COMPARED = frozenset([int, str, float, bytes, bool, type(None)])  # in sets
_BY_TEXT = frozenset([range, complex])  # equal ones can differ
_PASSED = frozenset([
    Tensor, Parameter, Buffer, list, tuple, dict, OrderedDict, set, frozenset, np.ndarray])
_FUNCTIONS = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType,
              types.MethodWrapperType, types.ClassMethodDescriptorType,
              types.GetSetDescriptorType, types.MemberDescriptorType)


class Walk(CodeWalk):
    """The whole walk."""

    def run(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Snapshot:
        snapshot = self.snapshot
        try:
            self.visit(function, None)
            for name, hooks in _hooks_of_all():
                self.visit(hooks, (None, name))
            self.in_arguments = True
            for i, value in enumerate(args):
                self.visit_argument(value, f"argument {i}")
            for name, value in kwargs.items():
                self.tokens.append(name)
                self.visit_argument(value, f"argument `{name}`")
            for target, path in self.references:
                if target is not None and id(target) not in self.seen:
                    self.refuse(path, "is a weak reference to what isn't reached otherwise")
        except Refused as refused:
            snapshot.refusal = str(refused)
        except RecursionError:
            snapshot.refusal = "its Python state is nested too deeply to be compared"
        self.watch_known_names()
        if self.imported:
            snapshot.watches.append(
                NamesWatch((None, "modules"), sys.modules, tuple(sorted(self.imported))))
        for holder, named in self.globals.values():
            snapshot.watches.append(GlobalsWatch(None, holder, tuple(sorted(named))))
        shared = snapshot.shared_gradients()
        if shared:
            self.tokens.append(shared)
        snapshot.key = tuple(self.tokens)
        snapshot.names = Names(
            frozenset(self.names), self.found_reflective, self.compares_types,
            self.reads_floats, snapshot.is_foreign,
        )
        snapshot.held = self.held
        return snapshot

    def visit_argument(self, value: Any, name: str) -> None:
        """An argument; a float counts by value until others have come in its place."""
        if type(value) is not float or not math.isfinite(value):
            self.visit(value, (None, name))
        elif name in self.free:
            self.tokens.append(("number", name))
            self.snapshot.numbers[name] = value
        else:
            self.tokens.append(("float", name, value.hex()))
            self.snapshot.has_floats = True

    # -- values ------------------------------------------------------------------------------------

    def visit(self, value: Any, path: Any) -> None:
        kind = type(value)
        tokens = self.tokens
        if kind in _LEAVES:
            tokens.append(kind)
            if kind is slice:
                for part in (value.start, value.stop, value.step):
                    self.visit(part, (path, ".start"))
            elif kind in _PATHS and not self.wanted.isdisjoint(_FILES):
                self.refuse(path, "is a path, and the code may look into files")
            else:
                tokens.append(value if kind not in _BY_TEXT else repr(value))
            return
        if kind is float:
            tokens.append(value.hex())
            return
        place = self.seen.get(id(value))
        if place is not None:
            tokens.append(("seen", place))
            return
        self.seen[id(value)] = len(self.seen)
        self.held.append(value)
        if len(self.seen) > MOST_OBJECTS:
            raise Refused(f"reaches more than {MOST_OBJECTS} objects")
        handler = _HANDLERS.get(kind, Walk.visit_other)
        if self.in_arguments and not _is_passed(kind):  # any other object counts as state
            self.in_arguments = False
            handler(self, value, path)
            self.in_arguments = True
        else:
            handler(self, value, path)

    def visit_other(self, value: Any, path: Any) -> None:
        kind = type(value)
        if issubclass(kind, Tensor):
            self.visit_tensor(value, path)
        elif issubclass(kind, type):
            self.visit_class(value, path)
        elif issubclass(kind, Module):
            self.visit_module_instance(value, path)
        elif issubclass(kind, Optimizer):
            self.visit_optimizer(value, path)
        elif issubclass(kind, enum.Enum):
            self.tokens.append(("enum", id(value)))
            self.visit_object(value, path)
        elif issubclass(kind, (dict, types.MappingProxyType, list, deque, tuple, frozenset, set)):
            self.visit_container(value, path)
        elif issubclass(kind, np.void):
            self.refuse(path, "is a NumPy record, which shares its memory with others")
        elif issubclass(kind, np.generic):
            self.tokens.append((kind, value.tobytes()))
        elif issubclass(kind, (int, float, str)) and kind.__module__ != "builtins":
            plain = next(base for base in (int, float, str) if issubclass(kind, base))
            self.tokens.append((kind, plain.__repr__(value)))
            self.visit_object(value, path)
        elif issubclass(kind, np.ndarray):
            self.refuse(path, f"is a {kind.__name__}, whose contents can't be compared")
        elif issubclass(kind, _FUNCTIONS):
            self.visit_builtin(value, path)
        elif issubclass(kind, types.ModuleType):
            self.visit_python_module(value, path)
        elif is_own_module(kind.__module__):
            self.visit_own_object(value, path)
        elif kind is types.SimpleNamespace or (
            is_heap_type(kind) and not is_opaque_class(kind)
        ):
            self.visit_object(value, path)
        else:
            self.refuse(path, f"is a {kind.__name__}, whose state can't be compared")

    # -- tensors -----------------------------------------------------------------------------------

    def visit_tensor(self, t: Tensor, path: Any) -> None:
        kind = type(t)
        array = t._array
        if kind not in _PLAIN_TENSORS:
            self.refuse(path, f"is a {kind.__name__}, a class of tensors of its own")
        if type(array) is not np.ndarray:
            self.refuse(path, "is a tensor that isn't strided memory of the processor")
        edge = t._edge
        edge_token = edge if edge is None or edge is LEAF else "history"
        grad = t._grad
        grad_token = None
        if grad is not None:
            if type(grad) is not Tensor or type(grad._array) is not np.ndarray:
                self.refuse(path, "has a gradient that isn't plain")
            grad_token = (grad._array.dtype, grad._array.strides, grad._edge is None)
        if self.in_arguments:
            self.snapshot.arguments.append(Found(t, path))
            identity: Any = "argument"
        else:
            self.snapshot.tensors.append(Found(t, path))
            identity = id(t)
        self.tokens.append((
            identity, kind, array.shape, array.dtype, array.strides, edge_token, grad_token,
            t._created_as, t._inference,
        ))
        attributes = t.__dict__
        if attributes:
            self.visit_all(attributes, path)

    # -- containers --------------------------------------------------------------------------------

    def visit_container(self, value: Any, path: Any) -> None:
        """A container of a class of its own, with what methods and attributes it has."""
        kind = type(value)
        self.visit_members(kind, path, constructs=False)
        if issubclass(kind, (dict, types.MappingProxyType)):
            self.visit_dict(value, path)
        elif issubclass(kind, (list, deque)):
            self.visit_list(value, path)
        elif issubclass(kind, set):
            self.visit_set(value, path)
        else:
            self.visit_tuple(value, path)
        if attributes_of(value) is not None and not is_own_module(kind.__module__):
            self.visit_object(value, path)

    def visit_dict(self, value: Any, path: Any) -> None:
        self.snapshot.boxes[id(value)] = self.in_arguments
        watch = DictWatch(path, value)
        self.tokens.append((type(value), len(watch.saved[0])))
        self.watch(watch)
        self.visit_items(value, path)
        if issubclass(type(value), defaultdict):
            self.watch(PartsWatch(path, value, FACTORY))
            self.visit(value.default_factory, (path, ".default_factory"))

    def visit_list(self, value: Any, path: Any) -> None:
        self.snapshot.boxes[id(value)] = self.in_arguments
        watch = ListWatch(path, value)
        self.tokens.append((type(value), len(watch.saved), getattr(value, "maxlen", None)))
        self.watch(watch)
        for i, item in enumerate(watch.saved):
            self.visit(item, (path, f"[{i}]"))

    def visit_tuple(self, value: Any, path: Any) -> None:
        self.tokens.append((type(value), len(value)))
        for i, item in enumerate(value):
            self.visit(item, (path, f"[{i}]"))

    def visit_set(self, value: Any, path: Any) -> None:
        watch = SetWatch(path, value)
        if any(type(item) not in _COMPARED for item in watch.saved):
            self.refuse(path, "is a set of objects")
        self.tokens.append((type(value), tuple(map(repr, watch.saved))))
        self.watch(watch)

    def visit_array(self, value: Any, path: Any) -> None:
        if value.size > _LARGEST_ARRAY or value.dtype.hasobject:
            self.refuse(
                path, f"is a NumPy array of {value.size} elements, too many to compare at each "
                "call: make it a tensor",
            )
        watch = ArrayWatch(path, value)
        self.tokens.append(watch.saved)
        self.watch(watch)


def _is_passed(kind: type) -> bool:
    """Whether an argument of this class counts by what it holds, as others come next time: tensors,
    containers, named tuples and dataclasses."""
    return kind in _PASSED or (issubclass(kind, tuple) and not kind.__dictoffset__) or (
        hasattr(kind, "__dataclass_fields__") and not issubclass(kind, (Module, Tensor)))


def _hooks_of_all() -> list[tuple[str, Any]]:
    """The hooks that run for every module and every optimizer."""
    names = ("forward", "forward_pre", "forward_with_kwargs", "forward_always_called", "backward",
             "backward_pre")
    found = [(f"hooks of all modules, {name}", getattr(everywhere, name)) for name in names]
    return [*found, ("hooks of all optimizers, before", optimizer._global_pre_hooks),
            ("hooks of all optimizers, after", optimizer._global_post_hooks)]


_HANDLERS: dict[type, Callable[[Walk, Any, Any], None]] = {
    Tensor: Walk.visit_tensor,
    Parameter: Walk.visit_tensor,
    Buffer: Walk.visit_tensor,
    dict: Walk.visit_dict,
    OrderedDict: Walk.visit_dict,
    defaultdict: Walk.visit_dict,
    list: Walk.visit_list,
    deque: Walk.visit_list,
    tuple: Walk.visit_tuple,
    frozenset: Walk.visit_tuple,
    set: Walk.visit_set,
    np.ndarray: Walk.visit_array,
    types.FunctionType: Walk.visit_function,
    types.MethodType: Walk.visit_method,
    functools.partial: Walk.visit_partial,
    types.ModuleType: Walk.visit_python_module,
    Generator: Walk.visit_generator,
    weakref.ref: Walk.visit_reference,
    weakref.ReferenceType: Walk.visit_reference,
    type: Walk.visit_class,
}
