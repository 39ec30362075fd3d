"""DataParallel and DistributedDataParallel: with one device, they call the module they hold."""

from __future__ import annotations

from typing import Any

from taper.nn.modules.module import Module
from taper.nn.parallel.distributed import DistributedDataParallel

__all__ = ["DataParallel", "DistributedDataParallel"]


class DataParallel(Module):
    """Calls `module`; without several GPUs there is nothing to divide the batch among.

    Args:
        module (Module): what to call; its state is found under ``module.``.
        device_ids, output_device, dim: accepted for PyTorch's sake.
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module
        self.dim = dim
        self.device_ids = list(device_ids or [])
        self.output_device = output_device

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)
