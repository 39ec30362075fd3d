"""What a recording hides of tensors - where they lie, where they come from - isn't baked in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import taper as torch

line = torch.arange(20.0)


def window(i: int) -> Any:
    return line[i : i + 3]


def computed(i: int) -> Any:
    return torch.ones(3, requires_grad=True) * (i + 1)


def changed(i: int) -> Any:
    x = torch.ones(3)
    for _ in range(i):
        x.add_(1)
    return x


def piece(i: int) -> Any:
    return torch.ones(6, requires_grad=True).split(3)[i % 2]


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[int], Any]]] = {
    "as_strided": (lambda x: torch.as_strided(x, (2,), (1,), 0), window),
    "storage_offset": (lambda x: x * x.storage_offset(), window),
    "storage": (lambda x: x * x.untyped_storage().nbytes(), window),
    "data_ptr": (lambda x: x * 2 if x.data_ptr() else x, window),
    "view": (lambda x: x * 2 if x._is_view() else x, window),
    "version": (lambda x: x * x._version, changed),
    "leaf": (lambda x: x * 2 if x.is_leaf else x, computed),
    "grad_fn": (lambda x: x * 2 if x.grad_fn is None else x, computed),
    "output_nr": (lambda x: x * (x.output_nr + 1), piece),
    "retains_grad": (lambda x: x * 2 if x.retains_grad else x, computed),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_tensor_is_asked(case: str) -> None:
    function, make = CASES[case]
    compiled = torch.compile(function)
    for i in range(6):
        x = make(i)
        assert torch.equal(compiled(x), function(x))
    assert compiled.explain().calls["compiled"] == 0


def test_windows_of_what_is_computed() -> None:
    def windows(x: Any) -> Any:
        y = x * 2
        return y.as_strided((2,), (1,), 1), x.as_strided((2,), (1,)), y.storage_offset()

    compiled = torch.compile(windows)
    for i in range(4):
        for a, b in zip(compiled(window(i)), windows(window(i)), strict=True):
            assert torch.equal(a, b) if torch.is_tensor(a) else a == b
    assert compiled.explain().calls["compiled"] == 3
