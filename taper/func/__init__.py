"""Transforms of functions: derivatives, vectorization, and modules as functions (torch.func).

`torch.func.second_order` is a toolbox of taper's own, on top of them.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "taper.func.vectorization": "debug_unwrap vmap",
    "taper.func.gradients": "grad grad_and_value jacrev vjp",
    "taper.func.forward": "hessian jacfwd jvp linearize",
    "taper.func.modules": "functional_call replace_all_batch_norm_modules_ stack_module_state",
    "taper.func.mutation": "functionalize",
    "taper.func.rearrangement": "rearrange",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = [
    "debug_unwrap", "functional_call", "functionalize", "grad", "grad_and_value", "hessian",
    "jacfwd", "jacrev", "jvp", "linearize", "rearrange", "replace_all_batch_norm_modules_",
    "stack_module_state", "vjp", "vmap",
]


def __getattr__(name: str) -> Any:
    if name == "second_order":
        return importlib.import_module("taper.func.second_order")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'torch.func' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "second_order"]
