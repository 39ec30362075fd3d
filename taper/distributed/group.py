"""Groups of one process: how they are made, and what they say of themselves."""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn

from taper.core.device import device as Device
from taper.distributed.store import Store

__all__ = [
    "Backend", "GroupMember", "ProcessGroup", "ReduceOp", "destroy_process_group", "get_backend",
    "get_backend_config", "get_default_backend_for_device", "get_global_rank", "get_group_rank",
    "get_node_local_rank", "get_pg_count", "get_process_group_ranks", "get_rank",
    "get_world_size", "group", "init_process_group", "is_available", "is_backend_available",
    "is_gloo_available", "is_initialized", "is_mpi_available", "is_nccl_available",
    "is_ucc_available", "is_xccl_available", "member", "new_group", "new_subgroups",
    "new_subgroups_by_enumeration",
]  # fmt: skip

_UNINITIALIZED = (
    "Default process group has not been initialized, please make sure to call init_process_group."
)
_ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class ReduceOp(enum.Enum):
    """How a collective combines the tensors of a group; of one process, each is that tensor."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8


class Backend(str):
    """The name of what carries messages, in small letters; here there are none to carry."""

    UNDEFINED = "undefined"
    GLOO = "gloo"
    NCCL = "nccl"
    XCCL = "xccl"
    UCC = "ucc"
    MPI = "mpi"
    backend_list = (UNDEFINED, GLOO, NCCL, XCCL, UCC, MPI)

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return super().__new__(cls, name.lower())


class ProcessGroup:
    """A group of one process, which `init_process_group` and `new_group` make."""

    def __init__(self, backend: str, name: str) -> None:
        self._backend = Backend(backend)
        self.group_name = name

    def rank(self) -> int:
        """The place of this process in the group."""
        return 0

    def size(self) -> int:
        """How many processes there are."""
        return 1

    def name(self) -> str:
        """The name of the backend."""
        return str(self._backend)


class GroupMember:
    """What is compared with groups: the group of all, and the mark of not being in one."""

    WORLD: ProcessGroup | None = None
    NON_GROUP_MEMBER = -100


class _Groups(type):
    """`group.WORLD` is looked up when it is asked for."""

    @property
    def WORLD(cls) -> ProcessGroup | None:
        return GroupMember.WORLD


class group(metaclass=_Groups):
    """Where the group of all processes is found: ``group.WORLD``."""


_made: list[ProcessGroup] = []


def is_available() -> bool:
    """Returns False: processes can't talk to each other, a world of one works all the same.

    Example:
        >>> import taper as torch
        >>> torch.distributed.is_available()
        False
    """
    return False


def is_initialized() -> bool:
    """Whether `init_process_group` was called.

    Example:
        >>> import taper as torch
        >>> torch.distributed.is_initialized()
        False
    """
    return GroupMember.WORLD is not None


def is_gloo_available() -> bool:
    """Returns True: a group of one may be called so."""
    return True


def is_nccl_available() -> bool:
    """Returns False: there are no GPUs."""
    return False


def is_mpi_available() -> bool:
    """Returns False."""
    return False


def is_ucc_available() -> bool:
    """Returns False."""
    return False


def is_xccl_available() -> bool:
    """Returns False."""
    return False


def is_backend_available(backend: str) -> bool:
    """Whether a group may have this backend."""
    return backend.lower() == Backend.GLOO


def get_default_backend_for_device(device: str | Device) -> str:
    """The backend for tensors of a device: "gloo", which is the only one."""
    if isinstance(device, str):
        Device(device)  # raises if there is no such device
    return Backend.GLOO


def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None,
    world_size: int = -1, rank: int = -1, store: Store | None = None, group_name: str = "",
    pg_options: Any = None, device_id: Any = None, _ranks: list[int] | None = None,
) -> None:
    """Makes the group of all processes, which is this one.

    Args:   backend: "gloo", or None;  init_method: "env://" (the default: rank and size come from
        the environment), or a URL that is not needed here;  store: instead of a URL
    Raises: NotImplementedError: for more than one process
    Example:
        >>> import taper as torch
        >>> torch.distributed.init_process_group(
        ...     "gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
        >>> torch.distributed.get_world_size()
        1
        >>> torch.distributed.destroy_process_group()
    """
    if GroupMember.WORLD is not None:
        raise ValueError("trying to initialize the default process group twice!")
    assert store is None or init_method is None, "Cannot specify both init_method and store."
    name = _checked_backend(backend)
    if store is not None:
        assert world_size > 0, "world_size must be positive if using store"
        assert rank >= 0, "rank must be non-negative if using store"
    elif init_method is None or init_method.startswith("env://"):
        rank, world_size = _from_environment(rank, world_size)
    elif rank < 0 or world_size < 1:
        raise ValueError(
            f"Error initializing torch.distributed using {init_method.partition('://')[0]}:// "
            f"rendezvous: {'rank' if rank < 0 else 'world size'} parameter missing"
        )
    if world_size != 1:
        refuse_more_processes(f"world_size is {world_size}")
    if rank != 0:
        raise ValueError(f"rank {rank} is not in a world of size {world_size}")
    GroupMember.WORLD = ProcessGroup(name, group_name or "default_pg")
    _made.append(GroupMember.WORLD)


def _checked_backend(backend: str | None) -> str:
    name = Backend.UNDEFINED if backend is None else backend.lower()
    parts = [part.rpartition(":")[2] for part in name.split(",")]  # "cpu:gloo,cuda:nccl"
    for part in parts:
        assert part in Backend.backend_list, f"Unknown backend type {part}"
    if Backend.GLOO in parts or parts == [Backend.UNDEFINED]:
        return Backend.GLOO if Backend.GLOO in parts else name
    raise RuntimeError(f"Distributed package doesn't have {parts[0].upper()} built in")


def _from_environment(rank: int, world_size: int) -> tuple[int, int]:
    given = {"RANK": rank >= 0, "WORLD_SIZE": world_size >= 0}
    for name in _ENVIRONMENT:
        if not given.get(name) and name not in os.environ:
            raise ValueError(
                "Error initializing torch.distributed using env:// rendezvous: environment "
                f"variable {name} expected, but not set"
            )
    return (
        rank if given["RANK"] else int(os.environ["RANK"]),
        world_size if given["WORLD_SIZE"] else int(os.environ["WORLD_SIZE"]),
    )


def refuse_more_processes(found: str) -> NoReturn:
    """Raises the error for what takes more than one process."""
    raise NotImplementedError(
        f"taper.distributed has a world of one process, and {found}. taper computes on all cores "
        "of one process: run the program with WORLD_SIZE=1, load data with "
        "DataLoader(num_workers=…), and start independent processes with torch.multiprocessing."
    )


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Forgets a group, or with the group of all, every one."""
    if group is None or group is GroupMember.WORLD:
        assert GroupMember.WORLD is not None, "Process group cannot be None"
        GroupMember.WORLD = None
        _made.clear()
        return
    member(group)
    _made.remove(group)


def member(group: ProcessGroup | None) -> ProcessGroup:
    """The group, or that of all; raises without one."""
    if group is None:
        if GroupMember.WORLD is None:
            raise ValueError(_UNINITIALIZED)
        return GroupMember.WORLD
    if group not in _made:
        raise ValueError("Invalid process group specified")
    return group


def check_rank(rank: int | None, group_rank: int | None, group: ProcessGroup | None) -> None:
    """Raises unless a rank, in the world or in its group, is that of this process."""
    member(group)
    for given in (rank, group_rank):
        if given is not None and given != 0:
            raise ValueError(f"Rank {given} is not in a group of one process")


def get_rank(group: ProcessGroup | None = None) -> int:
    """The rank of this process: 0."""
    return member(group).rank()


def get_world_size(group: ProcessGroup | None = None) -> int:
    """How many processes a group has: 1."""
    return member(group).size()


def get_backend(group: ProcessGroup | None = None) -> Backend:
    """The name of a group's backend."""
    return member(group)._backend


def get_backend_config(group: ProcessGroup | None = None) -> str:
    """Which backend serves which kind of device."""
    return f"cpu:{member(group)._backend}"


def get_pg_count() -> int:
    """How many groups there are."""
    return len(_made)


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The rank among the processes of this machine, which LOCAL_RANK tells."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is not None:
        return int(fallback_rank)
    raise RuntimeError(
        "LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow "
        "`get_node_local_rank` to work, assuming you are not running in a multi-device context "
        "and want the code to run locally instead."
    )


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """The ranks in the world of a group's processes."""
    member(group)
    return [0]


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The rank in the world of a group's process."""
    check_rank(None, group_rank, group)
    return 0


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The rank in a group of one of the world's processes."""
    check_rank(global_rank, None, group)
    return 0


def new_group(
    ranks: Sequence[int] | None = None, timeout: timedelta | None = None,
    backend: str | None = None, pg_options: Any = None, use_local_synchronization: bool = False,
    group_desc: str | None = None, device_id: Any = None, sort_ranks: bool = True,
) -> ProcessGroup:
    """Makes another group; its processes can only be this one."""
    world = member(None)
    for rank in ranks or ():
        if rank != 0:
            raise ValueError(f"Rank {rank} is out of range. Valid ranks are 0 to 0 (world_size=1)")
    made = ProcessGroup(
        world._backend if backend is None else _checked_backend(backend),
        group_desc or f"group {len(_made)}",
    )
    _made.append(made)
    return made


def new_subgroups(
    group_size: int | None = None, group: ProcessGroup | None = None,
    timeout: timedelta | None = None, backend: str | None = None, pg_options: Any = None,
    group_desc: str | None = None,
) -> tuple[ProcessGroup, list[ProcessGroup]]:
    """Divides the world into groups of one size; returns that of this process, and all."""
    member(group)
    if group_size is not None and group_size < 1:
        raise ValueError(f"The arg 'group_size' ({group_size}) must be positive")
    if group_size is not None and group_size > 1:
        raise ValueError(
            f"The arg 'group_size' ({group_size}) must not exceed the world size (1)"
        )
    return new_subgroups_by_enumeration([[0]], timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: Sequence[Sequence[int]], timeout: timedelta | None = None,
    backend: str | None = None, pg_options: Any = None, group_desc: str | None = None,
) -> tuple[ProcessGroup, list[ProcessGroup]]:
    """Divides the world into the groups that are listed; returns that of this process, and all."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    groups = [
        new_group(ranks, timeout, backend, pg_options, group_desc=group_desc)
        for ranks in ranks_per_subgroup_list
    ]
    return groups[0], groups
