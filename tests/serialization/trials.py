"""How many random trials a test makes: few while one works, all of them on demand."""

from __future__ import annotations

import os

__all__ = ["trials"]


def trials(quick: int, full: int | None) -> int | None:
    """The number in TAPER_TRIALS; `full` (None: all) if it says "full", `quick` if nothing."""
    word = os.environ.get("TAPER_TRIALS", "")
    return int(word) if word.isdigit() else full if word == "full" else quick
