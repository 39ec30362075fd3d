"""Kernels that Python calls as built-in functions: 20 ns, where ctypes takes 200 to 1200.

A kernel is `void kernel(i64* block, i64 begin, i64 end)`. `DirectCall` describes a C function in
machine code that CPython calls as it calls its own (METH_FASTCALL): it reads type, dtype, layout,
sizes and addresses of the arrays out of the NumPy objects, makes the result, packs the block and
runs the kernel over all its units on this thread. Arguments that it doesn't take go, as they are,
to another function. So it stands in for a ufunc:

    add = DirectCall(
        (Array("f32"), Array("f32", shape_of=0)), (Address(0), Address(1), Address(2)), Elements(0),
        result=Result("f32", shape_of=0), largest=4096,
    ).function(address_of_kernel, otherwise=np.add)    # None while it isn't compiled

The GIL is held meanwhile, so this is for small work; `pool.launch` is for the rest.

Note [the table]. The code refers to nothing outside of itself, so that it can be cached on disk.
What it calls and compares with, and the kernel, it finds in a table of addresses, which is the
function's `self`: a NumPy array, read as the arguments are.
"""

from __future__ import annotations

import ctypes
import sysconfig
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from taper.compiler import background, machine
from taper.core.storage import HEADER_WORDS, memory_words

__all__ = [
    "DATA", "Address", "Array", "DirectCall", "Elements", "Pointer", "Result", "Size", "Status",
    "built_in_function", "by_size", "is_possible", "new_array_address",
]


class Array(NamedTuple):
    """A parameter: an aligned ndarray of this dtype, in C order.

    ndim: its number of dimensions; None for any.    shape_of: an argument of the same shape.
    is_transposed: in Fortran's order instead.
    is_argument: which one it is once more.
    apart_from: an argument whose memory it shares from the first element on, or not at all.
    """

    type: str
    ndim: int | None = None
    shape_of: int | None = None
    is_argument: int | None = None
    apart_from: int | None = None
    is_transposed: bool = False


class Address(NamedTuple):
    """A word of the block: where the elements of an argument begin, plus `offset` bytes.

    The result comes after the arguments.
    """

    argument: int
    offset: int = 0


class Size(NamedTuple):
    """A word of the block: a dimension's size, times `factor`."""

    argument: int
    dimension: int
    factor: int = 1


class Result(NamedTuple):
    """The array that is returned: of an argument's shape, or of these sizes (or without any)."""

    type: str
    shape_of: int | None = None
    sizes: tuple[Size, ...] = ()


class Pointer(NamedTuple):
    """A word of the block: one of the addresses that are given when the function is made."""

    number: int


class Elements(NamedTuple):
    """A word of the block: how many elements an argument has."""

    argument: int


class Status(NamedTuple):
    """A word of the block, at first 0: where the kernel leaves another number, the call goes to
    `otherwise`."""


Word = Address | Size | Elements | Pointer | Status | int

_DTYPES = {
    kind: np.dtype(name) for kind, name in {
        "f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32, "b1": np.bool_,
    }.items()
}
_METH_KEYWORDS, _METH_FASTCALL = 0x0002, 0x0080
_C_ORDER, _FORTRAN_ORDER, _ALIGNED, _WRITEABLE = 0x0001, 0x0002, 0x0100, 0x0400
# Offsets in NumPy's PyArrayObject, bytes.
DATA = 8 * HEADER_WORDS
_TYPE = DATA - 8
_NDIM, _SIZES, _DTYPE, _FLAGS = DATA + 8, DATA + 16, DATA + 40, DATA + 48
_NEW_ARRAY = 93  # the place of PyArray_New in NumPy's C API, since NumPy 1.0

# Words of the table; those of dtypes follow.
(_KERNEL, _NDARRAY, _RETAIN, _RELEASE, _CALL, _OTHERWISE, _OF_OTHER_DTYPE, _NONE, _NEW,
 _FIRST_DTYPE) = range(10)

_kept: list[Any] = []  # CPython keeps no copy of a function's definition


class _MethodDefinition(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    ]


