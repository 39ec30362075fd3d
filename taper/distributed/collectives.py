"""Collectives in a group of one: what is reduced stays as it is, what is gathered is copied."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import taper
from taper import Tensor
from taper.distributed.group import ProcessGroup, ReduceOp, check_rank, member

__all__ = [
    "Work", "all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_single",
    "all_reduce", "all_reduce_coalesced", "all_to_all", "all_to_all_single", "barrier",
    "broadcast", "gather", "monitored_barrier", "reduce", "reduce_scatter",
    "reduce_scatter_single", "reduce_scatter_tensor", "scatter",
]  # fmt: skip


class Work:
    """A collective that was asked for; in a group of one it is done at once."""

    def __init__(self, result: list[Tensor]) -> None:
        self._result = result

    def is_completed(self) -> bool:
        """Returns True."""
        return True

    def is_success(self) -> bool:
        """Returns True: what goes wrong is raised when it is asked for."""
        return True

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Returns True at once."""
        return True

    def result(self) -> list[Tensor]:
        """The tensors that were written."""
        return self._result

    def get_future(self) -> Any:
        """A future that has the tensors already."""
        future: Any = taper.futures.Future()
        future.set_result(self._result)
        return future


def _done(tensors: list[Tensor], is_async: bool) -> Work | None:
    return Work(tensors) if is_async else None


def _check_tensor(tensor: Any, name: str) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n"
            f"             but got {type(tensor)} instead."
        )


def _check_list(tensors: Any, name: str) -> list[Tensor]:
    if not isinstance(tensors, (list, tuple)) or not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n"
            f"             but got {type(tensors)} instead."
        )
    return list(tensors)


def _only(tensors: Any, name: str) -> Tensor:
    """The one element of a list that has one for each process."""
    found = _check_list(tensors, name)
    if len(found) != 1:
        raise RuntimeError(f"{name} has {len(found)} tensors, and the group has one process")
    return found[0]


def _write(target: Tensor, source: Tensor, function: str) -> None:
    """Copies what a process gives into what it gets, which must be of equal shape and dtype."""
    if target.dtype != source.dtype:
        raise TypeError(
            f"{function}: tensors must be of the same type (expected {source.dtype}, got "
            f"{target.dtype})"
        )
    if target.shape != source.shape:
        raise RuntimeError(
            f"{function}: invalid tensor size (expected {tuple(source.shape)}, got "
            f"{tuple(target.shape)})"
        )
    with taper.no_grad():
        target.copy_(source)


# -- from all to all -------------------------------------------------------------------------------


