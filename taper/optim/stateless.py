"""Runs an optimizer on other parameters and state than its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taper import Tensor
from taper.optim.optimizer import Optimizer

__all__ = ["swap_in_optimizer_params_and_state"]


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer, swapin_parameters: dict[str, Tensor], swapin_optim_state: dict[str, Any]
) -> Iterator[None]:
    """In this ``with`` block the optimizer has other parameters and another state.

    `step` changes the tensors given here in place; afterwards everything else is as before.

    Args:
        optimizer: the optimizer.
        swapin_parameters: name → tensor, in the order of the optimizer's parameters.
        swapin_optim_state: a state dict, as `optimizer.state_dict()` gives it.

    Raises: ValueError: if there are not as many parameters, or groups, as the optimizer has.
    """
    saved_groups = swapin_optim_state["param_groups"]
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    numbers = [number for group in saved_groups for number in group["params"]]
    if len(swapin_parameters) != count or len(numbers) != count:
        raise ValueError(
            f"the optimizer has {count} parameters, but {len(swapin_parameters)} parameters and "
            f"the state of {len(numbers)} were given"
        )
    if len(saved_groups) != len(optimizer.param_groups):
        raise ValueError(
            f"the optimizer has {len(optimizer.param_groups)} parameter groups, but the state of "
            f"{len(saved_groups)} was given"
        )
    params = dict(zip(numbers, swapin_parameters.values(), strict=True))
    own = optimizer.param_groups, optimizer.state
    optimizer.param_groups = [
        {**group, "params": [params[number] for number in group["params"]]}
        for group in saved_groups
    ]
    optimizer.state = defaultdict(dict, {
        params.get(number, number): dict(state) if isinstance(state, dict) else state
        for number, state in swapin_optim_state["state"].items()
    })
    try:
        yield
    finally:
        optimizer.param_groups, optimizer.state = own
