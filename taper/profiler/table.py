"""The text of a table of events, in the layout of PyTorch's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["memory_text", "table_of", "time_text"]

_COLUMN = 12
_GAP = "  "
_MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0}


def time_text(microseconds: float, unit: str | None = None) -> str:
    """A time in the largest unit of which it has at least one, or in `unit`."""
    if unit is None:
        unit = "s" if microseconds >= 1e6 else "ms" if microseconds >= 1e3 else "us"
    return f"{microseconds / _MICROSECONDS[unit]:.3f}{unit}"


def memory_text(size: int) -> str:
    """A number of bytes in the largest unit of which it has at least one."""
    for unit, scale in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if abs(size) >= scale:
            return f"{size / scale:.2f} {unit}"
    return f"{size} B"


def table_of(
    rows: Sequence[Any], *, total: float, memory: bool, shapes: bool, sources: bool,
    widths: tuple[int, int, int], header: str | None, unit: str | None,
) -> str:
    """The table. `widths` are at most those of the columns for names, sources and shapes."""
    if not rows:
        return ""
    name_width, source_width, shapes_width = widths

    def percent(part: float) -> str:
        return f"{part * 100 / total if total else 0:.2f}%"

    # Title, width, text of a row.
    columns: list[tuple[str, int, Callable[[Any], str]]] = [
        ("Name", fit([row.key for row in rows], name_width), lambda row: row.key),
        ("Self CPU %", _COLUMN, lambda row: percent(row.self_cpu_time_total)),
        ("Self CPU", _COLUMN, lambda row: time_text(row.self_cpu_time_total, unit)),
        ("CPU total %", _COLUMN, lambda row: percent(row.cpu_time_total)),
        ("CPU total", _COLUMN, lambda row: time_text(row.cpu_time_total, unit)),
        ("CPU time avg", _COLUMN, lambda row: time_text(row.cpu_time, unit)),
    ]
    if memory:
        columns += [
            ("CPU Mem", _COLUMN, lambda row: memory_text(row.cpu_memory_usage)),
            ("Self CPU Mem", _COLUMN, lambda row: memory_text(row.self_cpu_memory_usage)),
        ]
    columns.append(("# of Calls", _COLUMN, lambda row: str(row.count)))
    if shapes:
        texts = [str(row.input_shapes) for row in rows]
        width = max(fit(texts, shapes_width), len("Input Shapes"))
        columns.append(("Input Shapes", width, lambda row: str(row.input_shapes)))
    if sources:
        lines = [short_path(line) for row in rows for line in row.stack]
        columns.append(("Source Location", max(fit(lines, source_width), len("Source Location")),
                        lambda row: short_path(row.stack[0]) if row.stack else ""))

    rule = "".join("-" * width + _GAP for _, width, _ in columns)
    found = []
    if header is not None:
        found += ["=" * len(rule), header]
    found += [rule, _line(columns, [title for title, _, _ in columns]), rule]
    for row in rows:
        found.append(_line(columns, [text(row) for _, _, text in columns]))
        if sources:
            blank = [""] * (len(columns) - 1)
            found += [_line(columns, [*blank, short_path(line)]) for line in row.stack[1:]]
    found += [rule, f"Self CPU time total: {time_text(total, unit)}", ""]
    return "\n".join(found)


def fit(texts: Sequence[str], limit: int) -> int:
    """The width of a column for these texts."""
    return min(max(map(len, texts), default=0) + 4, limit)


def _line(columns: Sequence[tuple[str, int, Any]], texts: Sequence[str]) -> str:
    cells = []
    for (_, width, _), text in zip(columns, texts, strict=True):
        if len(text) > width > 3:
            text = text[: width - 3] + "..."
        cells.append(f"{text:>{width}}{_GAP}")
    return "".join(cells)


def short_path(line: str) -> str:
    """The last folders of a source line's path."""
    return os.sep.join(line.split(os.sep)[-3:])
