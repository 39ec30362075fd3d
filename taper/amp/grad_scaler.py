"""Scaling of losses, so that small gradients don't vanish in float16."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from enum import Enum
from typing import Any

import taper as torch
from taper.core.tensor import Tensor

__all__ = ["GradScaler", "OptState"]


class OptState(Enum):
    """How far an optimizer is in this iteration."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class GradScaler:
    """Multiplies losses by a large number, and leaves steps out whose gradients overflowed.

    ``scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()``: after an overflow
    the number is made smaller, after `growth_interval` good steps larger.

    Args:
        device: "cpu" here; for the default, "cuda", the scaler switches itself off.
        init_scale: the first number.
        growth_factor, backoff_factor: what it is multiplied by. growth_interval: see above.
        enabled: False makes all methods do nothing: `step` calls the optimizer's.

    Example:
        >>> import taper as torch
        >>> scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        >>> scaler.scale(torch.ones(1))
        tensor([8.])
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:
        self._device = device
        if enabled and device == "cuda":
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        if enabled:
            if growth_factor <= 1.0:
                raise AssertionError("The growth factor must be > 1.0.")
            if backoff_factor >= 1.0:
                raise AssertionError("The backoff factor must be < 1.0.")
            self._init_scale = init_scale
            self._scale: Tensor | None = None  # made when first used, on the device of the loss
            self._growth_factor = growth_factor
            self._backoff_factor = backoff_factor
            self._growth_interval = growth_interval
            self._init_growth_tracker = 0
            self._growth_tracker: Tensor | None = None
            self._per_optimizer_states: dict[int, dict[str, Any]] = {}

    # In the loop --------------------------------------------------------------------------

    def scale(self, outputs: Any) -> Any:
        """Returns a tensor, or a collection of tensors, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._made_scale()
        if isinstance(outputs, Iterable):
            scaled = [self.scale(item) for item in outputs]
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def _made_scale(self) -> Tensor:
        if self._scale is None:
            self._scale = torch.full((), self._init_scale, dtype=torch.float32)
            self._growth_tracker = torch.full((), self._init_growth_tracker, dtype=torch.int32)
        return self._scale

    def _state_of(self, optimizer: Any) -> dict[str, Any]:
        new = {"stage": OptState.READY, "found_inf_per_device": {}}
        return self._per_optimizer_states.setdefault(id(optimizer), new)

    def _checked(self, method: str) -> tuple[Tensor, Tensor]:
        hint = (
            "This may indicate your script did not use scaler.scale(loss or outputs) earlier in "
            "the iteration."
        )
        if self._scale is None:
            raise AssertionError(f"Attempted {method} but _scale is None.  {hint}")
        if self._growth_tracker is None:
            raise AssertionError(f"Attempted {method} but _growth_tracker is None.  {hint}")
        return self._scale, self._growth_tracker

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of an optimizer's parameters by the scale, for clipping them.

        Raises: RuntimeError: if that was already done, or the step taken, since `update`.
        """
        if not self._enabled:
            return
        scale, _ = self._checked("unscale_")
        progress = self._state_of(optimizer)
        if progress["stage"] is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if progress["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        factor = scale.double().reciprocal().float()
        progress["found_inf_per_device"] = self._unscale(optimizer, factor, allow_half=False)
        progress["stage"] = OptState.UNSCALED

    def _unscale(self, optimizer: Any, factor: Tensor, allow_half: bool) -> dict[Any, Tensor]:
        """Multiplies the gradients in place; for each device 1 if one of them isn't finite."""
        found: dict[Any, Tensor] = {}
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    grad = parameter.grad
                    if grad is None:
                        continue
                    if not allow_half and grad.dtype is torch.float16:
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    values = grad._values() if grad.is_sparse else grad
                    overflowed = ~values.isfinite().all()
                    values.mul_(factor)
                    before = found.get(grad.device)
                    now = overflowed.float()
                    found[grad.device] = now if before is None else torch.maximum(before, now)
        return found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls ``optimizer.step()``, unless a gradient is infinite or NaN.

        Raises: RuntimeError: if it is called twice before `update`, or with a closure.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._checked("step")
        progress = self._state_of(optimizer)
        if progress["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if progress["stage"] is OptState.READY:
            self.unscale_(optimizer)
        found = progress["found_inf_per_device"]
        if not found:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None
        if not any(value.item() for value in found.values()):
            result = optimizer.step(*args, **kwargs)
        progress["stage"] = OptState.STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Ends the iteration: makes the scale smaller or larger, or sets it."""
        if not self._enabled:
            return
        scale, tracker = self._checked("update")
        if new_scale is not None:
            if isinstance(new_scale, float):
                scale.fill_(new_scale)
            else:
                hint = (
                    "new_scale should be a float or a 1-element torch.cuda.FloatTensor or "
                    "torch.FloatTensor with requires_grad=False."
                )
                if new_scale.numel() != 1 or new_scale.requires_grad:
                    raise AssertionError(hint)
                scale.copy_(new_scale)
        else:
            found = [
                value.item() for progress in self._per_optimizer_states.values()
                for value in progress["found_inf_per_device"].values()
            ]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            self._adapt(scale, tracker, any(found))
        self._per_optimizer_states = {}

    def _adapt(self, scale: Tensor, tracker: Tensor, overflowed: bool) -> None:
        if overflowed:
            scale.mul_(self._backoff_factor)
            tracker.zero_()
            return
        tracker.add_(1)
        if tracker.item() == self._growth_interval:
            larger = scale * self._growth_factor
            if larger.isfinite():
                scale.copy_(larger)
            tracker.zero_()

    def _check_inf_per_device(self, optimizer: Any) -> dict[Any, Tensor]:
        self._checked("_check_inf_per_device")
        one = torch.ones(())
        found = self._unscale(optimizer, one, allow_half=True)
        self._state_of(optimizer)["found_inf_per_device"] = found
        return found

    def _found_inf_per_device(self, optimizer: Any) -> dict[Any, Tensor]:
        return self._state_of(optimizer)["found_inf_per_device"]

    # Asking and setting -------------------------------------------------------------------

    def is_enabled(self) -> bool:
        """Returns whether the scaler does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """Returns the scale; 1.0 if the scaler is off."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def _get_scale_async(self) -> Tensor | None:
        return self._scale

    def get_growth_factor(self) -> float:
        """Returns what the scale is multiplied by after `growth_interval` good steps."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Sets what `get_growth_factor` returns."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """Returns what the scale is multiplied by after an overflow."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Sets what `get_backoff_factor` returns."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """Returns how many good steps make the scale grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Sets what `get_growth_interval` returns."""
        self._growth_interval = new_interval

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        if self._growth_tracker is None:
            return self._init_growth_tracker
        return int(self._growth_tracker.item())

    # Saving -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Returns what `load_state_dict` continues from; empty if the scaler is off."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor, "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from what `state_dict` returned.

        Raises: RuntimeError: if the state is empty.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled "
                "instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        if self._growth_tracker is not None:
            self._growth_tracker.fill_(state_dict["_growth_tracker"])

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._per_optimizer_states:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning of an iteration, "
                    "or at the end after scaler.update()."
                )
            state["_init_scale"] = self.get_scale()
            state["_init_growth_tracker"] = self._get_growth_tracker()
            state["_scale"] = state["_growth_tracker"] = None
        return state
