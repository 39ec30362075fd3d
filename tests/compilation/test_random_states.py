"""Whatever Python state a compiled function reads, and whichever of it changes between calls, the
result is the function's own: random functions of random places, changed at random.

    TAPER_STATES=2000       how many functions
    TAPER_STATES_SEED=7     the seed of the first
"""

# ruff: noqa: PLW0108 - changes look up what they change when they are made

from __future__ import annotations

import dataclasses
import enum
import functools
import os
import random
import types
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from typing import Any

import pytest

import taper as torch
from taper import nn

COUNT = int(os.environ.get("TAPER_STATES", "24"))
SEED = int(os.environ.get("TAPER_STATES_SEED", "0"))
PARTS = 4
CALLS = 50
NUMBERS = (0.5, 1.0, 2.0, 3.0, -1.0)

Point = namedtuple("Point", "u v")
box = types.SimpleNamespace()  # of globals that are named through a module's attribute
total = 1.0  # a global that is named by itself


class Color(enum.Enum):
    RED = 1
    GREEN = 2


class Thing:
    rate = 2.0

    def __init__(self) -> None:
        self.number = 1.0
        self.items = [1.0]
        self.table = OrderedDict(p=1.0, q=2.0)
        self.tensor = torch.full((3,), 2.0)
        self.maybe: Any = None

    @property
    def double(self) -> Any:
        return self.number * 2

    @classmethod
    def of_class(cls) -> float:
        return cls.rate

    def plus(self, value: float = 1.0) -> Any:
        return self.number + value

    def __call__(self, x: Any) -> Any:
        return x * self.number

    def __len__(self) -> int:
        return len(self.items)


class Slots:
    __slots__ = ("number", "tensor")

    def __init__(self) -> None:
        self.number, self.tensor = 1.0, torch.ones(3)


@dataclasses.dataclass
class Fields:
    number: float = 1.0
    other: Any = None


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.ReLU()])
        self.register_buffer("shift", torch.ones(3))
        self.scale, self.has_shift, self.table = 2.0, True, {"z": 1.0}
        self.dropout, self.activation = nn.Dropout(0.5), torch.relu
        self.bias = nn.Parameter(torch.ones(3))

    def forward(self, x: Any) -> Any:
        y = self.linear(x) * self.scale + self.bias
        if self.has_shift:
            y = y + self.shift
        for layer in self.layers:
            y = layer(y)
        return self.dropout(self.activation(y)) + self.table["z"]


Place = tuple[Callable[[Any], Any], list[Callable[[Any], Any]]]


