"""jvp, linearize, jacfwd and hessian: values by hand, trees, nesting, and what is refused."""

import pytest

import taper as torch
from taper.func import grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap


@pytest.fixture
def x():
    return torch.tensor([1.0, 2.0], dtype=torch.float64)


def test_jvp(x):
    value, derivative = jvp(lambda x: x * x, (x,), (torch.tensor([3.0, 4.0]).double(),))
    assert value.tolist() == [1.0, 4.0] and derivative.tolist() == [6.0, 16.0]
    _, derivative = jvp(lambda x, y: (x * y).sum(), (x, x + 1), (x, x))
    assert derivative.item() == 1 * 2 + 2 * 3 + 1 + 4


def test_jvp_of_trees(x):
    def function(tree):
        return {"sum": tree["a"] + tree["b"][0], "other": [tree["b"][0] * 3]}

    tree = {"a": x, "b": (x,)}
    value, derivative = jvp(function, (tree,), (tree,))
    assert value["sum"].tolist() == [2.0, 4.0]
    assert derivative["sum"].tolist() == [2.0, 4.0]
    assert derivative["other"][0].tolist() == [3.0, 6.0]


def test_jvp_with_aux(x):
    value, derivative, aux = jvp(lambda x: (x.exp(), {"x": x}), (x,), (x,), has_aux=True)
    assert torch.equal(derivative, value * x) and torch.equal(aux["x"], x)


def test_jvp_of_constants(x):
    _, derivative = jvp(lambda _: torch.ones(3), (x,), (x,))
    assert derivative.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(RuntimeError, match="The output of f is independent of the inputs"):
        jvp(lambda _: torch.ones(3), (x,), (x,), strict=True)


def test_levels_do_not_mix(x):
    """d/dx of x * d/dy (x + y): the inner derivative doesn't depend on x."""
    one = torch.ones_like(x)

    def outer(x):
        return x * jvp(lambda y: x + y, (one,), (one,))[1]

    assert jvp(outer, (x,), (one,))[1].tolist() == [1.0, 1.0]

    def product(x):
        return jvp(lambda y: x * y, (x,), (one,))[1]  # d/dy (x y) = x

    assert jvp(product, (x,), (one,))[1].tolist() == [1.0, 1.0]


def test_nesting(x):
    def slope(f):
        return lambda x: jvp(f, (x,), (torch.ones_like(x),))[1]

    third = slope(slope(slope(lambda x: x**4)))
    assert third(x).tolist() == [24.0, 48.0]
    assert slope(grad(lambda x: (x**3).sum()))(x).tolist() == [6.0, 12.0]
    assert grad(lambda x: slope(lambda x: x**3)(x).sum())(x).tolist() == [6.0, 12.0]
    assert vmap(slope(torch.sin))(x.unsqueeze(1))[:, 0].tolist() == x.cos().tolist()
    assert slope(vmap(torch.sin))(x).tolist() == x.cos().tolist()


def test_four_levels(x):
    """The derivatives of sum(exp(x)) are its terms, on the diagonal."""
    def function(rows):
        return vmap(grad(lambda row: row.exp().sum()))(rows)

    found = jacfwd(jacrev(function))(x.reshape(1, 2))
    assert found.shape == (1, 2, 1, 2, 1, 2)
    for i in range(2):
        assert found[0, i, 0, i, 0, i].item() == pytest.approx(x[i].exp().item())
    assert torch.count_nonzero(found) == 2


def test_reverse_through_forward(x):
    p = x.clone().requires_grad_()
    _, derivative = jvp(torch.exp, (p,), (torch.ones_like(x),))
    derivative.sum().backward()
    assert torch.allclose(p.grad, x.exp())


