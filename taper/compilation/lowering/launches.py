"""Launches: a kernel with its argument block, in which addresses are still open."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from taper.compilation.lowering.values import Value

__all__ = ["Address", "Launch"]


class Address(NamedTuple):
    """A word of an argument block: so many elements behind the beginning of a value."""

    value: Value
    offset: int = 0


class Launch(NamedTuple):
    """One kernel to run.

    Attributes:
        key: what tells the kernel from others; `build` gives its text and name.
        words: its argument block.
        tasks: its units of work.     grain: how many are worth a thread.
        text: one line that says what it computes.
        source: the expression, if it has one.
    """

    key: Hashable
    build: Callable[[], tuple[str, str]]
    words: list[int | Address]
    tasks: int
    grain: int
    text: str
    source: Any = None

    @property
    def addresses(self) -> list[Address]:
        return [word for word in self.words if isinstance(word, Address)]
