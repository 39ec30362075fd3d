"""Transforms within transforms, up to four deep and in many orders, against PyTorch's."""

import itertools

import pytest

torch = pytest.importorskip("torch")

import taper  # noqa: E402


def scalar(m):
    """A function of a vector with all derivatives different from 0."""
    weights = m.tensor([[0.3, -0.8, 0.5], [1.1, 0.2, -0.4]], dtype=m.float64)

    def function(x):
        hidden = m.tanh(weights @ x)
        return (hidden.exp() * m.stack([hidden[0], hidden[1] ** 2])).sum() + x.norm() * x.prod()

    return function


def vector(m):
    inner = scalar(m)

    def function(x):
        return m.cat([inner(x).reshape(1), m.softmax(x, 0) * x.sin()])

    return function


def slope(m):
    """A transform by jvp that keeps the shape of the output."""
    def transform(f):
        return lambda x: m.func.jvp(f, (x,), (x.cos(),))[1]

    return transform


def transform_by_name(m, name):
    f = m.func
    return {
        "jacfwd": f.jacfwd, "jacrev": f.jacrev, "slope": slope(m), "hessian": f.hessian,
        "vmap": lambda g: lambda x: f.vmap(g)(m.stack([x, x * 0.5, x.flip(0)])),
        "grad": lambda g: f.grad(lambda x: g(x).sum()),
        "linearize": lambda g: lambda x: f.linearize(g, x)[1](x.sin()),
        "vjp": lambda g: lambda x: f.vjp(g, x)[1](m.cos(g(x)))[0],
    }[name]


NAMES = ["jacfwd", "jacrev", "slope", "vmap", "grad", "vjp"]
ORDERS = [
    *itertools.product(NAMES, repeat=2),
    *[o for o in itertools.product(NAMES, repeat=3) if o.count("vmap") <= 1][::9],
    ("jacfwd", "jacrev", "vmap", "grad"), ("vmap", "jacfwd", "jacrev", "grad"),
    ("jacrev", "jacfwd", "slope", "grad"), ("slope", "slope", "slope", "slope"),
    ("grad", "slope", "grad", "slope"), ("vmap", "vmap", "jacfwd", "grad"),
    ("hessian", "vmap", "grad"), ("slope", "hessian"), ("vmap", "hessian"),
    ("linearize", "grad"),  # PyTorch's linearize is a constant to transforms around it
]


def applied(m, order, function):
    for name in reversed(order):
        function = transform_by_name(m, name)(function)
    x = m.tensor([0.4, -0.7, 1.2], dtype=m.float64)
    return function(x)


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("make", [scalar, vector])
def test_orders(order, make):
    try:
        expected = applied(torch, order, make(torch))
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"PyTorch refuses: {str(error)[:80]}")
    found = applied(taper, order, make(taper))
    assert tuple(found.shape) == tuple(expected.shape)
    torch.testing.assert_close(torch.from_numpy(found.numpy()), expected.detach())
