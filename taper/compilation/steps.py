"""The steps of a program: segments of native calls, and calls of Python functions between them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from taper.compilation.lowering.launches import Address, Launch
from taper.compilation.lowering.operations import Call, instances_in, mapped
from taper.compilation.lowering.values import Value, View, contiguous
from taper.compiler import background
from taper.compiler.program_driver import DRIVER, DRIVER_WORDS, GUARD, driver_text
from taper.core.storage import address_of
from taper.runtime import pool as pools

__all__ = [
    "ARENA", "Instruction", "LaterView", "PythonCall", "Segment", "arguments_getter",
    "driver_address", "driver_code", "strided_view", "view_of_whole",
]

Array = np.ndarray[Any, Any]
ARENA = 0  # the number of the base that values in the arena count from


class Instruction:
    """A launch whose argument block has its place in memory."""

    __slots__ = ("address", "block", "launch", "moved")

    def __init__(self, launch: Launch, place: Callable[[Address], tuple[int, int]]) -> None:
        self.launch = launch
        self.address: int | None = None
        self.block = (ctypes.c_int64 * len(launch.words))()
        self.moved: list[tuple[int, int, int]] = []  # (word, base, offset)
        for i, word in enumerate(launch.words):
            if isinstance(word, Address):
                self.moved.append((i, *place(word)))
            else:
                self.block[i] = word

    def is_ready(self) -> bool:
        """Whether the kernel is there; asks for it otherwise."""
        if self.launch.grain == GUARD:
            self.address = 0
        elif self.address is None:
            self.address = background.request(
                self.launch.key, self.launch.build, exact=True, is_next=True)
        return self.address is not None


class Segment:
    """Instructions that run one after the other, without Python."""

    def __init__(self, bases: Any) -> None:
        self.instructions: list[Instruction] = []
        self.bases = bases

    def link(self, arena: int, run: int, pool: int) -> None:
        """Writes what the driver reads."""
        patches: list[int] = []
        for step in self.instructions:
            start = ctypes.addressof(step.block)
            for word, base, offset in step.moved:
                if base == ARENA:
                    step.block[word] = arena + offset
                elif base < 0:
                    step.block[word] = -base + offset
                else:
                    patches += [start + 8 * word, base, offset]
        self.patches = (ctypes.c_int64 * max(1, len(patches)))(*patches)
        table: list[int] = []
        for step in self.instructions:
            tasks, grain = step.launch.tasks, step.launch.grain
            piece, helpers = (tasks, 0)
            if grain == GUARD:
                helpers = GUARD
            elif run:
                piece, helpers = pools.division(tasks, grain) or (tasks, 0)
            assert step.address is not None
            table += [step.address, ctypes.addressof(step.block), tasks, piece, helpers]
        self.table = (ctypes.c_int64 * max(1, len(table)))(*table)
        at = ctypes.addressof
        self.words = (ctypes.c_int64 * len(DRIVER_WORDS))(
            self.bases, at(self.patches), len(patches) // 3, at(self.table),
            len(self.instructions), run, pool, 0)
        self.block = at(self.words)


class PythonCall:
    """A call of a Python function, between segments."""

    __slots__ = (
        "function", "getters", "is_nested", "label", "may_share", "outs", "released", "several",
        "source",
    )

    def __init__(
        self, call: Call, getters: Any, outs: list[tuple[int, Value]], released: list[int]
    ) -> None:
        self.source = call
        self.label = call.label
        self.function = call.function
        self.getters = getters
        self.several = call.several
        self.may_share = not isinstance(call.function, np.ufunc)
        self.is_nested = any(
            type(item) in (tuple, list, dict) for item in (*call.args, *call.kwargs.values()))
        self.outs = outs
        self.released = released

    def run(self, held: list[Any], bases: Any) -> None:
        args, kwargs = self.getters(held)
        found = self.function(*args, **kwargs)
        for (base, value), result in zip(
            self.outs, found if self.several else (found,), strict=False
        ):
            if type(result) is not np.ndarray:
                result = np.asarray(result)
            if not result.flags.c_contiguous or result.dtype != value.dtype:
                result = result.astype(value.dtype, order="C")
            elif self.may_share and self.shares_memory(result, args, kwargs):
                result = result.copy()  # what it looks at may be overwritten
            held[base] = result
            bases[base] = address_of(result)
        for base in self.released:
            held[base] = None


    def shares_memory(self, result: Array, args: Any, kwargs: Any) -> bool:
        """Whether a result may look at an operand."""
        if result.base is None and not self.is_nested and not kwargs:
            return any([result is a or a.base is result for a in args if type(a) is np.ndarray])
        return any(
            np.may_share_memory(result, a) for a in instances_in(np.ndarray, (args, kwargs)))


class LaterView:
    """An operand that is there when the program runs: a view of what lies at a base then."""

    __slots__ = ("base", "is_plain", "view")

    def __init__(self, base: int, view: View) -> None:
        self.base = base
        self.view = view
        self.is_plain = view.is_whole and not view.offset and (
            contiguous(view.shape) == view.strides)

    def array(self, held: list[Any]) -> Array:
        found: Array = held[self.base]
        if not self.is_plain:
            return view_of_whole(found, self.view)
        return found if found.shape == self.view.shape else found.reshape(self.view.shape)


def arguments_getter(args: Any, kwargs: Any) -> Callable[[list[Any]], tuple[Any, Any]]:
    """A function that gives the arguments of a call, for what lies at bases."""
    if next(instances_in(LaterView, (args, kwargs)), None) is None:
        return lambda held: (args, kwargs)
    if not kwargs and not any(type(item) in (tuple, list, dict) for item in args):
        places = [(i, item.array) for i, item in enumerate(args) if type(item) is LaterView]

        def flat(held: list[Any]) -> tuple[Any, Any]:
            found = list(args)
            for i, array in places:
                found[i] = array(held)
            return found, kwargs

        return flat

    def nested(held: list[Any]) -> tuple[Any, Any]:
        def value_of(item: Any) -> Any:
            return item.array(held) if type(item) is LaterView else item

        return mapped(value_of, args), mapped(value_of, kwargs)

    return nested


def driver_code() -> tuple[str, str]:
    return driver_text(), DRIVER


def driver_address() -> int | None:
    return background.request(("taper.runtime", DRIVER), driver_code, exact=True, is_next=True)


def strided_view(memory: Array, offset: int, view: View) -> Array:
    item = view.dtype.itemsize
    strides = [s * item for s in view.strides]
    if view.dtype.name in ("bfloat16",):
        flat = memory[offset:].view(np.uint8)
        flat = flat[: flat.size // item * item].view(view.dtype)
        return as_strided(flat, view.shape, strides)
    return np.ndarray(view.shape, view.dtype, memory, offset, strides)


def view_of_whole(array: Array, view: View) -> Array:
    """A view of a contiguous array."""
    if view.is_whole and view.offset == 0 and contiguous(view.shape) == view.strides:
        return array if array.shape == view.shape else array.reshape(view.shape)
    item = view.dtype.itemsize
    if view.dtype.isbuiltin != 1:
        return as_strided(array.reshape(-1)[view.offset :], view.shape,
                          [s * item for s in view.strides])
    return np.ndarray(view.shape, view.dtype, array, view.offset * item,
                      [s * item for s in view.strides])
