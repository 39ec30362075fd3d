"""DataParallel: here there is one device, so it calls the module it holds."""

from __future__ import annotations

from typing import Any

from taper.nn.modules.module import Module

__all__ = ["DataParallel"]


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


def __getattr__(name: str) -> Any:
    if name == "DistributedDataParallel":
        raise NotImplementedError(
            "nn.parallel.DistributedDataParallel: average the gradients with "
            "taper.distributed.all_reduce after backward() instead."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
