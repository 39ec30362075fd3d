"""How tensors print, under the private names that packages with tensors of their own use."""

from __future__ import annotations

from typing import Any

from taper.core import printing
from taper.core.printing import PRINT_OPTS, get_printoptions, printoptions, set_printoptions

__all__ = [
    "PRINT_OPTS", "_add_suffixes", "_str", "_str_intern", "_tensor_str", "get_printoptions",
    "printoptions", "set_printoptions",
]

_add_suffixes = printing.with_suffixes


def _tensor_str(self: Any, indent: int) -> str:
    """The brackets and numbers of a tensor whose first line is that far from the margin."""
    return printing.contents_str(self, indent)


def _str(self: Any, *, tensor_contents: str | None = None) -> str:
    """What `repr` gives; `tensor_contents` stands in for the numbers."""
    return printing.tensor_str(self, tensor_contents=tensor_contents)


_str_intern = _str
