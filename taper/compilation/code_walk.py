"""The walk through functions and the modules that they name, see state_walk.py."""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

from taper.compilation.code_facts import (
    TEXTS,
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
from taper.compilation.parts import (
    FUNCTION_PARTS,
    PartsWatch,
    attributes_of,
    named_parts,
    object_parts,
)
from taper.compilation.walk_base import Refused
from taper.compilation.watches import MISSING, CellWatch

__all__ = ["CodeWalk"]

# Modules that look at all attributes, and the members of classes that they ask for.
_READ_ALL = {
    "copy": frozenset(["__copy__", "__deepcopy__", "__getstate__", "__setstate__", "__reduce__",
                       "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__"]),
    "dataclasses": frozenset(["__dataclass_fields__"]),
    "inspect": frozenset(["__dir__"]),
}
_WRITERS = frozenset(["repr", "format", "ascii"])
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
        self.tokens.append(("function", id(code), value.__name__, value.__qualname__))
        self.held.append(code)
        home = value.__globals__.get("__name__")
        is_pure = is_pure_module(home)
        self.note_reader(home)
        is_own = is_pure or is_own_code(code, value.__module__)
        self.note_settings(value)
        if is_own and is_impure_function(value):
            self.refuse(path, f"is {value.__name__}(), which reads or changes more than tensors")
        self.snapshot.is_foreign |= is_pure
        self.watch(PartsWatch(path, value, FUNCTION_PARTS))
        named = named_parts(self.wanted)
        if named:
            others = PartsWatch(path, value, named)
            self.watch(others)
            self.visit(others.saved, path)
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
            self.visit_import(name, facts.names, scope, f"{code.co_name}() ({where})")
        _, named = self.globals.setdefault(id(scope), (scope, set()))
        for name in facts.globals:
            value = scope.get(name, MISSING)
            is_module = issubclass(type(value), types.ModuleType)
            if name in named and not is_module:
                continue
            named.add(name)
            self.tokens.append(name)
            if is_module:
                self.note_reader(value.__name__)
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

    def note_reader(self, module: str | None) -> None:
        """Notes that the code names a module, which may look at all attributes."""
        if module in _READ_ALL:
            self.found_reflective = True
            self.names |= _READ_ALL[module]

    def visit_import(
        self, name: str, names: frozenset[str], scope: dict[str, Any], where: str
    ) -> None:
        """A module that code imports when it runs: what stands under its name, and those in which
        it lies, `a` for ``import a.b``."""
        full = name.lstrip(".")
        if full != name:
            package = str(scope.get("__package__") or "").split(".")
            package = package[:len(package) - (len(name) - len(full) - 1)]
            full = ".".join([*package, full] if full else package)
        above = full.partition(".")[0]
        while above and above != full:
            module = sys.modules.get(above)
            if module is not None and not is_opaque_name(above):
                self.imported.add(above)
                self.visit(module, (None, f"module `{above}`"))
            above = full[:(full + ".").index(".", len(above) + 1)]
        module = sys.modules.get(full)
        reason = f"module `{full}`" if module is None else refused_module(module, names)
        if reason is not None:
            raise Refused(f"{where} imports {reason}")
        self.imported.add(full)
        self.visit(module, (None, f"module `{full}`"))

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
        if module == "builtins" and name in _READERS:
            self.found_reflective = True
            self.names.add("__dir__")
        if module == "builtins" and name in _WRITERS:
            self.names |= TEXTS
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
        kind = type(value)
        self.tokens.append(("module", id(value), kind))
        self.watch(PartsWatch(path, value, object_parts(kind)))
        if kind is not types.ModuleType:
            self.visit_members(kind, path, constructs=False)
        scope = attributes_of(value)
        others = frozenset([
            name for name, item in scope.items() if not name.startswith("__") and (
                not isinstance(item, types.ModuleType)
                and getattr(item, "__module__", value.__name__) == value.__name__)
        ]) if self.is_reflective else frozenset()
        self.visit_wanted(scope, path, others | {"__getattr__"})
