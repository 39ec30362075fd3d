"""Places the boxes of a graph: layers from inputs to result, few crossings, short edges.

The usual three steps (Sugiyama, Tagawa and Toda 1981): each box goes one layer below its lowest
input; boxes of a layer are ordered by the mean place of their neighbours, down and up a few times;
then boxes move towards their neighbours as far as there is room. Edges over several layers get a
bend in each layer that they pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Layout", "place"]

_SWEEPS = 8
_MOST_BENDS = 4000  # beyond, long edges are drawn straight


@dataclass
class Layout:
    """The middle of each box, and the points that each edge (from, to) passes."""

    centers: list[tuple[float, float]]
    edges: dict[tuple[int, int], list[tuple[float, float]]]
    width: float
    height: float


def place(
    inputs: Sequence[Sequence[int]], sizes: Sequence[tuple[float, float]], gap: float = 28.0,
    layer_gap: float = 46.0,
) -> Layout:
    """Places boxes of these sizes; `inputs[i]` are the boxes that box i follows, all below i."""
    count = len(inputs)
    layer_of = _layers(inputs)
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    widths = [w for w, _ in sizes]
    chains: dict[tuple[int, int], list[int]] = {}
    layers: list[list[int]] = [[] for _ in range(max(layer_of, default=0) + 1)]
    for i, layer in enumerate(layer_of):
        layers[layer].append(i)
    bends = sum(layer_of[i] - layer_of[j] - 1 for i in range(count) for j in set(inputs[i]))
    for i in range(count):
        for j in dict.fromkeys(inputs[i]):
            chain = []
            before = j
            for layer in range(layer_of[j] + 1, layer_of[i]) if bends <= _MOST_BENDS else ():
                bend = len(above)
                above.append([])
                below.append([])
                widths.append(0.0)
                layers[layer].append(bend)
                _connect(above, below, before, bend)
                chain.append(bend)
                before = bend
            _connect(above, below, before, i)
            chains[j, i] = chain
    _order(layers, above, below)
    x = _spread(layers, above, below, widths, gap)
    y, tops = [0.0] * len(above), 0.0
    for layer_boxes in layers:
        tall = max([sizes[i][1] for i in layer_boxes if i < count], default=0.0)
        for i in layer_boxes:
            y[i] = tops + tall / 2
        tops += tall + layer_gap
    left = min([x[i] - widths[i] / 2 for i in range(len(x))], default=0.0)
    x = [v - left for v in x]
    edges = {
        (j, i): [(x[j], y[j] + sizes[j][1] / 2), *[(x[b], y[b]) for b in chain],
                 (x[i], y[i] - sizes[i][1] / 2)]
        for (j, i), chain in chains.items()
    }
    width = max([x[i] + widths[i] / 2 for i in range(len(x))], default=0.0)
    return Layout([(x[i], y[i]) for i in range(count)], edges, width, max(tops - layer_gap, 0.0))


def _connect(above: list[list[int]], below: list[list[int]], upper: int, lower: int) -> None:
    above[lower].append(upper)
    below[upper].append(lower)


def _layers(inputs: Sequence[Sequence[int]]) -> list[int]:
    """The layer of each box: below its inputs; leaves just above who uses them first."""
    layer_of: list[int] = []
    for own in inputs:
        layer_of.append(max([layer_of[j] + 1 for j in own], default=0))
    first_use = list(layer_of)
    users: dict[int, int] = {}
    for i, own in enumerate(inputs):
        for j in own:
            users[j] = min(users.get(j, layer_of[i]), layer_of[i])
    for j, used in users.items():
        if not inputs[j]:
            first_use[j] = used - 1
    return first_use


def _order(layers: list[list[int]], above: list[list[int]], below: list[list[int]]) -> None:
    """Sorts each layer by the mean place of its boxes' neighbours."""
    places = {i: float(p) for boxes in layers for p, i in enumerate(boxes)}
    for sweep in range(_SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        for boxes in layers if sweep % 2 == 0 else reversed(layers):
            means = {
                i: sum(places[n] for n in neighbours[i]) / len(neighbours[i])
                if neighbours[i] else places[i] for i in boxes
            }
            boxes.sort(key=means.__getitem__)
            for p, i in enumerate(boxes):
                places[i] = float(p)


def _spread(
    layers: list[list[int]], above: list[list[int]], below: list[list[int]],
    widths: Sequence[float], gap: float,
) -> list[float]:
    """The horizontal middle of each box: near its neighbours, and apart from others."""
    x = [0.0] * len(above)
    for boxes in layers:
        _pack(boxes, x, [0.0] * len(boxes), widths, gap)
    for sweep in range(_SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        for boxes in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [
                sum(x[n] for n in neighbours[i]) / len(neighbours[i]) if neighbours[i] else x[i]
                for i in boxes
            ]
            _pack(boxes, x, wanted, widths, gap)
    return x


def _pack(
    boxes: Sequence[int], x: list[float], wanted: Sequence[float], widths: Sequence[float],
    gap: float,
) -> None:
    """Puts boxes, in their order, as near to where they want to be as there is room.

    Boxes that would overlap form a block, which lies where it serves its members best on average.
    """
    blocks: list[list[float]] = []  # start wanted (sum), how many boxes, width
    for i, middle in zip(boxes, wanted, strict=True):
        blocks.append([middle - widths[i] / 2, 1.0, widths[i] + gap])
        while len(blocks) > 1 and (
            blocks[-2][0] / blocks[-2][1] + blocks[-2][2] > blocks[-1][0] / blocks[-1][1]
        ):
            start, number, width = blocks.pop()
            before = blocks[-1]
            # Each member of the later block wants to start that much further left.
            before[0] += start - number * before[2]
            before[1] += number
            before[2] += width
    remaining = iter(boxes)
    for start, number, _ in blocks:
        at = start / number
        for _ in range(int(number)):
            i = next(remaining)
            x[i] = at + widths[i] / 2
            at += widths[i] + gap
