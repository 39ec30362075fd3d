"""What `torch.library.opcheck` asks of a custom operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taper as torch
from taper import Tensor

__all__ = ["check_operator"]


def check_operator(
    op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tests: Any, raise_exception: bool
) -> dict[str, Any]:
    """The outcome of each test by its name: "SUCCESS", or the exception."""
    outcomes: dict[str, Any] = {}
    for name in [tests] if isinstance(tests, str) else tests:
        if name not in TESTS:
            raise ValueError(f"opcheck has no test called {name!r}: {sorted(TESTS)}")
        try:
            TESTS[name](op, args, kwargs)
            outcomes[name] = "SUCCESS"
        except Exception as error:
            if raise_exception:
                raise
            outcomes[name] = error
    return outcomes


def _copies(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, (tuple, list)):
        return type(value)(_copies(v) for v in value)
    return value


def _mutation(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Only what is declared is changed in place."""
    bound = op._schema.bind(_copies(args), {k: _copies(v) for k, v in kwargs.items()})
    before = {name: _copies(value) for name, value in bound.items()}
    with torch.no_grad():
        op._compute(bound)
    for argument in op._schema.arguments:
        now, then = bound[argument.name], before[argument.name]
        if isinstance(now, Tensor) and not argument.mutated and not torch.equal(now, then):
            raise RuntimeError(
                f"opcheck: {op!r} changed its argument {argument.name!r} in place, but that is "
                "not in mutates_args"
            )


def _gradient(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Results that require grad have a gradient."""
    result = op(*_copies(args), **{k: _copies(v) for k, v in kwargs.items()})
    for output in [result] if isinstance(result, Tensor) else result or ():
        if isinstance(output, Tensor) and output.requires_grad:
            output.sum().backward(retain_graph=True)


def _without_data(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Results without data have the shapes and dtypes of those with data."""
    with torch.no_grad():
        expected = op(*_copies(args), **{k: _copies(v) for k, v in kwargs.items()})
        found = op(*[_meta(a) for a in args], **{k: _meta(v) for k, v in kwargs.items()})

    def told(value: Any) -> Any:
        if isinstance(value, Tensor):
            return (value.shape, value.dtype)
        return [told(v) for v in value] if isinstance(value, (tuple, list)) else value

    if told(found) != told(expected):
        raise RuntimeError(
            f"opcheck: the fake results of {op!r} are {told(found)}, the real ones "
            f"{told(expected)}"
        )


def _meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("meta")
    return type(value)(_meta(v) for v in value) if isinstance(value, (tuple, list)) else value


TESTS: dict[str, Callable[..., None]] = {
    "test_schema": _mutation,
    "test_autograd_registration": _gradient,
    "test_faketensor": _without_data,
    "test_aot_dispatch_dynamic": _without_data,
    "test_aot_dispatch_static": _without_data,
}
