"""Adadelta: steps whose unit is that of the parameters."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.optim.elementwise import apply_rule, with_decay
from taper.optim.optimizer import (
    Optimizer,
    ParamsT,
    check_lr,
    check_not_negative,
    number,
)

__all__ = ["Adadelta"]


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012): ``Δ = √(u + eps) / √(v + eps) · g``, ``p ← p - lr·Δ``.

    ``v`` and ``u`` are exponential averages, with factor ρ, of g² and Δ².

    Args:
        params: the parameters, or parameter groups.
        lr: scales the steps. rho: ρ. eps: keeps the division finite.
        weight_decay: adds ``weight_decay · p`` to the gradient.
        maximize: climbs instead of descending.
        foreach, capturable: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.
    """

    _newer_options = {
        "foreach": None, "maximize": False, "differentiable": False, "capturable": False,
    }

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1.0, rho: float = 0.9, eps: float = 1e-6,
        weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative(eps=eps, weight_decay=weight_decay)
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            rows = self._rows_whatever_step(group, square_avg=0, acc_delta=0)
            apply_rule(
                adadelta_rule, rows, differentiable=group["differentiable"],
                lr=number(group["lr"], group["differentiable"]), rho=group["rho"],
                eps=group["eps"], weight_decay=group["weight_decay"], maximize=group["maximize"],
            )
        return loss


def adadelta_rule(
    param: Any, grad: Any, square_avg: Any, acc_delta: Any, *, lr: Any, rho: float, eps: float,
    weight_decay: float, maximize: bool,
) -> tuple[Any, Any, Any]:
    """Returns (param, square_avg, acc_delta) one step further."""
    grad = with_decay(param, grad, weight_decay, maximize)
    square_avg = rho * square_avg + (1 - rho) * grad * grad
    delta = (acc_delta + eps) ** 0.5 / (square_avg + eps) ** 0.5 * grad
    acc_delta = rho * acc_delta + (1 - rho) * delta * delta
    return param - lr * delta, square_avg, acc_delta
