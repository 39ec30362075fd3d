"""Programs with functions that fail for some matrices, or that leave elements as they are."""

from __future__ import annotations

from typing import Any

import pytest

import taper as torch


def test_a_matrix_that_has_no_inverse() -> None:
    count, weight = torch.zeros(3), torch.eye(3)

    def step(x: Any) -> Any:
        count.add_(torch.rand(3))
        return torch.linalg.inv(weight) @ x + count[:, None]

    compiled = torch.compile(step)

    def run(function: Any) -> list[Any]:
        torch.manual_seed(0)
        count.zero_()
        weight.copy_(torch.eye(3))
        found: list[Any] = []
        for call in range(8):
            if call == 4:
                weight.zero_()
            if call == 6:
                weight.copy_(torch.eye(3) * 2)
            try:
                found.append(function(torch.ones(3, 3)))
            except torch.linalg.LinAlgError as error:
                found.append(str(error))
            found.append(count.clone())
        return [*found, torch.rand(1)]

    expected = run(step)
    for a, b in zip(run(compiled), expected, strict=True):
        assert a == b if isinstance(b, str) else torch.allclose(a, b)
    assert compiled.explain().calls["compiled"] >= 4


def test_a_failure_that_the_function_catches() -> None:
    def factor(x: Any) -> Any:
        try:
            return torch.linalg.cholesky(x)
        except RuntimeError:
            return torch.linalg.cholesky(x + torch.eye(3) * 4)

    compiled = torch.compile(factor)
    for scale in (1.0, 2.0, 3.0, -1.0, 2.0, -2.0):
        x = torch.eye(3) * scale
        assert torch.equal(compiled(x), factor(x))
    assert compiled.explain().calls["compiled"] >= 3


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_least_squares_of_a_rank(rank: int) -> None:
    matrix = torch.diag(torch.tensor([1.0, 2.0, 3.0]) * (torch.arange(3) < rank))

    def inverse(x: Any) -> Any:
        return torch.linalg.pinv(x), torch.linalg.lstsq(x, x, driver="gelsd").solution

    compiled = torch.compile(inverse)
    for _ in range(4):
        for a, b in zip(compiled(matrix), inverse(matrix), strict=True):
            assert torch.allclose(a, b, atol=1e-6)
