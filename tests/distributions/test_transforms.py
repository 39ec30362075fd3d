"""Transforms: round trips, jacobians against autograd, caches, and which leads where."""

import copy
import pickle

import pytest
from families import t

import taper as torch
from taper import distributions as D
from taper.autograd.functional import jacobian
from taper.distributions import constraints as C

ELEMENTWISE = [
    D.AbsTransform(), D.AffineTransform(1.0, -2.0), D.AffineTransform(t(1.0), t(3.0)),
    D.ExpTransform(), D.PowerTransform(t(2.5)), D.PowerTransform(t(-1.0)), D.SigmoidTransform(),
    D.SoftplusTransform(), D.TanhTransform(), D.ExpTransform().inv,
    D.ComposeTransform([D.AffineTransform(1.0, 2.0), D.TanhTransform()]),
    D.CumulativeDistributionTransform(D.Normal(t(0.3), t(2.0))), D.identity_transform,
]
SHAPED = [
    (D.StickBreakingTransform(), (4,)), (D.CorrCholeskyTransform(), (6,)),
    (D.ReshapeTransform((2, 3), (6,)), (2, 3)),
    (D.IndependentTransform(D.ExpTransform(), 1), (3,)),
    (D.CatTransform([D.ExpTransform(), D.AffineTransform(0, 3.0)], -1, [1, 2]), (3,)),
    (D.StackTransform([D.ExpTransform(), D.AffineTransform(0, 3.0)], -1), (2,)),
    (D.ComposeTransform([D.AffineTransform(0.0, 2.0), D.StickBreakingTransform()]), (3,)),
    (D.SoftmaxTransform(), (3,)), (D.LowerCholeskyTransform(), (3, 3)),
    (D.PositiveDefiniteTransform(), (3, 3)),
    (D.AffineTransform(t(1.0), t(2.0, 3.0, 4.0), event_dim=1), (3,)),
]


def points(domain, *shape):
    x = torch.randn(*shape, dtype=torch.float64)
    if repr(domain) == "GreaterThan(lower_bound=0.0)":
        return x.exp()
    return x * 0.8


@pytest.mark.parametrize("transform", ELEMENTWISE, ids=repr)
def test_elementwise(transform):
    x = points(transform.domain, 7).requires_grad_()
    y = transform(x)
    assert transform.domain.check(x).all()
    assert transform.codomain.check(y).all()
    assert transform.forward_shape((7,)) == transform.inverse_shape((7,)) == (7,)
    if not transform.bijective:
        return
    assert torch.allclose(transform.inv(y), x)
    assert torch.allclose(transform.inv.inv(x), y)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(transform.log_abs_det_jacobian(x, y), slope.abs().log())
    assert torch.allclose(transform.inv.log_abs_det_jacobian(y, x), -slope.abs().log())
    assert (slope.sign() == transform.sign).all()


@pytest.mark.parametrize(("transform", "shape"), SHAPED, ids=repr)
def test_shaped(transform, shape):
    x = points(transform.domain, 5, *shape)
    y = transform(x)
    assert y.shape == transform.forward_shape(x.shape)
    assert transform.inverse_shape(y.shape) == x.shape
    assert transform.codomain.check(y).all()
    again = transform(transform.inv(y))
    assert torch.allclose(again, y)
    if transform.bijective:
        assert torch.allclose(transform.inv(y), x)


@pytest.mark.parametrize(
    ("transform", "shape"), [(tr, s) for tr, s in SHAPED if tr.bijective], ids=repr
)
def test_jacobians_of_events(transform, shape):
    x = points(transform.domain, *shape)
    y = transform(x)
    free = {
        "StickBreakingTransform": lambda y: y[..., :-1],  # the last part follows
        "CorrCholeskyTransform": lambda y: D.utils.tril_matrix_to_vec(y, -1),
    }
    last = transform.parts[-1] if isinstance(transform, D.ComposeTransform) else transform
    of_y = free.get(type(last).__name__, lambda y: y)
    matrix = jacobian(lambda x: of_y(transform(x)).reshape(-1), x).reshape(x.numel(), x.numel())
    expected = torch.linalg.slogdet(matrix).logabsdet
    change = transform.log_abs_det_jacobian(x, y)
    assert torch.allclose(change.sum(), expected)


