"""Kernels of recurrent layers: all steps of a few sequences in one task.

Sequences don't see each other, so a task takes a block of `rows` of them through time, and nothing
waits for other threads between steps. The weights are packed in panels as wide as the tile, in the
order in which they are read, and stay in the second cache.

    forward_panels, backward_panels    pack both weights
    forward       all steps: inputs and states times their weights, then the cells
    backward      the same in the other direction: the cells' gradients, times the weights; and the
                  weights' gradients, from some steps at a time, while these are in the cache
    totals        sums of what several tasks found for the weights' gradients

Elements are ordered as in kernels/recurrent.py: `starts` and `sizes` say where each step's begin
and how many sequences, the longest first, have one. Steps are tables in the order they are taken.
Words that are offsets count elements from `scratch`, the memory of one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from taper.compiler.expression import Expression
from taper.compiler.llvm_text import FunctionText
from taper.compiler.math_library import lowered
from taper.compiler.matrix_products import Packer
from taper.compiler.recurrent_cells import CELLS, Cell
from taper.compiler.tile_code import SIZE, Tile, TileCode, plus, word_at
from taper.compiler.vector_code import VectorCode

__all__ = [
    "BACKWARD_ARRAYS", "BACKWARD_WORDS", "FORWARD_ARRAYS", "FORWARD_WORDS", "LINE", "PANELS_WORDS",
    "TOTALS_WORDS", "backward", "backward_panels", "forward", "forward_panels", "recurrent_tile",
    "totals", "weight_tile",
]

# Rows and vectors of tiles, by the registers there are.
_TILES = {32: ((2, 8), (4, 4), (6, 4), (8, 2)), 16: ((2, 4), (4, 2), (6, 2))}


def _registers(vector_bytes: int) -> int:
    return 16 if vector_bytes == 32 else 32


def recurrent_tile(kind: str, vector_bytes: int, sequences: int) -> Tile:
    """The tile of which blocks of so many sequences leave the least empty, on two threads."""

    def cost(shape: tuple[int, int]) -> tuple[float, int]:
        rows, blocks = shape[0], -(-sequences // shape[0])
        # A vector of weights is fetched in the time of three multiplications.
        return (blocks + blocks % 2) * max(rows, 3.2), -rows

    rows, vectors = min(_TILES[_registers(vector_bytes)], key=cost)
    return Tile(kind, vector_bytes // SIZE[kind], rows, vectors)


def weight_tile(kind: str, vector_bytes: int) -> Tile:
    """The tile of the weights' gradients: gates times columns."""
    rows = 12 if _registers(vector_bytes) == 32 else 6
    return Tile(kind, vector_bytes // SIZE[kind], rows, 2)


# -- packing -----------------------------------------------------------------------------------

PANELS_WORDS = (
    "inputs", "recurrent", "scratch", "features", "units", "gates", "recurrent_panels", "panels",
)
LINE = 16  # of gates that one task packs


def forward_panels(name: str, vector_bytes: int, tile: Tile) -> str:
    """Packs both weights (gates, columns), a panel of gates a task: (panel, column, gate)."""
    return _weights_packed(name, vector_bytes, tile, is_forward=True)


def backward_panels(name: str, vector_bytes: int, tile: Tile) -> str:
    """Packs both weights (gates, columns), LINE gates a task: (panel, gate, column)."""
    return _weights_packed(name, vector_bytes, tile, is_forward=False)


def _weights_packed(name: str, vector_bytes: int, tile: Tile, *, is_forward: bool) -> str:
    text, word = _begun(name, vector_bytes, PANELS_WORDS)
    scratch = text.pointer(word["scratch"])

    def task(number: str, _: list[str]) -> list[str]:
        for weight, columns, offset in (
            ("inputs", "features", "0"), ("recurrent", "units", word["recurrent_panels"])
        ):
            stride = text.integer("mul", word[columns], SIZE[tile.kind])
            sizes = ((word["gates"], stride, word[columns]) if is_forward
                     else (word[columns], stride, word["gates"]))
            packer = Packer(
                text, tile, tile.lanes * tile.vectors, text.pointer(word[weight]),
                text.offset(scratch, offset, SIZE[tile.kind]), *sizes)
            if is_forward:
                packer.panel(number)
            else:
                packer.lines(number, str(LINE))
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()


def _begun(
    name: str, vector_bytes: int, labels: Sequence[str]
) -> tuple[FunctionText, dict[str, str]]:
    text = FunctionText(name, vector_bytes)
    return text, {label: text.argument(i) for i, label in enumerate(labels)}


# -- what both directions have in common ---------------------------------------------------------


class _Layer:
    """The writer of one kernel: rows, formulas, places."""

    def __init__(
        self, name: str, vector_bytes: int, tile: Tile, cell: Cell, labels: Sequence[str]
    ) -> None:
        self.text, self.word = _begun(name, vector_bytes, labels)
        self.tile = tile
        self.cell = cell
        self.code = TileCode(self.text, tile.kind, tile.lanes)
        self.units = self.word["units"]
        self.gates = self.text.integer("mul", self.units, cell.gates)

    def pointer(self, label: str) -> str:
        return self.text.pointer(self.word[label])

    def scratch(self, offset: str) -> str:
        return self.text.offset(self.pointer("scratch"), offset, self.code.size)

    def row(self, base: str, row: str, width: str, column: str = "0") -> str:
        """Where an element of an array (rows, width) is."""
        text = self.text
        place = text.integer("add", text.integer("mul", row, width), column)
        return text.offset(base, place, self.code.size)

    def rows_of_tile(self, count: str) -> list[str]:
        """The rows of a tile; those behind the last one are the last one again, as masked accesses
        to memory that isn't there take hundreds of cycles each."""
        last = self.text.integer("sub", count, 1)
        return [self.text.least(str(m), last) for m in range(self.tile.rows)]

    def masks(self, column: str, width: str, count: str) -> list[str]:
        """The masks of a tile's vectors that begin at a column, row by row."""
        text, tile = self.text, self.tile
        left = text.integer("sub", width, column)
        across = [self.code.first(text.integer("sub", left, v * tile.lanes))
                  for v in range(tile.vectors)]
        found = []
        whole = f"<{tile.lanes} x i1>"
        for m in range(tile.rows):
            inside = text.value(f"icmp slt i64 {m}, {count}")
            found += [text.value(f"select i1 {inside}, {whole} {mask}, {whole} zeroinitializer")
                      for mask in across]
        return found

    def vectors_at(self, rows: Sequence[str]) -> list[str]:
        """The pointers to a tile's vectors, given those to its rows."""
        return [self.text.offset(row, str(v * self.tile.lanes), self.code.size)
                for row in rows for v in range(self.tile.vectors)]

    def product(
        self, left: Sequence[str], panel: str, depth: str, start: Sequence[str]
    ) -> list[str]:
        """`start` plus the products of rows (pointers) with a panel."""
        text, code, tile = self.text, self.code, self.tile

        def step(k: str, sums: list[str]) -> list[str]:
            at = text.offset(panel, text.integer("mul", k, tile.lanes * tile.vectors), code.size)
            columns = [code.load(text.offset(at, str(v * tile.lanes), code.size), code.kind)
                       for v in range(tile.vectors)]
            new = []
            for m, row in enumerate(left):
                factor = code.all_spread(text.offset(row, k, code.size))
                new += [code.fused(column, factor, sums[m * tile.vectors + v])
                        for v, column in enumerate(columns)]
            return new

        return text.loop(0, depth, 1, [(code.vector, s) for s in start], step)

    def for_panels(self, width: str, body: Callable[[str], None]) -> None:
        """Does `body(column)` for the first column of each panel."""

        def one(column: str, _: list[str]) -> list[str]:
            body(column)
            return []

        self.text.loop(0, width, self.tile.lanes * self.tile.vectors, [], one)

    def for_units(self, count: str, body: Callable[[str, str, str], None]) -> None:
        """Does `body(row, first unit, mask)` for all units of some rows, a vector at a time."""
        text = self.text

        def of_row(m: str, _: list[str]) -> list[str]:
            def one(unit: str, _: list[str]) -> list[str]:
                body(m, unit, self.code.first(text.integer("sub", self.units, unit)))
                return []

            text.loop(0, self.units, self.tile.lanes, [], one)
            return []

        text.loop(0, count, 1, [], of_row)

    def copy_rows(self, pairs: Sequence[tuple[str, str]], count: str) -> None:
        """Copies `count` rows of units from one pointer to another."""

        def one(m: str, unit: str, mask: str) -> None:
            for source, target in pairs:
                value = self.code.load(self.row(source, m, self.units, unit), self.code.kind, mask)
                self.code.store(value, self.row(target, m, self.units, unit), self.code.kind, mask)

        self.for_units(count, one)

    def places(
        self, labels: Sequence[str], pointers: dict[str, str], m: str, unit: str
    ) -> list[str]:
        """Where a row's vector of units is, in each of these arrays: one place, or one a gate."""
        text, found = self.text, []
        for label in labels:
            if label not in ("gates", "shares", "wanted", "for_recurrent"):
                found.append(self.row(pointers[label], m, self.units, unit))
                continue
            first = self.row(pointers[label], m, self.gates, unit)
            for gate in range(self.cell.gates):
                found.append(text.offset(
                    first, text.integer("mul", self.units, gate), self.code.size))
        return found

    def apply(
        self, define: Callable[..., Any], operands: Sequence[str], results: Sequence[str],
        mask: str,
    ) -> None:
        """Loads operands, computes a formula of them, stores its results."""
        code = self.code
        e = Expression()
        nodes = [e.input(i, self.tile.kind) for i in range(len(operands))]
        e.results.extend(define(e, *nodes))
        found = lowered(e, self.text.vector_bytes)
        inputs = {i: code.load(place, code.kind, mask) for i, place in enumerate(operands)}
        own = VectorCode(
            self.text, self.tile.lanes,
            lambda node: inputs[node.value] if node.op == "input" else None)
        values = [own.of(node) for node in found.results]
        for value, place in zip(values, results, strict=True):
            code.store(value, place, code.kind, mask)

    def for_blocks(self, first: str, end: str, body: Callable[[str], None]) -> None:
        """Does `body(number)` for some blocks of sequences."""

        def one(block: str, _: list[str]) -> list[str]:
            body(block)
            return []

        self.text.loop(first, end, 1, [], one)

    def for_steps(
        self, begin: str | int, end: str, block: str, body: Callable[[str, str, str], None]
    ) -> None:
        """Does `body(step, first element, count)` for the steps that sequences of a block have."""
        text, tile = self.text, self.tile
        first = text.integer("mul", block, tile.rows)

        def step(t: str, _: list[str]) -> list[str]:
            size = word_at(text, self.pointer("sizes"), t)
            start = word_at(text, self.pointer("starts"), t)
            count = text.least(text.integer("sub", size, first), str(tile.rows))

            def some(_: str, __: list[str]) -> list[str]:
                body(t, text.integer("add", start, first), count)
                return []

            text.when(text.value(f"icmp sgt i64 {count}, 0"), some)
            return []

        text.loop(begin, end, 1, [], step)

    def own_rows(self, labels: Sequence[str], first: str, width: str) -> dict[str, str]:
        """Pointers to arrays' rows from `first` on."""
        return {label: self.row(self.pointer(label), first, width) for label in labels}

    def block_of(self, block: str) -> tuple[str, str]:
        """A block's first sequence and how many it has."""
        first = self.text.integer("mul", block, self.tile.rows)
        left = self.text.integer("sub", self.word["sequences"], first)
        return first, self.text.least(left, str(self.tile.rows))


# -- forward -------------------------------------------------------------------------------------

FORWARD_ARRAYS = (
    "data", "given", "gates", "scratch", "first_hidden", "first_cell", "hidden", "cell", "outputs",
    "before", "cells_before", "cells", "bias_inputs", "bias_recurrent", "starts", "sizes",
)
FORWARD_WORDS = (
    *FORWARD_ARRAYS, "steps", "units", "features", "sequences", "recurrent_panels", "shares",
)
"""Arrays are contiguous. `hidden` and `cell` (LSTM) are the states, which begin as the first ones;
`cells` is the GRU's share of the third gate. Without features the inputs' share of the gates is
`given`. `shares` is where the states' shares lie that aren't added to it at once."""


def forward(name: str, vector_bytes: int, tile: Tile, kind: str) -> str:
    """The kernel of all steps of a layer. The argument block is FORWARD_WORDS; a task is a block
    of sequences."""
    layer = _Layer(name, vector_bytes, tile, CELLS[kind], FORWARD_WORDS)
    cell, text, word = layer.cell, layer.text, layer.word

    def one_block(block: str) -> None:
        first, count = layer.block_of(block)
        firsts = layer.own_rows([f"first_{s}" for s in cell.states], first, layer.units)
        states = layer.own_rows(cell.states, first, layer.units)
        layer.copy_rows([(firsts[f"first_{s}"], states[s]) for s in cell.states], count)
        shares = ""
        if cell.shares:
            own = text.integer("mul", text.integer("mul", block, tile.rows), layer.gates)
            shares = layer.scratch(text.integer("add", word["shares"], own))

        def step(_: str, element: str, count: str) -> None:
            of_units = ("outputs", "before", "cells_before", "cells")
            pointers = {
                **states, **layer.own_rows(of_units, element, layer.units), "shares": shares,
                **layer.own_rows(["gates", "given"], element, layer.gates),
                **layer.own_rows(["data"], element, word["features"]),
            }
            layer.copy_rows([(pointers["hidden"], pointers["before"])], count)
            _gates(layer, pointers, count)

            def units(m: str, unit: str, mask: str) -> None:
                layer.apply(
                    cell.step, layer.places(cell.step_operands, pointers, m, unit),
                    layer.places(cell.step_results, pointers, m, unit), mask)

            layer.for_units(count, units)

        layer.for_steps(0, word["steps"], block, step)

    layer.for_blocks("%begin", "%end", one_block)
    return text.text()


def _gates(layer: _Layer, pointers: dict[str, str], count: str) -> None:
    """The gates of one step before their nonlinearities: inputs and states times the weights."""
    text, code, word = layer.text, layer.code, layer.word
    rows = layer.rows_of_tile(count)
    data = [layer.row(pointers["data"], m, word["features"]) for m in rows]
    before = [layer.row(pointers["before"], m, layer.units) for m in rows]
    has_features = text.value(f"icmp ne i64 {word['features']}, 0")

    def columns(column: str) -> None:
        masks = layer.masks(column, layer.gates, count)
        shares, targets = (
            [layer.row(pointers[label], m, layer.gates, column) for m in rows]
            for label in ("given", "gates"))
        bias, recurrent_bias = (
            text.offset(layer.pointer(label), column, code.size)
            for label in ("bias_inputs", "bias_recurrent"))
        given = [text.value(f"select i1 {has_features}, ptr {bias}, ptr {row}") for row in shares]

        def loaded(starts: Sequence[str]) -> list[str]:
            return [code.load(at, code.kind, mask)
                    for at, mask in zip(layer.vectors_at(starts), masks, strict=True)]

        def stored(values: Sequence[str], rows: Sequence[str]) -> None:
            for value, at, mask in zip(values, layer.vectors_at(rows), masks, strict=True):
                code.store(value, at, code.kind, mask)

        def times(left: Sequence[str], label: str, depth: str, start: Sequence[str]) -> list[str]:
            panel = text.integer("add", label, text.integer("mul", column, depth))
            return layer.product(left, layer.scratch(panel), depth, start)

        sums = loaded(given)
        others = loaded([recurrent_bias] * len(rows))
        if layer.cell.shares:
            stored(times(data, "0", word["features"], sums), targets)
            sums = others
            targets = [layer.row(pointers["shares"], m, layer.gates, column) for m in rows]
        else:
            sums = [text.value(f"fadd {code.vector} {a}, {b}")
                    for a, b in zip(sums, others, strict=True)]
            sums = times(data, "0", word["features"], sums)
        stored(times(before, word["recurrent_panels"], layer.units, sums), targets)

    layer.for_panels(layer.gates, columns)


# -- backward ------------------------------------------------------------------------------------

BACKWARD_ARRAYS = (
    "data", "gates", "scratch", "before", "cells_before", "cells", "for_outputs",
    "first_for_hidden", "first_for_cell", "for_hidden", "for_cell", "wanted", "for_recurrent",
    "for_data", "for_inputs", "for_weight", "for_bias", "for_bias_recurrent", "starts", "sizes",
)
BACKWARD_WORDS = (
    *BACKWARD_ARRAYS, "steps", "units", "features", "sequences", "recurrent_panels", "chunk",
    "own_wanted", "own_recurrent", "parts", "part", "blocks", "is_whole",
)
"""`for_hidden` and `for_cell` (LSTM) are the states' gradients, which begin as the first ones;
`before` the hidden states before each element, `cells` (LSTM) the cell states after it (GRU: the
state's share of the third gate). `wanted` and `for_recurrent` (GRU) are the gradients of the gates,
as inputs and as states share in them.

If it `is_whole`, the gradients of data and weights are computed too, and those of the gates are
kept for `chunk` steps only, in scratch memory from `own_wanted` and `own_recurrent` on. A task is
`blocks` blocks of sequences then, of which the first puts its part of the weights' gradients where
the result goes, the others from `parts` on, each behind `part` elements (weights of inputs and
states, biases)."""


def backward(name: str, vector_bytes: int, tile: Tile, weights: Tile, kind: str) -> str:
    """The kernel of a layer's gradients. The argument block is BACKWARD_WORDS; a task is some
    blocks of sequences."""
    layer = _Layer(name, vector_bytes, tile, CELLS[kind], BACKWARD_WORDS)
    text, cell, word = layer.text, layer.cell, layer.word
    is_whole = text.value(f"icmp ne i64 {word['is_whole']}, 0")
    all_blocks = text.integer("sdiv", text.integer("add", word["sequences"], tile.rows - 1),
                              tile.rows)

    def task(number: str) -> None:
        first_block = text.integer("mul", number, word["blocks"])
        end = text.least(text.integer("add", first_block, word["blocks"]), all_blocks)
        own_rows = text.integer("mul", text.integer("mul", number, word["chunk"]), tile.rows)
        own = text.integer("mul", own_rows, layer.gates)
        buffers = {
            label: layer.scratch(text.integer("add", word[offset], own))
            for label, offset in (("wanted", "own_wanted"), ("for_recurrent", "own_recurrent"))
        }

        def one_block(block: str) -> None:
            first, count = layer.block_of(block)
            states = [f"for_{s}" for s in cell.states]
            firsts = layer.own_rows([f"first_{s}" for s in states], first, layer.units)
            pointers = layer.own_rows(states, first, layer.units)
            layer.copy_rows([(firsts[f"first_{s}"], pointers[s]) for s in states], count)

            def chunk(begin: str, _: list[str]) -> list[str]:
                end = text.least(text.integer("add", begin, word["chunk"]), word["steps"])

                def step(t: str, element: str, count: str) -> None:
                    passed = text.integer("mul", text.integer("sub", t, begin), tile.rows)
                    gates = {
                        label: text.value(
                            f"select i1 {is_whole}, ptr "
                            f"{layer.row(buffers[label], passed, layer.gates)}, ptr "
                            f"{layer.row(layer.pointer(label), element, layer.gates)}")
                        for label in buffers
                    }
                    _backward_step(layer, {**pointers, **gates}, element, count)

                layer.for_steps(begin, end, block, step)
                is_first = text.value(f"icmp eq i64 {block}, {first_block}")
                is_start = text.value(f"icmp eq i64 {begin}, 0")
                adds = text.value(f"xor i1 {text.value(f'and i1 {is_first}, {is_start}')}, true")

                def update(_: str, __: list[str]) -> list[str]:
                    sums = _WeightSums(layer, weights, buffers, block, (begin, end), adds)
                    _add_to_weights(layer, sums, number)
                    return []

                text.when(is_whole, update)
                return []

            text.loop(0, word["steps"], word["chunk"], [], chunk)

        layer.for_blocks(first_block, end, one_block)

    layer.for_blocks("%begin", "%end", task)
    return text.text()


def _backward_step(
    layer: _Layer, pointers: dict[str, str], element: str, count: str
) -> None:
    cell, code, word = layer.cell, layer.code, layer.word
    of_units = ("before", "cells_before", "cells", "for_outputs")
    pointers = {
        **pointers, **layer.own_rows(of_units, element, layer.units),
        **layer.own_rows(["gates"], element, layer.gates),
        **layer.own_rows(["for_data"], element, word["features"]),
    }

    def units(m: str, unit: str, mask: str) -> None:
        layer.apply(
            cell.gradient, layer.places(cell.gradient_operands, pointers, m, unit),
            layer.places(cell.gradient_results, pointers, m, unit), mask)

    layer.for_units(count, units)
    rows = layer.rows_of_tile(count)
    for left, target, width, offset, adds in (
        ("for_recurrent" if cell.shares else "wanted", "for_hidden", layer.units,
         word["recurrent_panels"], cell.product_adds),
        ("wanted", "for_data", word["features"], "0", False),
    ):
        factors = [layer.row(pointers[left], m, layer.gates) for m in rows]

        def columns(
            column: str, factors: Sequence[str] = factors, target: str = target,
            width: str = width, offset: str = offset, adds: bool = adds,
        ) -> None:
            masks = layer.masks(column, width, count)
            places = layer.vectors_at([
                layer.row(pointers[target], m, width, column) for m in rows])
            start = [code.load(at, code.kind, mask) if adds else "zeroinitializer"
                     for at, mask in zip(places, masks, strict=True)]
            panel = layer.text.integer("mul", column, layer.gates)
            panel = layer.scratch(layer.text.integer("add", offset, panel))
            sums = layer.product(factors, panel, layer.gates, start)
            for value, at, mask in zip(sums, places, masks, strict=True):
                code.store(value, at, code.kind, mask)

        layer.for_panels(width, columns)


def _add_to_weights(layer: _Layer, sums: _WeightSums, number: str) -> None:
    """Adds what some steps give to a task's gradients of weights and biases."""
    text, word = layer.text, layer.word
    is_first = text.value(f"icmp eq i64 {number}, 0")
    before = text.integer("mul", text.integer("sub", number, 1), word["part"])
    place = text.integer("add", word["parts"], before)
    recurrent = "for_recurrent" if layer.cell.shares else "wanted"
    for left, right, width, result in (
        ("wanted", "data", word["features"], "for_inputs"),
        (recurrent, "before", layer.units, "for_weight"),
        ("wanted", None, "1", "for_bias"),
        *([(recurrent, None, "1", "for_bias_recurrent")] if layer.cell.shares else []),
    ):
        target = text.value(
            f"select i1 {is_first}, ptr {layer.pointer(result)}, ptr {layer.scratch(place)}")
        if right is None:
            sums.add_rows(left, target)
        else:
            sums.add_products(left, right, width, target)
        place = text.integer("add", place, text.integer("mul", layer.gates, width))


class _WeightSums:
    """Writes sums over some steps of a block."""

    def __init__(
        self, layer: _Layer, tile: Tile, buffers: dict[str, str], block: str,
        steps: tuple[str, str], adds: str,
    ) -> None:
        self.layer = layer
        self.text = layer.text
        self.code = layer.code
        self.tile = tile
        self.buffers = buffers
        self.block = block
        self.begin, self.end = steps
        self.adds = adds  # whether there is something to add to

    def _walk(
        self, start: Sequence[str], body: Callable[[str, str, list[str]], list[str]]
    ) -> list[str]:
        """Carries sums through all elements: `body(row in the buffers, element, sums)`."""
        layer, text = self.layer, self.text
        carried = [(self.code.vector, s) for s in start]
        first = text.integer("mul", self.block, layer.tile.rows)

        def step(t: str, sums: list[str]) -> list[str]:
            size = word_at(text, layer.pointer("sizes"), t)
            element = text.integer("add", word_at(text, layer.pointer("starts"), t), first)
            count = text.least(text.integer("sub", size, first), str(layer.tile.rows))
            row = text.integer("mul", text.integer("sub", t, self.begin), layer.tile.rows)
            inner = [(kind, s) for (kind, _), s in zip(carried, sums, strict=True)]
            return text.loop(0, count, 1, inner, lambda m, sums: body(
                text.integer("add", row, m), text.integer("add", element, m), sums))

        return text.loop(self.begin, self.end, 1, carried, step)

    def _started(self, places: Sequence[str], masks: Sequence[str]) -> list[str]:
        """What is added to."""
        whole = f"<{self.tile.lanes} x i1>"
        found = []
        for at, mask in zip(places, masks, strict=True):
            own = self.text.value(
                f"select i1 {self.adds}, {whole} {mask}, {whole} zeroinitializer")
            found.append(self.code.load(at, self.code.kind, own))
        return found

    def add_products(self, left: str, right: str, width: str, target: str) -> None:
        """target[gate, column] += left[element, gate] * right[element, column]"""
        layer, text, code, tile = self.layer, self.text, self.code, self.tile
        whole = f"<{tile.lanes} x i1>"

        def tiles(gate: str, _: list[str]) -> list[str]:
            def columns(column: str, _: list[str]) -> list[str]:
                left_over = text.integer("sub", width, column)
                across = [code.first(text.integer("sub", left_over, v * tile.lanes))
                          for v in range(tile.vectors)]
                places, masks = [], []
                last = text.integer("sub", text.integer("sub", layer.gates, gate), 1)
                for m in range(tile.rows):
                    row = text.integer("add", gate, text.least(str(m), last))
                    inside = text.value(f"icmp sle i64 {m}, {last}")
                    for v, mask in enumerate(across):
                        at = text.integer("add", column, v * tile.lanes)
                        places.append(layer.row(target, row, width, at))
                        masks.append(text.value(
                            f"select i1 {inside}, {whole} {mask}, {whole} zeroinitializer"))

                def element(row: str, element: str, sums: list[str]) -> list[str]:
                    # Beyond the last gate are numbers that nobody stores.
                    factors = layer.row(self.buffers[left], row, layer.gates, gate)
                    line = layer.row(layer.pointer(right), element, width, column)
                    vectors = [
                        code.load(text.offset(line, str(v * tile.lanes), code.size), code.kind,
                                  mask) for v, mask in enumerate(across)]
                    new = []
                    for m in range(tile.rows):
                        factor = code.all_spread(text.offset(factors, str(m), code.size))
                        new += [code.fused(vector, factor, sums[m * tile.vectors + v])
                                for v, vector in enumerate(vectors)]
                    return new

                sums = self._walk(self._started(places, masks), element)
                for value, at, mask in zip(sums, places, masks, strict=True):
                    code.store(value, at, code.kind, mask)
                return []

            text.loop(0, width, tile.lanes * tile.vectors, [], columns)
            return []

        text.loop(0, layer.gates, tile.rows, [], tiles)

    def add_rows(self, left: str, target: str) -> None:
        """target[gate] += left[element, gate]"""
        layer, text, code, lanes = self.layer, self.text, self.code, self.tile.lanes
        at_once = 4

        def some(gate: str, _: list[str]) -> list[str]:
            left_over = text.integer("sub", layer.gates, gate)
            masks = [code.first(text.integer("sub", left_over, v * lanes)) for v in range(at_once)]
            places = [layer.row(target, "0", "0", text.integer("add", gate, v * lanes))
                      for v in range(at_once)]

            def element(row: str, _: str, sums: list[str]) -> list[str]:
                line = layer.row(self.buffers[left], row, layer.gates, gate)
                return [
                    text.value(f"fadd {code.vector} {value}, " + code.load(
                        text.offset(line, str(v * lanes), code.size), code.kind, masks[v]))
                    for v, value in enumerate(sums)]

            sums = self._walk(self._started(places, masks), element)
            for value, at, mask in zip(sums, places, masks, strict=True):
                code.store(value, at, code.kind, mask)
            return []

        text.loop(0, layer.gates, lanes * at_once, [], some)


TOTALS_WORDS = ("result", "scratch", "parts", "part", "count", "size")


def totals(name: str, vector_bytes: int, kind: str) -> str:
    """result[i] += the sum of `count` parts, of which each lies `part` elements behind the one
    before; a task is a vector of the result."""
    text, word = _begun(name, vector_bytes, TOTALS_WORDS)
    code = TileCode(text, kind, vector_bytes // SIZE[kind])
    first = text.offset(text.pointer(word["scratch"]), word["parts"], code.size)

    def task(number: str, _: list[str]) -> list[str]:
        begin = text.integer("mul", number, code.lanes)
        mask = code.first(text.integer("sub", word["size"], begin))
        target = text.offset(text.pointer(word["result"]), begin, code.size)
        source = text.offset(first, begin, code.size)

        def part(p: str, values: list[str]) -> list[str]:
            at = plus(text, source, (text.integer("mul", p, word["part"]), str(code.size)))
            value = code.load(at, kind, mask)
            return [text.value(f"fadd {code.vector} {values[0]}, {value}")]

        start = code.load(target, kind, mask)
        (total,) = text.loop(0, word["count"], 1, [(code.vector, start)], part)
        code.store(total, target, kind, mask)
        return []

    text.loop("%begin", "%end", 1, [], task)
    return text.text()
