"""Saving and loading: PyTorch's own file format, read and written without PyTorch.

`archive.py` has the container, `pickler.py` and `restricted.py` the objects in it, `allowed.py`
what those may name and call, `rebuild.py` the tensors, `legacy.py` the format of before version
1.6, and `replacing.py` how a new file takes the place of an old one.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from taper.serialization.load import load
from taper.serialization.options import (
    LoadEndianness,
    add_safe_globals,
    clear_safe_globals,
    get_crc32_options,
    get_default_load_endianness,
    get_default_mmap_options,
    get_safe_globals,
    register_package,
    safe_globals,
    set_crc32_options,
    set_default_load_endianness,
    set_default_mmap_options,
    skip_data,
)
from taper.serialization.plain_pickle import reduce_tensor
from taper.serialization.restricted import get_unsafe_globals_in_checkpoint
from taper.serialization.save import save

# What PyTorch's files of before 1.6 begin with, and the pickle protocol of all of them.
DEFAULT_PROTOCOL = 2
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

__all__ = [
    "DEFAULT_PROTOCOL", "MAGIC_NUMBER", "PROTOCOL_VERSION",
    "LoadEndianness", "add_safe_globals", "clear_safe_globals", "get_crc32_options",
    "get_default_load_endianness", "get_default_mmap_options", "get_safe_globals",
    "get_unsafe_globals_in_checkpoint", "load", "reduce_tensor", "register_package", "safe_globals",
    "save", "set_crc32_options", "set_default_load_endianness", "set_default_mmap_options",
    "skip_data",
]

FILE_LIKE = Any
MAP_LOCATION = Callable[..., Any] | str | dict[str, str] | None
T = TypeVar("T")  # public in PyTorch's module as well
