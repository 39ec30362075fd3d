"""DistributedDataParallel: in a group of one process it calls the module it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import taper
from taper.nn.modules.module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """Calls `module`; there are no other processes with gradients to average.

    Args:
        module (Module): what to call; its state is found under ``module.``.
        process_group: a group of one, default that of `init_process_group`.
        device_ids, output_device, and the others: accepted for PyTorch's sake.
    Raises:
        ValueError: if there is no process group.  RuntimeError: if nothing requires a gradient.
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0,
        broadcast_buffers: bool | None = None, init_sync: bool = True, process_group: Any = None,
        bucket_cap_mb: float | None = None, find_unused_parameters: bool = False,
        check_reduction: bool = False, gradient_as_bucket_view: bool = False,
        static_graph: bool = False, **options: Any,
    ) -> None:
        super().__init__()
        world = taper.distributed.get_world_size(process_group)
        assert world == 1
        if not any(p.requires_grad for p in module.parameters()):
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameters "
                "that require a gradient."
            )
        self.module = module
        self.dim = dim
        self.device_ids = device_ids
        self.output_device = output_device
        self.process_group = process_group
        self.broadcast_buffers = True if broadcast_buffers is None else broadcast_buffers
        self.find_unused_parameters = find_unused_parameters
        self.static_graph = static_graph
        self.require_backward_grad_sync = True

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Backward passes within leave gradients to themselves, as all do in a group of one."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    @contextmanager
    def join(
        self, divide_by_initial_world_size: bool = True, enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Iterator[None]:
        """Lets processes run out of inputs at different times, which one process does not."""
        yield

    def register_comm_hook(self, state: Any, hook: Any) -> NoReturn:
        """Not there: a hook gets the buckets of gradients that processes exchange."""
        raise NotImplementedError(
            "DistributedDataParallel.register_comm_hook: one process exchanges no gradients. Use "
            "Tensor.register_post_accumulate_grad_hook to change them."
        )
