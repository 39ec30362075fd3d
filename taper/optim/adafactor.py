"""Adafactor: an adaptive method that keeps row and column averages instead of whole matrices."""

from __future__ import annotations

from typing import Any

import taper
from taper import Tensor
from taper.arrays.recorded_number import larger, smaller
from taper.optim.optimizer import Optimizer, ParamsT, advance, new_step, number

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, 2018).

    For matrices (and stacks of them) the average of squared gradients is estimated as
    ``row · column / mean(row)``. The step has the root mean square
    ``max(eps₂, rms(p)) · min(lr, 1/√t)``, and less where the update's own is above d.

    Args:
        params: the parameters, or parameter groups.
        lr: the largest learning rate. beta2_decay: the averages move by ``t^beta2_decay``.
        eps: (ε₁, ε₂), the least squared gradient (None: that of the dtype) and the least scale.
        d: the clipping threshold. weight_decay: shrinks p by ``1 - lr · weight_decay``.
        foreach: accepted; there is one implementation. maximize: climbs instead of descending.
    """

    _newer_options = {"foreach": None}

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1e-2, beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0,
        *, foreach: bool | None = None, maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
            "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
        }
        super().__init__(params, defaults)

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        with taper.no_grad():
            for group in self.param_groups:
                for param, grad in self._gradients(group):
                    if param.is_complex():
                        raise RuntimeError("Adafactor does not support complex parameters")
                    state = self.state[param] or self._start(param, grad)
                    adafactor_step(param, -grad if group["maximize"] else grad, state, group)
        return loss

    def _start(self, param: Tensor, grad: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[param]
        state["step"] = new_step()
        if grad.dim() > 1:
            state["row_var"] = grad.new_zeros((*grad.shape[:-1], 1))
            state["col_var"] = grad.new_zeros((*grad.shape[:-2], 1, grad.shape[-1]))
        else:
            state["variance"] = taper.zeros_like(grad)
        return state


def adafactor_step(
    param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """Updates one parameter and its state in place."""
    step = advance(state["step"])
    lr, d = number(group["lr"]), group["d"]
    eps1, eps2 = group["eps"]
    if eps1 is None:
        eps1 = taper.finfo(param.dtype).eps
    weight = step ** group["beta2_decay"]
    scale = larger(eps2, _root_mean_square(param)) * smaller(lr, 1 / step**0.5)
    if group["weight_decay"] != 0:
        param.mul_(1 - lr * group["weight_decay"])
    squares = grad * grad
    if grad.dim() > 1:
        row_var, col_var = state["row_var"], state["col_var"]
        row_var.lerp_(squares.mean(dim=-1, keepdim=True), weight)
        col_var.lerp_(squares.mean(dim=-2, keepdim=True), weight)
        variance = row_var @ col_var / row_var.mean(dim=-2, keepdim=True).clamp(min=eps1)
    else:
        variance = state["variance"].lerp_(squares, weight)
    update = variance.clamp(min=eps1 * eps1).rsqrt() * grad
    param.sub_(update * (scale / larger(1.0, _root_mean_square(update) / d)))


def _root_mean_square(tensor: Tensor) -> float:
    size: float = number(tensor.norm(2))
    return size / tensor.numel() ** 0.5
