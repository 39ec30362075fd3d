"""The walk through functions and the modules that they name, see state_walk.py."""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

from taper.compilation.code_facts import (
    facts_of,
    impure_builtin,
    is_impure_function,
    is_opaque_name,
    is_own_module,
    is_pure_module,
    refused_module,
)
from taper.compilation.known_names import is_own_code
from taper.compilation.object_walk import ObjectWalk
from taper.compilation.walk_base import Refused
from taper.compilation.watches import MISSING, AttributeWatch, CellWatch

__all__ = ["CodeWalk"]

_READ_ALL = frozenset(["copy", "dataclasses", "inspect"])  # modules that look at all attributes
_READERS = frozenset(["getattr", "setattr", "hasattr", "delattr", "vars", "dir"])


class CodeWalk(ObjectWalk):
    """What can be reached from code."""

    def visit_function(self, value: Any, path: Any) -> None:
        inner = value.__dict__.get("_torchdynamo_orig_callable")
        if inner is not None:  # a compiled function
            self.visit_wanted(value.__dict__, path)
            self.visit(inner, path)
            return
        code = value.__code__
        self.tokens.append(("function", id(code)))
        self.held.append(code)
        home = value.__globals__.get("__name__")
        is_pure = is_pure_module(home)
        self.found_reflective |= home in _READ_ALL
        is_own = is_pure or is_own_code(code, value.__module__)
        if is_own and is_impure_function(value):
            self.refuse(path, f"is {value.__name__}(), which reads or changes more than tensors")
        self.snapshot.is_foreign |= is_pure
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
            self.visit_attributes(value.__dict__, path)
            self.visit_code(code, value.__globals__, path)

    def visit_code(self, code: Any, scope: dict[str, Any], path: Any) -> None:
        facts = facts_of(code)
        self.names |= facts.names
        self.found_reflective |= facts.is_reflective
        self.compares_types |= facts.compares_types
        self.reads_floats |= facts.reads_floats
        where = f"{code.co_filename}:{code.co_firstlineno}"
        for name in facts.imports:
            module = sys.modules.get(name)
            reason = f"module `{name}`" if module is None else refused_module(module, facts.names)
            if reason is not None:
                raise Refused(f"{code.co_name}() ({where}) imports {reason}")
            self.visit(module, (None, f"module `{name}`"))
        _, named = self.globals.setdefault(id(scope), (scope, set()))
        for name in facts.globals:
            value = scope.get(name, MISSING)
            is_module = isinstance(value, types.ModuleType)
            if name in named and not is_module:
                continue
            named.add(name)
            self.tokens.append(name)
            if is_module:
                self.found_reflective |= value.__name__ in _READ_ALL
                below = facts.below.get(name)
                reason = refused_module(value, facts.names if below is None else below)
                if reason is not None:
                    raise Refused(f"{code.co_name}() ({where}) uses {reason}")
                if below is not None and is_opaque_name(value.__name__):
                    self.note_opaque_module(value, below)
                    continue
            if value is MISSING:
                self.builtins.add(name)
                value = getattr(builtins, name, MISSING)
                if value is not MISSING and impure_builtin(name):
                    raise Refused(f"{code.co_name}() ({where}) uses {name}(), whose effect a "
                                  "program would leave out")
                if value is MISSING:
                    self.tokens.append(MISSING)
                    continue
                self.visit_known(name, value)
                continue
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
        self.visit_attributes(value.__dict__, path)

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
        self.found_reflective |= module == "builtins" and name in _READERS
        if module == "builtins" and impure_builtin(name):
            self.refuse(path, f"is {name}(), whose effect a program would leave out")
        if module == "_warnings":
            self.refuse(path, f"is {name}(): call it as `warnings.{name}`, which a program repeats")
        if isinstance(module, str) and module not in ("builtins", None):
            self.snapshot.is_foreign |= not is_own_module(module)
            found = sys.modules.get(module)
            reason = None if found is None else refused_module(found, frozenset([name]))
            if reason is not None:
                self.refuse(path, f"is from {reason}")
        self.tokens.append(("builtin", id(value)))

    def note_opaque_module(self, value: Any, names: frozenset[str]) -> None:
        self.visit_known_names(value, names)
        self.tokens.append(("module", id(value)))
        self.held.append(value)
        self.snapshot.is_foreign |= not is_own_module(value.__name__)

    def visit_python_module(self, value: Any, path: Any) -> None:
        if is_opaque_name(value.__name__):
            reason = refused_module(value, frozenset(self.wanted))
            if reason is not None:
                self.refuse(path, f"is {reason}")
            self.note_opaque_module(value, self.wanted)
            return
        self.tokens.append(("module", id(value)))
        scope = value.__dict__
        others = frozenset([
            name for name, item in scope.items() if not name.startswith("__") and (
                not isinstance(item, types.ModuleType)
                and getattr(item, "__module__", value.__name__) == value.__name__)
        ]) if self.is_reflective else frozenset()
        self.visit_wanted(scope, path, others | {"__getattr__"})
