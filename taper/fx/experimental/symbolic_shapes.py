"""Questions about sizes that may be unknown while a program is traced: here they are known."""

from __future__ import annotations

from typing import Any

__all__ = [
    "free_symbols", "free_unbacked_symbols", "guard_bool", "guard_or_false", "guard_or_true",
    "has_free_symbols", "is_concrete_bool", "is_concrete_int", "statically_known_true",
]


def guard_or_false(a: Any) -> bool:
    """Returns the condition, which is known."""
    return bool(a)


guard_bool = guard_or_true = statically_known_true = guard_or_false


def free_symbols(value: Any) -> set[Any]:
    """Returns no unknown size."""
    return set()


free_unbacked_symbols = free_symbols


def has_free_symbols(value: Any) -> bool:
    """Returns False."""
    return False


def is_concrete_int(a: Any) -> bool:
    """Returns True: numbers are numbers."""
    return True


is_concrete_bool = is_concrete_int


class GuardOnDataDependentSymNode(RuntimeError):
    """Raised by PyTorch where a condition depends on values; never here."""
