"""Modules as functions of their parameters: functional_call, stack_module_state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import taper
from taper.core.tensor import Tensor

__all__ = ["functional_call", "replace_all_batch_norm_modules_", "stack_module_state"]


def functional_call(
    module: Any, parameter_and_buffer_dicts: Any, args: Any = None,
    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False,
) -> Any:
    """Calls `module` with some of its parameters and buffers replaced, by dotted name.

    Args:
        parameter_and_buffer_dicts: a dict of tensors, or several that have no name in common.
        args: the arguments; one that is not a tuple is the only one.
        tie_weights: whether a value given for one of several names of a tensor is used for all.
        strict: whether all names must be given, and no others.
    Example:
        >>> import taper as torch
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> torch.func.functional_call(layer, {"weight": torch.ones(1, 2)}, torch.ones(2))
        tensor([2.])
    """
    given = parameter_and_buffer_dicts
    if not isinstance(given, dict):
        if not isinstance(given, Sequence):
            raise ValueError(
                "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but "
                f"got {type(given)}"
            )
        given = _merged(given)
    return taper.nn.utils.stateless.functional_call(
        module, given, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def _merged(dicts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    if not all([isinstance(d, dict) for d in dicts]):
        raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
    names = [name for d in dicts for name in d]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise ValueError(
            f"{repeated} appeared in multiple dictionaries; behavior of functional call is "
            "ambiguous"
        )
    return {name: value for d in dicts for name, value in d.items()}


def stack_module_state(models: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the parameters and the buffers of several modules, stacked under their names.

    With `functional_call` and `vmap` they run as one: an ensemble. Stacked parameters are leaves
    that require grad if the modules' do.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all([m.training for m in models]) or not any([m.training for m in models])):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if any([type(m) is not type(models[0]) for m in models]):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]
    return (
        {name: _stacked(name, [p[name] for p in parameters]) for name in parameters[0]},
        {name: _stacked(name, [b[name] for b in buffers]) for name in buffers[0]},
    )


def _stacked(name: str, tensors: list[Tensor]) -> Tensor:
    if any([t.requires_grad != tensors[0].requires_grad for t in tensors]):
        raise RuntimeError(
            f"Expected {name} from each model to have the same .requires_grad"
        )
    stacked: Tensor = taper.stack(tensors)
    if all([t.is_leaf for t in tensors]):
        stacked = stacked.detach().requires_grad_(tensors[0].requires_grad)
    return stacked


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Makes every batch norm in a module use no running statistics, in place; returns the module.

    vmap can't update running statistics that all samples share.
    """
    for module in root.modules():
        if isinstance(module, taper.nn.modules.batchnorm._BatchNorm):
            module.running_mean = None
            module.running_var = None
            module.num_batches_tracked = None
            module.track_running_stats = False
    return root
