"""Dot products of short vectors have one order, whatever the machine; here it is spelt out."""

from __future__ import annotations

import numpy as np
import pytest

import taper as torch
from taper.optim.vector_arithmetic import add_scaled_, arithmetic_for, dot


def fused(a, b, c):
    """``a * b + c``, rounded once."""
    return np.float32(float(a) * float(b) + float(c))


def in_order(a, b):
    """Sixteen lanes (from 32 elements on, twice), folded in half until four, then in pairs."""
    lanes = [[np.float32(0)] * 16, [np.float32(0)] * 16]
    for start in range(0, len(a), 16):
        which = 1 if start == 16 and len(a) >= 32 else 0
        for i in range(start, min(start + 16, len(a))):
            lanes[which][i - start] = fused(a[i], b[i], lanes[which][i - start])
    sums = [p + q for p, q in zip(*lanes, strict=True)]
    for half in (8, 4):
        sums = [sums[i] + sums[i + half] for i in range(half)]
    return (sums[0] + sums[1]) + (sums[2] + sums[3])


@pytest.mark.parametrize("size", [1, 3, 4, 5, 15, 16, 17, 29, 31, 32, 33, 47, 48, 63])
def test_order(size):
    rng = np.random.default_rng(size)
    for _ in range(10):
        a, b = rng.standard_normal((2, size)).astype(np.float32)
        assert dot(torch.from_numpy(a), torch.from_numpy(b)).item() == in_order(a, b)


def test_other_vectors_are_left_to_the_operators():
    for a, b in [(torch.ones(64), torch.arange(64.0)), (torch.ones(3).double(), torch.ones(3))]:
        b = b.to(a.dtype)
        assert dot(a, b).dtype is a.dtype
        assert dot(a, b).item() == a.dot(b).item()
        expected = a.add(b, alpha=0.5).tolist()
        add_scaled_(a, b, 0.5)
        assert a.tolist() == expected


def test_scaled_sums_are_rounded_once():
    a, b = torch.tensor([-(1 + 2**-11)]), torch.tensor([1 + 2**-12])
    # (1 + 2^-12)² - (1 + 2^-11) is 2^-24, which a product rounded by itself has lost.
    add_scaled_(a, b, 1 + 2**-12)
    assert a.item() == 2**-24


def test_vectors_there_and_back():
    values = torch.arange(20.0)
    arithmetic = arithmetic_for(values)
    vectors = arithmetic.vectors([values, values + 1])
    assert arithmetic.as_tensor(vectors[1]).tolist() == (values + 1).tolist()
    assert arithmetic.vectors([]) == []
    assert arithmetic.as_number(arithmetic.number(torch.tensor(2.5))).item() == 2.5