def all_reduce(
    tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Replaces a tensor by the reduction of all processes' tensors.

    Example:
        >>> import taper as torch, taper.distributed as dist
        >>> dist.init_process_group(rank=0, world_size=1, store=dist.HashStore())
        >>> x = torch.tensor([1., 2.])
        >>> dist.all_reduce(x)
        >>> x
        tensor([1., 2.])
        >>> dist.destroy_process_group()
    """
    _check_tensor(tensor, "tensor")
    member(group)
    return _done([tensor], async_op)


def all_reduce_coalesced(
    tensors: Sequence[Tensor], op: ReduceOp = ReduceOp.SUM, group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """`all_reduce` of several tensors."""
    found = [tensors] if isinstance(tensors, Tensor) else _check_list(tensors, "tensors")
    member(group)
    return _done(found, async_op)


def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Copies the tensors of all processes into a list of tensors."""
    _check_tensor(tensor, "tensor")
    member(group)
    _write(_only(tensor_list, "tensor_list"), tensor, "all_gather")
    return _done(tensor_list, async_op)


def all_gather_coalesced(
    output_tensor_lists: list[list[Tensor]], input_tensor_list: list[Tensor],
    group: ProcessGroup | None = None, async_op: bool = False,
) -> Work | None:
    """`all_gather` of several tensors."""
    inputs = _check_list(input_tensor_list, "tensor_list")
    for outputs, tensor in zip(output_tensor_lists, inputs, strict=True):
        all_gather(outputs, tensor, group)
    return _done([t for tensors in output_tensor_lists for t in tensors], async_op)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Copies the tensors of all processes into one, one after the other."""
    _check_tensor(input_tensor, "input_tensor")
    _check_tensor(output_tensor, "output_tensor")
    member(group)
    _write(output_tensor.view(input_tensor.shape), input_tensor, "all_gather_into_tensor")
    return _done([output_tensor], async_op)


all_gather_single = all_gather_into_tensor


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor],
    group: ProcessGroup | None = None, async_op: bool = False,
) -> Work | None:
    """Sends a tensor to each process, and gets one of each."""
    member(group)
    target = _only(output_tensor_list, "output_tensor_list")
    _write(target, _only(input_tensor_list, "input_tensor_list"), "all_to_all")
    return _done([target], async_op)


def all_to_all_single(
    output: Tensor, input: Tensor, output_split_sizes: list[int] | None = None,
    input_split_sizes: list[int] | None = None, group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """Sends a part of a tensor to each process, and joins what comes from each."""
    _check_tensor(output, "output")
    _check_tensor(input, "input")
    member(group)
    for sizes, tensor in ((output_split_sizes, output), (input_split_sizes, input)):
        if sizes and list(sizes) != [tensor.shape[0]]:
            raise RuntimeError(f"the split sizes {list(sizes)} are not [{tensor.shape[0]}]")
    _write(output, input, "all_to_all_single")
    return _done([output], async_op)


def barrier(
    group: ProcessGroup | None = None, async_op: bool = False, device_ids: Any = None,
    timeout: timedelta | None = None,
) -> Work | None:
    """Waits for all processes of a group."""
    member(group)
    return _done([], async_op)


def monitored_barrier(
    group: ProcessGroup | None = None, timeout: timedelta | None = None,
    wait_all_ranks: bool = False,
) -> None:
    """`barrier` that tells which process didn't come; in a group of one, none is missing."""
    member(group)


# -- from or to one --------------------------------------------------------------------------------


def broadcast(
    tensor: Tensor, src: int | None = None, group: ProcessGroup | None = None,
    async_op: bool = False, group_src: int | None = None,
) -> Work | None:
    """Replaces a tensor by that of the process `src`."""
    _check_tensor(tensor, "tensor")
    check_rank(src, group_src, group)
    return _done([tensor], async_op)


def reduce(
    tensor: Tensor, dst: int | None = None, op: ReduceOp = ReduceOp.SUM,
    group: ProcessGroup | None = None, async_op: bool = False, group_dst: int | None = None,
) -> Work | None:
    """Replaces the tensor of the process `dst` by the reduction of all processes' tensors."""
    _check_tensor(tensor, "tensor")
    check_rank(dst, group_dst, group)
    return _done([tensor], async_op)


def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None,
    group: ProcessGroup | None = None, async_op: bool = False, group_dst: int | None = None,
) -> Work | None:
    """Copies the tensors of all processes into a list of tensors of the process `dst`."""
    _check_tensor(tensor, "tensor")
    check_rank(dst, group_dst, group)
    if not gather_list:
        raise ValueError(
            "Argument ``gather_list`` must be specified on destination rank."
        )
    _write(_only(gather_list, "gather_list"), tensor, "gather")
    return _done(gather_list, async_op)


def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None,
    group: ProcessGroup | None = None, async_op: bool = False, group_src: int | None = None,
) -> Work | None:
    """Gets this process's tensor of a list that the process `src` has."""
    _check_tensor(tensor, "tensor")
    check_rank(src, group_src, group)
    if not scatter_list:
        raise ValueError("Argument ``scatter_list`` must be specified on source rank.")
    _write(tensor, _only(scatter_list, "scatter_list"), "scatter")
    return _done([tensor], async_op)


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: ReduceOp = ReduceOp.SUM,
    group: ProcessGroup | None = None, async_op: bool = False,
) -> Work | None:
    """Reduces lists of tensors, of which each process gets one."""
    _check_tensor(output, "output")
    member(group)
    _write(output, _only(input_list, "input_list"), "reduce_scatter")
    return _done([output], async_op)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: ReduceOp = ReduceOp.SUM,
    group: ProcessGroup | None = None, async_op: bool = False,
) -> Work | None:
    """Reduces a tensor, of which each process gets a part."""
    _check_tensor(output, "output")
    _check_tensor(input, "input")
    member(group)
    _write(output, input.view(output.shape), "reduce_scatter_tensor")
    return _done([output], async_op)


reduce_scatter_single = reduce_scatter_tensor
