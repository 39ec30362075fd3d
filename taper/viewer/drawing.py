"""Draws a graph as SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from html import escape

from taper.viewer.history import Item, described
from taper.viewer.layout import place

__all__ = ["as_svg"]

_LETTER, _LINE, _PADDING = 6.7, 15.0, 9.0
_FILLS = {"operation": "#eef2f7", "leaf": "#cfe8ff", "result": "#d5f0cf"}


def as_svg(items: Sequence[Item]) -> str:
    """The graph as an SVG picture, inputs at the top."""
    texts = [[item.title, *described(item)] for item in items]
    sizes = [
        (max(len(line) for line in lines) * _LETTER + 2 * _PADDING,
         len(lines) * _LINE + 2 * _PADDING - 4) for lines in texts
    ]
    layout = place([item.inputs for item in items], sizes)
    margin = 20.0
    width, height = layout.width + 2 * margin, layout.height + 2 * margin
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#778"/></marker></defs>',
        f'<g id="all" transform="translate({margin:.0f} {margin:.0f})">',
    ]
    for (j, i), points in layout.edges.items():
        parts.append(f'<path class="edge" data-from="{j}" data-to="{i}" d="{_curve(points)}" '
                     'fill="none" stroke="#99a" stroke-width="1.2" marker-end="url(#tip)"/>')
    scale = _gradient_scale(items)
    for item, lines, (w, h), (x, y) in zip(items, texts, sizes, layout.centers, strict=True):
        border = scale(item.gradient)
        parts.append(
            f'<g class="box" data-n="{item.number}" transform="translate({x - w / 2:.1f} '
            f'{y - h / 2:.1f})"><rect width="{w:.1f}" height="{h:.1f}" '
            f'rx="{4 if item.kind != "operation" else 9}" fill="{_FILLS[item.kind]}" '
            f'stroke="{border}" stroke-width="1.5"/>'
        )
        for k, line in enumerate(lines):
            weight = ' font-weight="bold"' if k == 0 else ' fill="#455"'
            parts.append(f'<text x="{w / 2:.1f}" y="{_PADDING + 8 + k * _LINE:.1f}" '
                         f'text-anchor="middle"{weight}>{escape(line)}</text>')
        parts.append("</g>")
    parts.append("</g></svg>")
    return "\n".join(parts)


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line through points, leaving and arriving vertically."""
    text = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (y0 + y1) / 2
        text += f" C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return text


def _gradient_scale(items: Sequence[Item]) -> Callable[[float | None], str]:
    """Maps a gradient's norm to a color: from blue, the smallest of this graph, to red."""
    logs = [math.log10(i.gradient) for i in items
            if i.gradient is not None and 0 < i.gradient < math.inf]
    low, high = min(logs, default=0.0), max(logs, default=0.0)

    def color(norm: float | None) -> str:
        if norm is None:
            return "#889"
        if not math.isfinite(norm):
            return "#c000c0"
        if norm == 0:
            return "#bbb"
        part = (math.log10(norm) - low) / (high - low) if high > low else 0.5
        return f"rgb({round(60 + 180 * part)} 90 {round(240 - 180 * part)})"

    return color
