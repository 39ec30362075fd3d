"""grad, grad_and_value, vjp and jacrev, with values made by hand."""

import pytest

import taper as torch
from taper.func import grad, grad_and_value, jacrev, vjp, vmap

X = torch.tensor([1.0, 2.0, 3.0])


def equal(found, expected):
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected.to(found.dtype))


# -- grad ------------------------------------------------------------------------------------------


def test_grad():
    equal(grad(lambda x: (x**3).sum())(X), [3.0, 12.0, 27.0])
    assert not grad(lambda x: x.sum())(X).requires_grad


def test_grad_of_grad():
    equal(grad(grad(grad(lambda x: x**4)))(torch.tensor(2.0)), 48.0)


def test_argnums():
    def f(a, b, c):
        return (a * b).sum() + c

    first, third = grad(f, argnums=(0, 2))(X, 2 * X, torch.tensor(1.0))
    equal(first, [2.0, 4.0, 6.0])
    equal(third, 1.0)
    equal(grad(f, argnums=-2)(X, X, torch.tensor(1.0)), [1.0, 2.0, 3.0])


def test_trees():
    found = grad(lambda p: (p["w"] * p["b"][0]).sum())({"w": X, "b": [X + 1]})
    equal(found["w"], [2.0, 3.0, 4.0])
    equal(found["b"][0], [1.0, 2.0, 3.0])


def test_aux():
    gradient, aux = grad(lambda x: (x.sum(), {"double": 2 * x}), has_aux=True)(X)
    equal(gradient, [1.0, 1.0, 1.0])
    equal(aux["double"], [2.0, 4.0, 6.0])
    assert not aux["double"].requires_grad


def test_grad_and_value():
    gradient, value = grad_and_value(lambda x: (x * x).sum())(X)
    equal(gradient, [2.0, 4.0, 6.0])
    equal(value, 14.0)
    gradient, (value, aux) = grad_and_value(lambda x: (x.sum(), x), has_aux=True)(X)
    equal(aux, X)


def test_unused_inputs_have_zeros():
    equal(grad(lambda x: torch.tensor(1.0))(X), [0.0, 0.0, 0.0])
    equal(grad(lambda x, y: x.sum(), argnums=1)(X, X), [0.0, 0.0, 0.0])


def test_no_grad_inside_hides_what_it_holds():
    def f(x):
        with torch.no_grad():
            y = x * x
        return (x * y).sum()

    equal(grad(f)(X), [1.0, 4.0, 9.0])


def test_no_grad_outside_hides_the_result_only():
    w = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        found = grad(lambda x: (x * x * w).sum())(X)
    equal(found, [2.0, 4.0, 6.0])
    assert not found.requires_grad
    assert grad(lambda x: (x * x * w).sum())(X).requires_grad


def test_no_grad_between_two_transforms():
    def inner(x):
        with torch.no_grad():
            return grad(lambda y: (y**3).sum())(x).sum() * x.sum()

    equal(grad(lambda x: inner(x) + x.sum())(X), [1.0, 1.0, 1.0])


def test_closures_are_differentiated_from_outside():
    w = torch.tensor(3.0, requires_grad=True)
    gradient = grad(lambda x: (w * x * x).sum())(X)
    gradient.sum().backward()
    equal(w.grad, 12.0)
    equal(grad(lambda a: grad(lambda x: a * x * x)(torch.tensor(2.0)))(w), 4.0)


def test_inputs_with_a_history():
    x = X.clone().requires_grad_()
    gradient = grad(lambda y: (y**3).sum())(2 * x)
    gradient.sum().backward()
    equal(x.grad, 6 * 2 * X * 2)
    assert x.is_leaf


def test_changes_in_place_inside():
    def f(x):
        y = x * 2
        y[0] = y[1] + y[2]
        y.mul_(x)
        return y.sum()

    # y is (2 (x1 + x2) x0, 2 x1², 2 x2²).
    equal(grad(f)(X), [10.0, 2.0 + 8.0, 2.0 + 12.0])


