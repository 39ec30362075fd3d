"""Results of compiled calls lie in memory as those of the same calls run eagerly."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import taper as torch
from taper.compilation.results import laid_out


def filled(x: torch.Tensor) -> Any:
    y = torch.zeros(4, 3)
    y[...] = x.t() * 2
    return y


def copied(x: torch.Tensor) -> Any:
    y = torch.zeros(4, 3)
    y.copy_(x.t())
    return y, y.view(-1)


def through_a_view(x: torch.Tensor) -> Any:
    y = x.clone()
    y.t().copy_(x.t().contiguous() * 2)
    return y


def of_many_kinds(x: torch.Tensor) -> Any:
    return ((x.t() * 2).contiguous(), x.t() * 2, torch.cat([x.t(), x.t()], 1),
            torch.ones_like(x.t()) * 2, x.t().clone(), x.t().sum(1), x.t() @ x)


@pytest.mark.parametrize("function", [filled, copied, through_a_view, of_many_kinds])
@pytest.mark.parametrize("native", ["off", "background"])
def test_strides(function: Callable[..., Any], native: str) -> None:
    before, torch.settings.native = torch.settings.native, native
    try:
        x = torch.rand(3, 4)
        compiled = torch.compile(function)
        expected = function(x)
        for _ in range(4):
            found = compiled(x)
            for a, b in zip(expected if type(expected) is tuple else (expected,),
                            found if type(found) is tuple else (found,), strict=True):
                assert a.stride() == b.stride()
                torch.testing.assert_close(a, b)
    finally:
        torch.settings.native = before


def test_a_history_that_is_over_leads_nowhere() -> None:
    def step(x: torch.Tensor) -> torch.Tensor:
        y = torch.where(x > 0, x, x * 2)
        y.sum().backward()
        return y

    compiled = torch.compile(step)
    for _ in range(3):
        y = compiled(torch.eye(2, requires_grad=True))
        assert y.grad_fn.name() == "WhereBackward0"
    assert y.grad_fn.next_functions == ()
    with pytest.raises(RuntimeError, match="a second time"):
        y.sum().backward()


def test_laid_out_copies_only_what_lies_otherwise() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert laid_out(x, (24, 8)) is x
    assert laid_out(x[:, None], (24, 999, 8)).base is x.base
    turned = laid_out(x, (8, 16))
    assert turned.strides == (8, 16) and np.array_equal(turned, x)


def test_eigenvalues_are_complex_where_they_could_be_real() -> None:
    matrix = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    compiled = torch.compile(torch.linalg.eigvals)
    for _ in range(3):
        assert compiled(matrix).dtype is torch.complex64


@pytest.mark.parametrize("function", [torch.linalg.inv_ex, torch.linalg.cholesky_ex])
def test_info_tells_of_singular_matrices(function: Callable[..., Any]) -> None:
    compiled = torch.compile(lambda x: function(x * 1).info)
    for matrix in (torch.eye(2), torch.eye(2), torch.zeros(2, 2), torch.eye(2)):
        assert torch.equal(compiled(matrix), function(matrix).info)
    assert compiled.explain().graph_count == 1


def test_containers_of_the_state_come_back_themselves() -> None:
    @dataclasses.dataclass
    class Settings:
        rate: int = 1

    class Holder:
        items: list[Any]

    holder, settings, names = Holder(), Settings(), {"a": [torch.ones(2), 3]}
    holder.items = [torch.ones(3)]

    def step(x: Any) -> Any:
        return x + 1, holder.items, [names, settings, x * 2]

    compiled = torch.compile(step)
    x = torch.arange(3.0)
    for call in range(8):
        if call == 4:
            holder.items = [torch.zeros(3)]
        if call == 6:
            names["b"] = [1]
        _, items, (same_names, same_settings, double) = compiled(x)
        assert items is holder.items and same_names is names and same_settings is settings
        assert torch.equal(double, x * 2)
    assert compiled.explain().calls["compiled"] >= 4


def returns_what_is_passed(x: Any, given: Any) -> Any:
    return x * 2, given


def returns_one_list_twice(x: Any, given: Any) -> Any:
    made = [x * 2]
    return made, made


@pytest.mark.parametrize("function", [returns_what_is_passed, returns_one_list_twice])
def test_containers_that_a_program_would_make_anew(function: Any) -> None:
    compiled = torch.compile(function)
    x, given = torch.arange(3.0), [1]
    for _ in range(4):
        first, second = compiled(x, given)
        assert second is given or second is first
    assert compiled.explain().calls["compiled"] == 0
