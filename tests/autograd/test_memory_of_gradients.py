"""Gradients lie in memory as their leaves do, or contiguously where those have gaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import taper as torch


def dense(*shape: int) -> Any:
    return torch.arange(24.0).reshape(shape)


LEAVES = {
    "contiguous": (lambda: dense(2, 3, 4), (12, 4, 1)),
    "reversed": (lambda: dense(4, 3, 2).permute(2, 1, 0), (1, 2, 6)),
    "last first": (lambda: dense(4, 2, 3).permute(1, 2, 0), (3, 1, 6)),
    "every second": (lambda: torch.arange(48.0).reshape(2, 3, 8)[..., ::2], (12, 4, 1)),
    "every second, reversed": (
        lambda: torch.arange(48.0).reshape(4, 3, 4)[..., ::2].permute(2, 1, 0), (12, 4, 1)),
    "expanded": (lambda: torch.arange(12.0).reshape(4, 3).t().expand(2, 3, 4), (12, 4, 1)),
}

LOSSES: dict[str, Callable[[Any], Any]] = {
    "expanded": lambda x: x.sum(),
    "transposed": lambda x: (x.permute(2, 0, 1).contiguous() ** 2).sum(),
    "product": lambda x: (x.reshape(-1, 4) @ torch.ones(4, 5)).pow(2).sum(),
    "two parts": lambda x: x.sum() + (x * 3).sum(),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("leaf", LEAVES)
def test_gradients_lie_as_leaves(leaf: str, loss: str, create_graph: bool) -> None:
    make, strides = LEAVES[leaf]

    def program(x: Any) -> Any:
        x = x.detach().requires_grad_()
        LOSSES[loss](x).backward(create_graph=create_graph)
        return x.grad, x.grad + 0, (x.grad + 0).as_strided((5,), (2,))

    expected = program(make())
    compiled = torch.compile(program)
    for found in (expected, compiled(make()), compiled(make())):
        gradient, total, window = found
        assert gradient.stride() == total.stride() == strides
        assert torch.equal(gradient, expected[0]) and torch.equal(window, expected[2])


def test_gradients_of_large_leaves_lie_as_them() -> None:
    weight = torch.randn(64, 32, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    (weight * 2).sum().backward()
    assert weight.grad.stride() == weight.stride() == (288, 1, 96, 32)
    expanded = torch.zeros(1, 300).expand(300, 300).requires_grad_()
    expanded.sum().backward()
    assert expanded.grad.stride() == (300, 1)
    assert expanded.grad._base is None and expanded.grad.untyped_storage().nbytes() == 360_000
