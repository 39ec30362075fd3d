"""Floats that are passed: programs read those that differ from call to call, and hold for the value
of those that they look at."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import taper as torch
from taper.nn import functional as F

VALUES = (0.9, 0.5, 0.25, 2.0, -1.5, 0.0, 1.0, 0.7, math.nan, 0.3, math.inf, 0.2, 3, 0.4)


def scaled(x: Any, number: float) -> Any:
    return x * number + 1


def descended(x: Any, number: float) -> Any:
    (x * x).sum().backward()
    with torch.no_grad():
        x.sub_(number * x.grad)
        x.grad = None
    return x.detach().clone()


def branching(x: Any, number: float) -> Any:
    return x * number if number > 0.4 else x - number


def noisy(x: Any, number: float) -> Any:
    return x + number * torch.randn(3)


def mixed(x: Any, number: float) -> Any:
    return torch.lerp(x, x * 2, number).clamp(min=max(number, 0.5)) + sum([number, number**2])


def written(x: Any, number: float) -> Any:
    y = x.clone()
    y[0] = number
    return y


READ = (scaled, descended, branching, noisy, mixed, written)


def smoothed(x: Any, number: float) -> Any:
    if not 0 <= number <= 1:
        return x * 2
    return F.cross_entropy(x.reshape(1, 3), torch.tensor([1]), label_smoothing=number)


def of_math(x: Any, number: float) -> Any:
    return x + 1 if math.atan(number) < 0.5 else x - 1


def of_finite(x: Any, number: float) -> Any:
    return x * number if math.isfinite(number) else x * 2


def of_type(x: Any, number: float) -> Any:
    return x * number if type(number) is float else x * 2


def printed(x: Any, number: float) -> Any:
    return x * len(f"{number:.1f}")


def filled(x: Any, number: float) -> Any:
    return x + torch.full((3,), number) + torch.tensor(number) + torch.tensor([number, 1.0, 2.0])


def rounded(x: Any, number: float) -> Any:
    return x * (round(number, 1) if abs(number) < 100 else 1)


def powers(x: Any, number: float) -> Any:
    return x.abs() ** number


def dropped(x: Any, number: float) -> Any:
    return F.dropout(x, number) if 0 <= number <= 1 else x * 2


def truth(x: Any, number: float) -> Any:
    return x * number if number else x * 2


LOOKED_AT = (
    smoothed, of_math, of_finite, of_type, printed, filled, rounded, powers, dropped, truth)


def outcome(function: Callable[..., Any], number: float) -> tuple[Any, Any]:
    torch.manual_seed(0)
    x = torch.tensor([0.5, -1.0, 2.0], requires_grad=True)
    found = function(x, number)
    if found.grad_fn is not None:
        (found * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    return found.detach(), x.grad


@pytest.mark.parametrize("native", ["now", "off"])
@pytest.mark.parametrize("function", READ + LOOKED_AT)
def test_results(function: Any, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.settings, "native", native)
    compiled = torch.compile(function)
    for number in VALUES:
        torch.testing.assert_close(
            outcome(compiled, number), outcome(function, number), equal_nan=True)
    if function in READ:
        assert compiled.explain().calls["compiled"] >= len(VALUES) - 5, compiled.explain()


def test_a_result_that_is_differentiated_later() -> None:
    compiled = torch.compile(scaled)
    x = torch.ones(2, requires_grad=True)
    numbers = (0.5, 0.25, 0.75, 0.125)
    results = [compiled(x, number) for number in numbers]
    for result, number in zip(results, numbers, strict=True):
        assert torch.autograd.grad(result.sum(), x)[0].tolist() == [number, number]


def test_by_name_and_with_an_optimizer() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.5)

    @torch.compile
    def step(x: Any, *, scale: float) -> Any:
        optimizer.zero_grad()
        loss = (weight * x * scale).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    expected = 2.0
    for i in range(8):
        optimizer.param_groups[0]["lr"] = lr = 0.5 / (i + 1)
        scale = 0.25 * i
        assert step(torch.ones(1), scale=scale).item() == pytest.approx(expected * scale)
        expected -= lr * scale
        assert weight.item() == pytest.approx(expected)
    assert step.explain().calls["compiled"] >= 6


def test_sizes_that_differ_as_well() -> None:
    compiled = torch.compile(scaled)
    for i in range(10):
        x = torch.randn(3 + i % 5)
        torch.testing.assert_close(compiled(x, 0.5 * i), scaled(x, 0.5 * i))
    assert compiled.explain().calls["compiled"] >= 7


def test_values_that_return_have_programs() -> None:
    """Where a number can't be read, programs hold for its values."""
    compiled = torch.compile(filled)
    x = torch.ones(3)
    for number in (0.5, 1.5) * 6:
        assert torch.equal(compiled(x, number), filled(x, number))
    assert compiled.explain().calls["compiled"] >= 8
