"""Exported programs as files: a zip of `program.json` and the arrays' bytes.

Values are JSON: numbers, strings, booleans and null as they are, everything else as
``[kind, …]``. Arrays are members of their own, named by number; the JSON says dtype and shape.
Functions stand under names (functions.py). Nothing in a file is run.
"""

from __future__ import annotations

import json
import math
import zipfile
from typing import Any

import numpy as np

from taper.arrays.node_functions import Step
from taper.compiler.graph import Graph, GraphNode, Reference
from taper.core.dtype import ALL_DTYPES, dtype, from_numpy_dtype
from taper.core.generator import Generator, default_generator
from taper.export.capture import TENSOR
from taper.export.functions import (
    find_function,
    find_settings,
    name_of,
    settings_name_of,
)
from taper.export.sizes import Counting, Repeated, Size
from taper.func.tree import LEAF, Structure

__all__ = ["Reader", "Writer"]

_DTYPES = {d.numpy_dtype.name: d.numpy_dtype for d in ALL_DTYPES}
_DTYPES.update({n: np.dtype(n) for n in ("uint16", "uint32", "uint64")})
_CONTAINERS = {"list": list, "tuple": tuple, "dict": dict}
_VERSION = 1


class Writer:
    """Collects what a file holds."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._numbers: dict[int, int] = {}

    def write(self, file: Any, program: dict[str, Any]) -> None:
        """Writes a zip of this description and the arrays that it names."""
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("program.json", json.dumps({"version": _VERSION, **program}))
            for i, array in enumerate(self.arrays):
                archive.writestr(f"arrays/{i}", np.ascontiguousarray(array).tobytes())

    def array(self, array: np.ndarray) -> Any:
        """How the description names an array."""
        number = self._numbers.get(id(array))
        if number is None:
            number = self._numbers[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return ["array", number, _dtype_name(array.dtype), list(array.shape)]

    def graph(self, graph: Graph) -> Any:
        """A graph: its nodes in order, under their numbers."""
        return {
            "inputs": [[n.number, n.label, self._results(n)] for n in graph.inputs],
            "nodes": [
                [n.number, n.label, name_of(n.function, n.label), self.value(n.args),
                 [[k, self.value(v)] for k, v in n.kwargs.items()], self._results(n), n.effect]
                for n in graph.nodes
            ],
            "outputs": [[name, self.value(r)] for name, r in graph.outputs.items()],
        }

    def _results(self, node: GraphNode) -> Any:
        return [[self.value(shape), _dtype_name(kind)] for shape, kind in node.results]

    def value(self, value: Any) -> Any:
        """An argument."""
        cls = type(value)
        if value is None or cls in (bool, int, str) or (cls is float and math.isfinite(value)):
            return value
        if cls is float:
            return ["float", repr(value)]
        if cls is Reference:
            return ["%", value.node.number, value.output]
        if cls is tuple or cls is list:
            return [cls.__name__, *[self.value(v) for v in value]]
        if isinstance(value, tuple) and settings_name_of(cls) is not None:
            return ["settings", *settings_name_of(cls), *[self.value(v) for v in value]]  # type: ignore[misc]
        if cls is slice:
            return ["slice", *map(self.value, (value.start, value.stop, value.step))]
        if value is Ellipsis:
            return ["..."]
        if value is TENSOR:
            return ["tensor"]
        if cls is Size:
            return ["size", *[[list(names), n] for names, n in value.terms.items()]]
        if cls is Counting:
            return ["counting", self.value(value.shape), _dtype_name(value.dtype),
                    self.value(value.start), self.value(value.step)]
        if cls is Repeated:
            return ["repeated", self.value(value.value), self.value(value.count)]
        if isinstance(value, (np.ndarray, np.generic)):
            return self.array(np.asarray(value))
        if isinstance(value, np.dtype) or (cls is type and issubclass(value, np.generic)):
            return ["dtype", _dtype_name(np.dtype(value))]
        if cls is dtype:
            return ["torch.dtype", value.name]
        if cls is Step:
            return ["step", name_of(value.function, value.__name__), self.value(value.args),
                    [[k, self.value(v)] for k, v in value.kwargs.items()]]
        if cls is Generator and value is default_generator:
            return ["generator"]
        raise NotImplementedError(f"export of an argument of type {cls.__name__} is not supported")

    def structure(self, structure: Structure) -> Any:
        """A tree's structure."""
        if structure.kind is None:
            return "leaf"
        kind = structure.kind.__name__
        if _CONTAINERS.get(kind) is not structure.kind:
            raise NotImplementedError(
                f"export of arguments and results in a {kind} is not supported: use lists, tuples "
                "and dicts"
            )
        return [kind, structure.context, [self.structure(p) for p in structure.parts]]


