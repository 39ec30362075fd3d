"""The walk through all Python state that a function can reach, see snapshot.py."""

from __future__ import annotations

import builtins
import enum
import functools
import pathlib
import sys
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.compilation.code_facts import (
    facts_of,
    impure_builtin,
    is_opaque_module,
    is_own_module,
    is_pure_module,
    refused_module,
)
from taper.compilation.snapshot import Found, Names, Snapshot
from taper.compilation.watches import (
    MISSING,
    ArrayWatch,
    AttributeWatch,
    CellWatch,
    DictWatch,
    GlobalsWatch,
    GroupWatch,
    ListWatch,
    NamesWatch,
    SetWatch,
    StateWatch,
    TypeWatch,
    Watch,
    has_numbers,
    path_text,
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


class Refused(Exception):
    """Raised in a walk that meets what can't be compared."""


_LEAVES = frozenset([
    int, str, bytes, bool, type(None), complex, type(...), type(NotImplemented), range, slice,
    dtype, Size, np.dtype, types.GenericAlias, pathlib.PurePosixPath, pathlib.PosixPath,
])
# Methods that Python calls without code naming them.
_UNNAMED = frozenset(["__init__", "__new__", "__repr__", "__str__", "__del__", "__format__",
                      "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__",
                      "__init_subclass__", "__dir__", "__sizeof__", "__doc__", "__class_getitem__"])
_MODULE_STATE = (
    "training", "_parameters", "_buffers", "_modules", "_hooked", "_backward_pre_hooks",
    "_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_is_full_backward_hook",
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
    "forward",
)
_NOT_READ = frozenset([
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks", "_non_persistent_buffers_set", "_compiled_call_impl",
    "_optimizer_state_dict_pre_hooks", "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks", "_optimizer_load_state_dict_post_hooks",
])
_PASSED = frozenset([Tensor, Parameter, Buffer, list, tuple, dict, set, frozenset, np.ndarray])
_FUNCTIONS = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType,
              types.MethodWrapperType, types.ClassMethodDescriptorType,
              types.GetSetDescriptorType, types.MemberDescriptorType)


