"""Optimizers: they change parameters by their gradients, ``optimizer.step()``.

One file each, loaded when first asked for. `optimizer.py` has what they share, `elementwise.py`
runs their formulas.
"""

from __future__ import annotations

import importlib
from typing import Any

from taper.core.lazy_module import fill_when_listed

_HOMES = {
    "ASGD": "asgd", "Adadelta": "adadelta", "Adafactor": "adafactor", "Adagrad": "adagrad",
    "Adam": "adam", "AdamW": "adamw", "Adamax": "adamax", "LBFGS": "lbfgs", "Muon": "muon",
    "NAdam": "nadam", "Optimizer": "optimizer", "RAdam": "radam", "RMSprop": "rmsprop",
    "Rprop": "rprop", "SGD": "sgd", "SparseAdam": "sparse_adam",
    "swap_in_optimizer_params_and_state": "stateless",
}
_MODULES = ("lr_scheduler", "swa_utils")

__all__ = [*_HOMES, *_MODULES]  # noqa: PLE0604 - all of them are strings


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"taper.optim.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'torch.optim' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"taper.optim.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


fill_when_listed(__name__)
