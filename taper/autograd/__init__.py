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
from taper.core.tensor import Tensor as Variable

__all__ = [
    "Function", "Variable", "backward", "enable_grad", "grad", "inference_mode", "no_grad",
    "set_grad_enabled",
]

_HOMES = {
    "gradcheck": "gradcheck", "gradgradcheck": "gradcheck", "GradcheckError": "gradcheck",
    "detect_anomaly": "anomaly", "set_detect_anomaly": "anomaly",
}


def __getattr__(name: str) -> Any:
    try:
        if name in _HOMES:
            return getattr(importlib.import_module(f"taper.autograd.{_HOMES[name]}"), name)
        if not name.startswith("_"):
            return importlib.import_module(f"taper.autograd.{name}")
    except ModuleNotFoundError:
        pass
    raise AttributeError(f"module 'torch.autograd' has no attribute '{name}'")
