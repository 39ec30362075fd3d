"""`export`: a recorded model as an ONNX model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from taper import Tensor
from taper.compilation.passes import remove_dead_code
from taper.compiler.graph import GraphNode
from taper.export.capture import Captured, Dim, capture
from taper.export.functions import name_of
from taper.export.sizes import Size
from taper.func.tree import flatten
from taper.nn import Module
from taper.version import __version__

__all__ = ["ONNXProgram", "export", "is_in_onnx_export"]

_DEFAULT_OPSET = 18
_OLDEST_OPSET = 11
_NEWEST_OPSET = 23

_is_exporting: ContextVar[bool] = ContextVar("is_in_onnx_export", default=False)


def is_in_onnx_export() -> bool:
    """Returns whether the code that asks is being captured by `export`."""
    return _is_exporting.get()


class ONNXProgram:
    """An exported model: `model_proto` is the ONNX ModelProto."""

    __module__ = "torch.onnx"

    def __init__(self, model_proto: Any) -> None:
        self.model_proto = model_proto

    def save(self, destination: str | os.PathLike[str] | Any) -> None:
        """Writes the model to a path, or to a file open for writing bytes."""
        data = self.model_proto.SerializeToString()
        if hasattr(destination, "write"):
            destination.write(data)
        else:
            with open(destination, "wb") as file:
                file.write(data)

    def __repr__(self) -> str:
        graph = self.model_proto.graph
        return f"ONNXProgram({len(graph.node)} nodes, {len(graph.initializer)} initializers)"


def export(
    model: Callable[..., Any], args: Any = (), f: str | os.PathLike[str] | Any = None, *,
    kwargs: dict[str, Any] | None = None, export_params: bool = True,
    verbose: bool | None = None, input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None, opset_version: int | None = None,
    dynamic_axes: Mapping[str, Any] | None = None, dynamic_shapes: Any = None,
    do_constant_folding: bool = True, dynamo: bool = True, **others: Any,
) -> ONNXProgram:
    """Writes a model as it computes for these arguments to an ONNX file.

    Args:
        model: a module, in evaluation mode unless training is meant; or a function of tensors.
        args: its arguments, a tuple (or one tensor); `kwargs`: those by name.
        f: a path, or a file open for writing bytes; None writes none.
        export_params: whether the weights are in the file; else they are inputs.
        input_names, output_names: of the tensors among arguments and results.
        opset_version: of ONNX's operators: 11 to 23.
        dynamic_axes: `{"input": {0: "batch"}}` or `{"input": [0]}`: axes whose sizes stay open.
        dynamic_shapes: the same as `taper.export.export` takes it.
        verbose, do_constant_folding, dynamo: accepted, and without effect.
    Raises:
        NotImplementedError: for operations that aren't translated, naming them.
        ImportError: without the package onnx.
    Example:
        >>> import taper as torch
        >>> model = torch.nn.Linear(2, 3)
        >>> torch.onnx.export(model, (torch.zeros(1, 2),), "linear.onnx")  # doctest: +SKIP
        ONNXProgram(4 nodes, 2 initializers)
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "torch.onnx.export needs the package onnx: pip install taper[onnx]"
        ) from error
    opset = _DEFAULT_OPSET if opset_version is None else opset_version
    if not _OLDEST_OPSET <= opset <= _NEWEST_OPSET:
        raise NotImplementedError(
            f"opset_version={opset} is not supported: {_OLDEST_OPSET} to {_NEWEST_OPSET} are"
        )
    args = (args,) if isinstance(args, Tensor) else tuple(args)
    kwargs = kwargs or {}
    names = list(input_names or ())
    if dynamic_axes and dynamic_shapes is None:
        dynamic_shapes = _shapes_of_axes(args, names, dynamic_axes)
    token = _is_exporting.set(True)
    try:
        captured = capture(model, args, kwargs, dynamic_shapes)
    finally:
        _is_exporting.reset(token)
    writing = _Writing(captured, _state_of(model), names, list(output_names or ()), opset)
    program = ONNXProgram(writing.model(export_params))
    onnx.checker.check_model(program.model_proto)
    if f is not None:
        program.save(f)
    return program


def _state_of(model: Any) -> dict[str, np.ndarray]:
    if not isinstance(model, Module):
        return {}
    return {n: t._array for n, t in (*model.named_parameters(), *model.named_buffers())}


