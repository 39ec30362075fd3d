"""Adagrad: steps scaled by the sum of all squared gradients."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.optim.elementwise import apply_rule, with_decay
from taper.optim.optimizer import (
    Optimizer,
    ParamsT,
    check_fused,
    check_lr,
    check_not_negative,
    number,
)

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011): ``p ← p - lrₜ · g / (√s + eps)`` with ``s += g²``.

    The rate falls as ``lrₜ = lr / (1 + (t-1) · lr_decay)``.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate. lr_decay: how fast it falls. eps: keeps the division finite.
        weight_decay: adds ``weight_decay · p`` to the gradient.
        initial_accumulator_value: s at the start.
        maximize: climbs instead of descending.
        foreach, fused: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.
    """

    _newer_options = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1e-2, lr_decay: float = 0,
        weight_decay: float = 0, initial_accumulator_value: float = 0, eps: float = 1e-10,
        foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_not_negative(
            lr_decay=lr_decay, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, eps=eps,
        )
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)
        for group in self.param_groups:
            for param in group["params"]:
                self._state_of(param, {"sum": group["initial_accumulator_value"]})

    def share_memory(self) -> None:
        """Moves the state into shared memory."""
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["sum"].share_memory_()

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            by_step = self._rows_by_step(group, sum=group["initial_accumulator_value"])
            differentiable = group["differentiable"]
            lr = number(group["lr"], differentiable)
            for count, rows in by_step.items():
                apply_rule(
                    adagrad_rule, rows, differentiable=differentiable,
                    lr=lr / (1 + (count - 1) * group["lr_decay"]), eps=group["eps"],
                    weight_decay=group["weight_decay"], maximize=group["maximize"],
                )
        return loss

    def _dense_gradient(self, grad: Tensor, group: dict[str, Any]) -> Tensor:
        if group["weight_decay"] != 0:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        return grad.to_dense()


def adagrad_rule(
    param: Any, grad: Any, total: Any, *, lr: Any, eps: float, weight_decay: float, maximize: bool
) -> tuple[Any, Any]:
    """Returns (param, sum of squares) one step further."""
    grad = with_decay(param, grad, weight_decay, maximize)
    total = total + grad * grad
    return param - lr * grad / (total**0.5 + eps), total