def places(choice: Callable[[Any], Any]) -> list[Place]:
    """Functions that read state, each with changes of what it reads; a change gets a number."""
    kind = type("Own", (Thing,), {name: vars(Thing)[name] for name in ("rate", "plus", "double")})
    thing, slots, fields, net = kind(), Slots(), Fields(), Net()
    numbers, nested = [1.0, 2.0], (1.0, [2.0, {"c": 3.0}])
    queue, tensors, functions = deque([1.0, 2.0]), [torch.ones(3), torch.ones(3)], [
        lambda x: x * 2, lambda x: x + 3]
    held: dict[str, Any] = {"point": Point(1.0, [2.0]), "set": {1, 2, 3}, "color": Color.RED}
    partial = functools.partial(lambda a, x, b: x * a + b, 2.0, b=1.0)

    def with_defaults(x: Any, d: float = 2.0, *, e: Any = (1.0,)) -> Any:
        return x * d + e[0]

    with_defaults.factor = 1.0  # type: ignore[attr-defined]
    cell, cell_tensor = 1.0, torch.ones(3)

    def set_cell(value: float) -> None:
        nonlocal cell
        cell = value

    def set_cell_tensor(value: float) -> None:
        nonlocal cell_tensor
        cell_tensor = torch.full((3,), value)

    def set_global(value: float) -> None:
        global total  # noqa: PLW0603 - that is what is tested
        total = value

    def filled(value: float) -> Any:
        return torch.full((3,), value)

    def sets(owner: Any, name: str, make: Callable[[float], Any] = lambda value: value) -> Any:
        return lambda value: setattr(owner, name, make(value))

    def puts(owner: Any, key: Any, make: Callable[[float], Any] = lambda value: value) -> Any:
        return lambda value: owner.__setitem__(key, make(value))

    def gradient(x: Any) -> Any:
        grad = net.linear.weight.grad
        return x if grad is None else x + grad.sum()

    return [
        (lambda x: x * total, [set_global]),
        (lambda x: x * box.number, [sets(box, "number")]),
        (lambda x: x * cell + cell_tensor, [set_cell, set_cell_tensor]),
        (lambda x: x * sum(numbers), [puts(numbers, 0), numbers.append, lambda _: numbers.pop()
                                      if len(numbers) > 1 else None]),
        (lambda x: x * nested[0] + nested[1][0] + nested[1][1]["c"],
         [puts(nested[1], 0), puts(nested[1][1], "c")]),
        (lambda x: x * queue[0], [puts(queue, 0), lambda _: queue.rotate(1)]),
        (lambda x: x * held["point"].u + held["point"].v[0],
         [puts(held, "point", lambda value: Point(value, [1.0])),
          lambda value: held["point"].v.__setitem__(0, value)]),
        (lambda x: x * (2 if 2 in held["set"] else 3) + len(held["set"]),
         [lambda value: held["set"].add(value), lambda _: held["set"].discard(2)]),
        (lambda x: x * (2 if held["color"] is Color.RED else 3),
         [puts(held, "color", lambda _: choice(list(Color)))]),
        (lambda x: thing(x) * thing.double + thing.plus(),
         [sets(thing, "number"),
          sets(kind, "plus", lambda value: lambda self, v=value: self.number * v),
          sets(kind, "double", lambda value: property(lambda self: self.number + value))]),
        (lambda x: x * thing.of_class() + thing.rate,
         [sets(kind, "rate"), sets(thing, "rate"), lambda _: thing.__dict__.pop("rate", None),
          sets(thing, "__class__", lambda value: type("Other", (kind,), {"rate": value}))]),
        (lambda x: x * len(thing) + thing.items[0],
         [lambda value: thing.items.append(value), lambda value: puts(thing.items, 0)(value)]),
        (lambda x: x * sum([v * i for i, v in enumerate(thing.table.values())]),
         [puts(thing.table, "p"), lambda _: thing.table.move_to_end(choice(["p", "q"]))]),
        (lambda x: x + thing.tensor, [sets(thing, "tensor", filled),
                                      lambda value: thing.tensor.mul_(value)]),
        (lambda x: x if thing.maybe is None else x * 2,
         [sets(thing, "maybe", lambda value: choice([None, value]))]),
        (lambda x: x * (3 if hasattr(thing, "extra") else 1),
         [sets(thing, "extra"), lambda _: thing.__dict__.pop("extra", None)]),
        (lambda x: x * slots.number + slots.tensor,
         [sets(slots, "number"), sets(slots, "tensor", filled)]),
        (lambda x: x * fields.number + (0 if fields.other is None else fields.other),
         [sets(fields, "number"),
          sets(fields, "other", lambda value: choice([None, value, filled(value)]))]),
        (lambda x: with_defaults(x) * with_defaults.factor,
         [sets(with_defaults, "__defaults__", lambda value: (value,)),
          sets(with_defaults, "__kwdefaults__", lambda value: {"e": [value]}),
          sets(with_defaults, "factor")]),
        (lambda x: partial(x), [puts(partial.keywords, "b")]),
        (lambda x: functools.reduce(lambda y, function: function(y), functions, x),
         [lambda _: functions.reverse(), puts(functions, 0, lambda value: lambda x: x * value)]),
        (lambda x: x + tensors[0] * 2 + tensors[1],
         [lambda _: tensors.__setitem__(0, tensors[1]), puts(tensors, 1, filled),
          lambda value: tensors[0].add_(value)]),
        (lambda x: net(x),
         [sets(net, "scale"), sets(net, "has_shift", lambda value: value > 1),
          sets(net, "shift", filled), lambda value: net.shift.fill_(value),
          puts(net.table, "z"), sets(net, "linear", lambda _: nn.Linear(3, 3)),
          lambda value: net.linear.weight.data.mul_(value),
          sets(net, "activation", lambda _: choice([torch.relu, torch.tanh])),
          lambda _: net.layers.__setitem__(0, choice([nn.Tanh(), nn.Linear(3, 3)])),
          sets(net, "bias", lambda value: nn.Parameter(filled(value))),
          lambda value: net.train(value > 1), sets(net.dropout, "p", lambda _: choice([0.1, 0.5])),
          lambda value: net.bias.requires_grad_(value > 1)]),
        (gradient, [lambda value: setattr(net.linear.weight, "grad", choice(
            [None, torch.full((3, 3), value)]))]),
        (lambda x: x * len(list(net.modules())) + sum([b.sum() for b in net.buffers()]),
         [lambda value: net.layers.append(nn.ReLU()) if len(net.layers) < 5 else None,
          lambda value: net.register_buffer("late", torch.full((2,), value))]),
    ]


