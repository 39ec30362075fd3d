"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

import taper
from taper import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Returns all elements of the parameters in one vector; gradients flow through it."""
    parameters = list(parameters)
    _check_one_device(parameters)
    return taper.cat([parameter.view(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Makes the parameters views of the vector's parts, in order."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {taper.typename(vec)}")
    start = 0
    parameters = list(parameters)
    _check_one_device(parameters)
    for parameter in parameters:
        count = parameter.numel()
        parameter.data = vec[start : start + count].view_as(parameter).data
        start += count


def _check_one_device(parameters: list[Tensor]) -> None:
    if len({parameter.device for parameter in parameters}) > 1:
        raise TypeError(
            "Found two parameters on different devices, this is currently not supported."
        )
