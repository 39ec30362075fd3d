"""Forwards on batched arrays (vmap): all samples at once if the rules allow it, else one by one.

Most forwards run as they are, since every NumPy function that they call has a rule in
arrays/batched_rules.py. Some mix the batched with the plain, or hand arrays to code that wants
memory; those are tried again with every array batched, and at last run once per sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.levels import Level, shapes_error
from taper.ops.declare import Operator
from taper.ops.without_data import SHAPED_BY_VALUES

__all__ = ["forward_over_samples"]


def forward_over_samples(
    op: Operator, call: Callable[[Any], Any], values: tuple[Any, ...]
) -> Any:
    """What ``call(values)``, the forward, returns for all samples."""
    from taper.arrays.batched_rules import each_sample, youngest

    if op.name in SHAPED_BY_VALUES:
        raise shapes_error(op.name)
    try:
        return call(values)
    except Exception:
        level = youngest(values)
        if op.view or level is None or not level.size:
            raise
    try:
        return call(_all_batched(values, level))
    except Exception:  # whatever it is, one sample will say it in its own words
        return each_sample(_Forward(op, call), level, values, {})


class _Forward:
    """A forward as a function of its arguments, with the operator's name."""

    def __init__(self, op: Operator, call: Callable[[Any], Any]) -> None:
        self.call = call
        self.__name__ = op.name

    def __call__(self, *values: Any) -> Any:
        return self.call(values)


def _all_batched(value: Any, level: Level) -> Any:
    """The arguments with every array batched, those that all samples share too."""
    from taper.arrays.batched import BatchedArray
    from taper.arrays.batched_rules import expanded

    if type(value) is tuple or type(value) is list:
        return type(value)([_all_batched(v, level) for v in value])
    if isinstance(value, (np.ndarray, BatchedArray)) and not (
        type(value) is BatchedArray and value.level is level
    ):
        return BatchedArray(expanded(value, level), level)
    return value
