"""Kernels of recurrent layers: all steps of a few sequences in one task.

Sequences don't see each other, so a task takes a block of `rows` of them through time, and nothing
waits for other threads between steps. The weights are packed in panels as wide as the tile, in the
order in which they are read, and stay in the second cache.

    forward_panels, backward_panels    pack both weights
    forward                            all steps: inputs and states times their weights, then the
                                       cells

The way back is in recurrent_gradients.py, what both ways share in recurrent_code.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from taper.compiler.llvm_text import FunctionText
from taper.compiler.matrix_products import Packer
from taper.compiler.recurrent_cells import CELLS
from taper.compiler.recurrent_code import LayerCode
from taper.compiler.tile_code import SIZE, Tile

__all__ = [
    "FORWARD_ARRAYS", "FORWARD_WORDS", "LINE", "PANELS_WORDS", "backward_panels", "forward",
    "forward_panels",
]

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
    text = FunctionText(name, vector_bytes)
    word = text.words(PANELS_WORDS)
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
    layer = LayerCode(name, vector_bytes, tile, CELLS[kind], FORWARD_WORDS)
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


def _gates(layer: LayerCode, pointers: dict[str, str], count: str) -> None:
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
