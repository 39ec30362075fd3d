"""Averages of a model's parameters over training: stochastic weight averaging and EMA."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Literal

import taper
from taper import Tensor
from taper.nn import Module
from taper.optim.lr_scheduler.base import LRScheduler, values_for_groups
from taper.optim.optimizer import Optimizer

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn",
    "get_swa_multi_avg_fn", "update_bn",
]


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[..., None]:
    """Returns a function that moves lists of averages as ``decay · a + (1 - decay) · p``."""
    _check_decay(decay)

    @taper.no_grad()
    def ema_update(averages: list[Tensor], params: list[Tensor], _count: Any) -> None:
        for average, param in zip(averages, params, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(param, 1 - decay)
            else:
                average.copy_(average * decay + param * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> Callable[..., None]:
    """Returns a function that keeps lists of averages equal to the mean of all models so far."""

    @taper.no_grad()
    def swa_update(averages: list[Tensor], params: list[Tensor], count: Any) -> None:
        for average, param in zip(averages, params, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(param, 1 / (float(count) + 1))
            else:
                average.add_((param - average) / (count + 1))

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> Callable[..., Tensor]:
    """Returns a function that gives ``decay · average + (1 - decay) · param``."""
    _check_decay(decay)

    @taper.no_grad()
    def ema_update(average: Tensor, param: Tensor, _count: Any) -> Tensor:
        return decay * average + (1 - decay) * param

    return ema_update


def get_swa_avg_fn() -> Callable[..., Tensor]:
    """Returns a function that gives the mean of `count` averaged models and one more."""

    @taper.no_grad()
    def swa_update(average: Tensor, param: Tensor, count: Any) -> Tensor:
        return average + (param - average) / (count + 1)

    return swa_update


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


class AveragedModel(Module):
    """A copy of a model whose parameters are an average of the model's over time.

    Call ``averaged.update_parameters(model)`` after each step that should count; the averaged
    model itself is called like the original.

    Args:
        model: the model to follow. device: where the averages live.
        avg_fn: ``(average, param, count) -> average``, for one parameter at a time.
        multi_avg_fn: ``(averages, params, count) -> None``, for all at once, in place.
        use_buffers: averages the buffers too, instead of copying them.
    """

    n_averaged: Tensor

    def __init__(
        self, model: Module, device: Any = None, avg_fn: Callable[..., Tensor] | None = None,
        multi_avg_fn: Callable[..., None] | None = None, use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", taper.tensor(0, dtype=taper.long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Takes the model's present parameters into the average."""
        pairs = list(zip(self._averaged(self.module), self._averaged(model), strict=True))
        averages = [average.detach() for average, _ in pairs]
        params = [param.detach().to(average.device) for average, param in pairs]
        if self.n_averaged == 0:
            for average, param in zip(averages, params, strict=True):
                average.copy_(param)
        elif self.avg_fn is None:
            update = self.multi_avg_fn or get_swa_multi_avg_fn()
            update(averages, params, self.n_averaged)
        else:
            count = self.n_averaged
            for average, param in zip(averages, params, strict=True):
                average.copy_(self.avg_fn(average, param, count))
        if not self.use_buffers:
            for kept, current in zip(self.module.buffers(), model.buffers(), strict=True):
                kept.detach().copy_(current.detach().to(kept.device))
        self.n_averaged += 1

    def _averaged(self, model: Module) -> Iterable[Tensor]:
        if self.use_buffers:
            return itertools.chain(model.parameters(), model.buffers())
        return model.parameters()


@taper.no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Recomputes the running statistics of all batch norm layers in one pass over the data.

    Args:
        loader: gives batches; of a list or tuple, the first item is the input.
        model: whose layers to update. device: where to move the inputs.
    """
    momenta = {}
    for module in model.modules():
        if isinstance(module, taper.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            momenta[module] = module.momentum
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.momentum = None  # a plain average over all batches
    for batch in loader:
        inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(inputs if device is None else inputs.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Moves the rates to `swa_lr` within `anneal_epochs`, and leaves them there.

    Args:
        optimizer: whose learning rates to set.
        swa_lr: the rate to reach, or a list of one for each parameter group.
        anneal_epochs: how long it takes. anneal_strategy: "cos" or "linear".
        last_epoch: the number of the last epoch when training goes on.
    """

    def __init__(
        self, optimizer: Optimizer, swa_lr: float, anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos", last_epoch: int = -1,
    ) -> None:
        rates = values_for_groups("swa_lr", optimizer, swa_lr)
        for rate, group in zip(rates, optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(
                f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}"
            )
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _progress(self, step: int) -> float:
        """How far the annealing has come by `step`, from 0 to 1."""
        done = max(0, min(1, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * done)) / 2 if self._anneal_strategy == "cos" else done

    def get_lr(self) -> list[Any]:
        self._warn_unless_computing()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._progress(step - 1), self._progress(step)
        rates = []
        for group in self.optimizer.param_groups:
            rate, target = group["lr"], group["swa_lr"]
            # The rate that annealing set out from, were the present one on its way.
            start = target if before == 1 else (rate - before * target) / (1 - before)
            rates.append(target * now + start * (1 - now))
        return rates