def test_linearize(x):
    value, derivative = linearize(lambda x: (x**3, x.sum(), 5), x)
    assert value[0].tolist() == [1.0, 8.0] and value[2] == 5
    for scale in (1.0, 2.0):
        cubed, total, _ = derivative(scale * torch.ones_like(x))
        assert cubed.tolist() == [3 * scale, 12 * scale] and total.item() == 2 * scale
    with pytest.raises(RuntimeError, match="doesn't match the shape"):
        derivative(torch.ones(3, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="doesn't match the dtype"):
        derivative(torch.ones(2))
    with pytest.raises(RuntimeError, match="to have the same argspec as the primals"):
        derivative(x, x)


def test_jacfwd(x):
    assert jacfwd(lambda x: x * x.sum())(x).tolist() == [[4.0, 1.0], [2.0, 5.0]]
    for_x, for_y = jacfwd(lambda x, y: x * y, argnums=(0, 1))(x, x + 1)
    assert for_x.tolist() == [[2.0, 0.0], [0.0, 3.0]] and for_y.tolist() == [[1.0, 0.0], [0.0, 2.0]]
    jacobian, aux = jacfwd(lambda x: (x.sin(), x), has_aux=True)(x)
    assert torch.equal(jacobian, torch.diag(x.cos())) and torch.equal(aux, x)
    found = jacfwd(lambda tree: {"out": tree["a"].sum()})({"a": x, "b": x})
    assert found["out"]["a"].tolist() == [1.0, 1.0] and found["out"]["b"].tolist() == [0.0, 0.0]
    assert torch.equal(jacfwd(torch.sin)(x.reshape(2, 1)), jacrev(torch.sin)(x.reshape(2, 1)))


def test_hessian(x):
    assert hessian(lambda x: (x**3).prod())(x).tolist() == [[48.0, 36.0], [36.0, 12.0]]
    assert hessian(lambda x: x**2)(x).shape == (2, 2, 2)
    blocks = hessian(lambda x, y: (x * y).sum(), argnums=(0, 1))(x, x)
    assert blocks[0][1].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert torch.count_nonzero(blocks[0][0]) == 0
    assert torch.equal(hessian(lambda x: x.exp().sum())(x),
                       jacfwd(jacrev(lambda x: x.exp().sum()))(x))


def test_gauss_newton(x):
    """Jᵀ J v by a jvp and a vjp."""
    def function(x):
        return torch.stack([x.sum(), x.prod(), x[0].sin()])

    v = torch.tensor([1.0, -1.0]).double()
    _, forward = jvp(function, (x,), (v,))
    _, pullback = vjp(function, x)
    jacobian = jacrev(function)(x)
    assert torch.allclose(pullback(forward)[0], jacobian.T @ jacobian @ v)


def test_what_jvp_refuses(x):
    with pytest.raises(RuntimeError, match="Expected primals to be a tuple"):
        jvp(torch.sin, x, x)
    with pytest.raises(RuntimeError, match="Expected primals and tangents to have the same python"):
        jvp(torch.sin, (x,), x)
    with pytest.raises(RuntimeError, match="Expected primals to contain at least one Tensor"):
        jvp(torch.sin, (), ())
    with pytest.raises(RuntimeError, match="different size than that of the original Tensor"):
        jvp(torch.sin, (x,), (torch.ones(3),))
    with pytest.raises(RuntimeError, match="to return only tensors, got unsupported type"):
        jvp(lambda _: 3, (x,), (x,))
    with pytest.raises(RuntimeError, match=r"should be a tuple: \(output, aux\) if has_aux"):
        jvp(torch.sin, (x,), (x,), has_aux=True)
    with pytest.raises(RuntimeError, match="Got argnum=5, but only 1 positional inputs"):
        jacfwd(torch.sin, argnums=5)(x)


def test_threads_do_not_disturb_each_other(x):
    from concurrent.futures import ThreadPoolExecutor

    def derivative(scale):
        for _ in range(100):
            _, found = jvp(lambda t: (t.sin() * t.exp()).softmax(0), (x,), (scale * x,))
        return found / scale

    expected = derivative(1.0)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(derivative, [1.0, 2.0, 3.0, 4.0]):
            assert torch.allclose(found, expected)
