"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.optim.elementwise import apply_rule, with_decay_or_apart
from taper.optim.optimizer import (
    Optimizer,
    ParamsT,
    Row,
    advance,
    check_betas,
    check_lr,
    check_not_negative,
    new_step,
    number,
)

__all__ = ["NAdam"]


class NAdam(Optimizer):
    """NAdam (Dozat, 2016): Adam whose step looks ahead along the gradient.

    With ``μₜ = β₁ (1 - 0.96^(t·momentum_decay) / 2)`` and their product Πₜ the step is
    ``lr / (√v̂ + eps) · ((1-μₜ) / (1-Πₜ) · g + μₜ₊₁ / (1-Πₜ₊₁) · m)``.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate. betas: β₁ and β₂. eps: keeps the division finite.
        weight_decay: adds ``weight_decay · p`` to the gradient. momentum_decay: see above.
        decoupled_weight_decay: decays the parameters apart from the gradient, as AdamW does.
        maximize: climbs instead of descending.
        foreach, capturable: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.
    """

    _newer_options = {
        "maximize": False, "foreach": None, "capturable": False, "differentiable": False,
        "decoupled_weight_decay": False,
    }

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0, momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay, momentum_decay=momentum_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for param_state in self.state.values():
            product = param_state.get("mu_product")
            if product is not None and not isinstance(product, Tensor):
                param_state["mu_product"] = new_step(product)

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            rows: dict[Any, list[Row]] = {}
            beta1, beta2 = group["betas"]

            def momentum(count: Any, beta1: float = beta1, group: Any = group) -> Any:
                return beta1 * (1.0 - 0.5 * 0.96 ** (count * group["momentum_decay"]))

            for state, row in self._rows(group, exp_avg=0, exp_avg_sq=0):
                if "mu_product" not in state:
                    state["mu_product"] = new_step(1.0)
                count = advance(state["step"])
                state["mu_product"].mul_(momentum(count))
                product = number(state["mu_product"])
                rows.setdefault((count, product), []).append(row)
            lr = number(group["lr"], group["differentiable"])
            for (count, product), same_step in rows.items():
                mu, mu_next = momentum(count), momentum(count + 1)
                apply_rule(
                    nadam_rule, same_step, differentiable=group["differentiable"],
                    lr=lr, grad_rate=lr * (1.0 - mu) / (1.0 - product),
                    average_rate=lr * mu_next / (1.0 - product * mu_next),
                    bias_correction2=1 - beta2**count, beta1=beta1, beta2=beta2, eps=group["eps"],
                    weight_decay=group["weight_decay"], maximize=group["maximize"],
                    decoupled=group["decoupled_weight_decay"],
                )
        return loss


def nadam_rule(
    param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, *, lr: Any, grad_rate: Any,
    average_rate: Any, bias_correction2: Any, beta1: float, beta2: float, eps: float,
    weight_decay: float, maximize: bool, decoupled: bool,
) -> tuple[Any, Any, Any]:
    """Returns (param, exp_avg, exp_avg_sq) one step further."""
    param, grad = with_decay_or_apart(param, grad, weight_decay, maximize, decoupled, lr)
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    denominator = (exp_avg_sq / bias_correction2) ** 0.5 + eps
    param = param - grad_rate * grad / denominator - average_rate * exp_avg / denominator
    return param, exp_avg, exp_avg_sq
