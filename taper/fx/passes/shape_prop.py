"""Runs a graph on examples and writes down what comes out of each node."""

from __future__ import annotations

from typing import Any, NamedTuple

import taper
from taper.fx.interpreter import Interpreter
from taper.fx.node import Node, map_aggregate

__all__ = ["ShapeProp", "TensorMetadata"]


class TensorMetadata(NamedTuple):
    """What is written down of a tensor."""

    shape: Any
    dtype: Any
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: Any
    is_quantized: bool
    qparams: dict[str, Any]


def _metadata(value: Any) -> Any:
    if not isinstance(value, taper.Tensor):
        return value
    is_plain = value.is_contiguous()
    memory_format = taper.contiguous_format if is_plain else None
    return TensorMetadata(
        value.shape, value.dtype, value.requires_grad, value.stride(), memory_format, False, {}
    )


class ShapeProp(Interpreter):
    """``ShapeProp(module).propagate(x)``: then ``node.meta["tensor_meta"]`` has shape and dtype.

    Example:
        >>> import taper as torch
        >>> from taper.fx.passes.shape_prop import ShapeProp
        >>> traced = torch.fx.symbolic_trace(lambda x: x.sum(dim=0))
        >>> _ = ShapeProp(traced).propagate(torch.ones(2, 3))
        >>> [node.meta["tensor_meta"].shape for node in traced.graph.nodes][1]
        torch.Size([3])
    """

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        found = map_aggregate(result, _metadata)
        if isinstance(result, taper.Tensor) or found != result:
            n.meta["tensor_meta"] = found
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:
        """Runs the graph on these inputs."""
        return super().run(*args)
