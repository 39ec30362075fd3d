"""Code that catches what only a recording raises: it must not go on as if that had happened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

import taper as torch


def of_an_item(x: Any) -> Any:
    try:
        scale = x.sum().item()
    except Exception:
        scale = 1.0
    return x * scale


def of_a_branch(x: Any) -> Any:
    try:
        if not torch.isfinite(x).all():
            return x * 2
    except NotImplementedError:
        return torch.zeros_like(x)
    return x


def of_an_array(x: Any) -> Any:
    with contextlib.suppress(Exception):
        return x * float(x.numpy().sum())
    return x


def of_a_mask(x: Any) -> Any:
    try:
        return x[x > 1].sum() * x
    except Exception:
        return x


def by_a_return(x: Any) -> Any:
    scale = 1.0
    try:
        scale = x.tolist()[0]
    finally:
        return x * scale  # noqa: B012


def by_a_context(x: Any) -> Any:
    class Forgiving:
        def __enter__(self) -> None: ...
        def __exit__(self, *args: object) -> bool:
            return True

    scale = 1.0
    with Forgiving():
        scale = float(x.sum())
    return x * scale


def of_a_printed_number(x: Any, rate: float) -> Any:
    try:
        digits = len(str(rate))
    except Exception:
        digits = 1000
    return x * digits


CASES: list[Callable[..., Any]] = [
    of_an_item, of_a_branch, of_an_array, of_a_mask, by_a_return, by_a_context]


@pytest.mark.parametrize("function", CASES)
def test_values_that_are_asked_for(function: Callable[..., Any]) -> None:
    compiled = torch.compile(function)
    for i in range(5):
        x = torch.arange(3.0) + i
        assert torch.equal(compiled(x), function(x))
    assert compiled.explain().calls["compiled"] == 0
    assert compiled.explain().fallbacks


def test_numbers_that_are_asked_for() -> None:
    compiled = torch.compile(of_a_printed_number)
    x = torch.arange(3.0)
    for rate in (0.5, 0.25, 0.125, 0.5, 0.0625):
        assert torch.equal(compiled(x, rate), of_a_printed_number(x, rate))


def test_errors_that_are_raised_anyhow() -> None:
    def shaped(x: Any) -> Any:
        try:
            return x.reshape(7)
        except RuntimeError:
            return x * 2

    compiled = torch.compile(shaped)
    for _ in range(4):
        assert torch.equal(compiled(torch.ones(3)), torch.full((3,), 2.0))
    assert compiled.explain().calls["compiled"] > 0
