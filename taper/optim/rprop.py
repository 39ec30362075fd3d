"""Resilient backpropagation: steps that look at the sign of the gradient only."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.optim.elementwise import apply_rule, clip, sign, where
from taper.optim.optimizer import (
    Optimizer,
    ParamsT,
    check_lr,
    number,
)

__all__ = ["Rprop"]


class Rprop(Optimizer):
    """Rprop (Riedmiller and Braun, 1993): ``p ← p - sign(g) · Δ``, one Δ per element.

    Where the gradient kept its sign, Δ grows by η⁺; where it changed, Δ shrinks by η⁻ and the
    element rests for one step.

    Args:
        params: the parameters, or parameter groups.
        lr: the first Δ. etas: (η⁻, η⁺). step_sizes: the least and the largest Δ.
        maximize: climbs instead of descending.
        foreach, capturable: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.
    """

    _newer_options = {
        "foreach": None, "maximize": False, "differentiable": False, "capturable": False,
    }

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
        foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }
        super().__init__(params, defaults)

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            rows = self._rows_whatever_step(group, prev=0, step_size=number(group["lr"]))
            apply_rule(
                rprop_rule, rows, differentiable=group["differentiable"], etas=group["etas"],
                step_sizes=group["step_sizes"], maximize=group["maximize"],
            )
        return loss


def rprop_rule(
    param: Any, grad: Any, previous: Any, step_size: Any, *, etas: tuple[float, float],
    step_sizes: tuple[float, float], maximize: bool,
) -> tuple[Any, Any, Any]:
    """Returns (param, previous gradient, step size) one step further."""
    if maximize:
        grad = -grad
    agreement = grad * previous
    shrinks = agreement < 0
    grown = where(agreement > 0, etas[1] * step_size, step_size)
    step_size = clip(where(shrinks, etas[0] * step_size, grown), *step_sizes)
    grad = where(shrinks, 0.0 * grad, grad)
    return param - sign(grad) * step_size, grad, step_size
