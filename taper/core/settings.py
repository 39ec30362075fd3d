"""Settings of taper's own, which PyTorch has no names for: `taper.settings`.

    import taper
    taper.settings.native = "off"

Each starts from an environment variable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["Settings", "on_change", "settings"]

_NATIVE = ("background", "now", "off")

on_change: list[Callable[[], None]] = []
"""Called when something was set that machine code depends on: this, or the number of threads."""


class Settings:
    """What a program may choose about how taper computes.

    native: where kernels of machine code come from (TAPER_NATIVE; 0 means "off").
        "background" compiles them in a thread, and calls wait for at most 50 ms; "now" makes
        the first call wait, for tests and timings; "off" leaves everything to NumPy.
    cache_dir: the folder of compiled kernels (TAPER_CACHE_DIR); None keeps them in memory only.
    """

    __slots__ = ("_native", "cache_dir")

    _native: str
    cache_dir: Path | None

    def __init__(self) -> None:
        asked = os.environ.get("TAPER_NATIVE", "").lower()
        self.native = {"": "background", "1": "background", "0": "off"}.get(asked, asked)
        self.cache_dir = default_cache_dir()

    @property
    def native(self) -> str:
        return self._native

    @native.setter
    def native(self, value: str) -> None:
        if value not in _NATIVE:
            raise ValueError(f"settings.native must be one of {_NATIVE}, not {value!r}")
        self._native = value
        for tell in on_change:
            tell()

    def __repr__(self) -> str:
        return f"Settings(native={self.native!r}, cache_dir={str(self.cache_dir)!r})"


def default_cache_dir() -> Path | None:
    """Where the platform keeps what can be made again; None where there is no home."""
    asked = os.environ.get("TAPER_CACHE_DIR")
    if asked:
        return Path(asked)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "taper"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"
        return Path(local) / "taper" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "taper"


settings = Settings()
