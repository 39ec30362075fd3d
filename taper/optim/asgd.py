"""Averaged stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.arrays.recorded_number import larger
from taper.optim.elementwise import apply_rule, with_decay
from taper.optim.optimizer import (
    Optimizer,
    ParamsT,
    Row,
    advance,
    check_lr,
    check_not_negative,
    new_step,
    number,
)

__all__ = ["ASGD"]


class ASGD(Optimizer):
    """Averaged SGD (Polyak and Juditsky, 1992), with the average in ``state[p]["ax"]``.

    ``p ← (1 - λ·ηₜ)·p - ηₜ·g`` with ``ηₜ = lr / (1 + λ·lr·t)^alpha``; from step t0 on, ``ax`` is
    the average of the parameters.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate. lambd: λ, the decay. alpha: the power of η. t0: start of averaging.
        weight_decay: adds ``weight_decay · p`` to the gradient.
        maximize: climbs instead of descending.
        foreach, capturable: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.
    """

    _newer_options = {
        "foreach": None, "maximize": False, "differentiable": False, "capturable": False,
    }

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
        t0: float = 1e6, weight_decay: float = 0, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False, capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(weight_decay=weight_decay)
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for param_state in self.state.values():
            for name in ("eta", "mu"):
                if name in param_state and not isinstance(param_state[name], Tensor):
                    param_state[name] = new_step(param_state[name])

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            lr, lambd = number(group["lr"]), group["lambd"]
            rows: dict[Any, list[Row]] = {}
            for state, row in self._rows(group, ax=0):
                if "eta" not in state:
                    state["eta"], state["mu"] = new_step(lr), new_step(1.0)
                eta, mu = number(state["eta"]), number(state["mu"])
                rows.setdefault((eta, mu), []).append(row)
                count = advance(state["step"])
                # By way of a new tensor: both are kept in single precision, also after reloading.
                one = new_step(1.0)
                state["eta"].copy_(one * (lr / (1 + lambd * lr * count) ** group["alpha"]))
                state["mu"].copy_(one * (1 / larger(1, count - group["t0"])))
            for (eta, mu), same_rates in rows.items():
                apply_rule(
                    asgd_rule, same_rates, differentiable=group["differentiable"],
                    eta=eta, mu=mu, lambd=lambd,
                    weight_decay=group["weight_decay"], maximize=group["maximize"],
                )
        return loss


def asgd_rule(
    param: Any, grad: Any, average: Any, *, eta: Any, mu: float, lambd: float,
    weight_decay: float, maximize: bool,
) -> tuple[Any, Any]:
    """Returns (param, average) one step further."""
    grad = with_decay(param, grad, weight_decay, maximize)
    param = param * (1 - lambd * eta) - eta * grad
    average = param if mu == 1 else average + (param - average) * mu
    return param, average
