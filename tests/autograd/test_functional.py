"""jacobian, hessian and the products, against derivatives worked out by hand."""

import pytest

import taper as torch
from taper.autograd.functional import hessian, hvp, jacobian, jvp, vhp, vjp


def quadratic(x):
    return x[0] ** 2 * x[1] + x[1] ** 3


POINT = torch.tensor([2.0, 3.0], dtype=torch.float64)


def test_hessian():
    assert hessian(quadratic, POINT).tolist() == [[6.0, 4.0], [4.0, 18.0]]


def test_products_with_the_hessian():
    v = torch.tensor([1.0, -1.0], dtype=torch.float64)
    value, product = vhp(quadratic, POINT, v)
    assert value.item() == 39.0 and product.tolist() == [2.0, -14.0]
    assert hvp(quadratic, POINT, v)[1].tolist() == [2.0, -14.0]


def test_jacobian_of_two_inputs():
    def f(x, y):
        return x * y

    x = torch.tensor([1.0, 2.0])
    y = torch.tensor([3.0, 4.0])
    by_x, by_y = jacobian(f, (x, y))
    assert by_x.tolist() == [[3.0, 0.0], [0.0, 4.0]]
    assert by_y.tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_vector_products():
    def f(x):
        return torch.stack([x[0] * x[1], x[0]])

    v = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert vjp(f, POINT, v)[1].tolist() == [5.0, 2.0]
    assert jvp(f, POINT, v)[1].tolist() == [7.0, 1.0]


def test_jacobian_can_be_differentiated():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    jacobian(lambda t: t**3, x, create_graph=True).sum().backward()
    assert x.grad.tolist() == [6.0, 12.0]


def test_independent_inputs():
    assert jacobian(lambda x: torch.ones(2), POINT).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    with pytest.raises(RuntimeError, match="does not require gradients"):
        jacobian(lambda x: torch.ones(2), POINT, strict=True)
    with pytest.raises(TypeError, match="must be either a Tensor or a tuple of Tensors"):
        jacobian(lambda x: x, 3.0)


# -- all rows at once ------------------------------------------------------------------------------


def test_vectorized_jacobian():
    x, w = torch.tensor([1.0, 2.0, 3.0]), torch.ones(2, 3)

    def f(x, w):
        return (x * w).sum(0), x.prod(), x.detach() * 2

    looped = jacobian(lambda x, w: tuple(t.clone() for t in f(x, w)), (x, w), strict=False)
    for options in ({}, {"strategy": "forward-mode"}):
        found = jacobian(f, (x, w), vectorize=True, **options)
        for row, expected in zip(found, looped, strict=True):
            for a, b in zip(row, expected, strict=True):
                assert torch.equal(a, b)


def test_vectorized_hessian():
    found = hessian(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0]), vectorize=True)
    assert found.tolist() == [[6.0, 0.0], [0.0, 12.0]]
    found = hessian(
        lambda x: x.prod(), torch.tensor([2.0, 3.0]), vectorize=True,
        outer_jacobian_strategy="forward-mode")
    assert found.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_vectorized_and_strict_exclude_each_other():
    with pytest.raises(RuntimeError, match="`strict=True` and `vectorized=True` are not supported"):
        jacobian(torch.sin, torch.ones(2), vectorize=True, strict=True)


def test_hooks_see_one_row_at_a_time():
    seen = []

    def f(x):
        y = x * 2
        y.register_hook(lambda g: seen.append(g.tolist()))
        return y + 1

    assert jacobian(f, torch.ones(2)).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert seen == [[1.0, 0.0], [0.0, 1.0]]
