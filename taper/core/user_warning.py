"""Warnings that point at the user's line, however deep in the package they are raised."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

__all__ = ["is_own", "warn_once", "warn_user"]

_PACKAGE = Path(__file__).resolve().parents[1]
_OWN = (str(_PACKAGE), "<taper operator")
_PROGRAMS = str(_PACKAGE / "benchmarks")
_warned: set[str] = set()


def is_own(file: str) -> bool:
    """Whether a file is the package's own, and no program that uses it."""
    return file.startswith(_OWN) and not file.startswith(_PROGRAMS)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns in the name of the first frame that is not the package's own."""
    level = 2
    frame = sys._getframe(1)
    while frame.f_back is not None and is_own(frame.f_code.co_filename):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def warn_once(key: str, message: str) -> None:
    """Warns the user once per process, as PyTorch does of what is old or young."""
    if key not in _warned:
        _warned.add(key)
        warn_user(message)
