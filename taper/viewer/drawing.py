"""Draws a history as SVG, and as a page of its own: zoom, search, details of what is clicked."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from html import escape

from taper.viewer.history import Item, described, human_bytes
from taper.viewer.layout import place

__all__ = ["as_page", "as_svg"]

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


def as_page(items: Sequence[Item], title: str) -> str:
    """A web page that needs nothing else: the picture, and what is known of each box."""
    details = [
        {
            "title": item.title, "kind": item.kind, "lines": described(item), "place": item.place,
            "source": item.source, "saved": item.saved, "bytes": human_bytes(item.saved_bytes),
            "inputs": item.inputs,
        } for item in items
    ]
    operations = sum(item.kind == "operation" for item in items)
    leaves = sum(item.kind == "leaf" for item in items)
    total = human_bytes(sum(item.saved_bytes for item in items))
    summary = f"{operations} operations, {leaves} leaves, {total} saved for backward"
    data = json.dumps(details).replace("<", "\\u003c")  # no tag may end the script
    return _PAGE.replace("$TITLE", escape(title)).replace("$SUMMARY", escape(summary)).replace(
        "$SVG", as_svg(items)).replace("$DATA", data)


_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>$TITLE</title>
<style>
  body { margin: 0; font: 13px system-ui, sans-serif; display: flex; height: 100vh; color: #223; }
  #picture { flex: 1; overflow: hidden; cursor: grab; background: #fbfcfe; touch-action: none; }
  #picture svg { width: 100%; height: 100%; }
  #side { width: 320px; border-left: 1px solid #d5dbe5; padding: 12px; overflow: auto; }
  #side h1 { font-size: 15px; margin: 0 0 4px; }
  #side input { width: 100%; box-sizing: border-box; margin: 8px 0; padding: 5px; }
  #side pre { background: #f2f5f9; padding: 6px; white-space: pre-wrap; margin: 4px 0; }
  #side dt { font-weight: bold; margin-top: 8px; } #side dd { margin: 2px 0 0; }
  .box { cursor: pointer; } .faded { opacity: .22; } .chosen rect { stroke-width: 3.5; }
  .near { stroke: #2563eb !important; stroke-width: 2.4 !important; }
  a { color: #2563eb; cursor: pointer; }
</style></head><body>
<div id="picture">$SVG</div>
<div id="side"><h1>$TITLE</h1><div>$SUMMARY</div>
<input id="search" type="search" placeholder="search: operation, name, shape, file">
<div id="details">Click a box for details. Drag to move, scroll to zoom, double click to fit.
Borders go from blue to red with the gradient's norm; gray: none known; violet: not finite.
</div></div>
<script>
const items = $DATA;
const svg = document.querySelector("#picture svg"), details = document.getElementById("details");
const full = svg.viewBox.baseVal, home = [full.x, full.y, full.width, full.height];
svg.removeAttribute("width"); svg.removeAttribute("height");
let view = [...home];
function show() { svg.setAttribute("viewBox", view.join(" ")); }
function scale() {
  const box = svg.getBoundingClientRect();
  return Math.max(view[2] / box.width, view[3] / box.height);
}
svg.addEventListener("wheel", event => {
  event.preventDefault();
  const factor = Math.exp(event.deltaY * 0.0015), box = svg.getBoundingClientRect();
  const s = scale();
  const x = view[0] + view[2] / 2 + (event.clientX - box.left - box.width / 2) * s;
  const y = view[1] + view[3] / 2 + (event.clientY - box.top - box.height / 2) * s;
  view = [x + (view[0] - x) * factor, y + (view[1] - y) * factor,
          view[2] * factor, view[3] * factor];
  show();
}, { passive: false });
let held = null;
svg.addEventListener("pointerdown", event => { held = [event.clientX, event.clientY]; });
window.addEventListener("pointermove", event => {
  if (!held) return;
  const s = scale();
  view[0] -= (event.clientX - held[0]) * s; view[1] -= (event.clientY - held[1]) * s;
  held = [event.clientX, event.clientY]; show();
});
window.addEventListener("pointerup", () => { held = null; });
svg.addEventListener("dblclick", () => { view = [...home]; show(); });
const boxes = [...svg.querySelectorAll(".box")], edges = [...svg.querySelectorAll(".edge")];
const boxOf = new Map(boxes.map(box => [Number(box.dataset.n), box]));
function line(parent, tag, text) {
  const element = document.createElement(tag); element.textContent = text;
  parent.appendChild(element); return element;
}
function choose(n) {
  const item = items[n];
  boxes.forEach(box => box.classList.toggle("chosen", Number(box.dataset.n) === n));
  edges.forEach(edge => edge.classList.toggle(
    "near", Number(edge.dataset.from) === n || Number(edge.dataset.to) === n));
  details.textContent = "";
  line(details, "h1", item.title + " #" + n);
  item.lines.forEach(text => line(details, "div", text));
  const list = document.createElement("dl"); details.appendChild(list);
  if (item.place) {
    line(list, "dt", "called at"); line(list, "dd", item.place);
    if (item.source) line(list, "pre", item.source);
  }
  if (item.saved.length) {
    line(list, "dt", "saved for backward (" + item.bytes + ")");
    item.saved.forEach(([name, value]) => line(list, "dd", name + ": " + value));
  }
  const users = items.flatMap((other, i) => other.inputs.includes(n) ? [i] : []);
  for (const [title, numbers] of [["from", item.inputs], ["used by", users]]) {
    if (!numbers.length) continue;
    line(list, "dt", title);
    numbers.forEach(i => {
      const link = line(line(list, "dd", ""), "a", items[i].title + " #" + i);
      link.addEventListener("click", () => choose(i));
    });
  }
}
boxes.forEach(box => box.addEventListener("click", () => choose(Number(box.dataset.n))));
document.getElementById("search").addEventListener("input", event => {
  const wanted = event.target.value.toLowerCase();
  items.forEach((item, n) => {
    const text = [item.title, ...item.lines, item.place, item.source].join(" ").toLowerCase();
    boxOf.get(n).classList.toggle("faded", wanted !== "" && !text.includes(wanted));
  });
});
</script></body></html>
"""
