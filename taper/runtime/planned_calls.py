"""Calls that were made before: the launches of kernels are replayed by machine code.

    native = planned(compute) or compute       # None while there is no machine code

`compute(*args)` is a function of kernels: it looks at its arguments, makes results, and launches
kernels on them. All of that takes 5 to 20 µs of Python, as long as a kernel takes for 100,000
elements, and it depends on dtypes, shapes and strides only. So the built-in function `native` hands
the first call of each kind to `compute`, and what that launches is written down (`recorded`) as a
plan: which kernels, on which words, and which words are addresses of arguments, results, or scratch
memory. The next such call finds its plan and runs it, in 0.3 µs and what the kernels take.

Note [what can be planned]. Arguments are plain arrays, or immutable objects, which are compared by
identity. Kernels must have been launched by `Kernel.launch`, on arguments, on the arrays that are
returned, on `scratch` arrays, which a plan makes anew, and on `constant` ones, which it keeps.
Nothing else may touch the elements of results: the author of `compute` sees to that. What doesn't
fit isn't planned, and goes to `compute` each time.

Note [epochs]. Plans hold addresses of kernels and how many threads they are for. Whatever changes
the one or the other (settings, fork) calls `forget`, and all plans are out of date.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import cache, wraps
from importlib import import_module
from threading import get_ident
from typing import Any, TypeVar

import numpy as np

from taper.compiler import background
from taper.core.settings import on_change, settings
from taper.core.storage import address_of
from taper.runtime import pool
from taper.runtime.array_code import new_memory
from taper.runtime.direct_call import built_in_function, is_possible
from taper.runtime.plan_words import (
    HASH,
    MOST_WORDS,
    SLOT_SHIFT,
    SLOTS,
    Environment,
    Kind,
    Plan,
    Table,
)
from taper.runtime.planned_code import planned_call
from taper.runtime.waiting_memory import find_functions

__all__ = [
    "Launch", "constant", "forget", "memory_maker", "planned", "recording", "replayed", "scratch",
    "unchanging",
]

ndarray = np.ndarray
T = TypeVar("T")

_MOST_ARGUMENTS = 12
_MOST_RESULTS = 8
_MOST_SCRATCH = 6
_MOST_IN_VAIN = 128  # plans that are made for a function, beyond those that were used again
_MOST_REPLACED = 8  # plans of one slot, while they are good: then that slot keeps the last
_NEW_FROM_DTYPE = 94  # the place of PyArray_NewFromDescr in NumPy's C API


class Launch:
    """One launch: the kernel's address, the arrays whose addresses begin its argument block, the
    other words, how many units of work and how many make a piece."""

    __slots__ = ("address", "arrays", "count", "grain", "words")

    def __init__(
        self, address: int, arrays: Sequence[Any], words: Sequence[int], count: int, grain: int
    ) -> None:
        self.address, self.arrays, self.words = address, tuple(arrays), tuple(words)
        self.count, self.grain = count, grain


class _Recording:
    """What one thread launches while somebody writes it down."""

    def __init__(self) -> None:
        self.thread = get_ident()
        self.launches: list[Launch] = []
        self.scratch: list[Any] = []
        self.constants: list[Any] = []
        self.begun = pool.launches.count

    def is_complete(self) -> bool:
        return bool(self.launches) and pool.launches.count - self.begun == len(self.launches)


class _Current:
    recording: _Recording | None = None


def recording() -> _Recording | None:
    """What writes down this thread's launches, if something does."""
    found = _Current.recording
    return found if found is not None and found.thread == get_ident() else None


def scratch(array: Any) -> Any:
    """Says that an array is for one call only, and that kernels write it before they read it."""
    found = recording()
    if found is not None:
        found.scratch.append(array)
    return array


def constant(array: Any) -> Any:
    """Says that an array's elements are the same for all calls with these arguments."""
    found = recording()
    if found is not None:
        found.constants.append(array)
    return array


def forget() -> None:
    """All plans are out of date."""
    _Epoch.number += 1
    if _Epoch.words is not None and _Current.recording is None:
        _Epoch.words[Environment.EPOCH] = _Epoch.number


