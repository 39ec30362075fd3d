"""Products with matrices of second derivatives, which are never formed, and solutions of systems
with them: Hessian, Gauss-Newton and Fisher.

Parameters are a tree: a tensor, or tuples, lists and dicts of tensors, as `functional_call` takes
them. Vectors and products are trees like it. `hessian_product` and its kin return a function that
multiplies; what does not depend on the vector has been computed by then, so many products at one
place cost little more than one.

Which to take: the Hessian is exact and may be indefinite. Gauss-Newton and Fisher matrices are
positive semidefinite, so `conjugate_gradient` and Laplace's approximation can rely on them. For
likelihoods whose outputs are their natural parameters (logits, log rates, means) these two are
equal (Martens, "New insights and perspectives on the natural gradient method", 2020, section 9).

    product = second_order.gauss_newton_product(model, loss, params)
    step = second_order.conjugate_gradient(product, gradient, damping=1e-3).solution
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from taper.autograd.function import Function
from taper.autograd.modes import no_grad
from taper.core.tensor import Tensor, wrap
from taper.func.forward import jvp, linearize
from taper.func.gradients import grad, vjp
from taper.func.tree import Structure, flatten, unflatten
from taper.ops.creation import zeros_like

__all__ = [
    "Solution", "conjugate_gradient", "empirical_fisher_product", "fisher_product",
    "gauss_newton_product", "hessian_product", "hvp",
]

Product = Callable[[Any], Any]


def _checked(vector: Any, params: Any, what: str) -> Any:
    """The vector, if its tensors are those of `params` in number, place and shape."""
    tensors, structure = flatten(vector)
    expected, wanted = flatten(params)
    if structure != wanted:
        raise ValueError(
            f"{what}: expected a vector with the structure of the parameters, {wanted}, but got "
            f"{structure}"
        )
    for i, (v, p) in enumerate(zip(tensors, expected, strict=True)):
        if v.shape != p.shape:
            raise ValueError(
                f"{what}: expected a vector with the shapes of the parameters, but tensor {i} has "
                f"shape {tuple(v.shape)} instead of {tuple(p.shape)}"
            )
    return vector


# -- Hessian ---------------------------------------------------------------------------------------


def hessian_product(func: Callable[[Any], Tensor], params: Any) -> Product:
    """Returns the function v -> H v, with the Hessian H of `func` at `params`.

    Reverse over reverse: `func` and its gradient g run once; as H is symmetric, each product is one
    pass back through g,

        H v = d/dx (g(x) . v)      (Pearlmutter, "Fast exact multiplication by the Hessian", 1994)

    Args:
        func: returns a scalar tensor.
        params: the tree of tensors that `func` takes.
    Example:
        >>> import taper as torch
        >>> product = torch.func.second_order.hessian_product(torch.prod, torch.tensor([2., 3.]))
        >>> product(torch.tensor([1., 0.]))
        tensor([0., 1.])
    """
    pull = vjp(grad(func), params)[1]

    def product(vector: Any) -> Any:
        return pull(_checked(vector, params, "hessian_product()"))[0]

    return product


def hvp(
    func: Callable[[Any], Tensor], params: Any, vector: Any, *, mode: str = "reverse"
) -> Any:
    """Computes H v, the Hessian of `func` at `params` times `vector`.

    Args:
        func: returns a scalar tensor.
        params: the tree of tensors that `func` takes.
        vector: a tree like `params`.
        mode: "reverse", over reverse, is the quicker one here (`hessian_product`) and asks nothing
            of custom functions but a backward that can be differentiated. "forward", over reverse,
            is the derivative of the gradient along v. It keeps no history of the backward pass.
    Example:
        >>> import taper as torch
        >>> x, v = torch.tensor([1., 2.]), torch.tensor([1., 1.])
        >>> torch.func.second_order.hvp(lambda x: (x ** 3).sum(), x, v)
        tensor([ 6., 12.])
    """
    if mode == "reverse":
        return hessian_product(func, params)(vector)
    if mode == "forward":
        return jvp(grad(func), (params,), (_checked(vector, params, "hvp()"),))[1]
    raise ValueError(f'hvp(): mode must be "reverse" or "forward", but got {mode!r}')


# -- Jacobians with a matrix between them ----------------------------------------------------------


def _between(
    model: Callable[[Any], Any], params: Any, middle: Callable[[Any], Product], what: str
) -> Product:
    """The function v -> transpose(J) M J v, where J is the Jacobian of the model's outputs and
    ``middle(outputs)`` multiplies with M."""
    outputs, push = linearize(model, params)
    pull = vjp(model, params)[1]
    multiply = middle(outputs)

    def product(vector: Any) -> Any:
        return pull(multiply(push(_checked(vector, params, what))))[0]

    return product


def gauss_newton_product(
    model: Callable[[Any], Any], loss: Callable[[Any], Tensor], params: Any
) -> Product:
    """Returns v -> G v, with the generalized Gauss-Newton matrix of ``loss(model(params))``.

        G = transpose(J) H J

    has the Jacobian J of the model's outputs and the Hessian H of the loss in those outputs
    (Schraudolph, "Fast curvature matrix-vector products", 2002). It is the Hessian without the
    curvature of the model, and positive semidefinite if the loss is convex in the outputs.

    Args:
        model: returns the outputs, a tensor or a tree of them.
        loss: returns a scalar tensor for the outputs.
        params: the tree of tensors that `model` takes.
    Example:
        >>> import taper as torch
        >>> def squares(residuals):
        ...     return 0.5 * residuals.square().sum()
        >>> product = torch.func.second_order.gauss_newton_product(
        ...     torch.sin, squares, torch.tensor([0., 1.]))
        >>> product(torch.ones(2))
        tensor([1.0000, 0.2919])
    """

    def middle(outputs: Any) -> Product:
        return hessian_product(loss, outputs)

    return _between(model, params, middle, "gauss_newton_product()")


def empirical_fisher_product(log_likelihoods: Callable[[Any], Tensor], params: Any) -> Product:
    """Returns v -> F v, with the empirical Fisher matrix: the outer product of scores, summed.

        F = sum over n of s_n transpose(s_n),      s_n the gradient of log p(y_n)

    The scores are the rows of the Jacobian S of all log-likelihoods, so F = transpose(S) S, and no
    gradient per sample is formed. In the observed y, it is no stand-in for `fisher_product` away
    from the truth (Kunstner, Balles, Hennig, "Limitations of the empirical Fisher", 2019).

    Args:
        log_likelihoods: returns one value for each observation; their sign makes no difference.
        params: the tree of tensors that `log_likelihoods` takes.
    Example:
        >>> import taper as torch
        >>> x = torch.tensor([1., 2., 4.])
        >>> product = torch.func.second_order.empirical_fisher_product(
        ...     lambda mean: -0.5 * (x - mean) ** 2, torch.tensor(2.))
        >>> product(torch.tensor(1.))
        tensor(5.)
    """
    return _between(log_likelihoods, params, lambda _: lambda v: v, "empirical_fisher_product()")


# -- the Fisher matrix -----------------------------------------------------------------------------


def _fisher_of_categorical(logits: Tensor) -> Product:
    p = logits.softmax(-1)

    def multiply(v: Tensor) -> Tensor:
        weighted = p * v
        return weighted - p * weighted.sum(-1, keepdim=True)

    return multiply


def _fisher_of_bernoulli(logits: Tensor) -> Product:
    p = logits.sigmoid()
    return lambda v: p * (1 - p) * v


def _fisher_of_poisson(log_rates: Tensor) -> Product:
    rates = log_rates.exp()
    return lambda v: rates * v


def _fisher_of_normal(outputs: Any) -> Product:
    if isinstance(outputs, Tensor):
        return lambda v: v
    precision = outputs[1] ** -2
    return lambda v: type(v)([precision * v[0], 2 * precision * v[1]])


_FISHER_OF = {
    "bernoulli": _fisher_of_bernoulli, "categorical": _fisher_of_categorical,
    "normal": _fisher_of_normal, "poisson": _fisher_of_poisson,
}


def fisher_product(
    model: Callable[[Any], Any], params: Any, likelihood: str = "categorical"
) -> Product:
    """Returns v -> F v, with the Fisher matrix of a model whose outputs parametrize a distribution.

        F = sum over n of E[s_n transpose(s_n)] = transpose(J) M J

    The expectation is over y as the model has it, so no observations are needed, and it is
    exact: J is the Jacobian of the outputs, and M the Fisher matrix of the distribution in them
    (Amari, "Natural gradient works efficiently in learning", 1998). Divide by the number of
    observations for the matrix of a mean.

    Args:
        model: returns what `likelihood` names, for all observations.
        params: the tree of tensors that `model` takes.
        likelihood: "categorical" (logits in the last dim), "bernoulli" (logits), "poisson" (log
            rates), or "normal" (means of unit variance, or the tuple of means and standard
            deviations).
    Example:
        >>> import taper as torch
        >>> product = torch.func.second_order.fisher_product(
        ...     lambda logit: logit.expand(8), torch.tensor(0.), "bernoulli")
        >>> product(torch.tensor(1.))
        tensor(2.)
    """
    if likelihood not in _FISHER_OF:
        raise ValueError(
            f"fisher_product(): likelihood must be one of {', '.join(sorted(_FISHER_OF))}, but got "
            f"{likelihood!r}"
        )
    return _between(model, params, _FISHER_OF[likelihood], "fisher_product()")


# -- solutions -------------------------------------------------------------------------------------


class Solution(NamedTuple):
    """What `conjugate_gradient` found."""

    solution: Any
    residual: float  # the norm of b - A x
    iterations: int
    converged: bool


def conjugate_gradient(
    product: Product, b: Any, *, damping: float = 0.0, start: Any = None, tolerance: float = 1e-6,
    max_iterations: int | None = None, preconditioner: Product | None = None,
) -> Solution:
    """Solves A x = b for a symmetric positive definite A that is known by its products.

    Each iteration takes one product and goes to the best point of a subspace that grows by one
    dimension (Hestenes and Stiefel, "Methods of conjugate gradients", 1952). The solution's
    derivatives are those of the exact one, dx = inverse(A) (db - dA x), which take solutions of
    their own; iterations are not recorded. Second derivatives are refused.

    Args:
        product: v -> A v.
        b: a tree of tensors.
        damping: solves ``(A + damping * I) x = b`` instead, as Levenberg and Marquardt do.
        start: the first x. Default: zeros.
        tolerance: converged is a residual of at most ``tolerance * norm(b)``.
        max_iterations: to stop after. Default: twice the number of elements, as rounding makes
            more of them necessary than there are dimensions.
        preconditioner: v -> P v, with P symmetric positive definite and close to the inverse of A.
    Raises:  RuntimeError: if a product shows that A is not positive definite.
    Example:
        >>> import taper as torch
        >>> A = torch.tensor([[2., 0.], [0., 4.]])
        >>> found = torch.func.second_order.conjugate_gradient(A.mv, torch.tensor([2., 2.]))
        >>> found.solution, found.iterations, found.converged
        (tensor([1.0000, 0.5000]), 2, True)
    """
    given, structure = flatten(b)
    system = _System(product, preconditioner, damping, structure)
    if max_iterations is None:
        max_iterations = 2 * sum([t.numel() for t in given])
    first = None
    if start is not None:
        first = flatten(_checked(start, b, "conjugate_gradient()"))[0]
    x, iterations = _iterate(system, given, first, tolerance, max_iterations)
    residual = _plus(given, -1.0, system.times(x))

    def solve(others: tuple[Tensor, ...]) -> list[Tensor]:
        return _iterate(system, list(others), None, tolerance, max_iterations)[0]

    norm = _norm(residual)
    x = _plus(x, 1.0, list(_DerivativeOfSolution.apply(solve, *residual)))
    return Solution(unflatten(x, structure), norm, iterations, norm <= tolerance * _norm(given))


class _DerivativeOfSolution(Function):
    """Zeros with the derivative of inverse(A) r, for the residual r = b - A x.

    Added to x, which has no history, they give it that of the solution: r has the history of b and
    of A, and its derivative is db - dA x.
    """

    @staticmethod
    def forward(solve: Any, *residual: Tensor) -> tuple[Tensor, ...]:
        return tuple([zeros_like(r) for r in residual])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.solve = inputs[0]
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        sources = *ctx.saved_tensors, *grads
        return None, *[_DifferentiatedOnce.apply(t, *sources) for t in ctx.solve(grads)]

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor) -> Any:
        sources = *ctx.saved_tensors, *tangents
        return tuple([_DifferentiatedOnce.apply(t, *sources) for t in ctx.solve(tangents)])


class _DifferentiatedOnce(Function):
    """Passes on a part of the derivative. Its own one is refused: x is constant in the history of
    the residual, which is right for first derivatives only."""

    @staticmethod
    def forward(value: Tensor, *sources: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise NotImplementedError(
            "conjugate_gradient() has no second derivatives: take them from torch.linalg.solve() "
            "with the matrix itself."
        )

    jvp = backward


def _iterate(
    system: _System, b: list[Tensor], start: list[Tensor] | None, tolerance: float,
    max_iterations: int,
) -> tuple[list[Tensor], int]:
    """An x whose residual is small, without history or tangents, and how many products it took."""
    with no_grad():
        x, iterations = _conjugate_gradient(system, b, start, tolerance, max_iterations)
    return [wrap(t._array) for t in x], iterations


def _conjugate_gradient(
    system: _System, b: list[Tensor], start: list[Tensor] | None, tolerance: float,
    max_iterations: int,
) -> tuple[list[Tensor], int]:
    if start is None:
        x, residual = [zeros_like(t) for t in b], b
    else:
        x, residual = start, _plus(b, -1.0, system.times(start))
    goal = tolerance * _norm(b)
    iterations = 0
    toward = system.conditioned(residual)
    direction, slope = toward, _dot(residual, toward)
    while _norm(residual) > goal and iterations < max_iterations:
        image = system.times(direction)
        curvature = _dot(direction, image)
        if not curvature > 0:
            raise RuntimeError(
                "conjugate_gradient(): the matrix is not positive definite: v . A v = "
                f"{float(curvature):.3g} in iteration {iterations + 1}. Give some damping, or use "
                "a Gauss-Newton or Fisher product, which is semidefinite, instead of the Hessian's."
            )
        step = slope / curvature
        x = _plus(x, step, direction)
        residual = _plus(residual, -step, image)
        toward = system.conditioned(residual)
        slope, last = _dot(residual, toward), slope
        direction = _plus(toward, slope / last, direction)
        iterations += 1
    return x, iterations


class _System:
    """A matrix and its preconditioner, on the tensors of a tree in a row."""

    def __init__(
        self, product: Product, preconditioner: Product | None, damping: float,
        structure: Structure,
    ) -> None:
        self.product = product
        self.preconditioner = preconditioner
        self.damping = damping
        self.structure = structure

    def times(self, x: list[Tensor]) -> list[Tensor]:
        found = flatten(self.product(unflatten(x, self.structure)))[0]
        return _plus(found, self.damping, x) if self.damping else found

    def conditioned(self, residual: list[Tensor]) -> list[Tensor]:
        if self.preconditioner is None:
            return residual
        return flatten(self.preconditioner(unflatten(residual, self.structure)))[0]


def _dot(left: list[Tensor], right: list[Tensor]) -> Tensor:
    return sum([(x * y).sum() for x, y in zip(left, right, strict=True)])


def _norm(values: list[Tensor]) -> float:
    return float(_dot(values, values)) ** 0.5


def _plus(x: list[Tensor], factor: Any, y: list[Tensor]) -> list[Tensor]:
    """x + factor * y"""
    return [a + factor * b for a, b in zip(x, y, strict=True)]
