"""Settings of saving and loading, and the classes and functions a file may name besides our own."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

__all__ = [
    "LoadEndianness", "add_safe_globals", "clear_safe_globals", "get_crc32_options",
    "get_default_load_endianness", "get_default_mmap_options", "get_safe_globals",
    "register_package", "safe_globals", "set_crc32_options", "set_default_load_endianness",
    "set_default_mmap_options", "skip_data",
]


class LoadEndianness(Enum):
    """The byte order of files that don't say theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


class _Options:
    endianness: LoadEndianness | None = None
    crc32 = True
    mmap_flags = getattr(mmap, "MAP_PRIVATE", 2)
    skip_data = False
    safe_globals: list[Any] = []
    #: (priority, tag of a storage, restorer of a storage from a tag)
    packages: list[tuple[int, Callable[[Any], Any], Callable[[Any, str], Any]]] = []


options = _Options()


def get_default_load_endianness() -> LoadEndianness | None:
    """Returns the byte order assumed for files without a record of theirs; None: this machine's."""
    return options.endianness


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Sets the byte order assumed for files without a record of theirs."""
    if endianness is not None and not isinstance(endianness, LoadEndianness):
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    options.endianness = endianness


def get_crc32_options() -> bool:
    """Returns whether `save` computes checksums of the data."""
    return options.crc32


def set_crc32_options(compute_crc32: bool) -> None:
    """Sets whether `save` computes checksums of the data; other programs that unzip want them."""
    options.crc32 = compute_crc32


def get_default_mmap_options() -> int | None:
    """Returns the flag that ``load(mmap=True)`` maps files with."""
    return options.mmap_flags


class set_default_mmap_options:
    """Sets the flag that ``load(mmap=True)`` maps files with, for good or for a ``with`` block.

    Args:
        flags: `mmap.MAP_PRIVATE` or `mmap.MAP_SHARED`.
    """

    def __init__(self, flags: int) -> None:
        if flags not in (getattr(mmap, "MAP_PRIVATE", 2), getattr(mmap, "MAP_SHARED", 1)):
            raise ValueError(
                f"Invalid argument in function set_default_mmap_options, expected mmap.MAP_PRIVATE "
                f"or mmap.MAP_SHARED, but got {flags}"
            )
        self.previous = options.mmap_flags
        options.mmap_flags = flags

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: Any) -> None:
        options.mmap_flags = self.previous


def add_safe_globals(
    safe_globals: list[Callable[..., Any] | tuple[Callable[..., Any], str]],
) -> None:
    """Lets files loaded with ``weights_only=True`` name these classes and functions.

    Args:
        safe_globals: the objects, or pairs of an object and the name that files use for it.
    """
    known = {id(_object_of(item)) for item in options.safe_globals}
    for item in safe_globals:
        if isinstance(item, tuple) or id(item) not in known:
            options.safe_globals.append(item)


def _object_of(item: Any) -> Any:
    return item[0] if isinstance(item, tuple) else item


def clear_safe_globals() -> None:
    """Forgets what `add_safe_globals` was told."""
    options.safe_globals.clear()


def get_safe_globals() -> list[Any]:
    """Returns what `add_safe_globals` was told."""
    return list(options.safe_globals)


@contextmanager
def _safe_globals(added: list[Any]) -> Iterator[None]:
    before = list(options.safe_globals)
    add_safe_globals(added)
    try:
        yield
    finally:
        options.safe_globals[:] = before


class safe_globals:
    """Adds safe globals for a ``with`` block.

    Args: as `add_safe_globals`.
    """

    def __init__(self, safe_globals: list[Any]) -> None:
        self._block = _safe_globals(safe_globals)

    def __enter__(self) -> None:
        self._block.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._block.__exit__(*exception)


class skip_data:
    """In this ``with`` block `save` leaves room for tensors' data without writing it.

    Args:
        materialize_fake_tensors: accepted; taper has no fake tensors.
    """

    def __init__(self, materialize_fake_tensors: bool = False) -> None:
        self.materialize_fake_tensors = materialize_fake_tensors

    def __enter__(self) -> None:
        self._before = options.skip_data
        options.skip_data = True

    def __exit__(self, *exception: Any) -> None:
        options.skip_data = self._before


def register_package(
    priority: int, tagger: Callable[[Any], str | None],
    deserializer: Callable[[Any, str], Any | None],
) -> None:
    """Registers where storages of another kind of device are saved from and restored to.

    Args:
        priority: smaller ones are asked first.
        tagger: gives the location string of a storage, or None.
        deserializer: gives the storage at a location, or None.
    """
    options.packages.append((priority, tagger, deserializer))
    options.packages.sort(key=lambda package: package[0])
