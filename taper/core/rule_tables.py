"""Tables of functions that are filled by a decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["entered_in"]

Rule = TypeVar("Rule", bound=Callable[..., Any])


def entered_in(table: dict[Any, Any]) -> Callable[..., Callable[[Rule], Rule]]:
    """A decorator ``@rule(*keys)`` that enters a function in `table` under each of the keys."""

    def rule(*keys: Any) -> Callable[[Rule], Rule]:
        def enter(function: Rule) -> Rule:
            table.update(dict.fromkeys(keys, function))
            return function

        return enter

    return rule
