"""What stands behind a compiled function."""

from __future__ import annotations

from typing import Any

from taper.compilation.captured_function import CapturedFunction

__all__ = ["captured_in"]


def captured_in(compiled: Any) -> CapturedFunction:
    """Finds it in the closure of the function that users call."""
    return next(cell.cell_contents for cell in compiled.__closure__
                if isinstance(cell.cell_contents, CapturedFunction))
