"""Kernels of bilinear maps: products whose every row is multiplied on with a vector of its own.

A tile of the product stays in registers until its rows have met their vectors, so what is between
the two products, which is larger than all operands together, is never in memory.
"""

from __future__ import annotations

from typing import Any

from taper.compiler.llvm_text import FunctionText
from taper.compiler.tile_code import Tile, TileCode, plus
from taper.compiler.vector_code import llvm_type

__all__ = ["BILINEAR_WORDS", "bilinear"]

BILINEAR_WORDS = (
    "first", "matrices", "second", "result", "rows", "features", "depth", "columns", "row_tiles",
    "rows_at_once", "feature_groups", "features_at_once", "first_row", "first_k", "matrix_feature",
    "matrix_k", "second_row", "result_row", "result_feature",
)


def bilinear(name: str, vector_bytes: int, tile: Tile) -> str:
    """The kernel `result[m, f] = sum over k, n of first[m, k] * matrices[f, k, n] * second[m, n]`.

    The argument block is BILINEAR_WORDS, strides in bytes; columns, n, are neighbours in memory. A
    task is `rows_at_once` tiles of rows for `features_at_once` features.
    """
    return _Writer(name, vector_bytes, tile).kernel()


class _Writer:
    def __init__(self, name: str, vector_bytes: int, tile: Tile) -> None:
        self.text = FunctionText(name, vector_bytes)
        self.tile = tile
        self.code = TileCode(self.text, tile.kind, tile.lanes)
        self.word = self.text.words(BILINEAR_WORDS)
        self.base = {label: self.text.pointer(self.word[label])
                     for label in ("first", "matrices", "second", "result")}

    def kernel(self) -> str:
        text, word = self.text, self.word
        width = self.tile.lanes * self.tile.vectors

        def task(number: str, _: list[str]) -> list[str]:
            rows = self._share(text.integer("udiv", number, word["feature_groups"]),
                               "rows_at_once", "row_tiles")
            features = self._share(text.integer("urem", number, word["feature_groups"]),
                                   "features_at_once", "features")

            def feature(f: str, _: list[str]) -> list[str]:
                matrix = plus(text, self.base["matrices"], (f, word["matrix_feature"]))

                def columns(column: str, _: list[str]) -> list[str]:
                    text.loop(*rows, 1, [], lambda i, _: self._tile_of(i, f, column, matrix))
                    return []

                text.loop(0, word["columns"], width, [], columns)
                return []

            text.loop(*features, 1, [], feature)
            return []

        text.loop("%begin", "%end", 1, [], task)
        return text.text()

    def _share(self, group: str, at_once: str, count: str) -> tuple[str, str]:
        """Where a group begins and ends."""
        begin = self.text.integer("mul", group, self.word[at_once])
        end = self.text.integer("add", begin, self.word[at_once])
        return begin, self.text.least(end, self.word[count])

    def _tile_of(self, i: str, feature: str, column: str, matrix: str) -> list[str]:
        """Adds what some columns of a feature's matrix give to some rows of the result. Rows beyond
        the last are the last; so sums are read for all rows before one is written."""
        text, code, word, tile = self.text, self.code, self.word, self.tile
        row = text.integer("mul", i, tile.rows)
        last = text.integer("sub", word["rows"], 1)
        rows = [text.least(text.integer("add", row, m), last) for m in range(tile.rows)]
        firsts = [plus(text, self.base["first"], (m, word["first_row"])) for m in rows]
        seconds = [text.offset(plus(text, self.base["second"], (m, word["second_row"])), column,
                               code.size) for m in rows]
        places = [plus(text, self.base["result"], (m, word["result_row"]),
                       (feature, word["result_feature"])) for m in rows]
        matrix = text.offset(matrix, column, code.size)
        left = text.integer("sub", word["columns"], column)
        is_first = text.value(f"icmp eq i64 {column}, 0")
        scalar = llvm_type(tile.kind)

        def write(masks: list[Any]) -> None:
            sums = self._sums(firsts, matrix, masks)
            totals = []
            for m, (second, place) in enumerate(zip(seconds, places, strict=True)):
                of_row = self._times(sums[m * tile.vectors : (m + 1) * tile.vectors], second, masks)
                before = text.value(f"load {scalar}, ptr {place}, align {code.size}")
                start = text.value(f"select i1 {is_first}, {scalar} 0.0, {scalar} {before}")
                totals.append(text.value(f"fadd {scalar} {start}, {of_row}"))
            for place, total in zip(places, totals, strict=True):
                text.add(f"store {scalar} {total}, ptr {place}, align {code.size}")

        is_whole = text.value(f"icmp sge i64 {left}, {tile.lanes * tile.vectors}")
        masks = [code.first(text.integer("sub", left, v * tile.lanes)) for v in range(tile.vectors)]
        text.either(is_whole, lambda: write([None] * tile.vectors), lambda: write(masks))
        return []

    def _sums(self, firsts: list[str], matrix: str, masks: list[Any]) -> list[str]:
        """A tile of the first product."""
        text, code, word, tile = self.text, self.code, self.word, self.tile

        def step(k: str, values: list[str]) -> list[str]:
            line = plus(text, matrix, (k, word["matrix_k"]))
            columns = [code.load(text.offset(line, str(v * tile.lanes), code.size), code.kind, mask)
                       for v, mask in enumerate(masks)]
            at = text.integer("mul", k, word["first_k"])
            new = []
            for m, first in enumerate(firsts):
                factor = code.all_spread(text.offset(first, at))
                new += [code.fused(column, factor, values[m * tile.vectors + v])
                        for v, column in enumerate(columns)]
            return new

        zero = code.constant(0.0, code.kind)
        return text.loop(
            0, word["depth"], 1, [(code.vector, zero)] * (tile.rows * tile.vectors), step)

    def _times(self, sums: list[str], second: str, masks: list[Any]) -> str:
        """A row of the tile times its vector. What is beyond the last column counts as zero, also
        where factors aren't finite."""
        text, code = self.text, self.code
        zero = code.constant(0.0, code.kind)
        total = zero
        for v, (value, mask) in enumerate(zip(sums, masks, strict=True)):
            place = text.offset(second, str(v * self.tile.lanes), code.size)
            inside = value if mask is None else code.chosen(mask, value, zero)
            total = code.fused(inside, code.load(place, code.kind, mask), total)
        return code.sum(total)
