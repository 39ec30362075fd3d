"""Vectors are joined in machine code as NumPy joins them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import taper as torch
from taper.compiler import machine
from taper.kernels import small_joins
from taper.runtime.direct_call import is_possible

pytestmark = pytest.mark.skipif(
    not machine.is_available() or not is_possible(),
    reason="needs llvmlite and CPython with a GIL on 64 bits",
)


def handed_on(*args: Any) -> Any:
    return ("handed on", *args)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("sizes", [[3], [2, 5, 1], [0, 4], [0], [16] * 4, [1] * 64, [100, 7]])
def test_values(dtype: Any, sizes: list[int]) -> None:
    joined = small_joins.made(handed_on)
    assert joined is not handed_on
    tensors = [torch.arange(n).to(dtype) + 10 * i for i, n in enumerate(sizes)]
    found = joined(tensors, 0)
    expected = np.concatenate([t.numpy() for t in tensors])
    assert type(found) is np.ndarray and found.flags.owndata and found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_other_calls_are_handed_on() -> None:
    joined = small_joins.made(handed_on)
    x = torch.ones(3)
    recorded = torch.ones(3, requires_grad=True)
    cases: list[tuple[Any, ...]] = [
        ([], 0), ((x, x), 0), ([x, x], 1), ([x, x], -1), ([x, recorded], 0), ([x, recorded * 2], 0),
        ([x, x.double()], 0), ([x.half()], 0), ([x, torch.ones(1, 3)], 0), ([x[::2], x], 0),
        ([x, torch.nn.Parameter(x, requires_grad=False)], 0), ([x] * 65, 0), (x, 0), ([x, 1], 0),
        ([x, torch.empty(3, device="meta")], 0), ([torch.ones(1 << 14), x], 0), ([x],), (None, 0),
    ]
    for case in cases:
        answer = joined(*case)
        assert type(answer) is tuple and answer[0] == "handed on"
        assert all(a is b for a, b in zip(answer[1:], case, strict=True))


def test_references_are_counted() -> None:
    joined = small_joins.made(handed_on)
    tensors = [torch.ones(3), torch.ones(4)]
    watched = [*tensors, tensors[0]._array, tensors, None, np.ndarray, tensors[0]._array.dtype]
    before = [sys.getrefcount(o) for o in watched]
    for _ in range(1000):
        joined(tensors, 0)
        joined(tensors, 1)
    after = [sys.getrefcount(o) for o in watched]
    assert all(abs(a - b) < 50 for a, b in zip(before, after, strict=True))