def _shapes_of_axes(args: Any, names: list[str], axes: Mapping[str, Any]) -> Any:
    """`dynamic_axes` of the inputs, as dynamic shapes by position. Those of outputs follow."""
    dims: dict[str, Dim] = {}

    def spec(name: str) -> dict[int, Dim]:
        given = axes.get(name, {})
        if not isinstance(given, Mapping):  # without names: equal sizes have one
            return dict.fromkeys(given, Dim.AUTO)
        return {axis: dims.setdefault(text, Dim(text)) for axis, text in given.items()}

    leaves, _ = flatten(args)
    if len([x for x in leaves if isinstance(x, Tensor)]) != len(args):
        raise NotImplementedError(
            "dynamic_axes with arguments that aren't all tensors is not supported: use "
            "dynamic_shapes"
        )
    return tuple([spec(names[i] if i < len(names) else f"x{i}") for i in range(len(args))])


class _Writing:
    """One export: the names of inputs and outputs, and what is written for each call."""

    def __init__(
        self, captured: Captured, state: dict[str, np.ndarray], input_names: list[str],
        output_names: list[str], opset: int,
    ) -> None:
        from taper.onnx import elementwise, networks, rearrangements  # noqa: F401  fill the table
        from taper.onnx.writer import Writer

        graph = captured.graph
        self.graph = remove_dead_code(graph.like(graph.nodes, {
            name: r for name, r in graph.outputs.items() if name.startswith("result")}))
        self.captured = captured
        self.state = state
        self.writer = Writer(opset, self._size)
        self.inputs = [n for n in graph.inputs if n.label not in state]
        self.input_names = [*input_names, *[n.label for n in self.inputs[len(input_names):]]]
        results = list(self.graph.outputs)
        self.output_names = [*output_names, *[r.replace("result.", "output")
                                              for r in results[len(output_names):]]]

    def model(self, export_params: bool) -> Any:
        """The ModelProto."""
        writer = self.writer
        onnx, helper = writer.onnx, writer.onnx.helper
        for node, name in zip(self.inputs, self.input_names, strict=True):
            writer.names[node.number, None] = name
        for node in self.graph.inputs:
            if node.label in self.state:
                writer.names[node.number, None] = node.label
        for node in self.graph.nodes:
            self._write(node)
        outputs = []
        for reference, name in zip(self.graph.outputs.values(), self.output_names, strict=True):
            writer.nodes.append(helper.make_node("Identity", [writer.operand(reference)], [name],
                                                 name=writer.fresh("/Output")))
            shape, dtype = reference.node.results[reference.output or 0]
            outputs.append(self._information(name, shape, dtype))
        inputs = [self._information(name, *node.results[0])
                  for name, node in zip(self.input_names, self.inputs, strict=True)]
        read = {name for node in writer.nodes for name in node.input}
        weights = {n: a for n, a in self.state.items() if n in read}
        initializers = dict(writer.initializers)
        if export_params:
            initializers.update(weights)
        else:
            inputs += [self._information(n, a.shape, a.dtype) for n, a in weights.items()]
        graph = helper.make_graph(
            writer.nodes, "main_graph", inputs, outputs,
            [onnx.numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), n)
             for n, a in initializers.items() if n in read],
        )
        opsets = [helper.make_opsetid("", writer.opset)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="taper", producer_version=__version__,
        )

    def _write(self, node: GraphNode) -> None:
        from taper.onnx.writer import TRANSLATIONS, unsupported

        try:
            written = TRANSLATIONS.get(name_of(node.function, node.label))
        except NotImplementedError:
            written = None
        if written is None:
            raise unsupported(node)
        names = written(self.writer, node)
        if isinstance(names, list):
            self.writer.names.update({
                (node.number, i): name for i, name in enumerate(names) if name is not None})
        else:
            self.writer.names[node.number, None] = names

    def _information(self, name: str, shape: Any, dtype: Any) -> Any:
        dims = [repr(n) if isinstance(n, Size) else n for n in shape]
        return self.writer.onnx.helper.make_tensor_value_info(
            name, self.writer.type_of(dtype), dims)

    def _size(self, writer: Any, name: str) -> str:
        """An open size, read off the first input that has it."""
        at, axis = next((i, axis) for i, axes in enumerate(self.captured.dynamic)
                        for axis, other in axes.items() if other == name)
        shape = writer.add("Shape", self.input_names[at])
        return str(writer.slice(shape, axis, axis + 1, 0))
