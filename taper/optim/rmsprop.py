"""RMSprop: steps scaled by a running average of the squared gradient."""

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

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012): ``p ← p - lr · g / (√v + eps)`` with ``v ← α·v + (1-α)·g²``.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate. alpha: α. eps: keeps the division finite.
        weight_decay: adds ``weight_decay · p`` to the gradient.
        momentum: follows a running sum of steps. centered: divides by an estimate of the
            gradient's standard deviation, ``√(v - average(g)²)`` (Graves, 2013).
        maximize: climbs instead of descending.
        foreach, capturable: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.
    """

    _newer_options = {
        "momentum": 0, "centered": False, "foreach": None, "maximize": False,
        "differentiable": False, "capturable": False,
    }

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
        weight_decay: float = 0, momentum: float = 0, centered: bool = False,
        capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            averages: dict[str, float] = {"square_avg": 0}
            if group["momentum"] > 0:
                averages["momentum_buffer"] = 0
            if group["centered"]:
                averages["grad_avg"] = 0
            rows = self._rows_whatever_step(group, **averages)
            apply_rule(
                rmsprop_rule, rows, differentiable=group["differentiable"],
                lr=number(group["lr"], group["differentiable"]), alpha=group["alpha"],
                eps=group["eps"], weight_decay=group["weight_decay"], momentum=group["momentum"],
                centered=group["centered"], maximize=group["maximize"],
            )
        return loss


def rmsprop_rule(
    param: Any, grad: Any, square_avg: Any, *more: Any, lr: Any, alpha: float, eps: float,
    weight_decay: float, momentum: float, centered: bool, maximize: bool,
) -> tuple[Any, ...]:
    """Returns (param, square_avg[, momentum_buffer][, grad_avg]) one step further."""
    grad = with_decay(param, grad, weight_decay, maximize)
    square_avg = alpha * square_avg + (1 - alpha) * grad * grad
    states = [square_avg]
    variance = square_avg
    if centered:
        grad_avg = more[-1]
        grad_avg = grad_avg + (1 - alpha) * (grad - grad_avg)
        variance = square_avg - grad_avg * grad_avg
    deviation = variance**0.5 + eps
    if momentum > 0:
        buffer = momentum * more[0] + grad / deviation
        states.append(buffer)
        param = param - lr * buffer
    else:
        param = param - lr * grad / deviation
    if centered:
        states.append(grad_avg)
    return (param, *states)
