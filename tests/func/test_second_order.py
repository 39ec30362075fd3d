"""Products with Hessians, Gauss-Newton and Fisher matrices against the matrices themselves."""

import pytest

import taper as torch
from taper.func import grad, hessian, jacrev, jvp, second_order, vmap
from taper.func.second_order import (
    conjugate_gradient,
    empirical_fisher_product,
    fisher_product,
    gauss_newton_product,
    hessian_product,
    hvp,
)

torch.manual_seed(0)
FLOAT64 = {"dtype": torch.float64}
INPUTS = torch.randn(6, 3, **FLOAT64)
TARGETS = torch.tensor([0, 2, 1, 1, 0, 2])
PARAMS = torch.randn(9, **FLOAT64)
VECTOR = torch.randn(9, **FLOAT64)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def outputs(params):
    """A model that is not linear in its nine parameters, and has three outputs."""
    return torch.tanh(INPUTS @ params.reshape(3, 3)) * 2 + params[:3] ** 2


def cross_entropy(logits):
    return torch.nn.functional.cross_entropy(logits, TARGETS, reduction="sum")


def matrix(product):
    return vmap(product)(torch.eye(9, **FLOAT64))


def loss(params):
    return cross_entropy(outputs(params))


def in_outputs(function):
    """transpose(J) M J, where M is the matrix that `function` gives for the outputs in a row."""
    J = jacrev(outputs)(PARAMS).reshape(18, 9)
    return J.T @ function(outputs(PARAMS).reshape(-1)) @ J


# -- Hessian ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_hvp_is_the_hessian_times_the_vector(mode):
    close(hvp(loss, PARAMS, VECTOR, mode=mode), hessian(loss)(PARAMS) @ VECTOR)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_hvp_of_trees(mode):
    def function(tree):
        return (tree["a"] ** 2 * tree["b"][0]).sum() + tree["b"][0] ** 3

    tree = {"a": torch.tensor([1.0, 2.0]), "b": [torch.tensor(3.0)]}
    vector = {"a": torch.tensor([1.0, 0.0]), "b": [torch.tensor(1.0)]}
    found = hvp(function, tree, vector, mode=mode)
    # d2/da2 = 2b, d2/dadb = 2a, d2/db2 = 6b
    assert found["a"].tolist() == [8.0, 4.0]
    assert found["b"][0].item() == 20.0


def test_hvp_of_a_linear_function_is_zero():
    for mode in ("reverse", "forward"):
        assert hvp(torch.sum, PARAMS, VECTOR, mode=mode).tolist() == [0.0] * 9


def test_a_product_runs_the_function_once():
    calls = []

    def function(x):
        calls.append(x)
        return (x**3).sum()

    product = hessian_product(function, torch.tensor([1.0, 2.0]))
    assert product(torch.tensor([1.0, 0.0])).tolist() == [6.0, 0.0]
    assert product(torch.tensor([0.0, 1.0])).tolist() == [0.0, 12.0]
    assert len(calls) == 1


def test_products_are_transformed_and_differentiated():
    close(matrix(hessian_product(loss, PARAMS)), hessian(loss)(PARAMS))
    third = grad(lambda x: hvp(lambda x: (x**4).sum(), x, torch.ones(2)).sum())
    assert third(torch.tensor([1.0, 2.0])).tolist() == [24.0, 48.0]


def test_products_have_no_history_of_their_own():
    assert not hvp(loss, PARAMS, VECTOR).requires_grad
    assert hvp(loss, PARAMS.clone().requires_grad_(), VECTOR).requires_grad


def test_custom_functions_without_forward_mode():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x**3

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            return 3 * ctx.saved_tensors[0] ** 2 * grad

    def function(x):
        return Cube.apply(x).sum()

    x = torch.tensor([1.0, 2.0])
    assert hvp(function, x, torch.ones(2)).tolist() == [6.0, 12.0]
    with pytest.raises(NotImplementedError, match="jvp"):
        hvp(function, x, torch.ones(2), mode="forward")


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"hessian_product\(\): expected .* structure"):
        hvp(loss, PARAMS, (VECTOR,))
    with pytest.raises(ValueError, match=r"tensor 0 has shape \(8,\) instead of \(9,\)"):
        hvp(loss, PARAMS, VECTOR[:8], mode="forward")
    with pytest.raises(ValueError, match="mode must be"):
        hvp(loss, PARAMS, VECTOR, mode="sideways")


# -- Gauss-Newton and Fisher -----------------------------------------------------------------------