MAKERS: tuple[Callable[[Any, float], Any], ...] = (  # arguments with a tensor and a number
    lambda x, number: [number, x],
    lambda x, number: (number, [x]),
    lambda x, number: {"n": number, "x": x},
    lambda x, number: {"x": x, "n": number},
    lambda x, number: OrderedDict(x=x, n=number),
    lambda x, number: Point(number, [x]),
    lambda x, number: Fields(number, x),
    lambda x, number: number,
)


def read(argument: Any, x: Any) -> Any:
    """Looks into such an argument."""
    if isinstance(argument, float):
        return x * argument
    if isinstance(argument, Fields):
        return argument.other * argument.number
    if isinstance(argument, dict):
        return argument["x"] * argument["n"] + (1 if next(iter(argument)) == "x" else 0)
    number, rest = argument
    return (rest[0] if isinstance(rest, list) else rest) * number


def run(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    box.number = 1.0
    found = rng.sample(places(rng.choice), rng.randint(1, 4))
    readers = [reader for reader, _ in found]
    changes = [change for _, several in found for change in several]

    def function(x: Any, argument: Any) -> Any:
        y = read(argument, x)
        return [y, *[reader(x) for reader in readers]]

    compiled = torch.compile(function)
    makers, number, done = rng.sample(MAKERS, rng.randint(1, 2)), rng.choice(NUMBERS), []
    for call in range(CALLS):
        x = torch.randn(3, requires_grad=call > CALLS // 2)
        if rng.random() < 0.2:
            number = rng.choice(NUMBERS)
        argument = rng.choice(makers)(x, number)
        state = torch.get_rng_state()
        expected = function(x, argument)
        after = torch.get_rng_state()
        torch.set_rng_state(state)
        actual = compiled(x, argument)
        where = f"seed {seed}, call {call}, changes {done[-5:]}"
        assert torch.equal(torch.get_rng_state(), after), where
        for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert (one.dtype, one.requires_grad) == (other.dtype, other.requires_grad), where
            torch.testing.assert_close(
                one.detach(), other.detach(), msg=lambda m, i=i, where=where: f"{where}: {i}: {m}")
        if rng.random() < 0.4:
            change = rng.randrange(len(changes))
            changes[change](rng.choice(NUMBERS))
            done.append((call, change))


@pytest.mark.parametrize("part", range(PARTS))
def test_results_are_never_stale(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.settings, "native", "off" if part % 2 else "now")
    for seed in range(SEED + part, SEED + COUNT, PARTS):
        run(seed)
