"""Which transform leads from all real numbers into a constraint's set.

`biject_to(constraint)` is one to one, as densities need; `transform_to(constraint)` may be simpler
and suits optimization: parameters are then unconstrained, ``scale = transform_to(positive)(raw)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.distributions import constraints, transforms
from taper.distributions.transforms import Transform

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]

Factory = Callable[[Any], Transform]


class ConstraintRegistry:
    """A table from kinds of constraints to functions that make a transform for one of them.

    Example:
        >>> import taper as torch
        >>> D = torch.distributions
        >>> D.biject_to(D.constraints.unit_interval)
        SigmoidTransform()
    """

    def __init__(self) -> None:
        self._registry: dict[type, Factory] = {}
        super().__init__()

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:
        """Registers a factory for a kind of constraints; without one, returns a decorator."""
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        if isinstance(constraint, constraints.Constraint):
            constraint = type(constraint)
        if not (isinstance(constraint, type) and issubclass(constraint, constraints.Constraint)):
            raise TypeError(
                "Expected constraint to be either a Constraint subclass or instance, but got "
                f"{constraint}"
            )
        self._registry[constraint] = factory
        return factory

    def __call__(self, constraint: Any) -> Transform:
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(
                f"Cannot transform {type(constraint).__name__} constraints"
            )
        return factory(constraint)


biject_to = ConstraintRegistry()
transform_to = ConstraintRegistry()


def _register_both(constraint: Any) -> Callable[[Factory], Factory]:
    def register(factory: Factory) -> Factory:
        biject_to.register(constraint, factory)
        return transform_to.register(constraint, factory)

    return register


@_register_both(constraints.real)
def _onto_real(constraint: Any) -> Transform:
    return transforms.identity_transform


@_register_both(constraints.greater_than_eq)
@_register_both(constraints.greater_than)
def _onto_above(constraint: Any) -> Transform:
    return transforms.ComposeTransform(
        [transforms.ExpTransform(), transforms.AffineTransform(constraint.lower_bound, 1)]
    )


@_register_both(constraints.less_than)
def _onto_below(constraint: Any) -> Transform:
    return transforms.ComposeTransform(
        [transforms.ExpTransform(), transforms.AffineTransform(constraint.upper_bound, -1)]
    )


def _is_number(value: Any, wanted: float) -> bool:
    return isinstance(value, (int, float)) and value == wanted


@_register_both(constraints.half_open_interval)
@_register_both(constraints.interval)
def _onto_interval(constraint: Any) -> Transform:
    low, high = constraint.lower_bound, constraint.upper_bound
    if _is_number(low, 0) and _is_number(high, 1):
        return transforms.SigmoidTransform()
    return transforms.ComposeTransform(
        [transforms.SigmoidTransform(), transforms.AffineTransform(loc=low, scale=high - low)]
    )


@_register_both(constraints.corr_cholesky)
def _onto_corr_cholesky(constraint: Any) -> Transform:
    return transforms.CorrCholeskyTransform()


@biject_to.register(constraints.simplex)
def _one_to_one_onto_simplex(constraint: Any) -> Transform:
    return transforms.StickBreakingTransform()


@transform_to.register(constraints.simplex)
def _onto_simplex(constraint: Any) -> Transform:
    return transforms.SoftmaxTransform()


@transform_to.register(constraints.lower_cholesky)
def _onto_lower_cholesky(constraint: Any) -> Transform:
    return transforms.LowerCholeskyTransform()


@transform_to.register(constraints.positive_definite)
@transform_to.register(constraints.positive_semidefinite)
def _onto_positive_definite(constraint: Any) -> Transform:
    return transforms.PositiveDefiniteTransform()


def _register_made_of_others(registry: ConstraintRegistry) -> None:
    """Sets made of sets: the transforms of those, joined in the same way."""

    @registry.register(constraints.independent)
    def _onto_independent(constraint: Any) -> Transform:
        return transforms.IndependentTransform(
            registry(constraint.base_constraint), constraint.reinterpreted_batch_ndims
        )

    @registry.register(constraints.cat)
    def _onto_cat(constraint: Any) -> Transform:
        parts = [registry(c) for c in constraint.cseq]
        return transforms.CatTransform(parts, constraint.dim, constraint.lengths)

    @registry.register(constraints.stack)
    def _onto_stack(constraint: Any) -> Transform:
        return transforms.StackTransform(
            [registry(c) for c in constraint.cseq], constraint.dim
        )


_register_made_of_others(biject_to)
_register_made_of_others(transform_to)