class Reader:
    """Reads what `Writer` wrote.

    Raises:
        ValueError: for files that it did not write.
    """

    def __init__(self, file: Any) -> None:
        try:
            with zipfile.ZipFile(file) as archive:
                self.program = json.loads(archive.read("program.json"))
                self._bytes = {int(name[7:]): archive.read(name) for name in archive.namelist()
                               if name.startswith("arrays/")}
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ValueError(f"this is not a file of an exported program: {error}") from None
        if self.program.get("version") != _VERSION:
            raise ValueError(
                f"this exported program has version {self.program.get('version')} of the format; "
                f"this taper reads version {_VERSION}"
            )
        self._arrays: dict[int, np.ndarray] = {}
        self._nodes: dict[int, GraphNode] = {}

    def array(self, entry: Any) -> np.ndarray:
        """An array, writable."""
        _, number, name, shape = entry
        if number not in self._arrays:
            flat = np.frombuffer(bytearray(self._bytes[number]), _DTYPES[name])
            self._arrays[number] = flat.reshape(shape)
        return self._arrays[number]

    def graph(self, entry: Any) -> Graph:
        """A graph, checked."""
        graph = Graph()
        self._nodes = {}
        for number, label, results in entry["inputs"]:
            self._nodes[number] = graph.add_input(str(label), *self._results(results)[0])
        for number, label, function, args, kwargs, results, effect in entry["nodes"]:
            self._nodes[number] = graph.add(
                str(label), find_function(function), self.value(args),
                {str(k): self.value(v) for k, v in kwargs}, self._results(results),
                effect=bool(effect),
            )
        graph.outputs = {str(name): self.value(r) for name, r in entry["outputs"]}
        return graph

    def _results(self, entry: Any) -> list[tuple[tuple[int, ...], Any]]:
        return [(self.value(shape), _DTYPES[name]) for shape, name in entry]

    def value(self, entry: Any) -> Any:
        """An argument."""
        if type(entry) is not list:
            return entry
        kind, *rest = entry
        if kind == "%":
            return Reference(self._nodes[rest[0]], rest[1])
        if kind == "tuple":
            return tuple([self.value(v) for v in rest])
        if kind == "list":
            return [self.value(v) for v in rest]
        if kind == "settings":
            return find_settings(rest[0], rest[1])(*[self.value(v) for v in rest[2:]])
        if kind == "slice":
            return slice(*[self.value(v) for v in rest])
        if kind == "...":
            return Ellipsis
        if kind == "tensor":
            return TENSOR
        if kind == "float":
            return float(rest[0])
        if kind == "size":
            return Size({tuple(names): n for names, n in rest})
        if kind == "counting":
            shape, name, start, step = rest
            return Counting(self.value(shape), _DTYPES[name], self.value(start), self.value(step))
        if kind == "repeated":
            return Repeated(*[self.value(v) for v in rest])
        if kind == "array":
            return self.array(entry)
        if kind == "dtype":
            return _DTYPES[rest[0]]
        if kind == "torch.dtype":
            return from_numpy_dtype(_DTYPES[rest[0]])
        if kind == "step":
            function, args, kwargs = rest
            return Step(find_function(function), self.value(args),
                        {str(k): self.value(v) for k, v in kwargs})
        if kind == "generator":
            return default_generator
        raise ValueError(f"an exported program has no values of the kind {kind!r}")

    def structure(self, entry: Any) -> Structure:
        """A tree's structure."""
        if entry == "leaf":
            return LEAF
        kind, context, parts = entry
        return Structure(_CONTAINERS[kind], context, [self.structure(p) for p in parts])


def _dtype_name(kind: Any) -> str:
    name = np.dtype(kind).name
    if name not in _DTYPES:
        raise NotImplementedError(f"export of the dtype {name} is not supported")
    return str(name)
