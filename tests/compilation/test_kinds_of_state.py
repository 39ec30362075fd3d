"""Less usual places where Python keeps what a function depends on: changes of them are noticed."""

from __future__ import annotations

import builtins
import functools
import math
import pathlib
import types
from collections import UserDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from state_changes import check_change

import taper as torch

module = types.ModuleType("module_with_a_getattr")
module.__dict__["__getattr__"] = lambda name: rate[0]
rate = [2.0]
length = [1]


class Plain:
    def __init__(self, value: float = 2.0) -> None:
        self.value = value * rate[0]

    def __str__(self) -> str:
        return "a" * length[0]

    def __add__(self, other: Plain) -> Plain:
        return type(self)(self.value + other.value)


class Mangled:
    __slots__ = ("__value",)

    def __init__(self) -> None:
        self.__value = 2.0

    def get(self) -> float:
        return self.__value

    def set(self, value: float) -> None:
        self.__value = value


class Doubling(property):
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner) * rate[0]


class WithProperty:
    @Doubling
    def value(self) -> float:
        return 2.0


class Renamed(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return [("other", 1.0)]


class Matched:
    __match_args__ = ("rate",)

    def __init__(self) -> None:
        self.rate = 2.0


class Truth:
    pass


def matched(x: Any) -> Any:
    match pattern:
        case Matched(found):
            return x * found
    return x


def printed(x: Any) -> Any:
    return x * len("%s" % plain)  # noqa: UP031


@functools.wraps(math.sqrt)
def like_sqrt(x: Any) -> Any:
    return x * rate[0]


@torch.compile
def decorated(x: Any) -> Any:
    return x * decorated.rate  # type: ignore[attr-defined]


plain, mangled, with_property, pattern, truth = (
    Plain(), Mangled(), WithProperty(), Matched(), Truth())
renamed, user_dict, numbers = Renamed(rate=2.0), UserDict(rate=2.0), {1, 2}
made: Any = defaultdict(lambda: 2.0)
line: Any = deque([1.0], maxlen=3)
part = functools.partial(max, 1.0)
part.rate = 2.0  # type: ignore[attr-defined]
namespace = types.SimpleNamespace(rate=2.0)
generator = torch.Generator().manual_seed(3)
read = getattr
decorated.rate = 2.0  # type: ignore[attr-defined]


def later() -> None:
    rate[0] += 1
    length[0] += 1


def set_of_other_types() -> None:
    numbers.clear()
    numbers.update([1.0, 2])  # type: ignore[list-item]


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "a mangled slot": (lambda x: x * mangled.get(), lambda: mangled.set(5.0)),
    "the getter of a property's class": (lambda x: x * with_property.value, later),
    "a dict whose items are others": (
        lambda x: x * renamed["rate"], lambda: renamed.update(rate=5.0)),
    "what a UserDict has": (lambda x: x * user_dict["rate"], lambda: user_dict.update(rate=5.0)),
    "types in a set": (
        lambda x: x * sum(len(repr(n)) for n in numbers), set_of_other_types),
    "a factory": (
        lambda x: x * made.default_factory(),
        lambda: setattr(made, "default_factory", lambda: 3.0)),
    "an attribute of a partial": (lambda x: x * part.rate, lambda: setattr(part, "rate", 3.0)),
    "a pattern": (matched, lambda: setattr(pattern, "rate", 5.0)),
    "a text with %": (printed, later),
    "a class that is asked for": (lambda x: x * (plain + plain).value, later),
    "all of a namespace": (
        lambda x: x * len(repr(namespace)), lambda: setattr(namespace, "rate", 22.75)),
    "getattr by another name": (
        lambda x: x * sum(read(plain, name) for name in ["val" + "ue"]),
        lambda: setattr(plain, "value", 9.0)),
    "the getattr of a module": (
        lambda x: x * module.rate,
        lambda: module.__dict__.update({"__getattr__": lambda name: 7.0})),
    "a method that a class gets": (
        lambda x: x * (2.0 if truth else 3.0),
        lambda: setattr(Truth, "__bool__", lambda self: False)),
    "a builtin": (
        lambda x: x * divmod(7, 4)[0], lambda: setattr(builtins, "divmod", lambda a, b: (5, 5))),
    "another name's wraps": (like_sqrt, later),
    "an attribute of a compiled function": (
        decorated, lambda: setattr(decorated, "rate", 5.0)),
    "the seed of a generator": (
        lambda x: x * (generator.initial_seed() % 10), lambda: generator.manual_seed(7)),
    "deterministic algorithms": (
        lambda x: x * torch.are_deterministic_algorithms_enabled(),
        lambda: torch.use_deterministic_algorithms(True)),
    "precision of products": (
        lambda x: x * len(torch.get_float32_matmul_precision()),
        lambda: torch.set_float32_matmul_precision("high")),
    "how tensors are printed": (
        lambda x: x * len(str(torch.tensor([1.23456]))),
        lambda: torch.set_printoptions(precision=2)),
    "what autocast casts to": (
        lambda x: x * (torch.get_autocast_dtype("cpu") is torch.bfloat16),
        lambda: torch.set_autocast_dtype("cpu", torch.float16)),
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    original = builtins.divmod
    yield
    builtins.divmod = original
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    torch.set_printoptions(profile="default")
    torch.set_autocast_dtype("cpu", torch.bfloat16)


@pytest.mark.parametrize("case", CASES)
def test_changes(case: str) -> None:
    function, change = CASES[case]
    check_change(function, change, torch.arange(1.0, 4.0), is_captured=False)


def test_a_list_that_is_that_of_the_state() -> None:
    own = [1.0]
    compiled = torch.compile(lambda x, a, b: x * (2.0 if a is own else 3.0 if a is b else 4.0))
    x, other = torch.ones(2), [1.0]
    for _ in range(3):
        for a, b, expected in ((other, [1.0], 4.0), (own, [1.0], 2.0), (other, other, 3.0)):
            assert compiled(x, a, b)[0] == expected


def test_files_are_not_baked_in(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "rate"
    path.write_text("2.0")
    compiled = torch.compile(lambda x: x * float(path.read_text()))
    for text in ("2.0", "3.0"):
        path.write_text(text)
        for _ in range(3):
            assert compiled(torch.ones(1)) == float(text)


def test_effects_of_builtins_by_their_module(capsys: pytest.CaptureFixture[str]) -> None:
    def speaks(x: Any) -> Any:
        builtins.print("called")
        return x * 2

    compiled = torch.compile(speaks)
    for _ in range(4):
        compiled(torch.ones(1))
    assert capsys.readouterr().out == "called\n" * 4


NUMBERS: list[Callable[[Any, Any], Any]] = [
    lambda x, s: x * (1 / s), lambda x, s: x * s ** -2, lambda x, s: x * s ** 200,
    lambda x, s: x * abs(s ** 0.5), lambda x, s: x * 2.0 ** s, lambda x, s: x * abs(s * (1 + 0j)),
    lambda x, s: x * len("%.2f" % s),  # noqa: UP031
    lambda x, s: x * len(float.hex(s)),
]


@pytest.mark.parametrize("function", NUMBERS)
def test_arithmetic_of_passed_numbers(function: Callable[[Any, Any], Any]) -> None:
    def run(called: Callable[[Any, Any], Any]) -> list[Any]:
        found: list[Any] = []
        for number in (0.25, 0.5, 0.125, 0.75, 0.0, -1.5, 1e300, 1e-300, 0.25, 12.5):
            try:
                found.append(called(torch.arange(3.0, dtype=torch.float64), number))
            except ArithmeticError as error:
                found.append(str(error))
        return found

    for a, b in zip(run(torch.compile(function)), run(function), strict=True):
        assert a == b if isinstance(b, str) else torch.allclose(a, b, equal_nan=True)


def test_numbers_of_groups_that_the_code_looks_at() -> None:
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.25)

    def step(x: Any) -> Any:
        factor = 2.0 if math.sqrt(optimizer.param_groups[0]["lr"]) > 0.3 else 3.0
        (x * weight).sum().mul(factor).backward()
        optimizer.step()
        optimizer.zero_grad()
        return factor

    compiled = torch.compile(step)
    for lr in (0.25, 0.01, 0.64):
        optimizer.param_groups[0]["lr"] = lr
        assert [compiled(torch.ones(3)) for _ in range(3)] == [2.0 if lr > 0.09 else 3.0] * 3
