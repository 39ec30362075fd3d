"""Warnings that point at the user's line, however deep in the package they are raised."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

__all__ = ["warn_once", "warn_user"]

_OWN = (str(Path(__file__).resolve().parents[1]), "<taper operator")
_warned: set[str] = set()


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns in the name of the first frame that is not the package's own."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OWN):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def warn_once(key: str, message: str) -> None:
    """Warns the user once per process, as PyTorch does of what is old or young."""
    if key not in _warned:
        _warned.add(key)
        warn_user(message)