def test_gauss_newton_of_cross_entropy():
    product = gauss_newton_product(outputs, cross_entropy, PARAMS)
    expected = in_outputs(hessian(lambda z: cross_entropy(z.reshape(6, 3))))
    close(matrix(product), expected)
    close(product(VECTOR), expected @ VECTOR)


def test_gauss_newton_is_the_hessian_of_a_linear_model():
    def residuals(tree):
        return INPUTS @ tree["w"] - 1 + tree["b"]

    def squares(r):
        return 0.5 * (r**2).sum()

    tree = {"w": PARAMS[:3], "b": PARAMS[3]}
    vector = {"w": VECTOR[:3], "b": VECTOR[3]}
    found = gauss_newton_product(residuals, squares, tree)(vector)
    expected = hvp(lambda tree: squares(residuals(tree)), tree, vector)
    for name in ("w", "b"):
        close(found[name], expected[name])


def test_gauss_newton_of_several_outputs():
    def both(params):
        return {"one": params[:4] ** 2, "two": params.sin()}

    def mixed(found):
        return (found["one"] * found["two"][:4]).sum() + (found["two"] ** 2).sum()

    def joined(z):
        return mixed({"one": z[:4], "two": z[4:]})

    J = jacrev(lambda p: torch.cat([*both(p).values()]))(PARAMS)
    expected = J.T @ hessian(joined)(J.new_zeros(13) + torch.cat([*both(PARAMS).values()])) @ J
    close(matrix(gauss_newton_product(both, mixed, PARAMS)), expected)


@pytest.mark.parametrize(
    ("likelihood", "of_one"),
    [
        ("bernoulli", lambda z: z.sigmoid() * (1 - z.sigmoid())),
        ("poisson", torch.exp),
        ("normal", torch.ones_like),
    ],
)
def test_fisher_of_independent_outputs(likelihood, of_one):
    product = fisher_product(outputs, PARAMS, likelihood)
    close(matrix(product), in_outputs(lambda z: torch.diag(of_one(z))))


def test_fisher_of_a_categorical_is_the_expected_outer_product_of_scores():
    logits = outputs(PARAMS)
    expected = torch.zeros(9, 9, **FLOAT64)
    for n in range(6):
        for y in range(3):
            score = grad(lambda p, n=n, y=y: outputs(p)[n].log_softmax(-1)[y])(PARAMS)
            expected += logits[n].softmax(-1)[y] * torch.outer(score, score)
    close(matrix(fisher_product(outputs, PARAMS)), expected)
    # For a model whose outputs are logits, this is the Gauss-Newton matrix as well.
    close(matrix(gauss_newton_product(outputs, cross_entropy, PARAMS)), expected)


def test_fisher_of_a_normal_with_its_scale():
    def model(params):
        return INPUTS @ params[:3], (INPUTS @ params[3:6]).exp()

    # By quadrature: Hermite's nodes are exact for the scores, polynomials of degree 2.
    nodes = torch.tensor([-(3**0.5), 0.0, 3**0.5], **FLOAT64)
    weights = torch.tensor([1 / 6, 2 / 3, 1 / 6], **FLOAT64)
    mean, scale = model(PARAMS)
    expected = torch.zeros(9, 9, **FLOAT64)
    for node, weight in zip(nodes, weights, strict=True):
        y = mean + node * scale

        def log_likelihoods(params, y=y):
            mean, scale = model(params)
            return -scale.log() - 0.5 * ((y - mean) / scale) ** 2

        scores = jacrev(log_likelihoods)(PARAMS)
        expected += weight * scores.T @ scores
    close(matrix(fisher_product(model, PARAMS, "normal")), expected)


def test_empirical_fisher_is_the_sum_of_outer_products_of_scores():
    def losses(params):
        return torch.nn.functional.cross_entropy(outputs(params), TARGETS, reduction="none")

    scores = jacrev(losses)(PARAMS)
    close(matrix(empirical_fisher_product(losses, PARAMS)), scores.T @ scores)


def test_fisher_knows_what_it_has_no_matrix_for():
    with pytest.raises(ValueError, match="bernoulli, categorical, normal, poisson"):
        fisher_product(outputs, PARAMS, "cauchy")


# -- conjugate gradient ----------------------------------------------------------------------------


def test_conjugate_gradient_solves_with_gauss_newton():
    product = gauss_newton_product(outputs, cross_entropy, PARAMS)
    expected = torch.linalg.solve(matrix(product) + 0.1 * torch.eye(9, **FLOAT64), VECTOR)
    found = conjugate_gradient(product, VECTOR, damping=0.1, tolerance=1e-12)
    torch.testing.assert_close(found.solution, expected, rtol=1e-8, atol=1e-10)
    assert found.converged
    assert found.residual < 1e-11
    assert found.iterations <= 18


