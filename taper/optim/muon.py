"""Muon: momentum whose matrices are made orthogonal before each step."""

from __future__ import annotations

import math
from typing import Any

import taper
from taper import Tensor
from taper.optim.optimizer import Optimizer, ParamsT, number

__all__ = ["Muon"]


class Muon(Optimizer):
    """Muon (Jordan, 2024), for the weight matrices of hidden layers.

    The running average of the gradients is replaced by the nearest orthogonal matrix, found
    approximately by a few Newton–Schulz iterations in bfloat16; weight decay is apart from it.

    Args:
        params: matrices, or parameter groups of them.
        lr: the learning rate. weight_decay: shrinks p by ``1 - lr · weight_decay``.
        momentum: of the running average. nesterov: looks ahead.
        ns_coefficients: (a, b, c) of the iteration ``X ← aX + (b·XXᵀ + c·(XXᵀ)²) X``.
        eps: the least norm to divide by. ns_steps: the number of iterations.
        adjust_lr_fn: "original" (scale by ``√max(1, rows/columns)``) or "match_rms_adamw"
            (``0.2 √max(rows, columns)``).
    """

    def __init__(
        self, params: ParamsT, lr: float = 1e-3, weight_decay: float = 0.1,
        momentum: float = 0.95, nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315), eps: float = 1e-7,
        ns_steps: int = 5, adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not momentum >= 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                if param.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with size: "
                        f"{param.size()}"
                    )

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        with taper.no_grad():
            for group in self.param_groups:
                for param, grad in self._gradients(group):
                    if param.is_complex():
                        raise RuntimeError("Muon does not support complex parameters")
                    state = self.state[param]
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = taper.zeros_like(grad)
                    muon_step(param, grad, state["momentum_buffer"], group)
        return loss


def muon_step(param: Tensor, grad: Tensor, buffer: Tensor, group: dict[str, Any]) -> None:
    """Updates one parameter and its momentum in place."""
    lr, momentum = number(group["lr"]), group["momentum"]
    buffer.lerp_(grad, 1 - momentum)
    update = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
    update = orthogonalized(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
    param.mul_(1 - lr * group["weight_decay"])
    param.add_(update.to(param.dtype), alpha=-lr * _scale(group["adjust_lr_fn"], param))


def _scale(adjust: str | None, param: Tensor) -> float:
    rows, columns = param.shape
    if adjust == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def orthogonalized(
    matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """A bfloat16 matrix with nearly the singular vectors of `matrix` and singular values of 1."""
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    x = matrix.bfloat16()
    tall = x.size(0) > x.size(1)
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = taper.addmm(x, taper.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
