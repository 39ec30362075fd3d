"""Questions that have no answer while a step is recorded: recording arrays refuse to tell."""

from __future__ import annotations

from typing import Any

from numpy import ndarray

__all__ = ["ask", "ask_history"]


def ask(array: Any, what: str, *, of_inputs: bool = False) -> None:
    """Raises where that isn't known: of arrays, or of inputs, of a step that is recorded."""
    if type(array) is not ndarray:
        refuse = getattr(array, "refuse_to_tell", None)
        if refuse is not None and (array.is_of_an_input or not of_inputs):
            refuse(what)


def ask_history(array: Any, what: str) -> None:
    """The same for what the history of a tensor tells, if it had one before."""
    if getattr(array, "has_history", False):
        array.refuse_to_tell(what)
