"""Writes `attempt(args, kwargs)`: whether a program is for a call, and then what it gives.

Everything that the program depends on is compared in straight-line Python, see call_source.py:
modes, the arguments with the tensors in them, and the state, of which machine code compares words
(words.py).
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.levels import running
from taper.autograd.engine import anomaly, observed
from taper.compilation.call_source import Source
from taper.compilation.known_names import autocast_settings
from taper.compilation.recorded import FactBroken
from taper.compilation.snapshot import Snapshot
from taper.core.dtype import get_default_dtype
from taper.core.state import active, is_inference, is_recording
from taper.core.tensor import LEAF, Tensor

__all__ = ["EAGER", "MISSED", "always", "attempt_function", "number_name"]

MISSED = object()  # the program isn't for this call
EAGER = object()  # the call is to run as it is
_MOST_VALUES = 400  # in arguments; code for more would take longer to write than walks take
_CONTAINERS = (list, tuple, dict, OrderedDict)
_ORIGIN = frozenset(["_created_as", "_inference"])  # pieces of split(), tensors of inference mode


def _is_plain_tuple(kind: type) -> bool:
    """Whether instances are their elements and no more, as those of named tuples are."""
    return issubclass(kind, tuple) and not kind.__dictoffset__ and (
        kind.__iter__ is tuple.__iter__)


class NotWritten(Exception):
    """Raised for arguments that have to be walked through at each call."""


def attempt_function(
    args: tuple[Any, ...], kwargs: dict[str, Any], context: tuple[Any, ...], lock: Any,
    holds: Callable[[], bool], snapshot: Snapshot, run: Callable[..., Any] | None = None,
    apart: Callable[[tuple[Tensor, ...]], bool] | None = None,
) -> Callable[..., Any] | None:
    """`attempt(args, kwargs)`; None if the arguments are of a kind that has to be walked through.

    The state is asked of `differs(table, 0, count)`, which says yes until somebody puts a quicker
    function there (words.py); then of `holds`.

    Args:
        args, kwargs: examples of the arguments, which `snapshot` has.
        run: what to do where everything holds; None for a call that runs as it is: then the answer
            is EAGER.
        apart: whether the arrays of these arguments lie apart from what the program writes to.
    """
    try:
        checks = _Checks(args, kwargs, context, snapshot)
    except NotWritten:
        return None
    add, tensors = checks.add, ", ".join(checks.tensors)
    checks.scope.update(
        lock=lock, holds=holds, run=run, apart=apart, EAGER=EAGER, FactBroken=FactBroken,
        differs=always, table=0, count=0)
    if apart is not None and tensors:
        add(f"if not apart(({tensors},)): return MISSED")
    returned = "EAGER" if run is None else f"run([{tensors}])"
    add("if not lock.acquire(False): return EAGER",
        "try:",
        "    if differs(table, 0, count) >= 0 and not holds(): return MISSED",
        *[f"    {array}[()] = {x}" for x, array in checks.numbers],
        f"    return {returned}",
        "except FactBroken: return MISSED",
        "finally:",
        "    lock.release()")
    return checks.function()


def number_name(name: str) -> str:
    """What `attempt` calls the array from which the program reads a float that is passed."""
    return "number_" + "".join([c if c.isalnum() else "_" for c in name])


def always(table: int, start: int, end: int) -> int:
    """Says that the first word differs."""
    return start


class _Checks(Source):
    """Writes the checks of modes and arguments.

    Attributes:
        tensors: the names of the tensors in the arguments that aren't of the state, each once.
    """

    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], context: tuple[Any, ...],
        snapshot: Snapshot,
    ) -> None:
        super().__init__("def attempt(args, kwargs):")
        if snapshot.passed and snapshot.names.is_reflective:
            raise NotWritten
        self.own = [found.tensor for found in snapshot.arguments]
        self.passed = snapshot.passed
        self.tensors: list[str] = []
        self.boxes: dict[str, Any] = {}  # containers that are passed, by what they are called
        self.state_boxes = frozenset([i for i, passed in snapshot.boxes.items() if not passed])
        self.count = 0
        self.scope.update(
            active=active, running=running, is_recording=is_recording, MISSED=MISSED,
            Tensor=Tensor, get_default_dtype=get_default_dtype, anomaly=anomaly,
            observed=observed, is_inference=is_inference, ndarray=np.ndarray, LEAF=LEAF,
            inf=math.inf, default_dtype=context[1], wanted=snapshot.names.read,
            boxes=self.state_boxes,
            states=frozenset([id(found.tensor) for found in snapshot.tensors]))
        if snapshot.autocast is not None:
            self.scope.update(autocast_settings=autocast_settings, autocast=snapshot.autocast)
            self.add("if autocast_settings() != autocast: return MISSED")
        names = tuple(kwargs)
        modes = "active.modes != 1 or not is_inference()" if context[2] else "active.modes"
        self.add(
            f"if ({modes} or running.vmaps or "
            f"is_recording() is not {context[0]} or get_default_dtype() is not default_dtype",
            "    or anomaly.enabled or observed.around is not None",
            f"    or len(args) != {len(args)} or "
            + (f"tuple(kwargs) != {names!r}" if names else "kwargs") + "): return MISSED")
        self.numbers: list[tuple[str, str]] = []  # of floats that may differ, and their arrays
        self.free = {f"p{i}": f"argument {i}" for i in range(len(args))}
        self.free |= {f"q{i}": f"argument `{name}`" for i, name in enumerate(names)}
        self.free = {x: name for x, name in self.free.items() if name in snapshot.numbers}
        self.check_parts("p", "args", args)
        self.check_parts("q", "kwargs.values()", tuple(kwargs.values()))
        self.check_identities(snapshot)

    def check_parts(self, prefix: str, parts: str, values: tuple[Any, ...]) -> None:
        """Checks all values of an expression, one after the other."""
        names = [f"{prefix}{i}" for i in range(len(values))]
        self.count += len(names)
        if self.count > _MOST_VALUES:
            raise NotWritten
        if names:
            self.add(f"{', '.join(names)}, = {parts}")
        for name, value in zip(names, values, strict=True):
            self.check(name, value)

    def check(self, x: str, value: Any) -> None:
        """Checks a value by what it is now."""
        kind = type(value)
        if issubclass(kind, Tensor):
            self.check_tensor(x, value)
        elif value is None or kind is bool:
            self.add(f"if {x} is not {value}: return MISSED")
        elif x in self.free:
            self.add(f"if type({x}) is not float or not -inf < {x} < inf: return MISSED")
            array = number_name(self.free[x])
            self.scope[array] = np.zeros(())  # until a program has one
            self.numbers.append((x, array))
        elif kind is float:
            self.add(f"if type({x}) is not float or {x}.hex() != {value.hex()!r}: return MISSED")
        elif kind in (int, str, bytes):
            self.add(f"if type({x}) is not {kind.__name__} or {x} != "
                     f"{self.name('v', value)}: return MISSED")
        elif kind in _CONTAINERS or _is_plain_tuple(kind):
            self.check_container(x, value)
        elif id(value) in self.passed:
            self.check_object(x, value)
        elif kind in (set, frozenset, np.ndarray, complex):
            raise NotWritten
        else:
            self.add(f"if {x} is not {self.name('v', value)}: return MISSED")  # one of the state

    def check_container(self, x: str, value: Any) -> None:
        kind = type(value)
        parts, values = x, value
        size = f"len({x}) != {len(value)}"
        if kind in (dict, OrderedDict):
            if any(type(key) is not str for key in value):
                raise NotWritten
            parts, values = f"{x}.values()", tuple(value.values())
            size = f"tuple({x}) != {self.name('k', tuple(value))}"
        self.add(f"if type({x}) is not {self.name('c', kind)} or {size}: return MISSED")
        if issubclass(kind, tuple) or self.is_new(x, value):
            self.check_parts(f"{x}_", parts, tuple(values))

    def is_new(self, x: str, value: Any) -> bool:
        """Whether what counts by what it holds is neither one of the state nor was passed before;
        checks that it is so in each call."""
        if id(value) in self.state_boxes:
            self.add(f"if {x} is not {self.name('b', value)}: return MISSED")
            return False
        for other, found in self.boxes.items():
            if found is value:
                self.add(f"if {x} is not {other}: return MISSED")
                return False
        self.add(f"if id({x}) in boxes: return MISSED",
                 *[f"if {x} is {other}: return MISSED" for other in self.boxes])
        self.boxes[x] = value
        return True

    def check_object(self, x: str, value: Any) -> None:
        """Checks the attributes of an object that may be another one at each call."""
        kind: Any = type(value)
        if (
            issubclass(kind, (dict, list, tuple, set, deque))
            or kind.__getattribute__ is not object.__getattribute__
            or any(["__slots__" in base.__dict__ for base in kind.__mro__])
        ):
            raise NotWritten
        names = self.passed[id(value)]
        self.add(f"if type({x}) is not {self.name('c', kind)}: return MISSED")
        if not self.is_new(x, value):
            return
        self.add(f"{x}_d = {x}.__dict__",
                 f"if len(wanted.intersection({x}_d)) != {len(names)}: return MISSED")
        self.check_parts(
            f"{x}_", f"[{', '.join([f'{x}_d.get({name!r}, MISSED)' for name in names])}]",
            tuple([value.__dict__[name] for name in names]))

    def check_tensor(self, x: str, value: Tensor) -> None:
        place = next((i for i, t in enumerate(self.own) if t is value), None)
        if place is None:  # one of the state
            self.add(f"if {x} is not {self.name('t', value)}: return MISSED")
        elif place < len(self.tensors):  # the same tensor twice
            self.add(f"if {x} is not {self.tensors[place]}: return MISSED")
        else:
            if place != len(self.tensors):  # the walk came upon it in another order
                raise NotWritten
            self.tensors.append(x)
            self.check_kind(x, value)

    def check_kind(self, x: str, value: Tensor) -> None:
        """Checks everything but the numbers in a tensor."""
        array, edge, grad = value._array, value._edge, value._grad
        attributes = value.__dict__
        if not attributes.keys() <= _ORIGIN:
            raise NotWritten
        differs = f" != {attributes!r}" if attributes else ""
        n = self.name
        if edge is None or edge is LEAF:
            history = f"{x}._edge is not {'LEAF' if edge is LEAF else 'None'}"
        else:
            history = f"{x}._edge is None or {x}._edge is LEAF"
        gradient = f"{x}._grad is not None"
        if grad is not None:
            if grad._edge is not None:
                raise NotWritten
            gradient = (
                f"{x}._grad is None or type({x}._grad._array) is not ndarray"
                f" or {x}._grad._array.strides != {grad._array.strides!r}"
                f" or {x}._grad._array.dtype is not {n('d', grad._array.dtype)}"
                f" or {x}._grad._array.shape != {grad._array.shape!r}"
                f" or {x}._grad._edge is not None or type({x}._grad) is not Tensor")
        self.add(
            f"if type({x}) is not {n('c', type(value))} or {history} or {gradient}: return MISSED",
            f"a = {x}._array",
            f"if (type(a) is not ndarray or a.shape != {array.shape!r}"
            f" or a.dtype is not {n('d', array.dtype)} or a.strides != {array.strides!r}"
            f" or {x}.__dict__{differs}): return MISSED")

    def check_identities(self, snapshot: Snapshot) -> None:
        """Checks that tensors are as many as they were, and gradients those that they were."""
        tensors = self.tensors
        if len(tensors) == 1:
            self.add(f"if id({tensors[0]}) in states: return MISSED")
        elif tensors:
            self.add(f"ids = {{{', '.join([f'id({t})' for t in tensors])}}}",
                     f"if len(ids) != {len(tensors)} or not ids.isdisjoint(states): return MISSED")
        for shared in snapshot.shared_gradients():
            if max(shared.owner, shared.other) >= len(tensors):
                raise NotWritten
            other = tensors[shared.other] + ("" if shared.is_other else "._grad")
            self.add(f"if {tensors[shared.owner]}._grad is not {other}: return MISSED")
