"""Functions and methods of taper, NumPy and the standard library that users replace."""
# ruff: noqa: PLW0108, UP030, UP032 - what is compiled is a function of a user, as it is written

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn
from taper.nn.utils import parametrize

factor = [3.0]
linear = nn.Linear(6, 2)
model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield


def times_factor(*args: Any, **kwargs: Any) -> Any:
    return next(a for a in args if not isinstance(a, nn.Module)) * factor[0]


REPLACED: dict[str, tuple[Callable[..., Any], Any, str, Any]] = {
    "function": (lambda x: F.relu(x) + 1, F, "relu", times_factor),
    "another of its kind": (lambda x: F.relu(x) + 1, F, "relu", F.gelu),
    "by its whole name": (lambda x: torch.nn.functional.relu(x), F, "relu", times_factor),
    "of the package": (lambda x: torch.relu(x) + 1, torch, "relu", times_factor),
    "forward of a class": (lambda x: linear(x), nn.Linear, "forward", times_factor),
    "call of all modules": (lambda x: linear(x), nn.Module, "__call__", times_factor),
    "what a layer calls": (lambda x: linear(x), F, "linear", times_factor),
    "in a model": (lambda x: model(x), F, "relu", times_factor),
    "forward in a model": (lambda x: model(x), nn.ReLU, "forward", times_factor),
    "method of tensors": (lambda x: x.relu() + 1, torch.Tensor, "relu", times_factor),
    "operator of tensors": (lambda x: x + 1, torch.Tensor, "__add__", lambda x, y: x * 5),
    "math": (lambda x: x * math.sqrt(4.0), math, "sqrt", lambda x: 7.0),
    "NumPy": (lambda x: x * float(np.sqrt(4.0)), np, "sqrt", lambda x: 7.0),
}


def check(function: Callable[..., Any], compiled: Callable[..., Any], calls: int = 4) -> None:
    x = torch.arange(-3.0, 3.0)
    for _ in range(calls):
        assert torch.allclose(compiled(x), function(x), atol=1e-6)


@pytest.mark.parametrize("case", REPLACED)
def test_what_is_replaced_for_a_while(case: str) -> None:
    function, owner, name, other = REPLACED[case]
    compiled = torch.compile(function)
    check(function, compiled)
    with mock.patch.object(owner, name, other):
        check(function, compiled)
        factor[0] += 1  # what stands there now is a user's: it is looked into
        check(function, compiled)
    check(function, compiled)
    assert compiled.explain().calls["compiled"] > 10


def test_methods_that_come_to_classes_between() -> None:
    compiled = torch.compile(lambda x: linear(x))
    check(linear, compiled)
    nn.Linear.__call__ = times_factor
    try:
        check(linear, compiled)
    finally:
        del nn.Linear.__call__
    check(linear, compiled)


def test_what_was_replaced_before_the_first_call() -> None:
    with mock.patch.object(torch.Tensor, "relu", times_factor):
        def function(x: Any) -> Any:
            return x.relu()

        compiled = torch.compile(function)
        check(function, compiled)
        factor[0] += 1
        check(function, compiled)


def test_steps_of_optimizers() -> None:
    weight = nn.Parameter(torch.ones(6))
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        (weight * x).sum().backward()
        optimizer.step()
        return weight.detach().clone()

    compiled = torch.compile(step)
    x = torch.arange(6.0)
    before = [compiled(x) for _ in range(4)][-1]
    with mock.patch.object(torch.optim.SGD, "step", lambda self: None):
        for _ in range(3):
            assert torch.equal(compiled(x), before)
    assert not torch.equal(compiled(x), before)


def test_parametrizations_that_are_cached() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Any) -> Any:
            return weight * 2

    layer = nn.Linear(6, 2)
    parametrize.register_parametrization(layer, "weight", Doubled())
    compiled = torch.compile(lambda x: layer(x))
    check(layer, compiled)
    with parametrize.cached():
        check(layer, compiled)
        with torch.no_grad():
            layer.parametrizations.weight.original.add_(1)
        check(layer, compiled)
    check(layer, compiled)


class Thing:
    def __init__(self) -> None:
        self.value = 2.0
        self.inner: Any = None


thing = Thing()
thing.inner = Thing()
template = "{0.value}"
FORMATTED: dict[str, Callable[..., Any]] = {
    "field": lambda x: x * float("{0.value}".format(thing)),
    "field of a field": lambda x: x * float("{a.inner.value}".format(a=thing)),
    "global": lambda x: x * float(template.format(thing)),
    "unbound": lambda x: x * float(str.format("{0.value}", thing)),
    "mapping": lambda x: x * float("{a.value}".format_map({"a": thing})),
}


@pytest.mark.parametrize("case", FORMATTED)
def test_fields_of_texts(case: str) -> None:
    function = FORMATTED[case]
    compiled = torch.compile(function)
    for value in (2.0, 3.0, 4.0):
        thing.value, thing.inner.value = value, value + 1
        check(function, compiled)
