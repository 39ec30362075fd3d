"""Tools for modules: gradient clipping, parameter vectors, parametrizations, packed sequences."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_FILES = {
    "clip_grad": """clip_grad_norm clip_grad_norm_ clip_grad_value_ clip_grads_with_norm_
        get_total_norm""",
    "convert_parameters": "parameters_to_vector vector_to_parameters",
    "fusion": """fuse_conv_bn_eval fuse_conv_bn_weights fuse_linear_bn_eval
        fuse_linear_bn_weights""",
    "init": "skip_init",
    "memory_format": "convert_conv2d_weight_memory_format convert_conv3d_weight_memory_format",
    "spectral_norm": "remove_spectral_norm spectral_norm",
    "weight_norm": "remove_weight_norm weight_norm",
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names.split()}
_SUBMODULES = frozenset([
    "clip_grad", "convert_parameters", "fusion", "init", "memory_format", "parametrizations",
    "parametrize", "prune", "rnn", "stateless",
])

__all__ = [*_FILE_OF, "parametrizations", "parametrize", "rnn", "stateless"]  # noqa: PLE0604 - the names of the tables above


class _Package(ModuleType):
    """Importing weight_norm.py puts the module where the function of that name belongs."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FILE_OF and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _FILE_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_FILE_OF[name]}"), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
