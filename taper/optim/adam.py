"""Adam: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.optim.elementwise import apply_rule, maximum, with_decay_or_apart
from taper.optim.optimizer import (
    Optimizer,
    ParamsT,
    check_betas,
    check_fused,
    check_lr,
    check_not_negative,
    number,
)

__all__ = ["Adam"]


class Adam(Optimizer):
    r"""Adam (Kingma and Ba, 2015): ``p ← p - lr · m̂ / (√v̂ + eps)``.

    ``m`` and ``v`` are exponential averages of the gradient and its square, ``m̂ = m / (1 - β₁ᵗ)``
    and ``v̂ = v / (1 - β₂ᵗ)`` their values freed of the bias towards zero.

    Args:
        params: the parameters, or parameter groups.
        lr: the learning rate. betas: β₁ and β₂. eps: keeps the division finite.
        weight_decay: adds ``weight_decay · p`` to the gradient.
        amsgrad: divides by the largest v so far (Reddi et al., 2018).
        maximize: climbs instead of descending.
        decoupled_weight_decay: decays the parameters apart from the gradient, as AdamW does.
        foreach, fused, capturable: accepted; there is one implementation.
        differentiable: records the step, so that one can differentiate through it.

    Example:
        >>> import taper as torch
        >>> w = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = torch.optim.Adam([w], lr=0.1)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.detach()
        tensor([0.9000, 0.9000])
    """

    _newer_options = {
        "amsgrad": False, "maximize": False, "foreach": None, "capturable": False,
        "differentiable": False, "decoupled_weight_decay": False, "fused": None,
    }

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
        fused: bool | None = None, decoupled_weight_decay: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        check_lr(lr)
        check_not_negative(eps=eps)
        check_betas(betas)
        check_not_negative(weight_decay=weight_decay)
        _check_tensor_betas(betas, bool(foreach) and not capturable)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        check_fused(fused, foreach, differentiable)

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        for group in self.param_groups:
            differentiable = group["differentiable"]
            averages: dict[str, float] = {"exp_avg": 0, "exp_avg_sq": 0}
            if group["amsgrad"]:
                averages["max_exp_avg_sq"] = 0
            for count, rows in self._rows_by_step(group, **averages).items():
                apply_rule(
                    adam_rule, rows, differentiable=differentiable, step=count,
                    lr=number(group["lr"], differentiable),
                    beta1=number(group["betas"][0], differentiable),
                    beta2=number(group["betas"][1], differentiable),
                    eps=group["eps"], weight_decay=group["weight_decay"],
                    maximize=group["maximize"], decoupled=group["decoupled_weight_decay"],
                )
        return loss

    def _dense_gradient(self, grad: Tensor, group: dict[str, Any]) -> Tensor:
        raise RuntimeError(
            "Adam does not support sparse gradients, please consider SparseAdam instead"
        )


def adam_rule(
    param: Any, grad: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any = None, *, step: Any,
    lr: Any, beta1: Any, beta2: Any, eps: float, weight_decay: float, maximize: bool,
    decoupled: bool,
) -> tuple[Any, ...]:
    """Returns (param, exp_avg, exp_avg_sq[, max_exp_avg_sq]) one step further."""
    param, grad = with_decay_or_apart(param, grad, weight_decay, maximize, decoupled, lr)
    exp_avg = exp_avg + (1 - beta1) * (grad - exp_avg)
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad * grad
    bias_correction1 = 1 - beta1**step
    bias_correction2 = 1 - beta2**step
    largest = exp_avg_sq if max_exp_avg_sq is None else maximum(max_exp_avg_sq, exp_avg_sq)
    denominator = largest**0.5 / bias_correction2**0.5 + eps
    param = param - (lr / bias_correction1) * exp_avg / denominator
    if max_exp_avg_sq is None:
        return param, exp_avg, exp_avg_sq
    return param, exp_avg, exp_avg_sq, largest


def _check_tensor_betas(betas: tuple[Any, Any], foreach: bool) -> None:
    # The whole numbers 0 and 1 are refused, too, as in PyTorch: programs write 0.0.
    if not any(all(isinstance(beta, kind) for beta in betas[:2]) for kind in (float, Tensor)):
        raise ValueError("betas must be either both floats or both Tensors")
    for index, beta in enumerate(betas):
        if isinstance(beta, Tensor):
            if foreach:
                raise ValueError(
                    f"betas[{index}] as a Tensor is not supported for capturable=False and "
                    "foreach=True"
                )
            if beta.numel() != 1:
                raise ValueError(f"Tensor betas[{index}] must be 1-element")
