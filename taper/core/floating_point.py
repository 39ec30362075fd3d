"""Keeps NumPy's floating point warnings out of taper's arithmetic, and in the user's own.

PyTorch divides by zero silently; NumPy warns. Entering `np.errstate` around each operator would
cost a third of a small one, so a handler is installed once: NumPy calls it only when a flag was
raised, and it looks who computed. Inside taper nothing happens; anywhere else the user gets
NumPy's usual RuntimeWarning. Threads start with NumPy's own setting, so a filter hides there
what comes from taper's modules.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np

__all__ = ["install"]


def _on_floating_point_error(kind: str, flag: int) -> None:
    frame = sys._getframe(1)
    if not frame.f_globals.get("__name__", "").startswith("taper."):
        warnings.warn(f"{kind} encountered", RuntimeWarning, stacklevel=2)


def install() -> None:
    """Installs the handler, unless the program has chosen its own error handling before."""
    if np.geterr() == {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}:
        np.seterrcall(_on_floating_point_error)
        np.seterr(divide="call", over="call", invalid="call")
    warnings.filterwarnings(
        "ignore", "(divide by zero|overflow|invalid value) encountered", RuntimeWarning, r"taper\."
    )
