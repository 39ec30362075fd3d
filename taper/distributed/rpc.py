"""`torch.distributed.rpc`: calls of functions in other processes, of which there are none."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = [
    "RRef", "TensorPipeRpcBackendOptions", "get_worker_info", "init_rpc", "is_available", "remote",
    "rpc_async", "rpc_sync", "shutdown",
]


def is_available() -> bool:
    """Returns False."""
    return False


def _refuse(*args: Any, **options: Any) -> NoReturn:
    """Raises NotImplementedError."""
    raise NotImplementedError(
        "torch.distributed.rpc: taper's world is one process; call the function itself, or use "
        "torch.multiprocessing for work in others"
    )


init_rpc = rpc_sync = rpc_async = remote = shutdown = get_worker_info = _refuse


class RRef:
    """A reference to a value in another process: can't be made."""

    def __init__(self, *args: Any, **options: Any) -> None:
        _refuse()


class TensorPipeRpcBackendOptions(RRef):
    """How processes would talk to each other: can't be made."""
