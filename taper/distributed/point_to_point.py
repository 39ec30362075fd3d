"""Messages from one process to another. In a world of one there is no other: errors say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from taper import Tensor
from taper.distributed.collectives import Work
from taper.distributed.group import ProcessGroup, check_rank, member

__all__ = ["P2POp", "batch_isend_irecv", "irecv", "isend", "recv", "refuse_own_rank", "send"]


def refuse_own_rank(
    role: str, rank: int | None, group_rank: int | None, group: ProcessGroup | None
) -> NoReturn:
    """Raises PyTorch's error for messages to oneself, or that for a rank that isn't there."""
    check_rank(rank, group_rank, group)
    raise ValueError(
        f"Invalid {role} rank: {role} rank should not be the same as the rank of the current "
        "process."
    )


def send(
    tensor: Tensor, dst: int | None = None, group: ProcessGroup | None = None, tag: int = 0,
    group_dst: int | None = None,
) -> None:
    """Sends a tensor to another process, of which there is none: an error."""
    refuse_own_rank("destination", dst, group_dst, group)


def recv(
    tensor: Tensor, src: int | None = None, group: ProcessGroup | None = None, tag: int = 0,
    group_src: int | None = None,
) -> int:
    """Receives a tensor of another process, of which there is none: an error."""
    refuse_own_rank("source", src, group_src, group)


def isend(
    tensor: Tensor, dst: int | None = None, group: ProcessGroup | None = None, tag: int = 0,
    group_dst: int | None = None,
) -> Work:
    """`send` that doesn't wait."""
    refuse_own_rank("destination", dst, group_dst, group)


def irecv(
    tensor: Tensor, src: int | None = None, group: ProcessGroup | None = None, tag: int = 0,
    group_src: int | None = None,
) -> Work:
    """`recv` that doesn't wait."""
    refuse_own_rank("source", src, group_src, group)


class P2POp:
    """A message for `batch_isend_irecv`: `isend` or `irecv`, and what it is called with."""

    def __init__(
        self, op: Callable[..., Work], tensor: Tensor, peer: int | None = None,
        group: ProcessGroup | None = None, tag: int = 0, group_peer: int | None = None,
    ) -> None:
        if op not in (isend, irecv):
            raise ValueError(
                "Invalid ``op``. Expected ``op`` to be of type "
                "``torch.distributed.isend`` or ``torch.distributed.irecv``."
            )
        check_rank(peer, group_peer, group)
        self.op, self.tensor, self.peer = op, tensor, peer
        self.group, self.tag, self.group_peer = group, tag, group_peer


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """Sends and receives several tensors at once."""
    member(None)
    if not isinstance(p2p_op_list, list) or not all(isinstance(op, P2POp) for op in p2p_op_list):
        raise ValueError(
            "Invalid ``p2p_op_list``. Each op is expected to to be of type "
            "``torch.distributed.P2POp``."
        )
    return [op.op(op.tensor, op.peer, op.group, op.tag, op.group_peer) for op in p2p_op_list]
