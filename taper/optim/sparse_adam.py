"""SparseAdam: Adam that only touches the rows a sparse gradient has."""

from __future__ import annotations

from typing import Any

import taper
from taper import Tensor
from taper.optim.optimizer import Optimizer, ParamsT, check_betas, check_lr, number

__all__ = ["SparseAdam"]


class SparseAdam(Optimizer):
    """Adam for sparse gradients, such as those of ``nn.Embedding(…, sparse=True)``.

    Averages and parameters move only where the gradient has an entry.

    Args:
        params: dense parameters whose gradients are sparse, or parameter groups of them.
        lr: the learning rate. betas: β₁ and β₂. eps: keeps the division finite.
        maximize: climbs instead of descending.
    """

    def __init__(
        self, params: ParamsT, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, maximize: bool = False,
    ) -> None:
        check_lr(lr)
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        sparse, complex_ = [], []
        for i, group in enumerate(self.param_groups):
            for j, param in enumerate(group["params"]):
                if param.is_sparse:
                    sparse.append([i, j])
                if param.is_complex():
                    complex_.append([i, j])
        if sparse:
            raise ValueError(
                f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors"
            )
        if complex_:
            raise ValueError(
                f"Complex params at indices {complex_}: SparseAdam does not support complex "
                "parameters"
            )

    def step(self, closure: Any = None) -> Any:
        """Performs one step; `closure`, if given, recomputes and returns the loss."""
        loss = self._evaluate(closure)
        with taper.no_grad():
            for group in self.param_groups:
                for param in group["params"]:
                    grad = param.grad
                    if grad is None:
                        continue
                    if not grad.is_sparse:
                        raise RuntimeError(
                            "SparseAdam does not support dense gradients, please consider Adam "
                            "instead"
                        )
                    state = self.state[param]
                    if not state:
                        state["step"] = 0
                        state["exp_avg"] = taper.zeros_like(param)
                        state["exp_avg_sq"] = taper.zeros_like(param)
                    state["step"] += 1
                    sparse_adam_step(param, grad, state, group)
        return loss


def sparse_adam_step(
    param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """Updates, in place, the entries of one parameter and its state that `grad` has."""
    grad = grad.coalesce()
    values = -grad.values() if group["maximize"] else grad.values()
    if values.numel() == 0:
        return
    at = tuple(grad.indices())
    beta1, beta2 = group["betas"]
    exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
    average = exp_avg[at] + (1 - beta1) * (values - exp_avg[at])
    square = exp_avg_sq[at] + (1 - beta2) * (values * values - exp_avg_sq[at])
    exp_avg[at] = average
    exp_avg_sq[at] = square
    step = state["step"]
    step_size = number(group["lr"]) * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
    param[at] = param[at] - step_size * average / (square.sqrt() + group["eps"])