def test_caches_return_what_was_put_in():
    plain = D.ExpTransform()
    kept = plain.with_cache()
    assert kept.with_cache() is kept
    assert plain.with_cache(0) is plain
    x = t(0.3)
    y = kept(x)
    assert kept(x) is y
    assert kept.inv(y) is x
    assert plain(x) is not plain(x)
    stack = D.ComposeTransform([D.ExpTransform(), D.AffineTransform(0.0, 2.0)], cache_size=1)
    assert stack.inv(stack(x)) is x
    log_normal = D.TransformedDistribution(D.Normal(t(0.0), t(1.0)), [kept])
    assert kept._cached_x_y[1] is log_normal.rsample() or kept._cached_x_y[0] is not None
    with pytest.raises(ValueError, match="cache_size must be 0 or 1"):
        D.ExpTransform(cache_size=2)


@pytest.mark.parametrize(
    "transform", [tr for tr in ELEMENTWISE] + [tr for tr, _ in SHAPED], ids=repr
)
def test_with_cache_keeps_the_meaning(transform):
    x = points(transform.domain, 5, *dict((id(tr), s) for tr, s in SHAPED).get(id(transform), ()))
    assert torch.equal(transform.with_cache(1)(x), transform(x))
    assert torch.equal(copy.deepcopy(transform)(x), transform(x))
    assert torch.equal(pickle.loads(pickle.dumps(transform))(x), transform(x))


def test_inverse_lives_as_long_as_somebody_uses_it():
    exp = D.ExpTransform()
    inverse = exp.inv
    assert exp.inv is inverse
    assert inverse.inv is exp
    assert repr(inverse) == "_InverseTransform(ExpTransform())"


def test_equality():
    assert D.ExpTransform() == D.ExpTransform()
    assert D.ExpTransform() != D.SigmoidTransform()
    assert D.ExpTransform().inv == D.ExpTransform().inv
    assert D.AffineTransform(0.0, 1.0) == D.AffineTransform(0.0, 1.0)
    assert D.AffineTransform(0.0, 1.0) != D.AffineTransform(0.0, 2.0)
    assert D.PowerTransform(t(2.0)) == D.PowerTransform(t(2.0))
    assert D.ComposeTransform([D.ExpTransform()]) == D.ComposeTransform([D.ExpTransform()])


INTO = [
    C.real, C.positive, C.nonnegative, C.greater_than(2.0), C.less_than(-1.0),
    C.interval(-1.0, 3.0), C.unit_interval, C.half_open_interval(0.0, 2.0), C.simplex,
    C.corr_cholesky, C.real_vector, C.independent(C.positive, 1),
]


@pytest.mark.parametrize("constraint", INTO, ids=repr)
def test_biject_to(constraint):
    transform = D.biject_to(constraint)
    x = points(None, 4, 6)
    y = transform(x)
    assert transform.bijective
    assert constraint.check(y).all()
    assert torch.allclose(transform.inv(y), x)


@pytest.mark.parametrize(
    "constraint", [*INTO, C.lower_cholesky, C.positive_definite, C.positive_semidefinite], ids=repr
)
def test_transform_to(constraint):
    x = points(None, 4, 3, 3)
    assert constraint.check(D.transform_to(constraint)(x)).all()


def test_joined_sets():
    parts = [C.positive, C.real]
    x = points(None, 2)
    assert C.cat(parts).check(D.biject_to(C.cat(parts))(x)).all()
    assert C.stack(parts).check(D.biject_to(C.stack(parts))(x)).all()


def test_registering():
    class Even(C.Constraint):
        pass

    with pytest.raises(NotImplementedError, match="Cannot transform Even constraints"):
        D.biject_to(Even())

    @D.biject_to.register(Even)
    def _(constraint):
        return D.AffineTransform(0, 2)

    assert D.biject_to(Even())(t(3.0)) == 6
