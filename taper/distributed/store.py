"""Stores: what processes would tell each other by, which one process can tell itself by, too."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

__all__ = [
    "DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "FileStore",
    "HashStore", "PrefixStore", "Store", "TCPStore",
]  # fmt: skip

_TIMEOUT = timedelta(seconds=300)


class DistError(RuntimeError):
    """Something went wrong between processes."""


class DistBackendError(DistError):
    """A backend failed."""


class DistNetworkError(DistError):
    """A connection failed."""


class DistStoreError(DistError):
    """A store failed, or waited in vain."""


class Store:
    """Values by name, which threads can wait for."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self.timeout = _TIMEOUT

    def set_timeout(self, timeout: timedelta) -> None:
        """How long `get` and `wait` wait."""
        self.timeout = timeout

    def set(self, key: str, value: str | bytes) -> None:
        """Stores a value.

        Example:
            >>> import taper as torch
            >>> store = torch.distributed.HashStore()
            >>> store.set("step", "3")
            >>> store.get("step")
            b'3'
        """
        with self._changed:
            self._values[key] = _as_bytes(value)
            self._changed.notify_all()

    def get(self, key: str) -> bytes:
        """The value of a key, when there is one."""
        self.wait([key])
        return self._values[key]

    def add(self, key: str, amount: int) -> int:
        """Adds to a whole number, which begins at 0, and returns the sum."""
        with self._changed:
            total = int(self._values.get(key, b"0")) + amount
            self._values[key] = str(total).encode()
            self._changed.notify_all()
        return total

    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes:
        """Stores a value if the old one is as expected, or if neither is there; returns the value
        that is there then."""
        with self._changed:
            old = self._values.get(key)
            if old == _as_bytes(expected_value) or (old is None and not expected_value):
                self._values[key] = _as_bytes(desired_value)
                self._changed.notify_all()
            return self._values.get(key, _as_bytes(expected_value))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Waits until all keys have values.

        Raises: DistStoreError: if they don't in time
        """
        seconds = (self.timeout if timeout is None else timeout).total_seconds()
        with self._changed:
            if not self._changed.wait_for(lambda: self.check(keys), seconds):
                raise DistStoreError(
                    f"wait timeout after {round(seconds * 1000)}ms, keys: {', '.join(keys)}"
                )

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all keys have values."""
        return all(key in self._values for key in keys)

    def delete_key(self, key: str) -> bool:
        """Removes a key; says whether it was there."""
        with self._changed:
            return self._values.pop(key, None) is not None

    def num_keys(self) -> int:
        """How many keys have values."""
        return len(self._values)


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


class HashStore(Store):
    """Values in memory."""


class FileStore(Store):
    """In PyTorch, values in a file that all processes read; for one they stay in memory."""

    def __init__(self, file_name: str, world_size: int = -1) -> None:
        super().__init__()
        self.path = file_name
        _check_size(world_size)


class TCPStore(Store):
    """In PyTorch, values that one process serves to the others; for one they stay in memory."""

    def __init__(
        self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False,
        timeout: timedelta = _TIMEOUT, wait_for_workers: bool = True, **options: Any,
    ) -> None:
        super().__init__()
        self.host, self.port, self.timeout = host_name, port, timeout
        _check_size(world_size)
        if not is_master:
            raise NotImplementedError(
                "TCPStore: another process can't be asked, since taper.distributed has a world of "
                "one. Use is_master=True, or HashStore."
            )


def _check_size(world_size: int | None) -> None:
    if world_size is not None and world_size > 1:
        raise NotImplementedError(
            f"taper.distributed has a world of one process, and world_size is {world_size}."
        )


class PrefixStore(Store):
    """The keys of another store that begin with a prefix."""

    def __init__(self, prefix: str, store: Store) -> None:
        super().__init__()
        self.prefix, self.underlying_store = prefix, store
        self._changed = store._changed

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}"

    def set(self, key: str, value: str | bytes) -> None:
        self.underlying_store.set(self._full(key), value)

    def get(self, key: str) -> bytes:
        return self.underlying_store.get(self._full(key))

    def add(self, key: str, amount: int) -> int:
        return self.underlying_store.add(self._full(key), amount)

    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes:
        return self.underlying_store.compare_set(self._full(key), expected_value, desired_value)

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        self.underlying_store.wait([self._full(key) for key in keys], timeout)

    def check(self, keys: Sequence[str]) -> bool:
        return self.underlying_store.check([self._full(key) for key in keys])

    def delete_key(self, key: str) -> bool:
        return self.underlying_store.delete_key(self._full(key))

    def num_keys(self) -> int:
        return self.underlying_store.num_keys()
