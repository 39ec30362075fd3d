"""The operating system's semaphores: handles and two function pointers for machine code.

    wait(handle, -1) -> 0 unless interrupted        post(handle, 1, 0)

Arguments that a system's own function doesn't take are ignored by it.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, NamedTuple

__all__ = ["Semaphores", "find_semaphores"]

_SIZE_OF_SEM_T = 64  # more than any system's


class Semaphores(NamedTuple):
    """Addresses of the functions, and how to make a semaphore with the count 0."""

    wait: int
    post: int
    make: Any  # () -> (handle, what keeps it alive)


def _address(function: Any) -> int:
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def _of_windows() -> Semaphores:
    kernel: Any = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    kernel.CreateSemaphoreW.restype = ctypes.c_void_p
    kernel.CreateSemaphoreW.argtypes = [
        ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
    ]

    def make() -> tuple[int, Any]:
        return int(kernel.CreateSemaphoreW(None, 0, 2**30, None)), kernel

    return Semaphores(_address(kernel.WaitForSingleObject), _address(kernel.ReleaseSemaphore), make)


def _of_apple() -> Semaphores:
    system = ctypes.CDLL(None)
    system.dispatch_semaphore_create.restype = ctypes.c_void_p
    system.dispatch_semaphore_create.argtypes = [ctypes.c_long]

    def make() -> tuple[int, Any]:
        return int(system.dispatch_semaphore_create(0)), system

    return Semaphores(
        _address(system.dispatch_semaphore_wait), _address(system.dispatch_semaphore_signal), make
    )


def _of_posix() -> Semaphores:
    system = ctypes.CDLL(None)
    system.sem_init.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint]

    def make() -> tuple[int, Any]:
        memory = ctypes.create_string_buffer(_SIZE_OF_SEM_T)
        handle = ctypes.addressof(memory)
        if system.sem_init(handle, 0, 0):
            raise OSError("this system has no unnamed semaphores")
        return handle, memory

    return Semaphores(_address(system.sem_wait), _address(system.sem_post), make)


def find_semaphores() -> Semaphores | None:
    """This system's semaphores; None where they are not found."""
    try:
        if sys.platform == "win32":
            return _of_windows()
        return _of_apple() if sys.platform == "darwin" else _of_posix()
    except (AttributeError, OSError):
        return None
