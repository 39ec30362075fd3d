"""Snapshots of all Python state that a function can reach: what a compiled program depends on.

A snapshot is a walk from the function and its arguments through closures, globals that the code
names, defaults, modules, optimizers, containers and objects. It yields

- `key`: what was found, by value and in order. Equal keys mean that the function would do the
  same; tensors count by identity and by what programs depend on (shape, dtype, strides, whether
  they require grad), never by their numbers;
- `watches`: every place that could be changed, with what it held (watches.py);
- `tensors`: those found in the state, and `arguments`, those found in the arguments;
- `refusal`: why the function can't be compiled, if so: state that can't be compared, or code that
  names what has effects (code_facts.py).

Not descended into: taper itself, NumPy and the standard library.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from taper.compilation.watches import Watch
from taper.core.generator import Generator
from taper.core.tensor import Tensor

__all__ = ["Found", "Names", "SharedGradient", "Snapshot", "take"]

_BOXES = (list, tuple, dict)  # they count by what they hold, not by their ids


class Found(NamedTuple):
    """A tensor, and the way to it."""

    tensor: Tensor
    path: Any


class Names(NamedTuple):
    """The attributes that the code names; whether it may read others, if it is reflective."""

    read: frozenset[str] = frozenset()
    is_reflective: bool = False
    compares_types: bool = False
    reads_floats: bool = False
    is_foreign: bool = False

    @property
    def hides_floats(self) -> bool:
        """Whether the code may look at a float where nobody would notice."""
        return self.compares_types or self.reads_floats or self.is_foreign


class SharedGradient(NamedTuple):
    """That the gradient of a tensor is another tensor that was found, or the gradient of one.

    Tensors are numbered: those of the arguments, then those of the state.
    """

    owner: int
    other: int
    is_other: bool


class Snapshot:
    """What a function can reach; see above."""

    def __init__(self) -> None:
        self.key: tuple[Any, ...] = ()
        self.watches: list[Watch] = []
        self.tensors: list[Found] = []
        self.arguments: list[Found] = []
        self.numbers: dict[str, float] = {}  # floats that were passed and are read at each call
        self.has_floats = False  # of those that were passed, some count by value
        self.is_foreign = False  # code names modules that compute with floats, such as math
        self.autocast: Any = None  # the settings, if the code asks for them
        self.boxes: dict[int, bool] = {}  # by id of a container, whether it was passed
        self.passed: dict[int, tuple[str, ...]] = {}  # by id of an object, what was looked at
        self.generators: list[Generator] = []
        self.refusal: str | None = None
        self.names = Names()
        self.held: list[Any] = []  # so that no id in the key is given to another object

    def shared_gradients(self) -> tuple[SharedGradient, ...]:
        """Which gradients are tensors that were found, or gradients of others."""
        tensors = [found.tensor for found in (*self.arguments, *self.tensors)]
        places = {id(t): i for i, t in enumerate(tensors)}
        owners: dict[int, int] = {}
        shared = []
        for i, t in enumerate(tensors):
            if t._grad is not None:
                key = id(t._grad)
                if key in places:
                    shared.append(SharedGradient(i, places[key], True))
                elif owners.setdefault(key, i) != i:
                    shared.append(SharedGradient(i, owners[key], False))
        return tuple(shared)

    def release_arguments(self) -> None:
        """Lets go of the tensors that were passed: they may be large, and others come next time."""
        self.watches = [watch for watch in self.watches if not watch.in_arguments]
        passed = {id(found.tensor) for found in self.arguments}
        self.held = [o for o in self.held if id(o) not in passed and type(o) not in _BOXES]
        self.arguments = []
        self.passed = {}
        self.boxes = {}

    def first_change(self) -> Watch | None:
        """The first watch that doesn't hold any more."""
        return next((watch for watch in self.watches if not watch.holds()), None)

    def restore(self) -> None:
        """Puts back everything that was changed since."""
        for watch in self.watches:
            if not watch.holds():
                watch.restore()


def take(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any],
    like: Snapshot | None = None, pinned: frozenset[str] = frozenset(),
    free: frozenset[str] = frozenset(),
) -> Snapshot:
    """A snapshot of what `function(*args, **kwargs)` can reach.

    Args:
        like: an earlier one.
        pinned: entries of parameter groups that count by value though they are floats.
        free: floats that are passed and don't count by value.
    """
    names = Names() if like is None else like.names
    from taper.compilation.state_walk import Walk

    while True:
        snapshot = Walk(names, pinned, free).run(function, args, kwargs)
        if snapshot.refusal is not None or snapshot.names == names:
            return snapshot
        names = snapshot.names  # more code was found than was known of: what it names counts too
