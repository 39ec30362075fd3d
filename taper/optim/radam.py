"""RAdam: Adam with a correction for the variance of its first steps."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.optim.elementwise import apply_rule, with_decay_or_apart
from taper.optim.optimizer import (
    Optimizer,
    ParamsT,
    check_betas,
    check_lr,
    check_not_negative,
    number,
)

__all__ = ["RAdam"]


class RAdam(Optimizer):
    """Rectified Adam (Liu et al., 2020).

    With ``ρ∞ = 2 / (1-β₂) - 1`` and ``ρₜ = ρ∞ - 2 t β₂ᵗ / (1-β₂ᵗ)`` the step is ``lr · m̂`` while
    ``ρₜ ≤ 5``, and afterwards Adam's, times
    ``√((ρₜ-4)(ρₜ-2)ρ∞ / ((ρ∞-4)(ρ∞-2)ρₜ))``.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate. betas: β₁ and β₂. eps: keeps the division finite.
        weight_decay: adds ``weight_decay · p`` to the gradient.
        decoupled_weight_decay: decays the parameters apart from the gradient, as AdamW does.
        maximize: climbs instead of descending.
        foreach, capturable: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.
    """

    _newer_options = {
        "foreach": None, "maximize": False, "differentiable": False,
        "decoupled_weight_decay": False, "capturable": False,
    }

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for count, rows in self._rows_by_step(group, exp_avg=0, exp_avg_sq=0).items():
                apply_rule(
                    radam_rule, rows, differentiable=group["differentiable"],
                    lr=number(group["lr"], group["differentiable"]),
                    bias_correction1=1 - beta1**count, scale=rectified_scale(count, beta2),
                    beta1=beta1, beta2=beta2, eps=group["eps"],
                    weight_decay=group["weight_decay"], maximize=group["maximize"],
                    decoupled=group["decoupled_weight_decay"],
                )
        return loss


def rectified_scale(step: float, beta2: float) -> float | None:
    """The factor of the adaptive step, ``rectification · √(1-β₂ᵗ)``; None where there is none."""
    bias_correction2 = 1 - beta2**step
    rho_limit = 2 / (1 - beta2) - 1
    rho = rho_limit - 2 * step * beta2**step / bias_correction2
    if rho <= 5.0:
        return None
    rectification = (
        (rho - 4) * (rho - 2) * rho_limit / ((rho_limit - 4) * (rho_limit - 2) * rho)
    ) ** 0.5
    return rectification * bias_correction2**0.5


def radam_rule(
    param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, *, lr: Any, bias_correction1: float,
    scale: float | None, beta1: float, beta2: float, eps: float, weight_decay: float,
    maximize: bool, decoupled: bool,
) -> tuple[Any, Any, Any]:
    """Returns (param, exp_avg, exp_avg_sq) one step further."""
    param, grad = with_decay_or_apart(param, grad, weight_decay, maximize, decoupled, lr)
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    direction = exp_avg / bias_correction1 * lr
    if scale is not None:
        direction = direction * (scale / (exp_avg_sq**0.5 + eps))
    return param - direction, exp_avg, exp_avg_sq
