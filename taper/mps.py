"""`torch.mps`: absent, as on any machine that is not a Mac."""

from __future__ import annotations

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed", "synchronize"]


def is_available() -> bool:
    """Returns False."""
    return False


def device_count() -> int:
    """Returns 0."""
    return 0


def synchronize() -> None:
    """Raises: there is nothing to wait for."""
    raise RuntimeError("Cannot execute deviceSynchronize() without MPS backend.")


def empty_cache() -> None:
    """Raises: there is no cache."""
    raise RuntimeError("Cannot execute emptyCache() without MPS backend.")


def manual_seed(seed: int) -> None:
    """Does nothing: there is no generator."""
