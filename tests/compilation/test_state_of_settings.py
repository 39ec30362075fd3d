"""Settings and texts that code reaches by another name, and what usual configurations are."""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pytest
from state_changes import check_change, check_refused

import taper as torch
from taper import amp

length = [1]
rate = [2.0]
weight = torch.ones(3, 3)
template = "%s"
casting, kinds, write = amp.autocast, [str], repr
lower = torch.get_autocast_dtype
T = TypeVar("T")


class Written:
    def __repr__(self) -> str:
        return "a" * length[0]


class Made:
    def __init__(self) -> None:
        self.value = rate[0]

    @classmethod
    def make(cls) -> Made:
        return cls()


class Typed(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value


class HasValue(Protocol):
    value: float


class WithProtocol(HasValue):
    def __init__(self) -> None:
        self.value = 2.0


class Base:
    pass


written, made, typed, with_protocol = Written(), Made(), Typed(2.0), WithProtocol()
arguments, namespace = argparse.Namespace(value=2.0), types.SimpleNamespace(value=2.0)


def cast(x: Any) -> Any:
    with casting("cpu"):
        return x * (2 if (x @ weight).dtype is torch.bfloat16 else 3)


def longer() -> None:
    length[0] += 1


def rate_later() -> None:
    rate[0] += 1


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "threads": (lambda x: x * torch.get_num_threads(), lambda: torch.set_num_threads(1)),
    "a switch of a library": (
        lambda x: x * (2 if torch.backends.cuda.flash_sdp_enabled() else 3),
        lambda: torch.backends.cuda.enable_flash_sdp(False)),
    "autocast by another name": (cast, lambda: torch.set_autocast_dtype("cpu", torch.float16)),
    "its settings by another name": (
        lambda x: x * (2 if lower("cpu") is torch.bfloat16 else 3),
        lambda: torch.set_autocast_dtype("cpu", torch.float16)),
    "a text by a template": (lambda x: x * len(template % written), longer),
    "str by another name": (lambda x: x * len(kinds[0](written)), longer),
    "repr by another name": (lambda x: x * len(write(written)), longer),
    "a class that its method calls": (lambda x: x * made.make().value, rate_later),
    "arguments of a program": (
        lambda x: x * arguments.value, lambda: setattr(arguments, "value", 3.0)),
    "a generic class": (lambda x: x * typed.value, lambda: setattr(typed, "value", 3.0)),
    "a protocol": (
        lambda x: x * with_protocol.value, lambda: setattr(with_protocol, "value", 3.0)),
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
    torch.backends.cuda.enable_flash_sdp(True)
    torch.set_autocast_dtype("cpu", torch.bfloat16)


@pytest.mark.parametrize("case", CASES)
def test_changes(case: str) -> None:
    function, change = CASES[case]
    check_change(function, change, torch.arange(1.0, 7.0).reshape(2, 3))


REFUSED: dict[str, Callable[[Any], Any]] = {
    "how NumPy treats errors": lambda x: x * len(np.geterr()["over"]),
    "which classes there are": lambda x: x * (1 + len(Base.__subclasses__())),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    check_refused(REFUSED[case])
