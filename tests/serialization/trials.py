"""How many random trials a test makes: few while one works, all of them on demand."""

from __future__ import annotations

import os

__all__ = ["trials"]


def trials(quick: int, full: int | None) -> int | None:
    """The number that TAPER_TRIALS says: `quick` if it says nothing, `full` (None: all) for full."""
    word = os.environ.get("TAPER_TRIALS", "")
    return int(word) if word.isdigit() else full if word == "full" else quick
