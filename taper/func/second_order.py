"""Products with matrices of second derivatives, which are never formed: Hessian, Gauss-Newton and
Fisher. `conjugate_gradient`, in linear_solution.py, solves with them.

Parameters are a tree: a tensor, or tuples, lists and dicts of tensors, as `functional_call` takes
them. Vectors and products are trees like it. `hessian_product` and its kin return a function that
multiplies: the function itself has run by then, so a further product at the same place takes only
passes through what was recorded.

Which to take: the Hessian is exact and may be indefinite. Gauss-Newton and Fisher matrices are
positive semidefinite, so `conjugate_gradient` and Laplace's approximation can rely on them. For
likelihoods whose outputs are their natural parameters (logits, log rates, means) these two are
equal (Martens, "New insights and perspectives on the natural gradient method", 2020, section 9).

    product = second_order.gauss_newton_product(model, loss, params)
    step = second_order.conjugate_gradient(product, gradient, damping=1e-3).solution
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.core.tensor import Tensor
from taper.func.forward import jvp, linearize
from taper.func.gradients import grad, vjp
from taper.func.linear_solution import Product, Solution, checked_vector, conjugate_gradient

__all__ = [
    "Solution", "conjugate_gradient", "empirical_fisher_product", "fisher_product",
    "gauss_newton_product", "hessian_product", "hvp",
]


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
        return pull(checked_vector(vector, params, "hessian_product()"))[0]

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
        return jvp(grad(func), (params,), (checked_vector(vector, params, "hvp()"),))[1]
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
        return pull(multiply(push(checked_vector(vector, params, what))))[0]

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
