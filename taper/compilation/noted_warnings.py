"""Warnings of a call that is recorded: its program gives them again, as the call would.

Whether one is shown is decided then, by the filters that there are and by the registry of the
module that it came from, as for any other warning.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taper.arrays.stand_in import refusal
from taper.compilation.recorded import NotCaptured, NotedWarning

__all__ = ["give_again", "noting_warnings", "one_is_an_error"]


@contextmanager
def noting_warnings() -> Iterator[list[NotedWarning]]:
    """Within: `warnings.warn` in this thread only adds to the list."""
    noted: list[NotedWarning] = []
    warn, filters, thread = warnings.warn, warnings.filters, threading.get_ident()

    def note(
        message: Any, category: Any = None, stacklevel: int = 1, source: Any = None, **others: Any
    ) -> None:
        if threading.get_ident() != thread:
            warn(message, category, stacklevel + 1, source, **others)
            return
        if others or source is not None:
            raise refusal(NotCaptured("it warns of a source, or skips files"))
        warning = _located(message, category, stacklevel)
        if warnings.filters is filters:
            noted.append(warning)
        elif _action(warning) != "ignore":
            raise refusal(NotCaptured("it warns where it has filters of warnings of its own"))

    warnings.warn = note
    try:
        yield noted
    finally:
        warnings.warn = warn


def _located(message: Any, category: Any, stacklevel: int) -> NotedWarning:
    """The warning, with the place that it is for."""
    if isinstance(message, Warning):
        category = type(message)
    elif category is None:
        category = UserWarning
    try:
        frame = sys._getframe(max(stacklevel, 1) + 1)
    except ValueError:  # further up than there are calls
        raise refusal(NotCaptured("it warns of a call that isn't there")) from None
    scope = frame.f_globals
    return NotedWarning(
        message, category, frame.f_code.co_filename, frame.f_lineno,
        scope.get("__name__") or "<string>", scope.setdefault("__warningregistry__", {}))


def _action(warning: NotedWarning) -> str:
    """What the filters that there are do with a warning."""
    text = str(warning.message)
    for action, message, category, module, lineno in warnings.filters:
        if (
            (message is None or message.match(text)) and issubclass(warning.category, category)
            and (module is None or module.match(warning.module))
            and lineno in (0, warning.lineno)
        ):
            return action
    return "default"


def one_is_an_error(noted: list[NotedWarning]) -> bool:
    """Whether a filter raises a warning: where, only the function itself knows."""
    return any([_action(warning) == "error" for warning in noted])


def give_again(noted: list[NotedWarning]) -> None:
    """Warns once more."""
    for warning in noted:
        warnings.warn_explicit(*warning)
