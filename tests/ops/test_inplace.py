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


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.__iand__(1),  # no such operator for floats
        lambda x: x.add_(taper.ones(5)),  # nor do shapes fit
        lambda x: x.mul_(taper.ones(4, 3, 2)),
        lambda x: x.copy_(taper.ones(5)),
        lambda x: x.copy_(2),
        lambda x: x.round_(decimals=1),
    ],
)
def test_expanded_memory_is_refused_before_shapes_and_dtypes(change):
    expanded = taper.zeros(2).expand(3, 2)
    with pytest.raises(RuntimeError, match="unsupported operation: more than one element"):
        change(expanded)


def test_arguments_are_looked_at_before_expanded_memory():
    expanded = taper.zeros(2).expand(3, 2)
    with pytest.raises(IndexError, match="Dimension out of range"):
        expanded.cumsum_(2)
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        expanded.addmm_(taper.ones(3, 2), taper.ones(3, 2))
    with pytest.raises(TypeError):
        expanded.mul_("2")
    assert expanded.zero_().tolist() == [[0.0, 0.0]] * 3


def test_a_kernel_is_looked_for_after_shapes_and_dtypes():
    with pytest.raises(RuntimeError, match=r"output with shape \[3\] doesn't match the broadcast"):
        taper.zeros(3).bitwise_and_(taper.ones(2, 3))
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output"):
        taper.ones(3, dtype=taper.int64).bitwise_and_(0.5)
    with pytest.raises(NotImplementedError, match="not implemented for 'Float'"):
        taper.zeros(3).bitwise_and_(taper.ones(3))
