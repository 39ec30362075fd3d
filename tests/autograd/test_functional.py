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
