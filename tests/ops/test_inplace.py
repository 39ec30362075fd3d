"""The short path of in-place operators."""

from __future__ import annotations

import pytest

import taper


@pytest.mark.parametrize("dtype", [taper.float32, taper.float64, taper.int64])
@pytest.mark.parametrize("columns", [2, 3, 4, 5, 8, 16])
def test_negation_of_a_column(dtype, columns):
    # NumPy 2.4's negative reads the wrong elements where the strides are 16 or 64 bytes.
    matrix = taper.arange(6 * columns).reshape(6, columns).to(dtype)
    expected = matrix.tolist()
    for row in expected:
        row[1] = -row[1]
    matrix[:, 1].neg_()
    assert matrix.tolist() == expected


def test_a_view_and_its_base_count_changes_together():
    base = taper.zeros(3)
    base[1:].add_(1)
    base.mul_(2)
    assert base.tolist() == [0.0, 2.0, 2.0]
    assert base._version == base[1:]._version == 2
