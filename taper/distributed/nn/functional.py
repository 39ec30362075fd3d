"""Collectives in a group of one, with gradients: each gives a copy of what it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taper import Tensor
from taper.distributed.group import ReduceOp, member

__all__ = [
    "all_gather", "all_reduce", "all_to_all", "broadcast", "gather", "reduce", "reduce_scatter",
    "scatter",
]


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The tensor reduced over all processes.

    Raises: ValueError: if no group was made.
    Example:
        >>> import taper as torch
        >>> torch.distributed.init_process_group("gloo", "tcp://localhost:1", rank=0, world_size=1)
        >>> torch.distributed.nn.functional.all_reduce(torch.ones(2))
        tensor([1., 1.])
        >>> torch.distributed.destroy_process_group()
    """
    member(group)
    return tensor.clone()


def reduce(tensor: Tensor, dst: int, op: Any = ReduceOp.SUM, group: Any = None) -> Tensor:
    """The tensor reduced over all processes, at process `dst`."""
    return all_reduce(tensor, op, group)


def broadcast(tensor: Tensor, src: int, group: Any = None) -> Tensor:
    """The tensor of process `src`."""
    return all_reduce(tensor, group=group)


def all_gather(tensor: Tensor, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all processes."""
    return (all_reduce(tensor, group=group),)


def gather(tensor: Tensor, dst: int = 0, group: Any = None) -> tuple[Tensor, ...]:
    """The tensors of all processes, at process `dst`."""
    return all_gather(tensor, group)


def scatter(tensors: Sequence[Tensor], src: int = 0, group: Any = None) -> Tensor:
    """This process's tensor of those that process `src` has."""
    (tensor,) = tensors
    return all_reduce(tensor, group=group)


def reduce_scatter(
    output: Tensor, input_list: Sequence[Tensor], op: Any = ReduceOp.SUM, group: Any = None
) -> Tensor:
    """The tensor of this process's place, reduced over all processes."""
    return scatter(input_list, group=group)


def all_to_all(
    output_tensor_list: Sequence[Tensor], input_tensor_list: Sequence[Tensor], group: Any = None
) -> tuple[Tensor, ...]:
    """From each process the tensor that it has for this one."""
    return (scatter(input_tensor_list, group=group),)
