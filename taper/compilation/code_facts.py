"""What a function's code names: the globals and attributes it may read, and what it must not call.

Compiled programs stand in for Python code, so that code may depend only on what can be compared
before each call (snapshot.py), and have no effect that a program would leave out.
"""

from __future__ import annotations

import dis
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Any, NamedTuple

__all__ = [
    "TEXTS", "CodeFacts", "facts_of", "impure_builtin", "is_impure_function", "is_opaque_name",
    "is_own_module", "is_pure_module", "is_standard", "refused_module",
]


class CodeFacts(NamedTuple):
    """The names that a code object, and those nested in it, use."""

    globals: tuple[str, ...]  # read or written
    below: dict[str, frozenset[str]]  # of globals that are read for attributes only: those names
    names: frozenset[str]  # attributes, and constants that may be names of attributes
    imports: tuple[str, ...]  # with a dot for each level, as in `from ..data import x`
    is_reflective: bool  # it may read any attribute
    compares_types: bool  # it may ask whether a type is that of plain numbers
    reads_floats: bool  # C code may read floats that it names, as ``"%f" % x`` does


_GLOBAL = frozenset(["LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "STORE_NAME"])
_IMPORT = frozenset(["IMPORT_NAME"])
_ATTRIBUTE = frozenset([
    "LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR", "IMPORT_FROM",
])
_READ = frozenset(["LOAD_ATTR", "LOAD_METHOD"])
_NUMBER_TYPES = frozenset(["int", "float"])
_BY_NAME = frozenset(["setattr", "delattr", "getattr", "hasattr"])  # often of a constant
_REFLECTION = _BY_NAME | {"vars", "__dict__", "attrgetter", "methodcaller", "__getattribute__",
                          "getattr_static", "getmembers"}
_REFLECTION_BY_BUILTINS = _REFLECTION | {"dir"}
TEXTS = frozenset(["__str__", "__repr__", "__format__"])
_FORMATTING = frozenset(["str", "repr", "format", "ascii"])
_TEMPLATES = frozenset(["format", "format_map"])  # methods of texts, which read what these name
_FIELD = re.compile(r"\{[^{}]*")


@lru_cache(maxsize=4096)
def facts_of(code: CodeType) -> CodeFacts:
    """Reads a code object once."""
    found: dict[str, set[str]] = {"global": set(), "name": set(), "import": set()}
    types = 0
    reads_floats = False
    reflective = False
    below: dict[str, set[str]] = {}
    otherwise: set[str] = set()  # globals that are also passed, stored or written
    waiting = [code]
    while waiting:
        current = waiting.pop()
        for name, attributes in _reads_of_globals(current):
            below.setdefault(name, set()).update(attributes)
            if not attributes:
                otherwise.add(name)
        instructions = list(dis.get_instructions(current))
        for i, instruction in enumerate(instructions):
            name = instruction.opname
            if name in _GLOBAL:
                found["global"].add(instruction.argval)
                if instruction.argval == "type":
                    types += 1
                    found["name"].add("__class__")  # which may be called
                if instruction.argval == "dir":
                    found["name"].add("__dir__")
                if instruction.argval in _REFLECTION_BY_BUILTINS and not (
                    instruction.argval in _BY_NAME and _is_of_a_constant(instructions[i:])
                ):
                    reflective = True
            elif name == "MATCH_CLASS":
                found["name"].add("__match_args__")
            elif name in _IMPORT:
                # Before it, two constants are loaded: the level, and the names.
                level = [x for x in instructions[:i] if x.opname == "LOAD_CONST"][-2].argval
                found["import"].add("." * level + instruction.argval)
            elif name in _ATTRIBUTE:
                found["name"].add(instruction.argval)
                if instruction.argval in _TEMPLATES and (
                    not i or type(instructions[i - 1].argval) is not str
                    or instructions[i - 1].opname != "LOAD_CONST"
                ):
                    reflective = True  # who knows what fields the text has
            if name.startswith(("FORMAT_", "CONVERT_VALUE")) or (
                instruction.argval in _FORMATTING if type(instruction.argval) is str else False
            ):
                found["name"] |= TEXTS
            elif name == "BINARY_OP" and instruction.argrepr in ("%", "%=") and type(
                instructions[i - 1].argval
            ) is not int:
                found["name"] |= TEXTS  # of who knows which objects, if it isn't a remainder
        for constant in current.co_consts:
            if type(constant) is CodeType:
                waiting.append(constant)
            elif type(constant) is str:
                found["name"] |= _names_in(constant)
                if "%" in constant:
                    found["name"] |= TEXTS
                    reads_floats = True
            elif type(constant) is complex:
                reads_floats = True
            elif type(constant) is tuple:  # of names, where a pattern is matched
                found["name"].update([part for part in constant if type(part) is str])
    return CodeFacts(
        tuple(sorted(found["global"])),
        {name: frozenset(names) for name, names in below.items() if name not in otherwise},
        frozenset(found["name"]), tuple(sorted(found["import"])),
        reflective or not _REFLECTION.isdisjoint(found["name"]),
        types > 1 or (types == 1 and not _NUMBER_TYPES.isdisjoint(found["global"])),
        reads_floats or bool(below.get("float")),
    )


def _names_in(text: str) -> set[str]:
    """The text itself, if it may be a name, or those in its fields: ``"{0.rate}"`` reads `rate`."""
    if text.isidentifier():
        return {text}
    return {part for field in _FIELD.findall(text) for part in re.split(r"\W+", field) if part}


def _is_of_a_constant(instructions: list[dis.Instruction]) -> bool:
    """Whether the call of `getattr` or the like, which the first instruction loads, has the name
    written out: then it reads what an attribute of that name would."""
    depth = 0
    for end, instruction in enumerate(instructions):
        if instruction.opcode in dis.hasjrel or instruction.is_jump_target:
            return False
        depth += dis.stack_effect(instruction.opcode, instruction.arg, jump=False)
        if end and depth <= 1 and instruction.opname == "CALL":
            break
    else:
        return False
    arguments = [i for i in instructions[:end] if i.opname not in ("PRECALL", "CACHE")]
    if instructions[end].arg == 3 and arguments[-1].opname.startswith("LOAD_") and (
        dis.stack_effect(arguments[-1].opcode, arguments[-1].arg) == 1
    ):
        del arguments[-1]
    elif instructions[end].arg != 2:
        return False
    last = arguments[-1]
    return last.opname == "LOAD_CONST" and type(last.argval) is str


def _reads_of_globals(code: CodeType) -> Iterator[tuple[str, list[str]]]:
    """Each global where it stands in the code, with the attributes that are read from it there:
    `torch.nn.functional.relu` is `torch` with the other three.
    """
    root, attributes = "", list[str]()
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if root and name in _READ:
            attributes.append(instruction.argval)
        elif name != "EXTENDED_ARG":
            if root:
                yield root, attributes
            root, attributes = instruction.argval if name in _GLOBAL else "", []


_IMPURE_BUILTINS = frozenset([
    "print", "input", "open", "exec", "eval", "compile", "breakpoint", "__import__", "globals",
    "locals", "exit", "quit",
])


def impure_builtin(name: str) -> bool:
    """Whether a builtin reads or changes what a program can't see."""
    return name in _IMPURE_BUILTINS


_PURE_MODULES = frozenset("""
    __future__ abc builtins collections contextlib copy dataclasses enum functools itertools math
    cmath numbers operator types typing string re fractions warnings inspect traceback
    reprlib collections.abc _operator _functools _collections _collections_abc itertools _abc
""".split())
_OWN = ("taper", "torch")
_IMPURE_NAMES = {
    "taper": frozenset([
        "manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state", "fork_rng",
        "save", "load", "set_default_dtype", "set_num_threads", "set_printoptions",
        "SummaryWriter", "profile", "record_function", "DataLoader",
    ]),
    "numpy": frozenset([
        "random", "save", "savez", "load", "loadtxt", "savetxt", "fromfile", "genfromtxt", "memmap",
        "geterr", "geterrcall", "seterr", "seterrcall", "get_printoptions", "set_printoptions",
    ]),
    "traceback": frozenset([
        "print_exc", "print_exception", "print_last", "print_list", "print_stack", "print_tb",
        "extract_stack", "format_stack", "walk_stack",
    ]),
    "inspect": frozenset(["currentframe", "getouterframes", "stack", "trace"]),
}


def is_own_module(name: str | None) -> bool:
    """Whether a module is taper's: what it does is known, so its code isn't looked at."""
    return bool(name) and str(name).partition(".")[0] in _OWN


def refused_module(module: ModuleType, names: frozenset[str]) -> str | None:
    """Why code that names a module, and these attributes, can't be replaced; None if it can.

    User's modules aren't asked: their contents are looked at.
    """
    name = module.__name__
    top = name.partition(".")[0]
    if name.startswith("numpy.random"):
        return "`numpy.random`, which draws other numbers each time"
    impure = _IMPURE_NAMES.get("taper" if top in _OWN else top)
    if impure is not None:
        bad = sorted(names & impure)
        bad = [n for n in bad if hasattr(module, n)]
        return f"`{name}.{bad[0]}`, which reads or changes more than tensors" if bad else None
    if name == "builtins" and not names.isdisjoint(_IMPURE_BUILTINS):
        return f"`builtins.{min(names & _IMPURE_BUILTINS)}`, whose effect a program would leave out"
    if top in sys.stdlib_module_names and not (is_pure_module(name) or is_pure_module(top)):
        return f"module `{name}`, whose functions may have effects or give another result each time"
    return None


def is_impure_function(function: Any) -> bool:
    """Whether one of taper's functions reads or changes more than tensors."""
    return function.__name__ in _IMPURE_NAMES["taper"] and is_own_module(function.__module__)


def is_standard(name: str | None) -> bool:
    """Whether a module of this name is of the standard library."""
    top = (name or "").partition(".")[0]
    return top in sys.stdlib_module_names and top != "__main__"


def is_pure_module(name: str | None) -> bool:
    """Whether a module of the standard library has no state and no effects."""
    return name in _PURE_MODULES


def is_opaque_name(name: str | None) -> bool:
    """Whether the contents of a module of this name aren't looked at."""
    top = (name or "").partition(".")[0]
    return top in _OWN or top in ("numpy", "scipy") or is_standard(top)
