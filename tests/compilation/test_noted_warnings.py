"""Warnings that compiled calls give again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from warnings import warn

import pytest

import taper as torch
import taper.nn.functional as F

A, B = torch.ones(4, 1), torch.ones(4)


def of_taper(a: Any, b: Any) -> Any:
    return F.mse_loss(a, b)


def its_own(a: Any, b: Any) -> Any:
    warnings.warn("of the step", DeprecationWarning, stacklevel=1)
    return a * b


def ignored(a: Any, b: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return F.mse_loss(a, b)


def by_another_name(a: Any, b: Any) -> Any:
    warn("of the step", stacklevel=1)
    return a * b


def caught(a: Any, b: Any) -> Any:
    try:
        a = a * 2
        warnings.warn("of the step", stacklevel=1)
    except UserWarning:
        a = a * 3
    return a * b


def given(function: Callable[..., Any], action: Any, calls: int = 5) -> list[Any]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter(action)
        for _ in range(calls):
            try:
                result = function(A, B)
            except Warning as warning:
                result = type(warning)
    return [*((str(w.message), w.category, w.filename, w.lineno) for w in found), result]


@pytest.mark.parametrize("function", [of_taper, its_own, ignored, by_another_name, caught])
def test_as_the_filters_say(function: Callable[..., Any]) -> None:
    compiled = torch.compile(function)
    for action in ("always", "default", "error", "ignore", "always"):
        *expected, result = given(function, action)
        *found, same = given(compiled, action)
        assert found == expected
        assert torch.equal(same, result) if torch.is_tensor(result) else same is result
    runs_as_it_is = function is by_another_name
    assert (compiled.explain().calls["compiled"] == 0) is runs_as_it_is


def test_filters_of_its_own() -> None:
    def counted(a: Any, b: Any) -> Any:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            result = F.mse_loss(a, b)
        return result * len(found)

    compiled = torch.compile(counted)
    for _ in range(4):
        assert torch.equal(compiled(A, B), counted(A, B))
    assert compiled.explain().calls["compiled"] == 0


def test_symbolic_sizes() -> None:
    def step(a: Any) -> Any:
        warnings.warn("of any size", stacklevel=1)
        return a * 2

    compiled = torch.compile(step)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for n in (3, 4, 5, 6, 7, 8):
            compiled(torch.ones(n, 2))
    assert len(found) == 6 and compiled.explain().calls["compiled"] >= 3
