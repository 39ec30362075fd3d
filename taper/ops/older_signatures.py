"""Calls as PyTorch's first releases had them: factors by position, before the tensors.

``x.add_(-0.1, grad)`` means ``x.add_(grad, alpha=-0.1)``; optimizers published with papers are
written so. The generated functions take what is too much as `_older` and come here with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from taper.core.tensor import Tensor
from taper.core.user_warning import warn_once
from taper.ops.declare import Operator

__all__ = ["call_older", "hide_older"]


def call_older(
    function: Callable[..., Any], op: Operator, names: list[str], given: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    """Calls `function` with the tensors by position and the numbers by the names they have now.

    Args:
        names: of the positional parameters.
        given: all positional arguments, and Ellipsis for those that were not given.
        keywords: the other parameters that the caller gave.

    Raises: TypeError: if the operator never was called so either.
    """
    given = tuple([value for value in given if value is not ...])
    tensors = [value for value in given if isinstance(value, Tensor)]
    numbers = [value for value in given if not isinstance(value, Tensor)]
    fits = len(tensors) == len(names) and len(numbers) <= len(op.older) and given[-1] is tensors[-1]
    if not fits or not all(isinstance(value, (int, float, complex)) for value in numbers):
        raise TypeError(
            f"{function.__name__}() takes {len(names)} positional arguments but {len(given)} were "
            "given"
        )
    named = dict(zip(op.older, numbers, strict=False))
    if twice := named.keys() & keywords:
        raise TypeError(f"{function.__name__}() got multiple values for argument {min(twice)!r}")
    _warn(function.__name__, names, list(named))
    return function(*tensors, **{**keywords, **named})


def hide_older(function: Callable[..., Any]) -> None:
    """Lets a function show the signature that PyTorch's has: what follows `_older` is by name."""
    signature = inspect.signature(function)
    shown: list[inspect.Parameter] = []
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    for name, parameter in signature.parameters.items():
        if name.startswith("_older"):
            kind = inspect.Parameter.KEYWORD_ONLY
        else:
            is_plain = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            shown.append(parameter.replace(kind=kind) if is_plain else parameter)
    function.__dict__["__signature__"] = signature.replace(parameters=shown)


def _warn(function: str, names: list[str], numbers: list[str]) -> None:
    tensors = [f"Tensor {name}" for name in names[1:]]
    before = ", ".join([f"Number {name}" for name in numbers] + tensors)
    after = ", ".join([*tensors, "*"] + [f"Number {name} = 1" for name in numbers])
    warn_once("older signatures", (
        f"This overload of {function} is deprecated:\n\t{function}({before})\nConsider using one "
        f"of the following signatures instead:\n\t{function}({after})"
    ))
