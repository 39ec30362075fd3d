"""PyTorch's own descriptions of operators for TorchScript's exporter; there are none here."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise NotImplementedError(
        f"torch.onnx.symbolic_opset11.{name}: taper has no TorchScript graphs to write; "
        "torch.onnx.export records the model itself"
    )