class Walk:
    def __init__(self, names: Names, pinned: frozenset[str]) -> None:
        self.pinned = pinned
        self.names = set(names.read)
        self.written = set(names.written)
        self.found_reflective = names.is_reflective
        # What attributes count, in this walk.
        self.wanted, self.assigned, self.is_reflective = names
        self.seen: dict[int, int] = {}
        self.members: set[Any] = set()
        self.held: list[Any] = []
        self.tokens: list[Any] = []
        self.snapshot = Snapshot()
        self.globals: dict[int, tuple[dict[str, Any], set[str]]] = {}
        self.in_arguments = False

    def run(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Snapshot:
        snapshot = self.snapshot
        try:
            self.visit(function, None)
            for name, hooks in _hooks_of_all():
                self.visit(hooks, (None, name))
            self.in_arguments = True
            for i, value in enumerate(args):
                self.visit(value, (None, f"argument {i}"))
            for name, value in kwargs.items():
                self.tokens.append(name)
                self.visit(value, (None, f"argument `{name}`"))
        except Refused as refused:
            snapshot.refusal = str(refused)
        except RecursionError:
            snapshot.refusal = "its Python state is nested too deeply to be compared"
        for holder, named in self.globals.values():
            snapshot.watches.append(GlobalsWatch(None, holder, tuple(sorted(named))))
        snapshot.key = tuple(self.tokens)
        snapshot.names = Names(
            frozenset(self.names), frozenset(self.written), self.found_reflective
        )
        snapshot.held = self.held
        return snapshot

    def refuse(self, path: Any, reason: str) -> None:
        raise Refused(f"{path_text(path) or 'the function'} {reason}")

    # -- values ------------------------------------------------------------------------------------

    def visit(self, value: Any, path: Any) -> None:
        kind = type(value)
        tokens = self.tokens
        if kind in _LEAVES:
            tokens.append(kind)
            tokens.append(value if kind is not slice else (value.start, value.stop, value.step))
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
        if self.in_arguments and kind not in _PASSED:  # an object that is passed counts as state
            self.in_arguments = False
            handler(self, value, path)
            self.in_arguments = True
        else:
            handler(self, value, path)

    def watch(self, watch: Watch) -> None:
        watch.in_arguments = self.in_arguments
        self.snapshot.watches.append(watch)

    def visit_other(self, value: Any, path: Any) -> None:
        kind = type(value)
        if isinstance(value, Tensor):
            self.visit_tensor(value, path)
        elif isinstance(value, type):
            self.visit_class(value, path)
        elif isinstance(value, Module):
            self.visit_module_instance(value, path)
        elif isinstance(value, Optimizer):
            self.visit_optimizer(value, path)
        elif isinstance(value, enum.Enum):
            self.tokens.append(("enum", id(value)))
        elif isinstance(value, (dict, types.MappingProxyType, list, deque, tuple, frozenset, set)):
            self.visit_container(value, path)
        elif isinstance(value, np.generic):
            self.tokens.append((kind, value.tobytes()))
        elif isinstance(value, (int, float, str)) and kind.__module__ != "builtins":
            self.tokens.append((kind, repr(value)))
            self.visit_object(value, path)
        elif isinstance(value, np.ndarray):
            self.refuse(path, f"is a {kind.__name__}, whose contents can't be compared")
        elif isinstance(value, _FUNCTIONS):
            self.visit_builtin(value, path)
        elif isinstance(value, types.ModuleType):
            self.visit_python_module(value, path)
        elif is_own_module(kind.__module__):
            self.visit_own_object(value, path)
        elif kind.__flags__ & _HEAP_TYPE and not _is_opaque_class(kind):
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
            self.visit_names(attributes, path, tuple(sorted(attributes)))

    # -- containers --------------------------------------------------------------------------------

    def visit_container(self, value: Any, path: Any) -> None:
        """A container of a class of its own, with what attributes it has."""
        if isinstance(value, (dict, types.MappingProxyType)):
            self.visit_dict(value, path)
        elif isinstance(value, (list, deque)):
            self.visit_list(value, path)
        elif isinstance(value, set):
            self.visit_set(value, path)
        else:
            self.visit_tuple(value, path)
        if getattr(value, "__dict__", None) is not None and not is_own_module(
            type(value).__module__
        ):
            self.visit_object(value, path)

    def visit_dict(self, value: Any, path: Any) -> None:
        self.tokens.append((type(value), len(value)))
        self.watch(DictWatch(path, value))
        self.visit_items(value, path)
        if isinstance(value, defaultdict):
            self.visit(value.default_factory, (path, ".default_factory"))

    def visit_items(self, value: Any, path: Any) -> None:
        for key, item in value.items():
            self.visit(key, (path, ".keys()"))
            self.visit(item, (path, f"[{key!r}]" if type(key) in (str, int) else "[…]"))

    def visit_list(self, value: Any, path: Any) -> None:
        self.tokens.append((type(value), len(value)))
        self.watch(ListWatch(path, value))
        for i, item in enumerate(value):
            self.visit(item, (path, f"[{i}]"))

    def visit_tuple(self, value: Any, path: Any) -> None:
        self.tokens.append((type(value), len(value)))
        for i, item in enumerate(value):
            self.visit(item, (path, f"[{i}]"))

    def visit_set(self, value: Any, path: Any) -> None:
        if any(type(item) not in (int, str, float, bytes, bool, type(None)) for item in value):
            self.refuse(path, "is a set of objects")
        self.tokens.append((type(value), frozenset(map(repr, value))))
        self.watch(SetWatch(path, value))

    def visit_array(self, value: Any, path: Any) -> None:
        if value.size > _LARGEST_ARRAY or value.dtype.hasobject:
            self.refuse(
                path, f"is a NumPy array of {value.size} elements, too many to compare at each "
                "call: make it a tensor",
            )
        watch = ArrayWatch(path, value)
        self.tokens.append(watch.saved)
        self.watch(watch)

    # -- code --------------------------------------------------------------------------------------

    def visit_function(self, value: Any, path: Any) -> None:
        inner = value.__dict__.get("_torchdynamo_orig_callable")
        if inner is not None:  # a compiled function
            self.visit(inner, path)
            return
        code = value.__code__
        self.tokens.append(("function", id(code)))
        self.held.append(code)
        is_own = (is_own_module(value.__module__) and not _is_users_file(code)) or (
            is_pure_module(value.__module__)
        )
        self.watch(AttributeWatch(path, value, ("__code__", "__defaults__", "__kwdefaults__")))
        for name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True):
            below = (None, f"closure variable `{name}`")
            watch = CellWatch(below, cell)
            self.watch(watch)
            if watch.saved is MISSING:
                self.tokens.append(MISSING)
            elif name != "__class__":
                self.visit(watch.saved, below)
        if value.__defaults__:
            self.visit(value.__defaults__, (path, ".__defaults__"))
        if value.__kwdefaults__:
            self.visit(value.__kwdefaults__, (path, ".__kwdefaults__"))
        if "__wrapped__" in value.__dict__:
            self.visit(value.__dict__["__wrapped__"], path)
        if not is_own:
            self.visit_attributes(value.__dict__, path, type(value))
            self.visit_code(code, value.__globals__, path)

    def visit_code(self, code: Any, scope: dict[str, Any], path: Any) -> None:
        facts = facts_of(code)
        self.names |= facts.names
        self.written |= facts.written
        self.found_reflective |= facts.is_reflective
        where = f"{code.co_filename}:{code.co_firstlineno}"
        for name in facts.imports:
            module = sys.modules.get(name)
            reason = f"module `{name}`" if module is None else refused_module(module, facts.names)
            if reason is not None:
                raise Refused(f"{code.co_name}() ({where}) imports {reason}")
            self.visit(module, (None, f"module `{name}`"))
        _, named = self.globals.setdefault(id(scope), (scope, set()))
        for name in facts.globals:
            if name in named:
                continue
            named.add(name)
            value = scope.get(name, MISSING)
            self.tokens.append(name)
            if value is MISSING:
                value = getattr(builtins, name, MISSING)
                if value is not MISSING and impure_builtin(name):
                    raise Refused(f"{code.co_name}() ({where}) uses {name}(), whose effect a "
                                  "program would leave out")
                if value is MISSING:
                    self.tokens.append(MISSING)
                    continue
                self.tokens.append(id(value))
                continue
            if isinstance(value, types.ModuleType):
                reason = refused_module(value, facts.names)
                if reason is not None:
                    raise Refused(f"{code.co_name}() ({where}) uses {reason}")
            self.visit(value, (None, f"global `{name}`"))

    def visit_method(self, value: Any, path: Any) -> None:
        self.tokens.append("method")
        self.visit(value.__self__, path)
        self.visit(value.__func__, path)

    def visit_partial(self, value: Any, path: Any) -> None:
        self.tokens.append("partial")
        self.visit(value.func, (path, ".func"))
        self.visit(value.args, (path, ".args"))
        self.visit(value.keywords, (path, ".keywords"))

    def visit_builtin(self, value: Any, path: Any) -> None:
        name = getattr(value, "__name__", "")
        owner = getattr(value, "__self__", None)
        module = getattr(value, "__module__", None)
        if owner is not None and not isinstance(owner, (type, types.ModuleType)):
            self.tokens.append(("method", name))
            self.visit(owner, path)
            return
        if isinstance(owner, types.ModuleType):
            module = owner.__name__
        if module == "builtins" and impure_builtin(name):
            self.refuse(path, f"is {name}(), whose effect a program would leave out")
        if isinstance(module, str) and module not in ("builtins", None):
            found = sys.modules.get(module)
            reason = None if found is None else refused_module(found, frozenset([name]))
            if reason is not None:
                self.refuse(path, f"is from {reason}")
        self.tokens.append(("builtin", id(value)))

    def visit_python_module(self, value: Any, path: Any) -> None:
        self.tokens.append(("module", id(value)))
        if is_opaque_module(value):
            reason = refused_module(value, frozenset(self.wanted))
            if reason is not None:
                self.refuse(path, f"is {reason}")
            return
        scope = value.__dict__
        found = tuple(sorted(n for n in self.wanted if n in scope or n in self.assigned))
        self.watch(NamesWatch(path, scope, found))
        for name in found:
            below = (path, f".{name}")
            item = scope.get(name)
            if isinstance(item, types.ModuleType):
                reason = refused_module(item, frozenset(self.wanted))
                if reason is not None:
                    self.refuse(below, f"is {reason}")
            self.tokens.append(name)
            self.visit(item, below)

    # -- objects -----------------------------------------------------------------------------------

    def visit_names(self, holder: dict[str, Any], path: Any, names: tuple[str, ...]) -> None:
        watch = NamesWatch(path, holder, names)
        self.watch(watch)
        for name, value in zip(names, watch.saved, strict=True):
            if value is MISSING:
                self.tokens.append((name, MISSING))
            else:
                self.tokens.append(name)
                self.visit(value, (path, f".{name}"))

    def visit_class(self, value: Any, path: Any) -> None:
        self.tokens.append(("class", id(value)))
        module = sys.modules.get(value.__module__ or "")
        if module is not None and value.__module__.partition(".")[0] in sys.stdlib_module_names:
            reason = refused_module(module, frozenset(self.wanted))
            if reason is not None:
                self.refuse(path, f"is from {reason}")
        self.visit_members(value, path, constructs=True)

    def visit_members(self, cls: type, path: Any, *, constructs: bool) -> None:
        """The methods and attributes of a user's class that the code names."""
        for base in cls.__mro__:
            if base is object or is_own_module(base.__module__) or _is_opaque_class(base):
                continue
            names = []
            for name in base.__dict__:
                special = name.startswith("__") and name.endswith("__")
                if name in self.wanted or name == "forward" or (special and (
                    name not in _UNNAMED or (constructs and name in ("__init__", "__new__"))
                ) and callable(base.__dict__[name])):
                    names.append(name)
            mark = (base, constructs)
            if mark in self.members:
                continue
            self.members.add(mark)
            watch = TypeWatch((None, f"class {base.__name__}"), base, tuple(names))
            self.watch(watch)
            for name, member in zip(names, watch.saved, strict=True):
                below = (None, f"{base.__name__}.{name}")
                if isinstance(member, (staticmethod, classmethod)):
                    member = member.__func__
                if isinstance(member, (property, functools.cached_property)):
                    member = member.fget if isinstance(member, property) else member.func
                self.tokens.append(name)
                self.visit(member, below)

    def visit_object(self, value: Any, path: Any) -> None:
        """An instance of a user's class: the attributes and methods that the code names."""
        cls = type(value)
        self.tokens.append((cls, id(value)))
        self.watch(AttributeWatch(path, value, ("__class__",)))
        self.visit_members(cls, path, constructs=False)
        attributes = getattr(value, "__dict__", None)
        if type(attributes) is dict:
            self.visit_attributes(attributes, path, cls)
        self.visit_slots(value, path)

    def visit_attributes(
        self, attributes: dict[str, Any], path: Any, cls: type, always: tuple[str, ...] = ()
    ) -> None:
        """The attributes of an object that the code may read or assign."""
        if self.is_reflective:
            self.tokens.append(len(attributes))
            self.watch(DictWatch(path, attributes))
            names = [n for n in attributes if n not in _NOT_READ]
        else:
            names = [n for n in attributes if n in self.wanted]
            names += [n for n in self.wanted if n not in attributes
                      and (n in self.assigned or hasattr(cls, n))]
            names.sort()
        self.visit_names(attributes, path, tuple(dict.fromkeys((*always, *names))))

    def visit_slots(self, value: Any, path: Any) -> None:
        slots: list[str] = []
        for base in type(value).__mro__:
            own = base.__dict__.get("__slots__", ())
            slots += [own] if isinstance(own, str) else own
        slots = [s for s in slots if s not in ("__dict__", "__weakref__")]
        if not slots:
            return
        watch = AttributeWatch(path, value, tuple(slots))
        self.watch(watch)
        for name, item in zip(slots, watch.saved, strict=True):
            self.tokens.append(name)
            if item is not MISSING:
                self.visit(item, (path, f".{name}"))

    def visit_own_object(self, value: Any, path: Any) -> None:
        """An instance of one of taper's classes: all of its attributes."""
        cls = type(value)
        self.tokens.append((cls, id(value)))
        attributes = getattr(value, "__dict__", None)
        if attributes is None and not any("__slots__" in c.__dict__ for c in cls.__mro__):
            self.refuse(path, f"is a {cls.__name__}, whose state can't be compared")
        if attributes is not None:
            self.visit_names(attributes, path, tuple(sorted(attributes)))
        self.visit_slots(value, path)

    def visit_module_instance(self, value: Module, path: Any) -> None:
        cls = type(value)
        self.tokens.append((cls, id(value)))
        self.watch(AttributeWatch(path, value, ("__class__",)))
        attributes = value.__dict__
        self.visit_members(cls, path, constructs=False)
        if is_own_module(cls.__module__):
            names = [n for n in attributes if n not in _NOT_READ]
            self.visit_names(attributes, path, tuple(dict.fromkeys((*names, "forward"))))
        else:
            self.visit_attributes(attributes, path, cls, _MODULE_STATE)

    def visit_optimizer(self, value: Optimizer, path: Any) -> None:
        cls = type(value)
        self.tokens.append((cls, id(value)))
        self.visit_members(cls, path, constructs=False)
        attributes = value.__dict__
        names = tuple(n for n in attributes if n not in _NOT_READ and n != "defaults")
        self.watch(NamesWatch(path, attributes, names))
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
        ]) if is_own else ()
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
        self.tokens.append(("generator", id(value)))
        self.snapshot.generators.append(value)

    def visit_reference(self, value: Any, path: Any) -> None:
        self.tokens.append("reference")
        self.visit(value(), path)


_HEAP_TYPE = 1 << 9


def _hooks_of_all() -> list[tuple[str, Any]]:
    """The hooks that run for every module and every optimizer."""
    names = ("forward", "forward_pre", "forward_with_kwargs", "forward_always_called", "backward",
             "backward_pre")
    found = [(f"hooks of all modules, {name}", getattr(everywhere, name)) for name in names]
    return [*found, ("hooks of all optimizers, before", optimizer._global_pre_hooks),
            ("hooks of all optimizers, after", optimizer._global_post_hooks)]


def _is_users_file(code: Any) -> bool:
    """Whether code in a function that calls itself taper's is a user's (wrapped by `wraps`)."""
    import taper

    root = str(pathlib.Path(taper.__file__).parent)
    return not code.co_filename.startswith((root, "<"))


def _is_opaque_class(cls: type) -> bool:
    """Whether instances may have state that isn't in their attributes."""
    top = (cls.__module__ or "").partition(".")[0]
    if cls.__module__ == "types" and cls.__name__ == "SimpleNamespace":
        return False
    if top == "argparse" and cls.__name__ == "Namespace":
        return False
    return top in sys.stdlib_module_names and top not in ("__main__", "abc", "typing", "contextlib",
                                                          "dataclasses", "enum")


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
