"""Where objects keep what they are: the dict of their attributes, slots, classes, memory of C."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import enum
import functools
import random
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from state_changes import check_change

import taper as torch
from taper import nn
from taper.compilation.parts import (
    FUNCTION_PARTS,
    PartsWatch,
    class_parts,
    object_parts,
    slots_of,
)
from taper.compilation.words import _counts_changes, places_of

rate = [2.0]


class First:
    def factor(self) -> float:
        return 2.0


class Second:
    def factor(self) -> float:
        return 3.0


class Derived(First):
    pass


class Plain:
    def __init__(self, value: float = 2.0) -> None:
        self.value = value


class Layer(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Any) -> Any:
        return x * self.value


class Lazy(types.ModuleType):
    @property
    def value(self) -> float:
        return rate[0]


class Slotted:
    __slots__ = ("__hidden", "value")

    def __init__(self) -> None:
        self.value = 2.0


class Shadowing(Slotted):
    """Has a slot twice: the base's methods find the other."""

    __slots__ = ("value",)


class Kind(enum.Enum):
    ONE = 1.0


def act(x: Any) -> Any:
    """A text."""
    return x


derived, plain, layer, other_layer = Derived(), Plain(), Layer(2.0), Layer(5.0)
shadowing = Shadowing()
Slotted.value.__set__(shadowing, 2.0)  # type: ignore[attr-defined]
context = contextlib.nullcontext(2.0)
lazy = Lazy("lazy_module")
eager_module = types.ModuleType("module_that_becomes_lazy")
eager_module.__dict__["value"] = 2.0
function_with_attributes: Any = lambda: None  # noqa: E731
function_with_attributes.value = 2.0


def within_context(x: Any) -> Any:
    with context as value:
        return x * value


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "another dict of attributes": (
        lambda x: x * plain.value, lambda: setattr(plain, "__dict__", {"value": 3.0})),
    "that of another module": (
        lambda x: layer(x) + 0, lambda: setattr(layer, "__dict__", other_layer.__dict__)),
    "of a function": (
        lambda x: x * function_with_attributes.value,
        lambda: setattr(function_with_attributes, "__dict__", {"value": 3.0})),
    "other bases": (
        lambda x: x * derived.factor(), lambda: setattr(Derived, "__bases__", (Second,))),
    "another name of a class": (
        lambda x: x * len(type(derived).__name__), lambda: setattr(Derived, "__name__", "D")),
    "of a function, its name": (
        lambda x: x * len(act.__name__), lambda: setattr(act, "__name__", "action")),
    "of a function, its text": (
        lambda x: x * len(act.__doc__ or ""), lambda: setattr(act, "__doc__", "Other.")),
    "a slot that another shadows": (
        lambda x: x * Slotted.value.__get__(shadowing),  # type: ignore[attr-defined]
        lambda: Slotted.value.__set__(shadowing, 3.0)),  # type: ignore[attr-defined]
    "a member of an enumeration": (
        lambda x: x * Kind.ONE.value, lambda: setattr(Kind.ONE, "_value_", 3.0)),
    "what a class of the library reads": (
        within_context, lambda: setattr(context, "enter_result", 3.0)),
    "a module's class": (lambda x: x * lazy.value, lambda: rate.__setitem__(0, 3.0)),
    "a module that gets a class": (lambda x: x * eager_module.value,
        lambda: setattr(eager_module, "__class__", Lazy)),
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    rate[0] = 2.0
    Derived.__bases__ = (First,)
    Derived.__name__ = "Derived"


@pytest.mark.parametrize("case", CASES)
def test_changes(case: str) -> None:
    function, change = CASES[case]
    if case == "a module that gets a class":
        rate[0] = 7.0
    compiled = check_change(function, change, torch.arange(1.0, 4.0), is_captured=False)
    assert compiled.explain().calls["compiled"] > 3


class Numbers(array.array):  # type: ignore[type-arg]
    pass


