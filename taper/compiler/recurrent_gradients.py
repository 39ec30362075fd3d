"""Kernels of recurrent layers' gradients: all steps of a few sequences in one task, backwards.

    backward      all steps: the cells' gradients, times the weights; and the weights' gradients,
                  from some steps at a time, while these are in the cache
    totals        sums of what several tasks found for the weights' gradients

Panels of the weights are packed by recurrent_kernels.py, what both ways share is in
recurrent_code.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taper.compiler.llvm_text import FunctionText
from taper.compiler.recurrent_cells import CELLS
from taper.compiler.recurrent_code import LayerCode
from taper.compiler.tile_code import SIZE, Tile, TileCode, plus, word_at

__all__ = [
    "BACKWARD_ARRAYS", "BACKWARD_WORDS", "TOTALS_WORDS", "backward", "totals",
]

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
    layer = LayerCode(name, vector_bytes, tile, CELLS[kind], BACKWARD_WORDS)
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
    layer: LayerCode, pointers: dict[str, str], element: str, count: str
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


def _add_to_weights(layer: LayerCode, sums: _WeightSums, number: str) -> None:
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
        self, layer: LayerCode, tile: Tile, buffers: dict[str, str], block: str,
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
    text = FunctionText(name, vector_bytes)
    word = text.words(TOTALS_WORDS)
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
