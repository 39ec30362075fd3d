"""Calling a module with other parameters and buffers than its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from taper import Tensor
from taper.nn.modules.module import Module

__all__ = ["functional_call"]


def functional_call(
    module: Module, parameters_and_buffers: Mapping[str, Tensor], args: Any = None,
    kwargs: Mapping[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False,
) -> Any:
    """Calls `module` with some of its parameters and buffers replaced, by dotted name.

    Args:
        args: the arguments; one that is not a tuple is the only one.
        tie_weights: whether a value given for one of several names of a tensor is used for all.
        strict: whether all names must be given, and no others.

    Example:
        >>> import taper as torch
        >>> from taper.nn.utils.stateless import functional_call
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> functional_call(layer, {"weight": torch.ones(1, 2)}, (torch.ones(2),))
        tensor([2.])
    """
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _reparametrize_module(
        module, parameters_and_buffers, tie_weights=tie_weights, strict=strict
    ):
        return module(*args, **(kwargs or {}))


@contextlib.contextmanager
def _reparametrize_module(
    module: Module, parameters_and_buffers: Mapping[str, Tensor], tie_weights: bool = False,
    strict: bool = False, stack_weights: bool = False,
) -> Iterator[None]:
    """Within: the module's tables hold the given tensors; afterwards, what they held before."""
    given = dict(parameters_and_buffers)
    if tie_weights:
        given = _with_tied_names(module, given)
    if strict:
        _check_names(module, given)
    for value in given.values():
        if not isinstance(value, Tensor):
            raise TypeError(f"{value} is not an instance of torch.Tensor")
    swapped: list[tuple[str, Any, str, Any]] = []
    try:
        for name, value in given.items():
            path, _, last = name.rpartition(".")
            table = _table_of(module.get_submodule(path), last)
            if table is not None:
                swapped.append((name, table, last, table[last]))
                table[last] = value
        yield
    finally:
        for name, table, last, before in reversed(swapped):
            # What the module assigned during the call goes to the caller's dict.
            if isinstance(parameters_and_buffers, dict) and name in parameters_and_buffers:
                parameters_and_buffers[name] = table[last]
            table[last] = before


def _table_of(module: Module, name: str) -> Any:
    for table in (module._parameters, module._buffers):
        if name in table:
            return table
    return None


def _named_tensors(module: Module) -> dict[str, Tensor]:
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _with_tied_names(module: Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """`given`, with the value for one name of a tensor also under its other names."""
    names_of: dict[int, list[str]] = {}
    for name, tensor in _named_tensors(module).items():
        names_of.setdefault(id(tensor), []).append(name)
    result = dict(given)
    for names in names_of.values():
        values = {id(given[name]): given[name] for name in names if name in given}
        if len(values) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(names)}, which are tied. "
                "Consider using tie_weights=False"
            )
        for name in names if values else ():
            result[name] = next(iter(values.values()))
    return result


def _check_names(module: Module, given: Mapping[str, Tensor]) -> None:
    known = _named_tensors(module)
    problems = []
    for label, names in (
        ("Unexpected", sorted(name for name in given if name not in known)),
        ("Missing", sorted(name for name in known if name not in given)),
    ):
        if names:
            listed = ", ".join(f"'{name}'" for name in names)
            problems.append(f"{label} key(s): {listed}.")
    if problems:
        raise RuntimeError(
            f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(problems)
        )
