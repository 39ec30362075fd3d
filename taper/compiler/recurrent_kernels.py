"""Kernels of recurrent layers: all steps of a few sequences in one task.

Sequences don't see each other, so a task takes `rows` of them through time, and nothing waits for
other threads between steps. The recurrent weight is packed so that a tile holds all gates of
some units: the gates' nonlinearities are applied to sums that never left the registers.

Elements are ordered as in kernels/recurrent.py: `starts` and `sizes` say where each step's begin
and how many sequences, the longest first, have one. Steps are tables in the order they are taken.
"""

from __future__ import annotations

from collections.abc import Callable

from taper.compiler.expression import Expression, Node
from taper.compiler.llvm_text import FunctionText
from taper.compiler.math_library import lowered
from taper.compiler.matrix_products import Packer
from taper.compiler.tile_code import SIZE, Tile, TileCode, plus, word_at
from taper.compiler.vector_code import VectorCode

__all__ = [
    "BACKWARD_WORDS", "FORWARD_WORDS", "GATES_WORDS", "backward", "forward", "gate_panels",
    "recurrent_tile",
]


def recurrent_tile(kind: str, vector_bytes: int, gates: int) -> Tile:
    """The tile of a layer with 3 (GRU) or 4 (LSTM) gates: a vector of units, all its gates."""
    sums = 24 if vector_bytes in (16, 64) else 12
    return Tile(kind, vector_bytes // SIZE[kind], sums // gates, gates)


GATES_WORDS = ("source", "result", "units", "stride", "panels", "gate")


def gate_panels(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel that packs the recurrent weight (gates * units, units) in panels of some units'
    gates: (panel, k, gate, unit).

    The argument block is GATES_WORDS, strides in bytes. A task is one gate of one panel.
    """
    text = FunctionText(name, vector_bytes)
    word = {label: text.argument(i) for i, label in enumerate(GATES_WORDS)}

    def task(number: str, _: list[str]) -> list[str]:
        panel = text.integer("urem", number, word["panels"])
        gate = text.integer("udiv", number, word["panels"])
        source = plus(text, text.pointer(word["source"]), (gate, word["gate"]))
        shift = text.integer("mul", gate, tile.lanes)
        result = text.offset(text.pointer(word["result"]), shift, SIZE[tile.kind])
        packer = Packer(text, tile, tile.lanes, source, result, word["units"], word["stride"],
                        word["units"], tile.lanes * tile.vectors)
        return packer.panel(panel)

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


FORWARD_WORDS = (
    "gates", "panels", "first_hidden", "first_cell", "hidden", "cell", "outputs", "before",
    "cells_before", "cells", "bias", "starts", "sizes", "steps", "units", "panel_count",
    "sequences",
)
"""Arrays are contiguous. `hidden` and `cell` (LSTM) are the states, which begin as the first ones;
`gates` the inputs' share of the gates, replaced by the gates; `cells` is the GRU's share of the
third gate."""


class _Layer:
    """The writer of one kernel: rows, formulas, places."""

    def __init__(self, name: str, vector_bytes: int, tile: Tile, labels: tuple[str, ...]) -> None:
        self.text = text = FunctionText(name, vector_bytes)
        self.tile = tile
        self.code = TileCode(text, tile.kind, tile.lanes)
        self.word = {label: text.argument(i) for i, label in enumerate(labels)}
        self.gate_count = tile.vectors

    def at(self, label: str, row: str, column: str, width: str) -> str:
        """Where an element of an array (rows, width) is."""
        text = self.text
        place = text.integer("add", text.integer("mul", row, width), column)
        return text.offset(text.pointer(self.word[label]), place, self.code.size)

    def formula(
        self, define: Callable[..., list[Node]], values: list[str]
    ) -> list[str]:
        """The results of a formula, written as an expression of numbered inputs, on vectors."""
        e = Expression()
        nodes = [e.input(i, self.tile.kind) for i in range(len(values))]
        e.results.extend(define(e, *nodes))
        found = lowered(e)
        inputs = {i: value for i, value in enumerate(values)}
        code = VectorCode(
            self.text, self.tile.lanes,
            lambda node: inputs[node.value] if node.op == "input" else None)
        return [code.of(node) for node in found.results]

    def product(
        self, left: list[str], panel: str, depth: str, start: list[str], vectors: int
    ) -> list[str]:
        """`start` plus the products of rows (pointers) with a panel of `vectors` vectors."""
        text, code, tile = self.text, self.code, self.tile

        def step(k: str, sums: list[str]) -> list[str]:
            at = text.offset(panel, text.integer("mul", k, tile.lanes * vectors), code.size)
            columns = [code.load(text.offset(at, str(v * tile.lanes), code.size), code.kind)
                       for v in range(vectors)]
            new = []
            for m, row in enumerate(left):
                factor = code.all_spread(text.offset(row, k, code.size))
                new += [code.fused(column, factor, sums[m * vectors + v])
                        for v, column in enumerate(columns)]
            return new

        return text.loop(0, depth, 1, [(code.vector, s) for s in start], step)

    def steps(
        self, body: Callable[[str, list[str], list[str], str], None],
        begin: Callable[[str], None] | None = None,
    ) -> str:
        """Runs `body(row of the block, rows of states, rows of elements, count)` for all steps, and
        before them `begin(row of the block)`."""
        text, tile, word = self.text, self.tile, self.word

        def task(number: str, _: list[str]) -> list[str]:
            first = text.integer("mul", number, tile.rows)
            if begin is not None:
                begin(first)

            def step(t: str, _: list[str]) -> list[str]:
                size = word_at(text, text.pointer(word["sizes"]), t)
                start = word_at(text, text.pointer(word["starts"]), t)
                count = text.least(text.integer("sub", size, first), str(tile.rows))

                def some(_: str, __: list[str]) -> list[str]:
                    last = text.integer("sub", size, 1)
                    states = [text.least(text.integer("add", first, m), last)
                              for m in range(tile.rows)]
                    elements = [text.integer("add", start, row) for row in states]
                    body(first, states, elements, count)
                    return []

                text.when(text.value(f"icmp sgt i64 {count}, 0"), some)
                return []

            text.loop(0, word["steps"], 1, [], step)
            return []

        text.loop("%begin", "%end", 1, [], task)
        return text.text()

    def for_units(self, body: Callable[[str, str, str], None]) -> None:
        """Does `body(panel, first unit, mask)` for all units, a vector at a time."""
        text, word = self.text, self.word

        def one(panel: str, _: list[str]) -> list[str]:
            unit = text.integer("mul", panel, self.tile.lanes)
            body(panel, unit, self.code.first(text.integer("sub", word["units"], unit)))
            return []

        text.loop(0, word["panel_count"], 1, [], one)

    def mask_of(self, m: int, count: str, mask: str) -> str:
        """The mask, empty for rows behind the end."""
        text = self.text
        inside = text.value(f"icmp slt i64 {m}, {count}")
        whole = f"<{self.tile.lanes} x i1>"
        return text.value(f"select i1 {inside}, {whole} {mask}, {whole} zeroinitializer")

    def copy_rows(self, source: str, target: str, states: list[str], elements: list[str],
                  count: str) -> None:
        """Keeps states of the rows as those before each element."""

        def some(_: str, unit: str, mask: str) -> None:
            for m in range(self.tile.rows):
                own = self.mask_of(m, count, mask)
                value = self.code.load(
                    self.at(source, states[m], unit, self.word["units"]), self.code.kind, own)
                self.code.store(value, self.at(target, elements[m], unit, self.word["units"]),
                                self.code.kind, own)

        self.for_units(some)


def _lstm(e: Expression, i: Node, f: Node, g: Node, o: Node, c: Node) -> list[Node]:
    """The gates and the new states of both kinds."""
    i, f, o = (e.unary("sigmoid", x) for x in (i, f, o))
    g = e.unary("tanh", g)
    new = e.fma(f, c, e.mul(i, g))
    return [i, f, g, o, new, e.mul(o, e.unary("tanh", new))]


def _gru(
    e: Expression, r: Node, z: Node, share: Node, own_n: Node, h: Node
) -> list[Node]:
    """The gates r, z and n, n's share from the state, and the new state."""
    r, z = e.unary("sigmoid", r), e.unary("sigmoid", z)
    n = e.unary("tanh", e.fma(r, share, own_n))
    return [r, z, n, e.fma(z, e.sub(h, n), n)]


def forward(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel of all steps of a layer. The argument block is FORWARD_WORDS; a task is a block
    of sequences."""
    layer = _Layer(name, vector_bytes, tile, FORWARD_WORDS)
    text, code, word = layer.text, layer.code, layer.word
    is_lstm = tile.vectors == 4
    units = word["units"]
    all_gates = text.integer("mul", units, tile.vectors)

    def step(first: str, states: list[str], elements: list[str], count: str) -> None:
        layer.copy_rows("hidden", "before", states, elements, count)
        rows = [layer.at("before", row, "0", units) for row in elements]

        def some(panel: str, unit: str, mask: str) -> None:
            at = text.integer("mul", text.integer("mul", panel, tile.lanes * tile.vectors), units)
            weights = text.offset(text.pointer(word["panels"]), at, code.size)
            own = [layer.mask_of(m, count, mask) for m in range(tile.rows)]
            shares, start = [], []
            for m in range(tile.rows):
                given = []
                for v in range(tile.vectors):
                    column = text.integer("add", unit, text.integer("mul", units, v))
                    place = layer.at("gates", elements[m], column, all_gates)
                    given.append(code.load(place, code.kind, own[m]))
                    bias = code.load(layer.at("bias", "0", column, all_gates), code.kind, mask)
                    start.append(bias if v == 2 and not is_lstm else text.value(
                        f"fadd {code.vector} {given[v]}, {bias}"))
                shares.append(given)
            sums = layer.product(rows, weights, units, start, tile.vectors)
            for m in range(tile.rows):
                found = sums[m * tile.vectors : (m + 1) * tile.vectors]
                if is_lstm:
                    _finish_lstm(layer, found, states[m], elements[m], unit, own[m])
                else:
                    _finish_gru(layer, found, shares[m][2], states[m], elements[m], unit, own[m])

        layer.for_units(some)

    def begin(first: str) -> None:
        last = text.integer("sub", word["sequences"], 1)
        rows = [text.least(text.integer("add", first, m), last) for m in range(tile.rows)]
        for label in ("hidden", "cell") if is_lstm else ("hidden",):
            layer.copy_rows(f"first_{label}", label, rows, rows, str(tile.rows))

    return layer.steps(step, begin)


def _finish_lstm(
    layer: _Layer, sums: list[str], state: str, element: str, unit: str, mask: str
) -> None:
    code, units = layer.code, layer.word["units"]
    place = layer.at("cell", state, unit, units)
    cell = code.load(place, code.kind, mask)
    code.store(cell, layer.at("cells_before", element, unit, units), code.kind, mask)
    *gates, new, hidden = layer.formula(_lstm, [*sums, cell])
    _store_gates(layer, gates, element, unit, mask)
    for value, label in ((new, "cells"), (hidden, "outputs")):
        code.store(value, layer.at(label, element, unit, units), code.kind, mask)
    code.store(new, place, code.kind, mask)
    code.store(hidden, layer.at("hidden", state, unit, units), code.kind, mask)


def _finish_gru(
    layer: _Layer, sums: list[str], own: str, state: str, element: str, unit: str, mask: str
) -> None:
    code, units = layer.code, layer.word["units"]
    place = layer.at("hidden", state, unit, units)
    hidden = code.load(place, code.kind, mask)
    *gates, new = layer.formula(_gru, [*sums, own, hidden])
    _store_gates(layer, gates, element, unit, mask)
    for value, at in (
        (sums[2], layer.at("cells", element, unit, units)),
        (new, layer.at("outputs", element, unit, units)), (new, place),
    ):
        code.store(value, at, code.kind, mask)


def _store_gates(
    layer: _Layer, gates: list[str], element: str, unit: str, mask: str
) -> None:
    text, units = layer.text, layer.word["units"]
    width = text.integer("mul", units, len(gates))
    for v, gate in enumerate(gates):
        column = text.integer("add", unit, text.integer("mul", units, v))
        layer.code.store(gate, layer.at("gates", element, column, width), layer.code.kind, mask)


BACKWARD_WORDS = (
    "gates", "panels", "for_outputs", "for_hidden", "for_cell", "before", "cells", "wanted",
    "for_recurrent", "starts", "sizes", "steps", "units", "panel_count", "product_panels",
)
"""`for_hidden` and `for_cell` (LSTM) are the states' gradients, updated in place; `wanted` the
result, the gates' gradients, and `for_recurrent` (GRU) those of the state's share of them. `before`
are the cell states (GRU: hidden states) before each element, `cells` those after it (GRU: the
state's share of the third gate). Panels are those of the recurrent weight, untransposed."""


def _lstm_gradient(
    e: Expression, i: Node, f: Node, g: Node, o: Node, before: Node, cell: Node, output: Node,
    hidden: Node, later: Node,
) -> list[Node]:
    """The gates' gradients, and the cell state's before."""
    one = e.constant(1.0, i.type)
    hidden = e.add(hidden, output)
    size = e.unary("tanh", cell)
    cell = e.add(later, e.mul(e.mul(hidden, o), e.sub(one, e.mul(size, size))))

    def through_sigmoid(grad: Node, gate: Node) -> Node:
        return e.mul(e.mul(grad, gate), e.sub(one, gate))

    return [
        through_sigmoid(e.mul(cell, g), i), through_sigmoid(e.mul(cell, before), f),
        e.mul(e.mul(cell, i), e.sub(one, e.mul(g, g))), through_sigmoid(e.mul(hidden, size), o),
        e.mul(cell, f),
    ]


def _gru_gradient(
    e: Expression, r: Node, z: Node, n: Node, before: Node, share: Node, output: Node, hidden: Node
) -> list[Node]:
    """The gates' gradients, the third one's of the state's share, and the state's own part."""
    one = e.constant(1.0, r.type)
    hidden = e.add(hidden, output)
    new = e.mul(e.mul(hidden, e.sub(one, z)), e.sub(one, e.mul(n, n)))
    for_r = e.mul(e.mul(e.mul(new, share), r), e.sub(one, r))
    for_z = e.mul(e.mul(e.mul(hidden, e.sub(before, n)), z), e.sub(one, z))
    return [for_r, for_z, new, e.mul(new, r), e.mul(hidden, z)]


def backward(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel of the gates' gradients in all steps. The argument block is BACKWARD_WORDS; a task
    is a block of sequences."""
    layer = _Layer(name, vector_bytes, tile, BACKWARD_WORDS)
    text, code, word = layer.text, layer.code, layer.word
    is_lstm = tile.vectors == 4
    units = word["units"]
    all_gates = text.integer("mul", units, tile.vectors)

    def step(first: str, states: list[str], elements: list[str], count: str) -> None:

        def some(_: str, unit: str, mask: str) -> None:
            for m in range(tile.rows):
                own = layer.mask_of(m, count, mask)
                _gates_gradient(layer, states[m], elements[m], unit, own, is_lstm)

        layer.for_units(some)
        label = "wanted" if is_lstm else "for_recurrent"
        rows = [layer.at(label, element, "0", all_gates) for element in elements]
        width = tile.lanes * tile.vectors

        def columns(panel: str, _: list[str]) -> list[str]:
            unit = text.integer("mul", panel, width)
            weights = text.offset(
                text.pointer(word["panels"]), text.integer("mul", unit, all_gates), code.size)
            start, places = [], []
            for m in range(tile.rows):
                for v in range(tile.vectors):
                    column = text.integer("add", unit, v * tile.lanes)
                    mask = code.first(text.integer("sub", units, column))
                    own = layer.mask_of(m, count, mask)
                    place = layer.at("for_hidden", states[m], column, units)
                    places.append((place, own))
                    start.append("zeroinitializer" if is_lstm else code.load(
                        place, code.kind, own))
            sums = layer.product(rows, weights, all_gates, start, tile.vectors)
            for value, (place, own) in zip(sums, places, strict=True):
                code.store(value, place, code.kind, own)
            return []

        text.loop(0, word["product_panels"], 1, [], columns)

    return layer.steps(step)


def _gates_gradient(
    layer: _Layer, state: str, element: str, unit: str, mask: str, is_lstm: bool
) -> None:
    """The gradients of one row's gates, of a vector of units, and of its states."""
    text, code, units = layer.text, layer.code, layer.word["units"]
    width = text.integer("mul", units, layer.tile.vectors)
    columns = [text.integer("add", unit, text.integer("mul", units, v))
               for v in range(layer.tile.vectors)]
    places = [
        *[layer.at("gates", element, column, width) for column in columns],
        *[layer.at(label, element, unit, units) for label in ("before", "cells", "for_outputs")],
        layer.at("for_hidden", state, unit, units),
    ]
    if is_lstm:
        places.append(layer.at("for_cell", state, unit, units))
    values = [code.load(place, code.kind, mask) for place in places]
    found = layer.formula(_lstm_gradient if is_lstm else _gru_gradient, values)
    targets = [layer.at("wanted", element, column, width) for column in columns]
    results = found[: layer.tile.vectors]
    if not is_lstm:
        results += [found[0], found[1], found[3]]
        targets += [layer.at("for_recurrent", element, column, width) for column in columns]
    code.store(found[4], places[-1], code.kind, mask)
    for value, target in zip(results, targets, strict=True):
        code.store(value, target, code.kind, mask)
