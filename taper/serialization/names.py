"""The names that files use: PyTorch's, for our classes and functions, in both directions."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import taper
from taper.core.dtype import ALL_DTYPES, LEGACY_DTYPES, dtype

__all__ = ["StorageKind", "TorchName", "find_torch_object", "storage_kind", "torch_module",
           "torch_name_of"]


class TorchName:
    """A name to be written to a file as it is, without looking for what it names."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self, *_: Any) -> Any:  # pickle wants what it writes before REDUCE to be callable
        raise TypeError(f"{self.module}.{self.name} can only be written to a file")


@functools.cache
def torch_name(module: str, name: str) -> TorchName:
    """The one TorchName for a name, so that a pickler writes it once and refers to it later."""
    return TorchName(module, name)


class StorageKind:
    """A class of typed storages, such as ``torch.FloatStorage``: in files, the name of a dtype."""

    __slots__ = ("dtype", "name")

    def __init__(self, name: str, dtype: dtype) -> None:
        self.name = name
        self.dtype = dtype


# Younger dtypes have no storage class: their tensors are saved as bytes and a dtype.
_STORAGE_KINDS = {f"{prefix}Storage": StorageKind(f"{prefix}Storage", d)
                  for prefix, d in LEGACY_DTYPES.items()}
_UNTYPED = StorageKind("UntypedStorage", taper.uint8)
_KIND_OF = {kind.dtype: kind for kind in _STORAGE_KINDS.values()}


def storage_kind(dtype: dtype) -> StorageKind | None:
    """The storage class of a dtype, if it has one."""
    return _KIND_OF.get(dtype)


def kind_name(kind: StorageKind | None) -> TorchName:
    """The name of a storage class in files."""
    if kind is None:
        return torch_name("torch.storage", "UntypedStorage")
    return torch_name("torch", kind.name)


@functools.cache
def _special() -> dict[tuple[str, str], Any]:
    """What PyTorch's files name that isn't at the same place in taper."""
    from taper.serialization import rebuild

    found: dict[tuple[str, str], Any] = {("torch", d.name): d for d in ALL_DTYPES}
    for name, kind in _STORAGE_KINDS.items():
        found["torch", name] = found["torch.cuda", name] = kind
    found["torch.storage", "UntypedStorage"] = found["torch", "UntypedStorage"] = _UNTYPED
    for module, names in rebuild.NAMES.items():
        for name, function in names.items():
            found[module, name] = function
    found["torch", "Tensor"] = taper.Tensor
    found["torch", "Size"] = taper.Size
    found["torch", "device"] = taper.device
    found["torch._C", "Generator"] = taper.Generator
    found["torch.nn.parameter", "Parameter"] = taper.nn.Parameter
    return found


# Our files whose classes PyTorch has in another one.
_FILES = {
    "nn.modules.attention": "nn.modules.activation", "nn.modules.rnn_cells": "nn.modules.rnn",
    "nn.parallel": "nn.parallel.data_parallel", "optim.adafactor": "optim", "optim.muon": "optim",
    "utils.data.collate": "utils.data._utils.collate",
    "distributions.transform": "distributions.transforms",
    "distributions.elementwise_transforms": "distributions.transforms",
    "distributions.joined_transforms": "distributions.transforms",
    "distributions.vector_transforms": "distributions.transforms",
}  # fmt: skip
_RESULTS = "torch.return_types"  # of operators: tuples with names, called with values and a dict
_PUBLIC = (
    "torch.nn", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data",
    "torch.distributions",
)


def torch_module(module: str) -> str:
    """The module of PyTorch that has what `module` of ours has."""
    top, _, rest = module.partition(".")
    if top not in ("taper", "torch"):
        return module
    rest = _FILES.get(rest, rest)
    return f"torch.{rest}" if rest else "torch"


def find_torch_object(module: str, name: str) -> Any:
    """The object of taper that stands for ``torch….name``.

    Raises: AttributeError or ImportError: if there is none.
    """
    special = _special().get((module, name))
    if special is not None:
        return special
    if module == _RESULTS:
        kind = getattr(taper.return_types, name)
        return lambda values, more=None: kind(values)
    try:
        found: Any = importlib.import_module("taper" + module.removeprefix("torch"))
        for part in name.split("."):
            found = getattr(found, part)
        return found
    except (ImportError, AttributeError):
        # Classes may be in another file than in PyTorch: look in the public namespace above it.
        for public in _PUBLIC:
            if module.startswith(public + "."):
                space = importlib.import_module("taper" + public.removeprefix("torch"))
                if hasattr(space, name):
                    return getattr(space, name)
        raise


def torch_name_of(value: Any) -> TorchName | None:
    """The name in PyTorch's files of a class or function of ours; None for what isn't ours."""
    module = getattr(value, "__module__", None) or ""
    name = getattr(value, "__qualname__", "")
    top = module.partition(".")[0]
    if top not in ("taper", "torch"):
        return None
    there = torch_module(module)
    try:
        same = find_torch_object(there, name) is value
    except (ImportError, AttributeError):
        same = False
    if same:
        return torch_name(there, name)
    if top == "taper":
        return None  # ours alone: the file can be read by taper only
    raise TypeError(f"cannot save {value!r}: nothing is found under its name {module}.{name}")
