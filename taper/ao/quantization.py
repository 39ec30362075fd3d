"""Where a model would be quantized: the marks that torchvision's and others' models carry.

The marks do nothing, and models compute in floating point. Turning a model into one of integers
(`prepare`, `convert`, observers) is not here.
"""

from __future__ import annotations

from typing import Any

from taper import Tensor
from taper.nn import Module

__all__ = ["DeQuantStub", "QuantStub"]


class _Mark(Module):
    """A module that hands on what it gets."""

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Tensor) -> Tensor:
        """Returns the input."""
        return x


class QuantStub(_Mark):
    """Marks where quantized computation would begin.

    Example:
        >>> import taper as torch
        >>> torch.ao.quantization.QuantStub()(torch.tensor([1.5]))
        tensor([1.5000])
    """


class DeQuantStub(_Mark):
    """Marks where quantized computation would end.

    Example:
        >>> import taper as torch
        >>> torch.ao.quantization.DeQuantStub()(torch.tensor([1.5]))
        tensor([1.5000])
    """


def __getattr__(name: str) -> Any:
    if name in ("convert", "fuse_modules", "fuse_modules_qat", "prepare", "prepare_qat", "quantize",
                "quantize_dynamic"):
        raise NotImplementedError(
            f"torch.ao.quantization.{name}: taper has no quantized modules; keep the model in "
            "float32, or in bfloat16: model.to(torch.bfloat16)"
        )
    raise AttributeError(f"module 'torch.ao.quantization' has no attribute {name!r}")
