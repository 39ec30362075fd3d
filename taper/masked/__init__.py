"""`torch.masked`: the operators declared with this prefix in `taper/ops`, and MaskedTensor."""

import importlib
from typing import Any

import taper.ops  # noqa: F401 - declares them
from taper.ops.namespace import functions_below

# Found on first use: they are written on Tensors, with the whole namespace.
_OF_TENSORS = ("MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor")

_find, _names = functions_below(__name__, "masked")


def __getattr__(name: str) -> Any:
    if name in _OF_TENSORS:
        value = getattr(importlib.import_module("taper.masked.maskedtensor"), name)
        globals()[name] = value
        return value
    return _find(name)


def __dir__() -> list[str]:
    return sorted({*_names(), *_OF_TENSORS})
