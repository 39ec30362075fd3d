"""Random array programs, recorded: views, writes, constants, elementwise calls, reductions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from taper.arrays.traced import TracedArray, recording_into
from taper.compiler.graph import Graph

UNARY = (np.negative, np.exp, np.sqrt, np.square, np.conjugate, np.absolute)
BINARY = (np.add, np.subtract, np.multiply, np.maximum)


def inputs(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(np.float32)
            for shape in ((3, 4), (4, 3), (1, 4), (12,), (2, 3, 2))]


def random_graph(seed: int, steps: int = 30) -> tuple[Graph, list[np.ndarray]]:
    """A recorded program of so many steps, and arrays for its inputs."""
    rng = np.random.default_rng(seed)
    arrays = inputs(rng)
    graph = Graph()
    with recording_into(graph):
        values: list[Any] = [TracedArray.as_input(graph, f"x{i}", a) for i, a in enumerate(arrays)]
        for _ in range(steps):
            _step(rng, values)
        chosen = rng.choice(len(values), size=min(4, len(values)), replace=False)
        for i in chosen:
            graph.outputs[f"result.{i}"] = values[i].reference
    return graph, arrays


def _step(rng: np.random.Generator, values: list[Any]) -> None:
    """One call that is recorded; calls that don't fit are left out."""
    x = values[rng.integers(len(values))]
    kind = rng.integers(9)
    if kind == 0:
        values.append(UNARY[rng.integers(len(UNARY))](x))
    elif kind == 1:
        y = values[rng.integers(len(values))]
        try:
            np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            y = np.float32(rng.choice([0.0, -0.0, 1.0, 2.0]))
        values.append(BINARY[rng.integers(len(BINARY))](x, y))
    elif kind == 2:
        values.append(_view(rng, x))
    elif kind == 3:
        make = (np.ones_like, np.zeros_like)[rng.integers(2)]
        values.append(make(x))
    elif kind == 4:
        values.append(x.copy() if rng.integers(2) else x.astype(np.float32))
    elif kind == 5 and x.ndim:
        keep = bool(rng.integers(2))
        axis = int(rng.integers(x.ndim))
        if x.shape[axis]:
            values.append(np.add.reduce(x, axis, None, None, keep))
    elif kind == 6:  # a write into a copy, through views
        target = x.copy()
        view = _view(rng, _view(rng, target))
        view[...] = np.float32(rng.integers(3)) if rng.integers(2) else np.negative(view)
        values.append(target)
    elif kind == 7 and x.ndim:  # an axis is filled in two or three parts
        target = np.zeros_like(x)
        axis = int(rng.integers(x.ndim))
        cuts = [0, *sorted(rng.integers(0, x.shape[axis] + 1, size=2)), x.shape[axis]]
        for start, stop in pairwise(cuts):
            at = (slice(None),) * axis + (slice(int(start), int(stop)),)
            target[at] = np.exp(x[at])
        values.append(target)
    elif kind == 8 and x.ndim and x.shape[0]:
        target = np.zeros_like(x)
        places = rng.integers(0, x.shape[0], size=2)
        if rng.integers(2):
            target[places] = x[places]
        else:
            np.add.at(target, places, x[places])
        values.append(target)


def _view(rng: np.random.Generator, x: Any) -> Any:
    kind = rng.integers(6)
    if kind == 0:
        return x.transpose(*rng.permutation(x.ndim).tolist())
    if kind == 1:
        return x.reshape(-1)
    if kind == 2 and x.ndim:
        n = x.shape[0]
        start = int(rng.integers(-n, n + 1))
        step = int(rng.choice([-2, -1, 1, 1, 2]))
        return x[start::step]
    if kind == 3 and x.ndim and x.shape[-1]:
        return x[..., int(rng.integers(x.shape[-1]))]
    if kind == 4:
        return x[None]
    if kind == 5 and x.ndim > 1:
        return x.swapaxes(0, -1)
    return x
