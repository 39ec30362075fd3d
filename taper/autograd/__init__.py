"""`torch.autograd`: the tape and what is built on it."""

from __future__ import annotations

import importlib
from typing import Any

from taper.autograd.backward import backward, grad
from taper.autograd.function import Function
from taper.autograd.modes import (
    enable_grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
)
from taper.core.overrides import has_torch_function
from taper.core.tensor import Tensor as Variable

__all__ = [
    "Function", "Variable", "backward", "enable_grad", "grad", "has_torch_function",
    "inference_mode", "no_grad", "set_grad_enabled",
]

# Names and modules that need the operators, which stand above this room; found on first use.
_HOMES = {
    "gradcheck": "gradient_check", "gradgradcheck": "gradient_check",
    "GradcheckError": "gradient_check", "detect_anomaly": "anomaly_mode",
    "set_detect_anomaly": "anomaly_mode",
    **dict.fromkeys("""_profiler_enabled enforce_grad_layout_policy is_multithreading_enabled
        is_view_replay_enabled kineto_available set_multithreading_enabled variable""".split(),
        "engine_settings"),
}
_MODULES = frozenset("functional graph anomaly_mode forward_ad grad_mode profiler".split())


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"taper.autograd.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(f"taper.autograd.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'torch.autograd' has no attribute '{name}'")
