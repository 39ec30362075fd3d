"""`ExportedProgram`: a graph with its weights, which runs without the code it was made from."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from taper import Tensor
from taper.compilation.programs import Program, choose_program
from taper.compiler.graph import Graph
from taper.core.tensor import wrap
from taper.export.capture import TENSOR, Captured, Dim, capture
from taper.export.file_format import Reader, Writer
from taper.export.sizes import Size, at_sizes
from taper.func.tree import flatten, unflatten
from taper.nn import Module, Parameter

__all__ = ["ExportGraphSignature", "ExportedModule", "ExportedProgram", "export", "load", "save"]

_MOST_SIZES = 32  # programs kept for dynamic sizes


class ExportGraphSignature(NamedTuple):
    """Which inputs and outputs of the graph are what, by name."""

    user_inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    user_outputs: tuple[str, ...]
    buffers_to_mutate: dict[str, str]


class ExportedProgram:
    """What `export` returns: the graph of one call, with parameters and buffers.

    Attributes:
        graph: the calls, printable.
        state_dict: parameters and buffers by name.
        example_inputs: args and kwargs of the call it was made with; None for loaded ones.
    """

    __module__ = "torch.export.exported_program"

    def __init__(
        self, captured: Captured, state: dict[str, Tensor], parameters: frozenset[str],
        example_inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None,
    ) -> None:
        self.graph: Graph = captured.graph
        self.captured = captured
        self.state_dict = state
        self.example_inputs = example_inputs
        self._parameters = parameters

    def module(self) -> ExportedModule:
        """A module that computes what the exported one did; it holds the weights."""
        return ExportedModule(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Unable to call ExportedProgram directly. You should use `exported_program.module()` "
            "instead."
        )

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Names and parameters."""
        return ((n, t) for n, t in self.state_dict.items() if n in self._parameters)

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Names and buffers."""
        return ((n, t) for n, t in self.state_dict.items() if n not in self._parameters)

    def parameters(self) -> Iterator[Tensor]:
        """The parameters."""
        return (t for _, t in self.named_parameters())

    def buffers(self) -> Iterator[Tensor]:
        """The buffers."""
        return (t for _, t in self.named_buffers())

    @property
    def graph_signature(self) -> ExportGraphSignature:
        """Which inputs and outputs of the graph are what."""
        names = [n.label for n in self.graph.inputs]
        return ExportGraphSignature(
            tuple([n for n in names if n not in self.state_dict]),
            tuple([n for n in names if n in self._parameters]),
            tuple([n for n in names if n in self.state_dict and n not in self._parameters]),
            tuple([n for n in self.graph.outputs if n not in names]),
            {n: n for n in self.graph.outputs if n in self.state_dict},
        )

    def __str__(self) -> str:
        return f"ExportedProgram:\n{self.graph}"

    __repr__ = __str__


class ExportedModule(Module):
    """Runs an exported program. Its results carry no history: it computes, it doesn't train."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__()
        self._program = program
        self._runs: OrderedDict[tuple[int, ...], Program] = OrderedDict()
        for name, t in program.state_dict.items():
            *path, last = name.split(".")
            owner: Module = self
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, Module())
                owner = owner._modules[part]
            if name in program._parameters:
                owner.register_parameter(last, t)
            else:
                owner.register_buffer(last, t)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the results for arguments of the exported call's structure and shapes."""
        captured = self._program.captured
        leaves, structure = flatten((tuple(args), kwargs))
        if structure != captured.input_structure:
            raise ValueError(
                f"the exported program takes arguments of the structure "
                f"{captured.input_structure}, not {structure}"
            )
        tensors = [leaf for leaf, known in zip(leaves, captured.inputs, strict=True)
                   if _is_tensor(leaf, known)]
        sizes = self._check(tensors)
        graph = captured.graph
        inputs = tensors + self._state(graph.inputs[len(tensors):])
        names = [node.label for node in graph.inputs]
        updates = {n: names.index(n) for n in graph.outputs if n in names}
        key = tuple(sizes.values())
        run = self._runs.get(key)
        if run is None:
            run = choose_program(at_sizes(graph, sizes) if sizes else graph, updates)
            self._runs[key] = run
            if len(self._runs) > _MOST_SIZES:
                self._runs.popitem(last=False)
        arrays = run([t._array for t in inputs], [None] * (len(graph.outputs) - len(updates)))
        found = iter(arrays)
        results = [wrap(next(found)) if known is TENSOR else known
                   for known in captured.results]
        return unflatten(results, captured.result_structure)

    def _state(self, nodes: Any) -> list[Tensor]:
        state = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return [state[node.label] for node in nodes]

    def _check(self, tensors: list[Tensor]) -> dict[str, int]:
        """The open sizes of these inputs, whose shapes and dtypes must be those exported."""
        captured = self._program.captured
        found: dict[str, int] = {}
        for t, axes in zip(tensors, captured.dynamic, strict=True):
            for axis, name in axes.items():
                if axis < t.ndim:
                    found.setdefault(name, t.shape[axis])
        sizes = {d.name: found.get(d.name, -1) for d in captured.dims}
        for d in captured.dims:
            if not d.allows(sizes[d.name]):
                raise ValueError(f"the dynamic size {d} can't be {sizes[d.name]}")
        for node, t in zip(captured.graph.inputs, tensors, strict=False):
            shape: tuple[Any, ...] = node.results[0][0]
            dtype = node.results[0][1]
            expected = tuple([n.at(sizes) if isinstance(n, Size) else n for n in shape])
            if tuple(t.shape) != expected or t._array.dtype != dtype:
                raise ValueError(
                    f"input {node.label} of the exported program is {dtype}{list(shape)}, not "
                    f"{t._array.dtype}{list(t.shape)}"
                )
        return sizes