def test_conjugate_gradient_of_trees_goes_on_from_a_start():
    def product(v):
        return {"a": 2 * v["a"] + v["b"][0], "b": [3 * v["b"][0] + v["a"].sum()]}

    b = {"a": torch.tensor([1.0, 2.0], **FLOAT64), "b": [torch.tensor(3.0, **FLOAT64)]}
    whole = conjugate_gradient(product, b, tolerance=1e-12)
    close(product(whole.solution)["a"], b["a"])
    close(product(whole.solution)["b"][0], b["b"][0])
    part = conjugate_gradient(product, b, max_iterations=1)
    assert (part.iterations, part.converged) == (1, False)
    again = conjugate_gradient(product, b, start=whole.solution)
    assert (again.iterations, again.converged) == (0, True)


def test_a_preconditioner_saves_iterations():
    diagonal = torch.logspace(0, 4, 40, **FLOAT64)
    b = torch.ones(40, **FLOAT64)

    def product(v):
        return diagonal * v + 0.1 * v.sum()

    plain = conjugate_gradient(product, b, max_iterations=400)
    guided = conjugate_gradient(product, b, preconditioner=lambda v: v / diagonal)
    assert guided.converged
    assert guided.iterations <= 6 < plain.iterations
    torch.testing.assert_close(guided.solution, plain.solution, rtol=1e-3, atol=1e-5)


def solution_of(theta, solve):
    """A x = b, whose matrix and right side depend on theta; b is an eigenvector where theta = 0."""
    A = torch.tensor([[4.0, 1.0], [1.0, 4.0]], **FLOAT64)
    right = torch.ones(2, **FLOAT64) + theta * torch.tensor([0.0, 1.0], **FLOAT64)
    return solve(A + theta**2 + torch.diag(theta * torch.arange(2)), right)


@pytest.mark.parametrize("at", [0.0, 0.7])
def test_derivatives_are_those_of_the_exact_solution(at):
    """One iteration finds the first of these solutions, and tells nothing of its derivative."""

    def ours(theta):
        def solve(A, b):
            return conjugate_gradient(A.mv, b, tolerance=1e-13).solution

        return solution_of(theta, solve)

    def exact(theta):
        return solution_of(theta, torch.linalg.solve)

    theta = torch.tensor(at, **FLOAT64)
    close(ours(theta), exact(theta))
    for i in range(2):
        close(grad(lambda t, i=i: ours(t)[i])(theta), grad(lambda t, i=i: exact(t)[i])(theta))
    close(jvp(ours, (theta,), (theta + 1,))[1], jvp(exact, (theta,), (theta + 1,))[1])


def test_second_derivatives_of_a_solution_are_refused():
    def first(theta):
        return conjugate_gradient(lambda v: theta * v, torch.ones(1)).solution.sum()

    theta = torch.tensor(2.0)
    assert grad(first)(theta).item() == -0.25
    for second in (
        lambda: grad(grad(first))(theta),
        lambda: jvp(grad(first), (theta,), (theta,)),
        lambda: grad(lambda t: jvp(first, (t,), (torch.ones(()),))[1])(theta),
        lambda: jvp(lambda t: jvp(first, (t,), (torch.ones(()),))[1], (theta,), (theta,)),
    ):
        with pytest.raises(NotImplementedError, match="no second derivatives"):
            second()


def test_a_solution_without_history():
    assert not conjugate_gradient(lambda v: 2 * v, torch.ones(3)).solution.requires_grad


def test_zero_is_solved_by_zero():
    found = conjugate_gradient(lambda v: v, torch.zeros(3))
    assert found.solution.tolist() == [0.0] * 3
    assert (found.iterations, found.converged) == (0, True)


def test_an_indefinite_matrix_is_refused():
    product = hessian_product(lambda x: x[0] ** 2 - x[1] ** 2, torch.zeros(2))
    with pytest.raises(RuntimeError, match=r"not positive definite: .* in iteration 1\."):
        conjugate_gradient(product, torch.tensor([0.0, 1.0]))
    assert conjugate_gradient(product, torch.tensor([0.0, 1.0]), damping=4).converged


def test_the_toolbox_is_found_as_an_attribute():
    assert torch.func.second_order is second_order
    assert "second_order" in dir(torch.func)
