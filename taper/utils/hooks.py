"""Handles that remove a registered hook."""

from __future__ import annotations

from taper.core.removable_handle import RemovableHandle

__all__ = ["RemovableHandle"]