@cache
def is_possible() -> bool:
    """Whether objects lie in memory as is assumed here: CPython with a GIL, on 64 bits."""
    if memory_words is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED") or new_array_address() is None:
        return False
    probe = np.zeros((3, 5), np.float32)
    first = id(probe) >> 3
    sizes = memory_words[first + _SIZES // 8]
    flags = memory_words[first + _FLAGS // 8] & 0xFFFFFFFF
    return (
        memory_words[first + _TYPE // 8] == id(np.ndarray)
        and memory_words[first + _NDIM // 8] & 0xFFFFFFFF == 2
        and [memory_words[sizes // 8], memory_words[sizes // 8 + 1]] == [3, 5]
        and memory_words[first + _DTYPE // 8] == id(_DTYPES["f32"])
        and flags == probe.flags.num
    )


@cache
def new_array_address() -> int | None:
    """NumPy's PyArray_New, if it makes what it should."""
    try:
        capsule = import_module("numpy._core._multiarray_umath")._ARRAY_API
    except (ImportError, AttributeError):
        return None
    find = ctypes.pythonapi.PyCapsule_GetPointer
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = ctypes.cast(find(capsule, None), ctypes.POINTER(ctypes.c_void_p))[_NEW_ARRAY]
    make = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.c_void_p, ctypes.c_int,
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p,
    )(address)
    sizes = (ctypes.c_int64 * 2)(3, 5)
    made = make(np.ndarray, 2, ctypes.addressof(sizes), _DTYPES["f64"].num, None, None, 0, 0, None)
    right = type(made) is np.ndarray and made.shape == (3, 5) and made.dtype is _DTYPES["f64"]
    return address if right else None


def built_in_function(
    code: int, table: Any, *needed: Any, takes_names: bool = False
) -> Callable[..., Any]:
    """The code at an address as a function that Python can call, with a table of addresses as its
    `self`; `needed` are objects whose addresses are in it. `takes_names`: the code has a fourth
    parameter, of the names of arguments that are given by name."""
    flags = _METH_FASTCALL | _METH_KEYWORDS if takes_names else _METH_FASTCALL
    definition = _MethodDefinition(b"kernel", code, flags, None)
    _kept.append((definition, *needed))
    make = ctypes.PYFUNCTYPE(
        ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p
    )(("PyCMethod_New", ctypes.pythonapi))
    made: Callable[..., Any] = make(ctypes.addressof(definition), table, None, None)
    return made


class DirectCall(NamedTuple):
    """What a built-in function takes, gives, and tells its kernel.

    block: the words of the kernel's argument block.    units: how many of them it runs.
    result: the array it makes and returns, or nothing.
    largest: the most elements that the argument `sized_by` may have.
    writes: the arguments that are changed.
    """

    parameters: tuple[Array, ...]
    block: tuple[Word, ...]
    units: Word
    result: Result | None = None
    largest: int = 1 << 14
    sized_by: int = 0
    writes: tuple[int, ...] = ()

    def function(self, kernel: int, otherwise: Callable[..., Any]) -> Callable[..., Any] | None:
        """The function, for the kernel at this address; None while it can't be had.

        Calls with arguments that it doesn't take go to `otherwise`.
        """
        if not is_possible():
            return None
        code = background.request(
            ("direct call", self), lambda: (_Text(self).module(), _Text.name), exact=True
        )
        return None if code is None else self._built_in(code, kernel, otherwise, otherwise)

    def function_now(
        self, kernel: int, otherwise: Callable[..., Any], of_other_dtype: Callable[..., Any],
        pointers: Sequence[int] = (),
    ) -> Callable[..., Any]:
        """The function, made by this thread. `of_other_dtype` takes the calls whose first argument
        is no array of the right dtype. `pointers` are what `Pointer` words stand for.

        Raises: NoNativeCode: where it can't be; ask `is_possible` first.
        """
        code = machine.compile_ir(_Text(self).module(), _Text.name)
        return self._built_in(code, kernel, otherwise, of_other_dtype, pointers)

    def _built_in(
        self, code: int, kernel: int, otherwise: Callable[..., Any],
        of_other_dtype: Callable[..., Any], pointers: Sequence[int] = (),
    ) -> Callable[..., Any]:
        api = ctypes.pythonapi
        dtypes = self.dtypes()
        table = np.zeros(_FIRST_DTYPE + len(dtypes) + len(pointers), np.uint64)
        table[_KERNEL], table[_NDARRAY] = kernel, id(np.ndarray)
        for word, name in (
            (_RETAIN, "Py_IncRef"), (_RELEASE, "Py_DecRef"), (_CALL, "PyObject_Vectorcall"),
        ):
            table[word] = ctypes.cast(getattr(api, name), ctypes.c_void_p).value or 0
        table[_OTHERWISE], table[_OF_OTHER_DTYPE] = id(otherwise), id(of_other_dtype)
        table[_NONE] = id(None)
        table[_NEW] = new_array_address() or 0
        for i, kind in enumerate(dtypes):
            table[_FIRST_DTYPE + i] = id(_DTYPES[kind])
        for i, pointer in enumerate(pointers):
            table[_FIRST_DTYPE + len(dtypes) + i] = pointer
        return built_in_function(code, table, otherwise, of_other_dtype)

    def dtypes(self) -> list[str]:
        return sorted({p.type for p in self.parameters})


_SHAPES = f"""
define internal i1 @same_shape(ptr %a, ptr %b) {{
  %a.ndim.at = getelementptr i8, ptr %a, i64 {_NDIM}
  %b.ndim.at = getelementptr i8, ptr %b, i64 {_NDIM}
  %a.ndim = load i32, ptr %a.ndim.at
  %b.ndim = load i32, ptr %b.ndim.at
  %alike = icmp eq i32 %a.ndim, %b.ndim
  br i1 %alike, label %begin, label %no
begin:
  %a.sizes.at = getelementptr i8, ptr %a, i64 {_SIZES}
  %b.sizes.at = getelementptr i8, ptr %b, i64 {_SIZES}
  %a.sizes = load ptr, ptr %a.sizes.at
  %b.sizes = load ptr, ptr %b.sizes.at
  br label %more
more:
  %d = phi i32 [0, %begin], [%next, %same]
  %done = icmp eq i32 %d, %a.ndim
  br i1 %done, label %yes, label %compare
compare:
  %a.at = getelementptr i64, ptr %a.sizes, i32 %d
  %b.at = getelementptr i64, ptr %b.sizes, i32 %d
  %a.size = load i64, ptr %a.at
  %b.size = load i64, ptr %b.at
  %equal = icmp eq i64 %a.size, %b.size
  br i1 %equal, label %same, label %no
same:
  %next = add i32 %d, 1
  br label %more
yes:
  ret i1 true
no:
  ret i1 false
}}

define internal i64 @elements(ptr %a) {{
begin:
  %ndim.at = getelementptr i8, ptr %a, i64 {_NDIM}
  %ndim = load i32, ptr %ndim.at
  %sizes.at = getelementptr i8, ptr %a, i64 {_SIZES}
  %sizes = load ptr, ptr %sizes.at
  br label %more
more:
  %d = phi i32 [0, %begin], [%next, %step]
  %product = phi i64 [1, %begin], [%larger, %step]
  %done = icmp eq i32 %d, %ndim
  br i1 %done, label %end, label %step
step:
  %at = getelementptr i64, ptr %sizes, i32 %d
  %size = load i64, ptr %at
  %larger = mul i64 %product, %size
  %next = add i32 %d, 1
  br label %more
end:
  ret i64 %product
}}
"""


_BROADCAST = f"""
; How many elements two arrays have that are broadcast together; 0 if they are no arrays.
define internal i64 @together(ptr %a, ptr %b, ptr %ndarray) {{
begin:
  %a.type.at = getelementptr i8, ptr %a, i64 {_TYPE}
  %a.type = load ptr, ptr %a.type.at
  %b.type.at = getelementptr i8, ptr %b, i64 {_TYPE}
  %b.type = load ptr, ptr %b.type.at
  %a.is = icmp eq ptr %a.type, %ndarray
  %b.is = icmp eq ptr %b.type, %ndarray
  %both = and i1 %a.is, %b.is
  br i1 %both, label %look, label %no
no:
  ret i64 0
look:
  %a.ndim.at = getelementptr i8, ptr %a, i64 {_NDIM}
  %a.ndim = load i32, ptr %a.ndim.at
  %b.ndim.at = getelementptr i8, ptr %b, i64 {_NDIM}
  %b.ndim = load i32, ptr %b.ndim.at
  %a.sizes.at = getelementptr i8, ptr %a, i64 {_SIZES}
  %a.sizes = load ptr, ptr %a.sizes.at
  %b.sizes.at = getelementptr i8, ptr %b, i64 {_SIZES}
  %b.sizes = load ptr, ptr %b.sizes.at
  br label %more
more:
  %a.left = phi i32 [%a.ndim, %look], [%a.next, %step]
  %b.left = phi i32 [%b.ndim, %look], [%b.next, %step]
  %product = phi i64 [1, %look], [%larger, %step]
  %a.has = icmp sgt i32 %a.left, 0
  %b.has = icmp sgt i32 %b.left, 0
  %has = or i1 %a.has, %b.has
  br i1 %has, label %first, label %end
first:
  %a.next = sub i32 %a.left, 1
  %b.next = sub i32 %b.left, 1
  br i1 %a.has, label %of.a, label %second
of.a:
  %a.at = getelementptr i64, ptr %a.sizes, i32 %a.next
  %a.size = load i64, ptr %a.at
  br label %second
second:
  %a.one = phi i64 [1, %first], [%a.size, %of.a]
  br i1 %b.has, label %of.b, label %step
of.b:
  %b.at = getelementptr i64, ptr %b.sizes, i32 %b.next
  %b.size = load i64, ptr %b.at
  br label %step
step:
  %b.one = phi i64 [1, %second], [%b.size, %of.b]
  %is.more = icmp sgt i64 %a.one, %b.one
  %size = select i1 %is.more, i64 %a.one, i64 %b.one
  %larger = mul i64 %product, %size
  br label %more
end:
  ret i64 %product
}}
"""


def by_size(
    few: Callable[..., Any], many: Callable[..., Any], limit: int
) -> Callable[..., Any]:
    """A built-in function of two operands: `many` if they are arrays that give more than `limit`
    elements when they are broadcast together, else `few`.

    Raises: NoNativeCode: where it can't be made; ask `is_possible` first.
    """
    table = np.array([
        0, id(np.ndarray), 0, 0,
        ctypes.cast(ctypes.pythonapi.PyObject_Vectorcall, ctypes.c_void_p).value or 0,
        id(few), id(many), limit,
    ], np.uint64)
    name = "taper_by_size"
    code = machine.compile_ir(_BROADCAST + "\n".join([
        f"define ptr @{name}(ptr %self, ptr %args, i64 %given) {{",
        "begin:",
        "  %two = icmp eq i64 %given, 2",
        "  br i1 %two, label %look, label %few",
        "look:",
        f"  %table.at = getelementptr i8, ptr %self, i64 {DATA}",
        "  %table = load ptr, ptr %table.at",
        f"  %ndarray.at = getelementptr ptr, ptr %table, i64 {_NDARRAY}",
        "  %ndarray = load ptr, ptr %ndarray.at",
        "  %limit.at = getelementptr i64, ptr %table, i64 7",
        "  %limit = load i64, ptr %limit.at",
        "  %a = load ptr, ptr %args",
        "  %b.at = getelementptr ptr, ptr %args, i64 1",
        "  %b = load ptr, ptr %b.at",
        "  %count = call i64 @together(ptr %a, ptr %b, ptr %ndarray)",
        "  %are.many = icmp sgt i64 %count, %limit",
        "  br i1 %are.many, label %many, label %few",
        *_handed_on("few", _OTHERWISE), *_handed_on("many", _OF_OTHER_DTYPE),
        "}\n",
    ]), name)
    return built_in_function(code, table, few, many)


def _handed_on(label: str, word: int) -> list[str]:
    """Calls a function of the table with the same arguments."""
    n = label
    return [
        f"{label}:",
        f"  %{n}.table.at = getelementptr i8, ptr %self, i64 {DATA}",
        f"  %{n}.table = load ptr, ptr %{n}.table.at",
        f"  %{n}.call.at = getelementptr ptr, ptr %{n}.table, i64 {_CALL}",
        f"  %{n}.call = load ptr, ptr %{n}.call.at",
        f"  %{n}.to.at = getelementptr ptr, ptr %{n}.table, i64 {word}",
        f"  %{n}.to = load ptr, ptr %{n}.to.at",
        f"  %{n}.answer = call ptr %{n}.call(ptr %{n}.to, ptr %args, i64 %given, ptr null)",
        f"  ret ptr %{n}.answer",
    ]


class _Text:
    """Writes the function in LLVM IR, with a fresh name for each value."""

    name = "taper_direct_call"

    def __init__(self, call: DirectCall) -> None:
        self.call = call
        self.lines: list[str] = []
        self.count = 0
        self.table = ""
        self.arguments: list[str] = []

    def value(self, code: str) -> str:
        self.count += 1
        self.lines.append(f"  %v{self.count} = {code}")
        return f"%v{self.count}"

    def field(self, kind: str, base: str, offset: int) -> str:
        """Loads what lies `offset` bytes into an object."""
        place = self.value(f"getelementptr i8, ptr {base}, i64 {offset}")
        return self.value(f"load {kind}, ptr {place}")

    def known(self, word: int) -> str:
        """A word of the table."""
        return self.field("ptr", self.table, 8 * word)

    def dtype(self, kind: str) -> str:
        return self.known(_FIRST_DTYPE + self.call.dtypes().index(kind))

    def require(self, condition: str, refusal: str = "refuse") -> None:
        """Goes on if a condition holds; leaves the call to the other function if not."""
        self.count += 1
        self.lines += [f"  br i1 {condition}, label %go{self.count}, label %{refusal}",
                       f"go{self.count}:"]

    def require_equal(
        self, kind: str, found: str, expected: str, refusal: str = "refuse"
    ) -> None:
        self.require(self.value(f"icmp eq {kind} {found}, {expected}"), refusal)

    def module(self) -> str:
        call = self.call
        self.table = self.field("ptr", "%self", DATA)
        self.require_equal("i64", "%given", str(len(call.parameters)))
        ndarray = self.known(_NDARRAY)
        for i, parameter in enumerate(call.parameters):
            self._take(i, self.field("ptr", "%args", 8 * i), parameter, ndarray)
        small = self.value(f"call i64 @elements(ptr {self.arguments[call.sized_by]})")
        self.require(self.value(f"icmp sle i64 {small}, {call.largest}"))
        if call.result is not None:
            self._make_result(call.result, ndarray)
        status = None
        for i, word in enumerate(call.block):
            place = self.value(f"getelementptr i64, ptr %block, i64 {i}")
            self.lines.append(f"  store i64 {self._word(word)}, ptr {place}")
            if isinstance(word, Status):
                status = place
        units = self._word(call.units)
        self.lines.append(f"  call void {self.known(_KERNEL)}(ptr %block, i64 0, i64 {units})")
        refusals = []
        if status is not None:
            release = self.known(_RELEASE)
            left = self.value(f"load i64, ptr {status}")
            self.require(self.value(f"icmp eq i64 {left}, 0"), "undo")
            refusals.append("undo:")
            if call.result is not None:
                refusals.append(f"  call void {release}(ptr {self.arguments[-1]})")
            refusals.append("  br label %refuse")
        if call.result is None:
            returned = self.known(_NONE)
            self.lines.append(f"  call void {self.known(_RETAIN)}(ptr {returned})")
        else:
            returned = self.arguments[-1]
        return _SHAPES + "\n".join([
            f"define ptr @{self.name}(ptr %self, ptr %args, i64 %given) {{",
            f"  %block = alloca [{max(len(call.block), 1)} x i64], align 8",
            "  %sizes = alloca [8 x i64], align 8",
            *self.lines,
            f"  ret ptr {returned}",
            *refusals,
            # Reached from above any of the loads, so these make their own.
            *_handed_on("refuse", _OTHERWISE), *_handed_on("refuse.dtype", _OF_OTHER_DTYPE),
            "failed:",
            "  ret ptr null",
            "}\n",
        ])

    def _take(self, i: int, argument: str, parameter: Array, ndarray: str) -> None:
        if parameter.is_argument is not None:
            self.require_equal("ptr", argument, self.arguments[parameter.is_argument])
            self.arguments.append(argument)
            return
        refusal = "refuse" if i else "refuse.dtype"
        self.require_equal("ptr", self.field("ptr", argument, _TYPE), ndarray, refusal)
        self.require_equal("ptr", self.field("ptr", argument, _DTYPE), self.dtype(parameter.type),
                           refusal)
        needed = _ALIGNED | (_FORTRAN_ORDER if parameter.is_transposed else _C_ORDER)
        if i in self.call.writes:
            needed |= _WRITEABLE
        flags = self.value(f"and i32 {self.field('i32', argument, _FLAGS)}, {needed}")
        self.require_equal("i32", flags, str(needed))
        if parameter.ndim is not None:
            self.require_equal("i32", self.field("i32", argument, _NDIM), str(parameter.ndim))
        if parameter.shape_of is not None:
            other = self.arguments[parameter.shape_of]
            self.require(self.value(f"call i1 @same_shape(ptr {argument}, ptr {other})"))
        if parameter.apart_from is not None:
            self._require_apart(argument, self.arguments[parameter.apart_from], parameter.type)
        self.arguments.append(argument)

    def _require_apart(self, a: str, b: str, kind: str) -> None:
        """Two arrays of one dtype, the second at least as large, begin together or are disjoint."""
        far = self.value(f"sub i64 {self.field('i64', a, DATA)}, {self.field('i64', b, DATA)}")
        size = self.value(f"call i64 @elements(ptr {b})")
        bytes = self.value(f"mul i64 {size}, {_DTYPES[kind].itemsize}")
        same = self.value(f"icmp eq i64 {far}, 0")
        above = self.value(f"icmp sge i64 {far}, {bytes}")
        below = self.value(f"icmp sle i64 {far}, {self.value(f'sub i64 0, {bytes}')}")
        either = self.value(f"or i1 {above}, {below}")
        self.require(self.value(f"or i1 {same}, {either}"))

    def _make_result(self, result: Result, ndarray: str) -> None:
        ndim, sizes = "0", "null"
        if result.shape_of is not None:
            like = self.arguments[result.shape_of]
            ndim, sizes = self.field("i32", like, _NDIM), self.field("ptr", like, _SIZES)
        elif result.sizes:
            ndim, sizes = str(len(result.sizes)), "%sizes"
            for d, size in enumerate(result.sizes):
                place = self.value(f"getelementptr i64, ptr %sizes, i64 {d}")
                self.lines.append(f"  store i64 {self._word(size)}, ptr {place}")
        number = _DTYPES[result.type].num
        made = self.value(
            f"call ptr {self.known(_NEW)}(ptr {ndarray}, i32 {ndim}, ptr {sizes}, i32 {number}, "
            "ptr null, ptr null, i32 0, i32 0, ptr null)"
        )
        self.require(self.value(f"icmp ne ptr {made}, null"), "failed")
        self.arguments.append(made)

    def _word(self, word: Word) -> str:
        if isinstance(word, int):
            return str(word)
        if isinstance(word, Status):
            return "0"
        if isinstance(word, Pointer):
            place = _FIRST_DTYPE + len(self.call.dtypes()) + word.number
            return self.field("i64", self.table, 8 * place)
        argument = self.arguments[word.argument]
        if isinstance(word, Address):
            address = self.field("i64", argument, DATA)
            return self.value(f"add i64 {address}, {word.offset}") if word.offset else address
        if isinstance(word, Elements):
            return self.value(f"call i64 @elements(ptr {argument})")
        size = self.field("i64", self.field("ptr", argument, _SIZES), 8 * word.dimension)
        return size if word.factor == 1 else self.value(f"mul i64 {size}, {word.factor}")
