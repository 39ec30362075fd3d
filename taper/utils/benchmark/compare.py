"""Tables of measurements: a table per label, a row per sub-label, a column per description."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from typing import Any

from taper.utils.benchmark.measurement import (
    Measurement,
    ordered_unique,
    select_unit,
    trim_sigfig,
    unit_to_english,
)

__all__ = ["Colorize", "Compare"]

_BETWEEN = "  |  "

# (up to this multiple of the best, the terminal's codes): bright green, blue, none, dim red, red.
_COLORS = (
    (1.0, "\033[92m\033[1m"), (1.2, "\033[34m\033[1m"), (1.9, ""), (5.0, "\033[2m\033[91m"),
    (math.inf, "\033[31m\033[1m"),
)  # fmt: skip
_PLAIN = "\033[0m\033[0m"


class Colorize(enum.Enum):
    """Which measurements are compared when the better ones are coloured."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """Measurements side by side.

    Args:     results: measurements; those of one task are taken together

    Example:
        >>> from taper.utils.benchmark import Compare, Measurement, TaskSpec
        >>> fast, slow = [
        ...     Measurement(1, [time], TaskSpec("f()", "pass", label="f", description=name))
        ...     for name, time in [("mine", 1e-6), ("yours", 2e-6)]
        ... ]
        >>> Compare([fast, slow]).print()
        [------------- f -------------]
                   |  mine  |  yours
        1 threads: --------------------
              f()  |   1.0  |    2.0
        <BLANKLINE>
        Times are in microseconds (us).
        <BLANKLINE>
    """

    __module__ = "torch.utils.benchmark.utils.compare"

    def __init__(self, results: list[Measurement]) -> None:
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trims = False
        self._colorize = Colorize.NONE
        self._warns = False

    def __str__(self) -> str:
        return "\n".join(self._tables())

    def extend_results(self, results: Iterable[Any]) -> None:
        """Adds measurements."""
        results = list(results)
        for result in results:
            if not isinstance(result, Measurement):
                raise ValueError(
                    f"Expected an instance of `Measurement`, got {type(result)} instead."
                )
        self._results.extend(results)

    def trim_significant_figures(self) -> None:
        """Leaves out digits that the spread of the measurements makes meaningless."""
        self._trims = True

    def colorize(self, rowwise: bool = False) -> None:
        """Colours the better and the worse, within columns or within rows."""
        self._colorize = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def highlight_warnings(self) -> None:
        """Marks measurements that spread suspiciously."""
        self._warns = True

    def print(self) -> None:
        """Prints the tables."""
        print(self)

    def _tables(self) -> list[str]:
        groups: dict[Any, list[Measurement]] = {}
        for result in Measurement.merge(self._results):
            groups.setdefault(result.task_spec.label, []).append(result)
        tables = [
            Table(group, self._colorize, self._trims, self._warns).render()
            for group in groups.values()
        ]
        if self._warns:
            tables.append("(! XX%) Measurement has high variance, where XX is the IQR / median "
                          "* 100.\n")
        return tables


class Table:
    """The measurements of one label."""

    def __init__(
        self, results: list[Measurement], colorize: Colorize, trims: bool, warns: bool
    ) -> None:
        self.label = results[0].task_spec.label or ""
        self.unit, self.scale = select_unit(min(result.median for result in results))
        self.colorize = colorize
        self.trims = trims
        self.warns = warns
        self.cells = {(self.row_of(r), self.column_of(r)): r for r in results}
        self.columns = ordered_unique(self.column_of(r) for r in results)
        # By number of threads; otherwise in the order they came.
        self.rows = sorted(ordered_unique(self.row_of(r) for r in results), key=lambda row: row[0])

    @staticmethod
    def row_of(result: Measurement) -> tuple[int, str, str]:
        env = result.task_spec.env
        return result.task_spec.num_threads, env or "", result.as_row_name

    @staticmethod
    def column_of(result: Measurement) -> str:
        return result.task_spec.description or ""

    def render(self) -> str:
        places = {row: f"  ({row[1]})" if row[1] else "    " for row in self.rows}
        room = max(map(len, places.values()))
        names = {row: f"{place:{room}}  {row[2]}" for row, place in places.items()}
        first = max(map(len, names.values()))
        bodies = [self.texts(column) for column in self.columns]
        widths = [
            max(len(column), *map(len, texts.values()))
            for column, texts in zip(self.columns, bodies, strict=True)
        ]
        heads = [c.center(w) for c, w in zip(self.columns, widths, strict=True)]
        header = _BETWEEN.join([" " * first, *heads])
        lines = [f"[{f' {self.label} '.center(len(header) - 2, '-')}]", header]
        threads = None
        for row in self.rows:
            if row[0] != threads:
                threads = row[0]
                title = f"{threads} threads: "
                lines.append(title + "-" * (len(header) - len(title)))
            cells = [
                self.colored(row, column, texts.get(row, "").rjust(width))
                for column, texts, width in zip(self.columns, bodies, widths, strict=True)
            ]
            lines.append(_BETWEEN.join([names[row].ljust(first), *cells]))
        return "\n".join([*lines, "", f"Times are in {unit_to_english(self.unit)}s ({self.unit}).",
                          ""])

    def texts(self, column: str) -> dict[tuple[int, str, str], str]:
        """The numbers of a column, one below the other."""
        found = {row: self.cells[row, column] for row in self.rows if (row, column) in self.cells}
        values = {row: r.median / self.scale for row, r in found.items()}
        decimals = 1
        if self.trims:
            figures = {row: r.significant_figures for row, r in found.items()}
            values = {row: trim_sigfig(value, figures[row]) for row, value in values.items()}
            decimals = max(
                max(figures[row] - 1 - math.floor(math.log10(value)), 0)
                for row, value in values.items()
            )
        numbers = {row: f"{value:.{decimals}f}" for row, value in values.items()}
        width = max(map(len, numbers.values()))
        texts = {row: number.rjust(width) for row, number in numbers.items()}
        if self.warns and any(r.has_warnings for r in found.values()):
            marks = {
                row: f" (! {r.iqr / r.median * 100:.0f}%)" if r.has_warnings else ""
                for row, r in found.items()
            }
            room = max(map(len, marks.values()))
            texts = {row: text + marks[row].ljust(room) for row, text in texts.items()}
        # Narrow numbers stand in the middle below a long description.
        return {row: text.center(max(len(column), len(text))) for row, text in texts.items()}

    def colored(self, row: tuple[int, str, str], column: str, text: str) -> str:
        """A cell in the colour of its rank among the cells it is compared with."""
        found = self.cells.get((row, column))
        if found is None or self.colorize is Colorize.NONE:
            return text
        if self.colorize is Colorize.ROWWISE:
            others = [self.cells[row, c] for c in self.columns if (row, c) in self.cells]
        else:
            others = [self.cells[r, column] for r in self.rows
                      if r[0] == row[0] and (r, column) in self.cells]
        if len(others) < 2 and self.colorize is Colorize.ROWWISE:
            return text
        ratio = found.median / min(other.median for other in others)
        code = next(code for limit, code in _COLORS if ratio <= limit)
        return f"{code}{text}{_PLAIN}" if code else text
