"""Native optimizer updates: a rule of elementwise arithmetic, in place, in one pass over memory.

    rule(param, grad, *states, **settings) -> (param, *states)

The numbers in a rule change from step to step: the learning rate, what corrects for the bias. So it
is called at every step, on `Operand`s, which stand for arrays: they note which operations are done,
and which numbers arrays meet in them. That takes a few µs, once for all parameters. The operations
choose the kernel, which was traced once; the numbers are handed to it.

Kernels do the operations one by one, each rounded as NumPy rounds it. They give the same bits, so
they are used as soon as they are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from taper.arrays.element import POWERS, ElementArray, NotElementwise, kind_of
from taper.compiler import machine
from taper.compiler.background import request
from taper.compiler.expression import ELEMENT, ROW, Expression, Node
from taper.compiler.math_library import lowered
from taper.compiler.passes import Operand as Place
from taper.compiler.row_kernels import flat_kernel
from taper.core.settings import settings as taper_settings
from taper.core.storage import address_of
from taper.kernels.native import GRAIN, Kernel
from taper.runtime.direct_call import Address, Array, DirectCall, Elements

__all__ = ["Update", "find_update"]

Rule = Callable[..., tuple[Any, ...]]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_ASK_AT = 16  # the step from which on small parameters are worth a kernel
_SMALL = GRAIN  # elements up to which the GIL is held

_kernels: dict[Any, UpdateKernel | None] = {}


class Update:
    """One step of a rule: its kernel, and the numbers of this step."""

    __slots__ = ("addresses", "kernel", "numbers")

    def __init__(self, kernel: UpdateKernel, numbers: list[float], dtype: Any) -> None:
        self.kernel = kernel
        self.numbers = np.array(numbers, dtype)
        start = address_of(self.numbers)
        self.addresses = [start + i * dtype.itemsize for i in range(len(numbers))]

    def apply(self, arrays: Sequence[Any]) -> bool:
        """Updates (param, grad, *states), all but the gradient in place; False if NumPy shall."""
        kernel = self.kernel
        small = kernel.small_call
        if small is not None and small(*arrays, self.numbers) is None:
            return True
        first = arrays[0]
        if first.size <= _SMALL or not all(
            a.dtype is first.dtype and a.flags.c_contiguous and a.shape == first.shape
            for a in arrays
        ):
            return False
        address = request(kernel, kernel.kernel.build, exact=True)
        if address is None:
            return False
        places = [address_of(a) for a in arrays]
        words = [*places, *self.addresses, places[0], *places[2:]]
        kernel.kernel.run(address, words, first.size, GRAIN)
        return True


def find_update(rule: Rule, count: int, dtype: Any, settings: dict[str, Any]) -> Update | None:
    """This step of a rule on `count` arrays of one dtype; None where there is no kernel for it."""
    if taper_settings.native == "off" or dtype not in _FLOATS:
        return None
    steps = _Steps()
    try:
        rule(*[Operand(steps)] * count, **settings)
    except NotElementwise:
        return None
    key = rule, count, dtype, tuple(steps.done)
    try:
        kernel = _kernels[key]
    except KeyError:
        kernel = _kernels[key] = _traced(rule, count, dtype, settings, len(steps.numbers))
    if kernel is None:
        return None
    if kernel.small_call is None:
        kernel.ask_for_small_call()
    return Update(kernel, steps.numbers, dtype)


# -- the operations and numbers of one step --------------------------------------------------------


class _Steps:
    """What a rule does: its operations, and the numbers that arrays meet in them, in order."""

    __slots__ = ("done", "numbers")

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.numbers: list[float] = []

    def note(self, name: Any, operands: Iterable[Any]) -> None:
        self.done.append(name)
        for x in operands:
            if type(x) is float or type(x) is int:
                self.done.append("number")
                self.numbers.append(x)
            elif type(x) is not Operand:
                raise NotElementwise(f"{type(x).__name__} in an update")


class Operand:
    """Stands for an array in a rule: notes what is done with it. Written for speed."""

    __slots__ = ("steps",)

    def __init__(self, steps: _Steps) -> None:
        self.steps = steps

    def _note(self, name: Any, other: Any) -> Operand:
        steps = self.steps
        steps.done.append(name)
        if type(other) is float or type(other) is int:
            steps.numbers.append(other)
            steps.done.append("number")
        elif type(other) is not Operand:
            raise NotElementwise(f"{type(other).__name__} in an update")
        return self

    def __add__(self, other: Any) -> Operand:
        return self._note("+", other)

    def __radd__(self, other: Any) -> Operand:
        return self._note("r+", other)

    def __sub__(self, other: Any) -> Operand:
        return self._note("-", other)

    def __rsub__(self, other: Any) -> Operand:
        return self._note("r-", other)

    def __mul__(self, other: Any) -> Operand:
        return self._note("*", other)

    def __rmul__(self, other: Any) -> Operand:
        return self._note("r*", other)

    def __truediv__(self, other: Any) -> Operand:
        return self._note("/", other)

    def __rtruediv__(self, other: Any) -> Operand:
        return self._note("r/", other)

    def __neg__(self) -> Operand:
        self.steps.done.append("neg")
        return self

    def __pow__(self, exponent: Any) -> Operand:
        if exponent in POWERS:  # not a number of the kernel's
            self.steps.done.append(("**", exponent))
            return self
        return self._note("**", exponent)

    def __gt__(self, other: Any) -> Operand:
        return self._note(">", other)

    def __lt__(self, other: Any) -> Operand:
        return self._note("<", other)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Operand:
        if method != "__call__" or options:
            raise NotElementwise(f"{ufunc.__name__}.{method}")
        self.steps.note(ufunc, inputs)
        return self

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Operand:
        if options:
            raise NotElementwise(function.__name__)
        self.steps.note(function, args)
        return self


# -- kernels ---------------------------------------------------------------------------------------


class UpdateKernel:
    """The kernel of one sequence of operations: for launches, and for calls on small arrays."""

    def __init__(self, kernel: Kernel, count: int, numbers: int, dtype: Any) -> None:
        self.kernel = kernel
        self.count = count
        self.numbers = numbers
        self.dtype = dtype
        self.steps = 0
        self.small_call: Callable[..., Any] | None = None

    def ask_for_small_call(self) -> None:
        """Sees to `small_call`, after some steps."""
        self.steps += 1
        if self.steps < _ASK_AT and taper_settings.native != "now":
            return
        address = request(self, self.kernel.build, exact=True)
        if address is not None:
            self.small_call = self._call().function(address, _refused)

    def _call(self) -> DirectCall:
        """Its arguments are the arrays, then the numbers as one array."""
        kind, size = kind_of(self.dtype), self.dtype.itemsize
        written = (0, *range(2, self.count))
        arrays = [Array(kind, shape_of=0 if i else None, apart_from=0 if i else None)
                  for i in range(self.count)]
        block = [
            *[Address(i) for i in range(self.count)],
            *[Address(self.count, i * size) for i in range(self.numbers)],
            *[Address(i) for i in written],
        ]
        return DirectCall((*arrays, Array(kind, 1)), tuple(block), Elements(0), largest=_SMALL,
                          writes=written)


def _refused(*_: Any) -> Any:
    return NotImplemented


class _Slotted(Expression):
    """An expression whose numbers are operands: each use of one gets a slot of its own."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first
        self.count = 0

    def number(self, value: Any, kind: str) -> Node:
        self.count += 1
        return self.input(self.first + self.count - 1, kind, ROW)


def _traced(
    rule: Rule, count: int, dtype: Any, settings: dict[str, Any], numbers: int
) -> UpdateKernel | None:
    """The kernel for what a rule does; None if there can be none."""
    e = _Slotted(count)
    kind = kind_of(dtype)
    operands = [ElementArray(e, e.input(i, kind), dtype) for i in range(count)]
    try:
        results = rule(*operands, **settings)
    except (NotElementwise, TypeError, AttributeError):
        return None
    nodes = [r.node for r in results]
    if (
        len(nodes) != count - 1 or any(n.level != ELEMENT or n.type != kind for n in nodes)
        or e.count != numbers or any(n.type != kind for n in e.nodes if n.op == "input")
    ):
        return None
    e.results.extend(nodes)
    shown = [*["contiguous"] * count, *["same"] * numbers, *["contiguous"] * len(nodes)]
    places = [Place(kind, layout) for layout in shown]

    def build() -> tuple[str, str]:
        width = machine.host().vector_bytes
        return flat_kernel("update", width, lowered(e), places), "update"

    return UpdateKernel(Kernel(build, len(places)), count, numbers, dtype)
