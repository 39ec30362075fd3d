"""Results of a compiled call that come from one another, or are differentiated one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import taper as torch
from taper import nn


def setting() -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    first, second, x = [torch.rand(n, 3, dtype=torch.float64) + 1 for n in (1, 1, 2)]
    return nn.Parameter(first), nn.Parameter(second), x


def chained(first: Any, second: Any, x: Any) -> Any:
    logits = (x * first).exp()
    return logits, (logits * second).sum()


def apart(first: Any, second: Any, x: Any) -> Any:
    return (x * first).exp(), (x * second).sin()


def beside(first: Any, second: Any, x: Any) -> Any:
    hidden = (x * first).exp()
    return hidden.sin(), hidden.cos() * second


def threefold(first: Any, second: Any, x: Any) -> Any:
    mean, spread = x * first, (x * second).exp()
    return mean, (mean + spread * 0.5).sin().sum(), spread


def pieces(first: Any, second: Any, x: Any) -> Any:
    return (torch.cat([x * first, x * second]).exp()).chunk(2)


def hooked(results: Any, leaves: Any) -> Any:
    results[0].register_hook(lambda grad: grad * 10)
    results[1].sum().backward()


def retained(results: Any, leaves: Any) -> Any:
    results[0].retain_grad()
    results[1].sum().backward()
    return results[0].grad


def of_a_result(results: Any, leaves: Any) -> Any:
    return torch.autograd.grad(results[1].sum(), [results[0], *leaves], allow_unused=True)


def both(results: Any, leaves: Any) -> Any:
    sum(r.sum() * (i + 2) for i, r in enumerate(results)).backward()


def one_by_one(results: Any, leaves: Any) -> Any:
    for r in results:
        r.sum().backward()


def the_first(results: Any, leaves: Any) -> Any:
    results[0].sum().backward()


def the_second_twice(results: Any, leaves: Any) -> Any:
    results[1].sum().backward(retain_graph=True)
    results[1].sum().backward()
    results[0].sum().backward()


def with_inputs(results: Any, leaves: Any) -> Any:
    return torch.autograd.grad(results[0].sum(), leaves, allow_unused=True)


def what_happens(use: Callable[..., Any], results: Any, leaves: Any) -> list[Any]:
    for leaf in leaves:
        leaf.grad = None
    try:
        found = use(results, leaves)
    except RuntimeError as error:
        return [str(error)[:40]]
    found = list(found) if isinstance(found, tuple) else [found]
    return [*found, *(leaf.grad for leaf in leaves)]


FUNCTIONS = [chained, apart, beside, threefold, pieces]
USES = [hooked, retained, of_a_result, both, one_by_one, the_first, the_second_twice, with_inputs]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("use", USES)
def test_as_without_compiling(function: Callable[..., Any], use: Callable[..., Any]) -> None:
    first, second, x = setting()
    compiled = torch.compile(function)
    for _ in range(4):
        expected = what_happens(use, function(first, second, x), [first, second])
        found = what_happens(use, compiled(first, second, x), [first, second])
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            if torch.is_tensor(b):
                assert torch.allclose(a, b)
            else:
                assert a == b
    assert compiled.explain().calls["compiled"] == (0 if function is pieces else 3)


def test_any_batch_size() -> None:
    first, second, _ = setting()
    compiled = torch.compile(threefold)
    for n in (3, 4, 5, 6, 3, 7):
        x = torch.rand(n, 3, dtype=torch.float64) + 1
        expected = what_happens(both, threefold(first, second, x), [first, second])
        found = what_happens(both, compiled(first, second, x), [first, second])
        for a, b in zip(found[1:], expected[1:], strict=True):
            assert torch.allclose(a, b)
    assert compiled.explain().calls["compiled"] >= 3


def test_an_infinite_derivative_of_another_result() -> None:
    first, second, _ = setting()

    def roots(first: Any, second: Any, x: Any) -> Any:
        return (x * first).sqrt(), x * first * second

    compiled = torch.compile(roots)
    x = torch.zeros(2, 3, dtype=torch.float64)
    for _ in range(3):
        results = compiled(first, second, x)
    with pytest.raises(RuntimeError, match="isn't finite"):
        results[1].sum().backward()


def test_a_part_that_another_result_comes_from() -> None:
    def parts(x: Any) -> Any:
        first, second = (x * 2).chunk(2)
        return first, second, (first * second).sum()

    compiled = torch.compile(parts)
    x = torch.rand(4, requires_grad=True)
    for _ in range(3):
        x.grad = None
        first, _, total = compiled(x)
        first.register_hook(lambda grad: grad * 3)
        total.backward()
        assert x.grad is not None
        assert torch.allclose(x.grad[:2], x[2:].detach() * 12)