def test_inputs_are_leaves():
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        grad(lambda x: x.add_(1).sum())(X.clone())


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: grad(lambda x: x)(X), RuntimeError, "return a scalar Tensor, got tensor with 1 dims"),
    (lambda: grad(lambda x: 2.0)(X), RuntimeError, "Expected f.* to return a Tensor, got"),
    (lambda: grad(lambda x: x.sum())(2.0), ValueError, "must be Tensor, got <class 'float'>"),
    (lambda: grad(lambda x: x.sum())(X.long()), RuntimeError, "only Tensors of floating point"),
    (lambda: grad(lambda x: x.sum(), argnums=1)(X), RuntimeError, "Got argnum=1, but only 1"),
    (lambda: grad(lambda x: x.sum(), argnums=())(X), RuntimeError, "must be non-empty"),
    (lambda: grad(lambda x: x.sum(), argnums=(0, 0))(X), RuntimeError, "must be unique"),
    (lambda: grad(lambda x: x.sum(), argnums="0")(X), RuntimeError, "int or Tuple"),
    (lambda: grad(lambda x: x.sum(), has_aux=True)(X), RuntimeError, "should be a tuple"),
])
def test_wrong_calls(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# -- vjp -------------------------------------------------------------------------------------------


def test_vjp():
    output, product = vjp(lambda x, y: x * y, X, X + 1)
    equal(output, [2.0, 6.0, 12.0])
    first, second = product(torch.tensor([1.0, 0.0, 2.0]))
    equal(first, [2.0, 0.0, 8.0])
    equal(second, [1.0, 0.0, 6.0])
    assert not output.requires_grad
    equal(product(torch.ones(3))[0], [2.0, 3.0, 4.0])  # again


def test_vjp_of_trees():
    _, product = vjp(lambda x: {"a": x.sum(), "b": (x * x,)}, X)
    (found,) = product({"a": torch.tensor(1.0), "b": (torch.ones(3),)})
    equal(found, [3.0, 5.0, 7.0])
    with pytest.raises(RuntimeError, match="Expected pytree structure of cotangents"):
        product(torch.ones(3))


def test_vjp_with_aux():
    _, _, aux = vjp(lambda x: (x, x * 2), X, has_aux=True)
    equal(aux, [2.0, 4.0, 6.0])


def test_vjp_is_linear_and_differentiable():
    _, product = vjp(lambda x: x**2, X)
    equal(grad(lambda v: product(v)[0].sum())(torch.ones(3)), [2.0, 4.0, 6.0])
    equal(vmap(product)(torch.eye(3))[0].diagonal(), [2.0, 4.0, 6.0])


# -- jacrev ----------------------------------------------------------------------------------------


def test_jacrev():
    equal(jacrev(lambda x: x * x)(X), torch.diag(2 * X))
    assert jacrev(lambda x: x.reshape(1, 3) * torch.ones(2, 1))(X).shape == (2, 3, 3)
    equal(jacrev(lambda x: x.sum())(X), [1.0, 1.0, 1.0])


def test_jacrev_of_several():
    found = jacrev(lambda x, y: (x * y, {"s": y.sum()}), argnums=(0, 1))(X, X[:1])
    equal(found[0][1], X.reshape(3, 1))
    equal(found[1]["s"][0], [0.0, 0.0, 0.0])
    equal(found[1]["s"][1], [1.0])


def test_jacrev_in_chunks():
    for size in (1, 2, 5):
        equal(jacrev(lambda x: x.flip(0), chunk_size=size)(X), torch.eye(3).flip(0))


def test_hessian_by_jacrev():
    equal(jacrev(jacrev(lambda x: x.prod()))(X), [[0.0, 3, 2], [3, 0, 1], [2, 1, 0]])


def test_jacrev_of_complex_outputs():
    with pytest.raises(RuntimeError, match="jacrev: Expected all outputs to be real"):
        jacrev(lambda x: x.to(torch.complex64))(X)


# -- per sample ------------------------------------------------------------------------------------


def test_per_sample_gradients_of_a_model():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    x, y = torch.randn(5, 3), torch.randint(0, 2, (5,))

    def loss(parameters, x, y):
        return torch.nn.functional.cross_entropy(
            torch.func.functional_call(model, parameters, (x,)), y)

    found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    for i in range(5):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x[i]), y[i]).backward()
        for name, p in model.named_parameters():
            torch.testing.assert_close(found[name][i], p.grad)