def _is_tensor(leaf: Any, known: Any) -> bool:
    """Whether an argument is a tensor; others must have the value that they were exported with."""
    if isinstance(leaf, Tensor) and known is TENSOR:
        return True
    same = type(leaf) is type(known) and (leaf is known or leaf == known or (
        isinstance(leaf, float) and math.isnan(leaf) and math.isnan(known)))
    if not same:
        raise ValueError(f"the exported program was made with the argument {known!r}, not {leaf!r}")
    return False


def export(
    mod: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *,
    dynamic_shapes: Any = None, strict: bool = False,
    preserve_module_call_signature: tuple[str, ...] = (), **others: Any,
) -> ExportedProgram:
    """Records what a module (or function) computes for these arguments, as a program of its own.

    Args:
        mod: the module; training or evaluating, as it is now. Functions of tensors, too.
        args, kwargs: of the call. Shapes, and arguments that aren't tensors, become fixed.
        dynamic_shapes: sizes that stay open: `{"x": {0: Dim("batch")}}` by argument, or a tuple of
            such dicts in the order of `args`; up to three names.
        strict, preserve_module_call_signature: accepted, and without effect.
    Returns:
        The program, with copies of parameters and buffers. `module()` makes it callable.
    Raises:
        NotImplementedError: if the call depends on values of tensors, or on open sizes otherwise
            than by sums of their products; the operation is named.
    Example:
        >>> import taper as torch
        >>> program = torch.export.export(lambda x: x.exp() + 1, (torch.zeros(2),))
        >>> print(program.graph)
        %0 = input x0  : float32[2]
        %1 = exp(%0)  : float32[2]
        %2 = add(%1, float32(1.0))  : float32[2]
        return result.0 = %2
        >>> program.module()(torch.zeros(2))
        tensor([2., 2.])
    """
    kwargs = kwargs or {}
    if not isinstance(args, tuple):
        raise TypeError(
            f"Expecting `args` to be a tuple of example positional inputs, got {type(args)}"
        )
    captured = capture(mod, args, kwargs, dynamic_shapes)
    state: dict[str, Tensor] = {}
    parameters: set[str] = set()
    if isinstance(mod, Module):
        recorded = {node.label for node in captured.graph.inputs}
        for name, p in mod.named_parameters():
            if name in recorded:
                state[name] = Parameter(p.detach().clone(), p.requires_grad)
                parameters.add(name)
        state.update({name: b.detach().clone() for name, b in mod.named_buffers()
                      if name in recorded})
    return ExportedProgram(captured, state, frozenset(parameters), (args, kwargs))


def save(ep: ExportedProgram, f: str | os.PathLike[str] | Any, **others: Any) -> None:
    """Writes a program and its weights to a file (a path, or a file open for writing bytes).

    Example:
        >>> import io, taper as torch
        >>> file = io.BytesIO()
        >>> program = torch.export.export(torch.nn.Linear(2, 1), (torch.ones(3, 2),))
        >>> torch.export.save(program, file)
        >>> torch.export.load(file).module()(torch.ones(3, 2)).shape
        torch.Size([3, 1])
    """
    writer = Writer()
    captured = ep.captured
    writer.write(f, {
        "graph": writer.graph(captured.graph),
        "inputs": [writer.value(v) for v in captured.inputs],
        "input_structure": writer.structure(captured.input_structure),
        "results": [writer.value(v) for v in captured.results],
        "result_structure": writer.structure(captured.result_structure),
        "dims": [[d.name, d.min, d.max] for d in captured.dims],
        "dynamic": [list(axes.items()) for axes in captured.dynamic],
        "state": [[name, writer.array(t._array), name in ep._parameters, t.requires_grad]
                  for name, t in ep.state_dict.items()],
    })


def load(f: str | os.PathLike[str] | Any, **others: Any) -> ExportedProgram:
    """Reads a program that `save` wrote. Files can name functions of arrays only: nothing in them
    is run as code.

    Raises:
        ValueError: for other files.
    """
    reader = Reader(f)
    try:
        return _program_of(reader)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"this is not a file of an exported program: {error!r}") from error


def _program_of(reader: Reader) -> ExportedProgram:
    program = reader.program
    captured = Captured(
        reader.graph(program["graph"]), [reader.value(v) for v in program["inputs"]],
        reader.structure(program["input_structure"]),
        [reader.value(v) for v in program["results"]],
        reader.structure(program["result_structure"]),
        tuple([Dim(name, min=low, max=high) for name, low, high in program["dims"]]),
        [dict([(axis, name) for axis, name in axes]) for axes in program["dynamic"]],
    )
    state: dict[str, Tensor] = {}
    for name, entry, is_parameter, needs in program["state"]:
        t = wrap(reader.array(entry))
        state[name] = Parameter(t, needs) if is_parameter else t
    parameters = frozenset([name for name, _, is_parameter, _ in program["state"] if is_parameter])
    return ExportedProgram(captured, state, parameters)
