"""Attention in compiled steps, by kernels of its sizes (taper/compiler/attention_squares.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import taper as torch
from taper import Tensor

F = torch.nn.functional


@pytest.fixture(autouse=True)
def _native() -> Iterator[None]:
    before = torch.settings.native
    torch.settings.native = "now"
    yield
    torch.settings.native = before


def weights_and_gradients(compiles: bool, make: Any) -> list[Tensor]:
    arrays, attend = make()
    for array in arrays:
        array.requires_grad_()

    def step() -> Tensor:
        for array in arrays:
            array.grad = None
        result = attend(*arrays)
        (result * torch.arange(result.numel()).view(result.shape).cos()).sum().backward()
        return result

    run = torch.compile(step) if compiles else step
    for _ in range(3):
        found = run()
    if compiles:
        assert run.explain().calls["compiled"]
    return [found.detach(), *[array.grad for array in arrays]]


def check(make: Any, dtype: Any) -> None:
    bound = 2e-4 if dtype is torch.float32 else 1e-11
    for ours, eager in zip(weights_and_gradients(True, make), weights_and_gradients(False, make),
                           strict=True):
        torch.testing.assert_close(ours, eager, rtol=bound, atol=bound)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [(16, 16, 16, 16), (5, 7, 3, 4), (33, 20, 17, 9), (20, 33, 5, 40),
                                   (32, 31, 20, 16), (1, 9, 1, 1)])
def test_any_sizes(sizes: tuple[int, int, int, int], dtype: Any, causal: bool) -> None:
    queries, keys, size, width = sizes

    def make() -> Any:
        torch.manual_seed(0)
        arrays = [torch.randn(4, 3, n, s, dtype=dtype)
                  for n, s in ((queries, size), (keys, size), (keys, width))]
        return arrays, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    check(make, dtype)


def test_parts_of_one_product() -> None:
    """Heads of a joint projection are read, and their gradients written, where they lie."""

    def make() -> Any:
        torch.manual_seed(0)

        def attend(x: Tensor, w: Tensor) -> Tensor:
            parts = (x @ w).split(24, dim=2)
            q, k, v = (p.view(4, 20, 2, 12).transpose(1, 2) for p in parts)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return y.transpose(1, 2).contiguous().view(4, 20, 24)

        return [torch.randn(4, 20, 24), torch.randn(24, 72) / 5], attend

    check(make, torch.float32)


def test_scores_that_are_not_finite() -> None:
    def make() -> Any:
        torch.manual_seed(0)
        q, k, v = (torch.randn(8, 1, 20, 8) for _ in range(3))
        q[0, 0, 3, 2], k[1, 0, 4, 1] = float("nan"), float("inf")
        return [q, k, v], F.scaled_dot_product_attention

    found, expected = weights_and_gradients(True, make), weights_and_gradients(False, make)
    assert torch.equal(found[0].isnan(), expected[0].isnan())


def test_gradient_of_a_small_weight_of_many_rows() -> None:
    """It is the sum of two halves; see lowering/products.py."""

    def make() -> Any:
        torch.manual_seed(0)
        return [torch.randn(514, 20), torch.randn(20, 100), torch.randn(100, 7)], (
            lambda x, v, w: torch.tanh(x @ v) @ w)

    check(make, torch.float32)