class Draws(random.Random):
    pass


class Part(functools.partial):  # type: ignore[type-arg]
    pass


numbers, draws = Numbers("d", [2.0]), Draws(0)
part = Part(lambda x, k: x * k * rate[0], k=2.0)
HIDDEN: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "an array": (lambda x: x * numbers[0], lambda: numbers.__setitem__(0, 7.0)),
    "a source of numbers": (lambda x: x * draws.random(), lambda: draws.seed(1)),
    "a partial": (lambda x: part(x) + 0, lambda: rate.__setitem__(0, 3.0)),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_memory_of_c_is_refused(case: str) -> None:
    function, change = HIDDEN[case]
    compiled = torch.compile(function)
    x = torch.ones(2)
    for _ in range(2):
        for _ in range(3):
            found = compiled(x)
            if case != "a source of numbers":
                assert torch.equal(found, function(x))
        change()
    explained = compiled.explain()
    assert explained.calls["compiled"] == 0
    assert "state can't be compared" in explained.fallbacks[0][0]


def test_dicts_that_keep_their_order_have_attributes_too() -> None:
    class Output(OrderedDict):  # type: ignore[type-arg]
        scale = 2.0

    output = Output(rate=3.0)
    output.offset = 1.0  # type: ignore[attr-defined]
    compiled = torch.compile(
        lambda x: x * output["rate"] * output.scale + output.offset)  # type: ignore[attr-defined]
    x = torch.ones(2)
    for offset in (1.0, 4.0):
        output.offset = offset  # type: ignore[attr-defined]
        for _ in range(4):
            assert torch.equal(compiled(x), x * 6 + offset)
    assert compiled.explain().calls["compiled"] > 4


def test_code_of_those_who_are_looked_at_does_not_run() -> None:
    asked: list[str] = []

    class Asked:
        def __getattribute__(self, name: str) -> Any:
            asked.append(name)
            return object.__getattribute__(self, name)

    class Pretender:
        @property
        def __class__(self) -> Any:
            asked.append("__class__")
            return float

    held, pretender = Asked(), Pretender()
    compiled = torch.compile(lambda x: x * (1.0 if held is None or pretender is None else 2.0))
    for _ in range(6):
        assert compiled(torch.ones(1)) == 2.0
    assert not asked


def test_guards_of_parts_are_words() -> None:
    if _counts_changes():
        for holder, parts in (
            (Slotted(), slots_of(Slotted)), (Plain(), object_parts(Plain)),
            (Plain, class_parts(Plain)), (act, FUNCTION_PARTS), (lazy, object_parts(Lazy)),
        ):
            places = places_of(PartsWatch(None, holder, parts), [])
            assert places is not None
            assert len(places) == len(parts)


@dataclasses.dataclass
class Passed:
    value: float = 2.0


def test_lists_that_are_passed_twice_or_are_of_the_state() -> None:
    own = [1.0]

    def function(x: Any, a: Any, b: Any) -> Any:
        return x * (2.0 if a is own else 3.0 if a is b else 4.0) * a[0]

    compiled = torch.compile(function)
    x, other = torch.ones(1), [1.0]
    for _ in range(3):
        for a, b, expected in ((own, [1.0], 2.0), (other, [1.0], 4.0), (other, other, 3.0)):
            for _ in range(2):
                assert compiled(x, a, b) == expected
    assert compiled.explain().calls["compiled"] > 9


def test_objects_that_are_passed_twice_or_are_of_the_state() -> None:
    own = Passed()

    def function(x: Any, a: Any, b: Any) -> Any:
        return x * (2.0 if a is own else 3.0 if a is b else 4.0) * a.value

    compiled = torch.compile(function)
    x, other = torch.ones(1), Passed()
    for _ in range(3):
        for a, b, expected in ((other, Passed(), 8.0), (own, Passed(), 4.0), (other, other, 6.0)):
            for _ in range(2):
                assert compiled(x, a, b) == expected
