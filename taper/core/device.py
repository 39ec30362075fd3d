"""Devices, layouts and memory formats: small immutable names that tensors carry."""

from __future__ import annotations

import functools
import re
from typing import Any

from taper.core.state import active

__all__ = [
    "CPU", "META", "as_device", "device", "get_default_device", "layout", "memory_format",
    "set_default_device",
]

_TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga",
    "maia", "xla", "lazy", "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)


class device:  # PyTorch's name
    """Where a tensor's data lives: ``cpu``, or ``meta`` (shapes only, no data).

    Example:
        >>> import taper as torch
        >>> torch.device("cpu"), torch.device("cuda", 1).index
        (device(type='cpu'), 1)
    """

    __slots__ = ("__weakref__", "_previous", "index", "type")
    __module__ = "torch"
    type: str
    index: int | None

    def __new__(cls, type: Any = None, index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        if isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type  # an int counts accelerators
        if not isinstance(type, str):
            raise TypeError(
                f"device(): argument 'type' must be str, not {type.__class__.__name__}"
            )
        match = re.fullmatch(r"([a-z_]+)(?::(0|[1-9][0-9]*))?", type)
        if match is None or (index is not None and match[2] is not None):
            if match is None:
                raise RuntimeError(f"Invalid device string: '{type}'")
            raise RuntimeError(
                f"type (string) must not include an index because index was passed explicitly: "
                f"{type}"
            )
        if match[1] not in _TYPES:
            raise RuntimeError(
                f"Expected one of {', '.join(_TYPES)} device type at start of device string: "
                f"{match[1]}"
            )
        self = object.__new__(cls)
        object.__setattr__(self, "type", match[1])
        object.__setattr__(self, "index", int(match[2]) if match[2] is not None else index)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_previous":
            object.__setattr__(self, name, value)
            return
        raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")

    def __repr__(self) -> str:
        if self.index is None:
            return f"device(type='{self.type}')"
        return f"device(type='{self.type}', index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, device) and self.type == other.type and self.index == other.index
        )

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __enter__(self) -> device:
        """Makes this the device of tensors created inside the block without a `device=`."""
        _push_default(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        _pop_default()

    def __call__(self, function: Any) -> Any:
        """Decorates a function: it runs inside a block of this device."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapped

    def __reduce__(self) -> tuple[Any, ...]:
        return (_device_of, (self.type,) if self.index is None else (self.type, self.index))


def _device_of(*arguments: Any) -> device:
    """Makes a device again for pickle, which would look for the class itself in torch."""
    return device(*arguments)


CPU = device("cpu")
META = device("meta")


# The device of creation functions without `device=`: the innermost block's, else the last set.
# While it is not the CPU, `active.modes` sends every call the long way, where it is asked for.
_defaults: list[device | None] = [None]


def _push_default(value: device | None) -> None:
    if value is not None and value.type != "cpu":
        as_device(value)
        active.modes += 1
    _defaults.append(value)


def _pop_default() -> None:
    value = _defaults.pop()
    if value is not None and value.type != "cpu":
        active.modes -= 1


def set_default_device(device: Any) -> None:
    """Sets where tensors are created that are not told: ``"cpu"`` or ``"meta"``; None undoes it."""
    wanted = None if device is None else _device_class(device)
    _pop_default()
    _push_default(wanted)


def get_default_device() -> device:
    """Returns where tensors are created that are not told."""
    return _defaults[-1] or CPU


_device_class = device


def as_device(value: Any) -> device:
    """Reads a `device=` argument; raises PyTorch's error where the device is not available."""
    if value is None:
        return _defaults[-1] or CPU
    found = value if type(value) is device else device(value)
    if found.type == "cpu" or found.type == "meta":
        return found
    if found.type == "cuda":
        raise AssertionError("Torch not compiled with CUDA enabled")
    raise NotImplementedError(
        f"Could not run 'aten::empty.memory_format' with arguments from the "
        f"'{found.type.upper()}' backend. taper computes on the CPU: use device='cpu', or "
        f"device='meta' for shapes without data."
    )


class _Named:
    """A constant of the torch namespace that is nothing but its name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


class layout(_Named):  # PyTorch's name
    """How a tensor's elements are laid out in memory, such as ``torch.strided``."""

    __slots__ = ()
    __module__ = "torch"

    def __reduce__(self) -> Any:
        return (_layout_named, (self.name,))

    def __copy__(self) -> layout:
        return self

    def __deepcopy__(self, memo: Any) -> layout:
        return self


class memory_format(_Named):  # PyTorch's name
    """The order of dimensions in memory, such as ``torch.channels_last``."""

    __slots__ = ()
    __module__ = "torch"

    def __reduce__(self) -> Any:
        return (_memory_format_named, (self.name,))


strided = layout("strided")
sparse_coo = layout("sparse_coo")
sparse_csr = layout("sparse_csr")
sparse_csc = layout("sparse_csc")
sparse_bsr = layout("sparse_bsr")
sparse_bsc = layout("sparse_bsc")
jagged = layout("jagged")
_TITLES = {
    "sparse_coo": "Sparse", "sparse_csr": "SparseCsr", "sparse_csc": "SparseCsc",
    "sparse_bsr": "SparseBsr", "sparse_bsc": "SparseBsc",
}


def layout_title(given: layout) -> str:
    """The name of a layout as PyTorch's messages spell it, such as "SparseCsr"."""
    return _TITLES.get(given.name, given.name.title())


LAYOUTS = {
    x.name: x
    for x in (strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc, jagged)
}

contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
MEMORY_FORMATS = {
    x.name: x for x in (contiguous_format, preserve_format, channels_last, channels_last_3d)
}


def _layout_named(name: str) -> layout:
    return LAYOUTS[name]


def _memory_format_named(name: str) -> memory_format:
    return MEMORY_FORMATS[name]
