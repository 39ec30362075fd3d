"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

import taper
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

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent: ``p ← p - lr · g``.

    With momentum μ and dampening τ the step follows ``b ← μ·b + (1-τ)·g`` (``b = g`` at first)
    instead of g; with Nesterov's look-ahead it follows ``g + μ·b``.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate. momentum: μ. dampening: τ.
        weight_decay: adds ``weight_decay · p`` to the gradient.
        nesterov: looks ahead; needs momentum and no dampening.
        maximize: climbs instead of descending.
        foreach, fused: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.

    Example:
        >>> import taper as torch
        >>> w = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = torch.optim.SGD([w], lr=0.1)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([0.8000, 0.8000])
    """

    _newer_options = {
        "nesterov": False, "maximize": False, "foreach": None, "differentiable": False,
        "fused": False,
    }

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1e-3, momentum: float = 0,
        dampening: float = 0, weight_decay: float | Tensor = 0, nesterov: bool = False, *,
        maximize: bool = False, foreach: bool | None = None, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_not_negative(momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            differentiable = group["differentiable"]
            settings = {
                "lr": number(group["lr"], differentiable),
                "weight_decay": number(group["weight_decay"], differentiable),
                "maximize": group["maximize"],
            }
            if group["momentum"] == 0:
                rows = self._gradients(group)
                apply_rule(sgd_rule, rows, differentiable=differentiable, **settings)
                continue
            fresh, going = [], []
            for param, grad in self._gradients(group):
                state = self.state[param]
                buffer = state.get("momentum_buffer")
                if buffer is None:
                    buffer = state["momentum_buffer"] = taper.zeros_like(param)
                    fresh.append((param, grad, buffer))
                else:
                    going.append((param, grad, buffer))
            settings["momentum"] = group["momentum"]
            settings["nesterov"] = group["nesterov"]
            for started, dampening in ((fresh, None), (going, group["dampening"])):
                apply_rule(
                    momentum_rule, started, differentiable=differentiable, dampening=dampening,
                    **settings,
                )
        return loss

    def _dense_gradient(self, grad: Tensor, group: dict[str, Any]) -> Tensor:
        return grad.to_dense()


def sgd_rule(
    param: Any, grad: Any, lr: Any, weight_decay: Any, maximize: bool
) -> tuple[Any]:
    """Returns the parameter one step further."""
    grad = with_decay(param, grad, weight_decay, maximize)
    return (param - lr * grad,)


def momentum_rule(
    param: Any, grad: Any, buffer: Any, lr: Any, weight_decay: Any, maximize: bool, momentum: Any,
    dampening: Any, nesterov: bool,
) -> tuple[Any, Any]:
    """Returns (param, buffer) one step further; a `dampening` of None starts the buffer."""
    grad = with_decay(param, grad, weight_decay, maximize)
    if dampening is None:  # PyTorch cuts the buffer's history here, so we do
        buffer = grad.detach() if isinstance(grad, Tensor) else grad
    else:
        buffer = momentum * buffer + (1 - dampening) * grad
    direction = grad + momentum * buffer if nesterov else buffer
    return param - lr * direction, buffer
