"""Solutions of linear systems whose matrix is known by its products with vectors, which are trees
of tensors: conjugate gradients. Public in `taper.func.second_order`, whose products it is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from taper.autograd.function import Function
from taper.autograd.modes import no_grad
from taper.core.tensor import Tensor, wrap
from taper.func.tree import Structure, flatten, unflatten
from taper.ops.creation import zeros_like

__all__ = ["Product", "Solution", "checked_vector", "conjugate_gradient"]

Product = Callable[[Any], Any]


def checked_vector(vector: Any, like: Any, what: str) -> Any:
    """The vector, if its tensors are those of `like` in number, place and shape."""
    tensors, structure = flatten(vector)
    expected, wanted = flatten(like)
    if structure != wanted:
        raise ValueError(
            f"{what}: expected a vector of the structure {wanted}, but got {structure}"
        )
    for i, (v, p) in enumerate(zip(tensors, expected, strict=True)):
        if v.shape != p.shape:
            raise ValueError(
                f"{what}: expected a vector of other shapes: its tensor {i} has shape "
                f"{tuple(v.shape)} instead of {tuple(p.shape)}"
            )
    return vector


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
        first = flatten(checked_vector(start, b, "conjugate_gradient()"))[0]
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
