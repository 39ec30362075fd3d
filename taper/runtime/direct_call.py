"""Kernels that Python calls as built-in functions: 20 ns, where ctypes takes 200 to 1200.

A kernel is `void kernel(i64* block, i64 begin, i64 end)`. `direct_call` makes, once for each list of
parameters, a C function in machine code that CPython calls as it calls its own (METH_FASTCALL): it
reads the addresses of the arrays out of the NumPy objects, packs the block, and runs the kernel over
0 … count on this thread. The GIL is held meanwhile, so this is for small work; `pool.launch` is for
the rest.

Note [the table]. The code refers to nothing outside of itself, so that it can be cached on disk.
What it calls and compares with, and the kernel, it finds in a table of addresses, which is the
function's `self`: a NumPy array, read as the arguments are.
"""

from __future__ import annotations

import ctypes
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from taper.compiler import background
from taper.core.storage import HEADER_WORDS, memory_words

__all__ = ["ARRAY", "COUNT", "FLOAT", "INT", "direct_call"]

ARRAY, INT, FLOAT, COUNT = "array", "int", "float", "count"
"""Kinds of parameters: an ndarray, whose address goes into the block; an int; a float, as a double;
and the kernel's `end`, an int that isn't part of the block."""

_METH_FASTCALL = 0x0080
_KERNEL, _NDARRAY, _INT_TYPE, _FLOAT_TYPE, _AS_INT, _AS_FLOAT, _BAD, _RETAIN, _NONE = range(9)
_DATA = 8 * HEADER_WORDS
_TYPE = _DATA - 8
_kept: list[Any] = []  # CPython keeps no copy of a method's definition


class _MethodDefinition(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    ]


@cache
def is_possible() -> bool:
    """Whether objects lie in memory as is assumed here: CPython with a GIL, on 64 bits."""
    return (
        memory_words is not None
        and ctypes.sizeof(ctypes.c_void_p) == 8
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and not hasattr(sys, "gettotalrefcount")
        and memory_words[(id(_MethodDefinition) >> 3) + HEADER_WORDS - 1] == id(type(_MethodDefinition))
    )


def direct_call(kernel: int, parameters: tuple[str, ...]) -> Callable[..., None] | None:
    """A built-in function that runs the kernel at this address; None while it can't be had.

    Its arguments are positional, their types exactly those that `parameters` name; anything else
    raises TypeError. That arrays have the layout that the kernel expects is for the caller to see.
    """
    if not is_possible():
        return None
    code = background.request(
        ("direct call", parameters), lambda: (text_of(parameters), "taper_direct_call")
    )
    return None if code is None else _built_in(kernel, code)


def _built_in(kernel: int, code: int) -> Callable[..., None]:
    api = ctypes.pythonapi
    table = np.zeros(9, np.uint64)
    for word, value in {
        _KERNEL: kernel, _NDARRAY: id(np.ndarray), _INT_TYPE: id(int), _FLOAT_TYPE: id(float),
        _AS_INT: _address(api.PyLong_AsLongLong), _AS_FLOAT: _address(api.PyFloat_AsDouble),
        _BAD: _address(api.PyErr_BadArgument), _RETAIN: _address(api.Py_IncRef), _NONE: id(None),
    }.items():
        table[word] = value
    definition = _MethodDefinition(b"kernel", code, _METH_FASTCALL, None)
    make = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p
    )(("PyCMethod_New", api))
    _kept.append(definition)
    function: Callable[..., None] = make(ctypes.addressof(definition), table, None, None)
    return function


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def text_of(parameters: tuple[str, ...]) -> str:
    """The module of the function for these parameters."""
    lines = [
        "define ptr @taper_direct_call(ptr %self, ptr %args, i64 %given) {",
        "entry:",
        f"  %block = alloca [{max(len(parameters), 1)} x i64], align 8",
        f"  %table.at = getelementptr i8, ptr %self, i64 {_DATA}",
        "  %table = load ptr, ptr %table.at",
    ]
    words = {
        _KERNEL: "kernel", _NDARRAY: "ndarray", _INT_TYPE: "int", _FLOAT_TYPE: "float",
        _AS_INT: "as_int", _AS_FLOAT: "as_float", _BAD: "bad", _RETAIN: "retain", _NONE: "none",
    }
    for word, name in words.items():
        lines += [
            f"  %{name}.at = getelementptr ptr, ptr %table, i64 {word}",
            f"  %{name} = load ptr, ptr %{name}.at",
        ]
    lines += [
        f"  %complete = icmp eq i64 %given, {len(parameters)}",
        "  br i1 %complete, label %arg0, label %wrong",
    ]
    count = "0"
    place = 0
    for i, kind in enumerate(parameters):
        expected = {ARRAY: "ndarray", FLOAT: "float"}.get(kind, "int")
        lines += [
            f"arg{i}:",
            f"  %o{i}.at = getelementptr ptr, ptr %args, i64 {i}",
            f"  %o{i} = load ptr, ptr %o{i}.at",
            f"  %t{i}.at = getelementptr i8, ptr %o{i}, i64 {_TYPE}",
            f"  %t{i} = load ptr, ptr %t{i}.at",
            f"  %is{i} = icmp eq ptr %t{i}, %{expected}",
            f"  br i1 %is{i}, label %take{i}, label %wrong",
            f"take{i}:",
        ]
        if kind == ARRAY:
            lines += [
                f"  %d{i}.at = getelementptr i8, ptr %o{i}, i64 {_DATA}",
                f"  %v{i} = load i64, ptr %d{i}.at",
            ]
        elif kind == FLOAT:
            lines += [
                f"  %f{i} = call double %as_float(ptr %o{i})",
                f"  %v{i} = bitcast double %f{i} to i64",
            ]
        else:
            lines += [
                f"  %v{i} = call i64 %as_int(ptr %o{i})",
                f"  %fits{i} = icmp ne i64 %v{i}, -1",  # an int that is too large; no size is -1
                f"  br i1 %fits{i}, label %keep{i}, label %wrong",
                f"keep{i}:",
            ]
        if kind == COUNT:
            count = f"%v{i}"
        else:
            lines += [
                f"  %b{i} = getelementptr i64, ptr %block, i64 {place}",
                f"  store i64 %v{i}, ptr %b{i}",
            ]
            place += 1
        lines.append(f"  br label %arg{i + 1}")
    lines += [
        f"arg{len(parameters)}:",
        f"  call void %kernel(ptr %block, i64 0, i64 {count})",
        "  call void %retain(ptr %none)",
        "  ret ptr %none",
        "wrong:",
        "  %said = call i32 %bad()",
        "  ret ptr null",
        "}",
    ]
    return "\n".join(lines) + "\n"
