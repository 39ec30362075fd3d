"""Neural network modules, their parameters and functions: torch.nn.

Modules are in `taper.nn.modules`, one family a file; the functions they call in
`taper.nn.functional`. Everything is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from taper.core.lazy_module import fill_when_listed
from taper.nn import modules

_PARAMETERS = frozenset(["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter"])
_SUBMODULES = frozenset(["functional", "init", "parallel", "parameter", "quantized", "utils"])

__all__ = [*modules.__all__, *_PARAMETERS, "DataParallel"]  # noqa: PLE0604 - the names of the tables above


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the arguments (device, dtype, memory_format) that make a layer's tensors.

    They are taken from `kwargs` itself and from ``kwargs["factory_kwargs"]``.
    """
    if kwargs is None:
        return {}
    names = {"device", "dtype", "memory_format"}
    expected = names | {"factory_kwargs"}
    if not kwargs.keys() <= expected:
        raise TypeError(f"unexpected kwargs {kwargs.keys() - expected}")
    found = dict(kwargs.get("factory_kwargs", {}))
    for name in names & kwargs.keys():
        if name in found:
            raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
        found[name] = kwargs[name]
    return found


def __getattr__(name: str) -> Any:
    if name in modules._FILE_OF:
        value = getattr(modules, name)
    elif name in _PARAMETERS:
        value = getattr(importlib.import_module("taper.nn.parameter"), name)
    elif name in _SUBMODULES:
        return importlib.import_module(f"taper.nn.{name}")
    elif name == "DataParallel":
        value = importlib.import_module("taper.nn.parallel").DataParallel
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})


fill_when_listed(__name__)