_NO_EPOCH = 0


class _Epoch:
    number = 1
    words: Any = None  # the environment's


on_change.append(forget)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)


def planned(compute: Callable[..., Any]) -> Callable[..., Any] | None:
    """A built-in function that does what `compute` does; None while there can't be one."""
    environment = None if settings.native == "off" else _environment()
    if environment is None or memory_maker() is None:
        return None
    code = background.request(
        ("taper.runtime", "planned call"), lambda: (planned_call(), "planned_call"),
        exact=True)
    if code is None:
        return None
    table = np.zeros(Table.SLOT + SLOTS, np.uint64)
    plans = _Plans(compute, table)
    table[Table.OTHERWISE], table[Table.ENVIRONMENT] = id(plans), address_of(environment)
    return built_in_function(code, table, plans, environment, takes_names=True)


def replayed(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function of kernels whose calls can be planned; see the first Note."""
    run, is_waiting = compute, True

    @wraps(compute)
    def call(*args: Any) -> Any:
        nonlocal run, is_waiting
        if is_waiting:
            made = planned(compute)
            if made is not None:
                run, is_waiting = made, False
        return run(*args)

    return call


class _Plans:
    """Takes the calls that have no plan, and makes one for the next call of the kind."""

    def __init__(self, compute: Callable[..., Any], table: Any) -> None:
        self.compute = compute
        self.table = table
        self.kept: list[Any] = [None] * SLOTS  # plans, and the objects whose addresses they hold
        self.replaced = [0] * SLOTS  # how often calls of one slot took each other's plan away
        self.made = 0  # plans, or attempts

    def __call__(self, *args: Any, **named: Any) -> Any:
        if named or _Current.recording is not None or (
            self.made - int(self.table[Table.HITS]) >= _MOST_IN_VAIN
        ):
            return self.compute(*args, **named)
        slot = _slot(args)
        if self.replaced[slot] >= _MOST_REPLACED:
            return self.compute(*args, **named)
        mine = _Current.recording = _Recording()
        # No epoch: what is planned within goes through Python too, and is written down.
        _Epoch.words[Environment.EPOCH] = _NO_EPOCH
        try:
            result = self.compute(*args)
        finally:
            _Current.recording = None
            _Epoch.words[Environment.EPOCH] = _Epoch.number
        # What failed for want of the pool, or of a kernel, was not in vain: it is tried again.
        self.made += self._keep(slot, args, result, mine) or not background.is_at_work()
        return result

    def _keep(self, slot: int, args: Any, result: Any, mine: _Recording) -> bool:
        """Makes a plan of what was recorded, if there can be one; tells whether it did."""
        if not mine.is_complete():
            return False
        at = pool.addresses()
        if at is not None:
            _Epoch.words[Environment.RUN], _Epoch.words[Environment.POOL] = at
        owner = _Writer(args, result, mine).plan()
        if owner is None:
            return False
        before = self.kept[slot]
        if before is not None and before[0][Plan.PLAN_EPOCH] == _Epoch.number:
            self.replaced[slot] += 1
        self.table[Table.SLOT + slot] = address_of(owner[0])
        self.kept[slot] = owner
        return True


class _Writer:
    """Writes a plan for calls like one that was recorded; see plan_words.py."""

    def __init__(self, args: Sequence[Any], result: Any, mine: _Recording) -> None:
        self.args, self.result, self.mine = args, result, mine
        parts = result if type(result) is tuple else (result,)
        self.results = [r for r in parts if type(r) is ndarray]
        self.places: dict[int, int] = {}  # address -> number of the argument, result or scratch
        self.kept: list[Any] = [args, mine.constants]
        self.records: list[int] = [0] * Plan.ARGUMENT_PLACE
        self.behind: list[int] = []

    def plan(self) -> Any:
        """A plan's words and what must live as long; None if this can't be planned."""
        args, results, mine = self.args, self.results, self.mine
        if len(args) > _MOST_ARGUMENTS or len(results) > _MOST_RESULTS or (
            len(mine.scratch) > _MOST_SCRATCH
        ) or not all(_can_be_argument(a) for a in args) or not self._number():
            return None
        returned = self.result if type(self.result) is tuple else (self.result,)
        counts = (len(args), len(results), len(mine.scratch), len(mine.launches),
                  len(returned) if type(self.result) is tuple else -1)
        places = [Plan.ARGUMENT_PLACE + Plan.ARGUMENT * len(args)]
        for length, count in zip((Plan.RESULT, 1, Plan.STEP), counts[1:4], strict=True):
            places.append(places[-1] + length * count)
        self.records[Plan.PLAN_EPOCH] = _Epoch.number
        self.records[Plan.ARGUMENTS : Plan.RESULT_PLACE] = counts
        self.records[Plan.RESULT_PLACE : Plan.ARGUMENT_PLACE] = places
        self.end = places[-1] + Plan.RETURN * len(returned)
        self._write_arguments()
        for a in results:
            strides = -1 if a.flags.c_contiguous else self._behind(a.strides)
            self.records += [id(a.dtype), a.ndim, self._behind(a.shape), strides, a.nbytes]
        self.kept += [a.dtype for a in results]
        self.records += [a.nbytes for a in mine.scratch]
        if not (self._write_steps() and self._write_returned(returned)):
            return None
        values = [w - (1 << 64) if w >= 1 << 63 else w for w in (*self.records, *self.behind)]
        words = np.array(values, np.int64)
        owner = words, self.kept
        words[Plan.OWNER] = id(owner)
        return owner

    def _behind(self, values: Sequence[int]) -> int:
        """Where values are that lie behind all records."""
        self.behind.extend(values)
        return self.end + len(self.behind) - len(values)

    def _number(self) -> bool:
        """Whether addresses tell what everything is."""
        for number, a in enumerate(self.args):
            if type(a) is ndarray:
                first = self.places.setdefault(address_of(a), number)
                if self.args[first] is not a:
                    return False
        for number, a in enumerate([*self.results, *self.mine.scratch], len(self.args)):
            if address_of(a) in self.places or not a.nbytes or not _is_dense(a):
                return False
            self.places[address_of(a)] = number
        return True

    def _write_arguments(self) -> None:
        for number, a in enumerate(self.args):
            if type(a) is not ndarray:
                self.records += [Kind.AN_OBJECT, id(a), 0, 0]
                continue
            first = self.places[address_of(a)]
            if first < number:
                self.records += [Kind.AN_ARGUMENT, first, 0, 0]
            else:
                where = self._behind([*a.shape, *a.strides])
                self.records += [Kind.AN_ARRAY, id(a.dtype), a.ndim, where]

    def _write_steps(self) -> bool:
        constants = {address_of(a) for a in self.mine.constants}
        for step in self.mine.launches:
            values = [*map(address_of, step.arrays), *step.words]
            division = pool.division(step.count, step.grain)
            if len(values) > MOST_WORDS or division is None:
                return False
            moved = []
            for i, address in enumerate(values[: len(step.arrays)]):
                number = self.places.get(address)
                if number is not None:
                    moved += [i, number]
                elif address not in constants:
                    return False
            self.records += [
                step.address, step.count, *division, len(values), self._behind(values),
                len(moved) // 2, self._behind(moved),
            ]
        return True

    def _write_returned(self, returned: Sequence[Any]) -> bool:
        for r in returned:
            if type(r) is ndarray:
                self.records += [1, next(i for i, a in enumerate(self.results) if a is r)]
            elif _can_be_argument(r):
                self.kept.append(r)
                self.records += [0, id(r)]
            else:
                return False
        return True


_IMMUTABLE = (type(None), bool, int, float, str, np.dtype, type)
_unchanging: set[type] = set()


def unchanging(owner: type[T]) -> type[T]:
    """Decorates a class whose objects never change, so that they can be arguments."""
    _unchanging.add(owner)
    return owner


def _can_be_argument(a: Any) -> bool:
    """Whether an argument is an aligned array, or an object that never changes."""
    if type(a) is ndarray:
        return a.flags.aligned and not a.dtype.hasobject
    if type(a) is tuple:
        return all(type(v) in _IMMUTABLE for v in a)
    return isinstance(a, _IMMUTABLE) or type(a) in _unchanging


def _is_dense(a: Any) -> bool:
    order = sorted(range(a.ndim), key=lambda d: -a.strides[d])
    return bool(a.transpose(order).flags.c_contiguous)


def _slot(args: Sequence[Any]) -> int:
    """The slot of arguments; what the machine code computes."""
    h = len(args)
    for a in args:
        if type(a) is ndarray:
            h += id(a.dtype) + a.ndim
            if a.ndim:
                h = h * 31 + a.shape[0]
                h = h * 31 + a.shape[max(a.ndim - 2, 0)]
                h = h * 31 + a.shape[-1]
                h = h * 31 + a.strides[-1]
        else:
            h += id(a)
        h = h * HASH & 0xFFFFFFFFFFFFFFFF
        if a is args[0]:
            h ^= 1 << 58
    return h >> SLOT_SHIFT


@cache
def _static_environment() -> Any:
    """The words that never change; None where NumPy's objects aren't as they should be."""
    if not is_possible():
        return None
    api = ctypes.pythonapi
    words = np.zeros(Environment.WORDS, np.uint64)
    for word, name in (
        (Environment.RETAIN, "Py_IncRef"), (Environment.RELEASE, "Py_DecRef"),
        (Environment.CALL, "PyObject_Vectorcall"), (Environment.TO_INT, "PyLong_AsSsize_t"),
        (Environment.SAVE, "PyEval_SaveThread"), (Environment.RESTORE, "PyEval_RestoreThread"),
        (Environment.NEW_TUPLE, "PyTuple_New"), (Environment.SET_ITEM, "PyTuple_SetItem"),
    ):
        words[word] = ctypes.cast(getattr(api, name), ctypes.c_void_p).value or 0
    words[Environment.NDARRAY], words[Environment.NEW] = id(ndarray), _new_array_of_dtype()
    return words


def _new_array_of_dtype() -> int:
    """NumPy's PyArray_NewFromDescr."""
    capsule = import_module("numpy._core._multiarray_umath")._ARRAY_API
    find = ctypes.pythonapi.PyCapsule_GetPointer
    find.restype, find.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(find(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    return int(table[_NEW_FROM_DTYPE] or 0)


def _environment() -> Any:
    """The words that all functions share, with the pool's; None while that isn't there."""
    words = _static_environment()
    memory = None if words is None else find_functions()
    if memory is None:
        return None
    if not words[Environment.TAKE]:
        words[Environment.TAKE], words[Environment.GIVE] = memory.take, memory.give
        words[Environment.MEMORY] = memory.state
        words[Environment.HANDLER] = id(memory.handler)
        words[Environment.EPOCH] = _Epoch.number
        _Epoch.words = words
    return words


def memory_maker() -> Callable[[int, Any, int], Any] | None:
    """A built-in function that makes a vector, uninitialized and in memory that is used again, of
    so many elements, of a dtype, which take so many bytes; None while there can't be one."""
    environment = _environment()
    code = None if environment is None else background.request(
        ("taper.runtime", "new memory"), lambda: (new_memory(), "new_memory"), exact=True)
    return None if code is None else _checked_maker(code)


@cache
def _checked_maker(code: int) -> Callable[[int, Any, int], Any] | None:
    """The function, if NumPy takes the arrays for what they shall be."""
    environment = _static_environment()
    made = built_in_function(code, environment, environment, takes_names=True)
    dtype = np.dtype(np.float64)
    probe = made(1 << 16, dtype, 1 << 19)
    name = import_module("numpy._core.multiarray").get_handler_name(probe)
    is_right = name == "taper" and probe.flags.owndata and probe.shape == (1 << 16,)
    return made if is_right and probe.dtype is dtype else None
