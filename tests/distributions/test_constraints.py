"""Constraints: what lies inside, what doesn't, and how they are said."""

import math

import pytest
from families import COVARIANCE, matrix, t

import taper as torch
from taper.distributions import constraints as C

FACTOR = torch.linalg.cholesky(COVARIANCE)
UNIT_ROWS = FACTOR / FACTOR.norm(dim=-1, keepdim=True)

INSIDE = [
    (C.real, t(0.0, math.inf)), (C.boolean, t(0.0, 1.0)), (C.positive, t(0.1)),
    (C.nonnegative, t(0.0)), (C.nonnegative_integer, t(0.0, 3.0)), (C.positive_integer, t(1.0)),
    (C.greater_than(2.0), t(2.5)), (C.greater_than_eq(2.0), t(2.0)), (C.less_than(2.0), t(1.0)),
    (C.unit_interval, t(0.0, 1.0)), (C.half_open_interval(0.0, 1.0), t(0.0, 0.9)),
    (C.integer_interval(-2, 5), t(-2.0, 5.0)), (C._IntegerLessThan(3), t(3.0)),
    (C.one_hot, t(0.0, 1.0)), (C.simplex, t(0.25, 0.75)), (C.multinomial(3), t(1.0, 2.0)),
    (C.lower_triangular, FACTOR), (C.lower_cholesky, FACTOR), (C.corr_cholesky, UNIT_ROWS),
    (C.square, COVARIANCE), (C.symmetric, COVARIANCE), (C.positive_definite, COVARIANCE),
    (C.positive_semidefinite, matrix([1.0, 1.0], [1.0, 1.0])), (C.real_vector, t(1.0, 2.0)),
    (C.cat([C.positive, C.real], 0, [1, 2]), t(1.0, -1.0, -2.0)),
    (C.stack([C.positive, C.real]), t(1.0, -1.0)),
    (C.MixtureSameFamilyConstraint(C.positive), t(1.0)),
]
OUTSIDE = [
    (C.real, t(math.nan)), (C.boolean, t(0.5)), (C.positive, t(0.0)), (C.nonnegative, t(-0.1)),
    (C.nonnegative_integer, t(0.5, -1.0)), (C.positive_integer, t(0.0)),
    (C.greater_than(2.0), t(2.0)), (C.less_than(2.0), t(2.0)), (C.unit_interval, t(-0.1, 1.1)),
    (C.half_open_interval(0.0, 1.0), t(1.0)), (C.integer_interval(-2, 5), t(-3.0, 0.5)),
    (C.one_hot, t(1.0, 1.0)), (C.simplex, t(0.5, 0.6)), (C.simplex, t(-0.5, 1.5)),
    (C.multinomial(3), t(2.0, 2.0)), (C.lower_triangular, COVARIANCE), (C.lower_cholesky, -FACTOR),
    (C.corr_cholesky, FACTOR), (C.square, FACTOR[:2]), (C.symmetric, FACTOR),
    (C.positive_definite, -COVARIANCE), (C.positive_semidefinite, -COVARIANCE),
    (C.positive_definite, matrix([1.0, 1.0], [1.0, 1.0])), (C.real_vector, t(1.0, math.nan)),
    (C.stack([C.positive, C.positive]), t(-1.0, -1.0)),
]


@pytest.mark.parametrize(("constraint", "value"), INSIDE, ids=repr)
def test_inside(constraint, value):
    assert constraint.check(value).all()
    assert constraint.check(value).shape == value.shape[: value.ndim - constraint.event_dim]


@pytest.mark.parametrize(("constraint", "value"), OUTSIDE, ids=repr)
def test_outside(constraint, value):
    assert not constraint.check(value).any()


def test_one_answer_for_each_event():
    values = torch.stack([t(0.5, 0.5), t(0.5, 0.6)])
    assert C.simplex.check(values).tolist() == [True, False]
    assert C.independent(C.positive, 1).check(t(1.0, -1.0)).item() is False


def test_printing():
    assert repr(C.positive) == "GreaterThan(lower_bound=0.0)"
    assert repr(C.interval(1, 2)) == "Interval(lower_bound=1, upper_bound=2)"
    assert repr(C.real_vector) == "IndependentConstraint(Real(), 1)"
    assert repr(C.simplex) == "Simplex()"


def test_dependent():
    assert C.is_dependent(C.dependent)
    assert not C.is_dependent(C.real)
    with pytest.raises(ValueError, match="Cannot determine validity"):
        C.dependent.check(t(1.0))

    class Shifted:
        low = 3.0

        @C.dependent_property(is_discrete=False, event_dim=0)
        def support(self):
            return C.greater_than(self.low)

    assert C.is_dependent(Shifted.support)
    assert Shifted.support.event_dim == 0
    assert Shifted().support.check(t(4.0)).all()


def test_bad_constraints():
    with pytest.raises(AssertionError, match="base_constraint must be a Constraint"):
        C.independent(3, 1)
    with pytest.raises(ValueError, match=r"Expected value.dim\(\) >= 1 but got 0"):
        C.independent(C.real, 1).check(t(1.0)[0])
