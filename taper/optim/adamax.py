"""Adamax: Adam with the maximum norm."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.optim.elementwise import absolute, apply_rule, maximum, with_decay
from taper.optim.optimizer import (
    Optimizer,
    ParamsT,
    check_betas,
    check_lr,
    check_not_negative,
    number,
)

__all__ = ["Adamax"]


class Adamax(Optimizer):
    """Adamax (Kingma and Ba, 2015): ``p ← p - lr / (1-β₁ᵗ) · m / u``, ``u ← max(β₂·u, |g| + eps)``.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate. betas: β₁ (of m, the average gradient) and β₂. eps: keeps u positive.
        weight_decay: adds ``weight_decay · p`` to the gradient.
        maximize: climbs instead of descending.
        foreach, capturable: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.
    """

    _newer_options = {
        "foreach": None, "maximize": False, "differentiable": False, "capturable": False,
    }

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, foreach: bool | None = None, *,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            lr = number(group["lr"], group["differentiable"])
            for count, rows in self._rows_by_step(group, exp_avg=0, exp_inf=0).items():
                apply_rule(
                    adamax_rule, rows, differentiable=group["differentiable"],
                    lr=lr / (1 - beta1**count), beta1=beta1, beta2=beta2, eps=group["eps"],
                    weight_decay=group["weight_decay"], maximize=group["maximize"],
                )
        return loss


def adamax_rule(
    param: Any, grad: Any, exp_avg: Any, exp_inf: Any, *, lr: Any, beta1: float, beta2: float,
    eps: float, weight_decay: float, maximize: bool,
) -> tuple[Any, Any, Any]:
    """Returns (param, exp_avg, exp_inf) one step further."""
    grad = with_decay(param, grad, weight_decay, maximize)
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    exp_inf = maximum(beta2 * exp_inf, absolute(grad) + eps)
    return param - lr * exp_avg / exp_inf, exp_avg, exp_inf
