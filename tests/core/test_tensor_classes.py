"""Classes derived from Tensor and Parameter: of which class results are."""

from __future__ import annotations

from typing import Any

import pytest

import taper as torch


class Named(torch.Tensor):
    pass


class Scale(torch.nn.Parameter):
    pass


def kinds(result: Any) -> Any:
    return [type(r) for r in result] if isinstance(result, (tuple, list)) else [type(result)]


@pytest.mark.parametrize("call", [
    lambda x: x * 2, lambda x: x.max(0), lambda x: x.topk(2), lambda x: x.split(2),
    lambda x: x.new_zeros(2), lambda x: x.new_full((2,), 3.0), lambda x: x.new_tensor([1.0]),
    lambda x: torch.unique(x, return_counts=True),
])  # fmt: skip
def test_results_are_of_the_class_of_their_operands(call: Any) -> None:
    assert set(kinds(call(torch.arange(4.0).as_subclass(Named)))) == {Named}
    assert set(kinds(call(Scale(torch.arange(4.0))))) == {torch.Tensor}


def test_values_of_new_tensors() -> None:
    x = torch.arange(4.0).as_subclass(Named)
    assert x.new_full((2,), 3.0).tolist() == [3.0, 3.0]
    assert x.new_ones(2, dtype=torch.int64).dtype is torch.int64
    assert x.new_tensor([1, 2]).tolist() == [1.0, 2.0]
