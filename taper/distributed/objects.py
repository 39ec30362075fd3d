"""Collectives of Python objects. In a group of one nothing is pickled: objects are handed over."""

from __future__ import annotations

from typing import Any

from taper.distributed.group import ProcessGroup, check_rank, member
from taper.distributed.point_to_point import refuse_own_rank

__all__ = [
    "all_gather_object", "broadcast_object_list", "gather_object", "recv_object_list",
    "scatter_object_list", "send_object_list",
]  # fmt: skip


def all_gather_object(
    object_list: list[Any], obj: Any, group: ProcessGroup | None = None
) -> None:
    """Writes the objects of all processes into a list, which has a place for each.

    Example:
        >>> import taper.distributed as dist
        >>> dist.init_process_group(rank=0, world_size=1, store=dist.HashStore())
        >>> found = [None]
        >>> dist.all_gather_object(found, {"loss": 0.5})
        >>> found
        [{'loss': 0.5}]
        >>> dist.destroy_process_group()
    """
    member(group)
    object_list[0] = obj


def gather_object(
    obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None,
    group: ProcessGroup | None = None, group_dst: int | None = None,
) -> None:
    """Writes the objects of all processes into a list of the process `dst`."""
    check_rank(dst, group_dst, group)
    if not object_gather_list:
        raise ValueError("Argument ``object_gather_list`` must be specified on destination rank.")
    object_gather_list[0] = obj


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: ProcessGroup | None = None,
    device: Any = None, group_src: int | None = None,
) -> None:
    """Replaces the objects of a list by those of the process `src`."""
    check_rank(src, group_src, group)


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None,
    src: int | None = None, group: ProcessGroup | None = None, group_src: int | None = None,
) -> None:
    """Writes this process's object, of a list that the process `src` has, into a list of one."""
    check_rank(src, group_src, group)
    if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
        raise ValueError(
            "Expected argument scatter_object_output_list to be a list of size at least 1."
        )
    if not scatter_object_input_list:
        raise ValueError(
            "source rank must provide non-None scatter_object_input_list"
        )
    scatter_object_output_list[0] = scatter_object_input_list[0]


def send_object_list(
    object_list: list[Any], dst: int | None = None, group: ProcessGroup | None = None,
    device: Any = None, group_dst: int | None = None, use_batch: bool = False,
) -> None:
    """Sends objects to another process, of which there is none: an error."""
    refuse_own_rank("destination", dst, group_dst, group)


def recv_object_list(
    object_list: list[Any], src: int | None = None, group: ProcessGroup | None = None,
    device: Any = None, group_src: int | None = None, use_batch: bool = False,
) -> int:
    """Receives objects of another process, of which there is none: an error."""
    refuse_own_rank("source", src, group_src, group)
