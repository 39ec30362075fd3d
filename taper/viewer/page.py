"""Pages of their own for pictures: zoom, search, details of what is clicked.

`STYLE` and `SCRIPT` serve every page with a picture: an element `#picture` that holds an SVG by
drawing.py, `#details` for what is known of the chosen box, and `#search`. A page calls
``openPicture(items)`` with what `details_of` gives, whenever it has put a picture there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from taper.viewer.drawing import as_svg
from taper.viewer.history import Item, described, human_bytes

__all__ = ["SCRIPT", "STYLE", "as_json", "as_page", "details_of"]


def as_page(items: Sequence[Item], title: str) -> str:
    """A web page that needs nothing else: the picture, and what is known of each box."""
    operations = sum(item.kind == "operation" for item in items)
    leaves = sum(item.kind == "leaf" for item in items)
    total = human_bytes(sum(item.saved_bytes for item in items))
    summary = f"{operations} operations, {leaves} leaves, {total} saved for backward"
    return _PAGE.replace("$TITLE", escape(title)).replace("$SUMMARY", escape(summary)).replace(
        "$SVG", as_svg(items)).replace("$DATA", as_json(details_of(items)))


def details_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    """What a page tells of each box."""
    return [
        {
            "title": item.title, "kind": item.kind, "lines": described(item), "place": item.place,
            "source": item.source, "saved": item.saved, "bytes": human_bytes(item.saved_bytes),
            "inputs": item.inputs,
        } for item in items
    ]


def as_json(data: Any) -> str:
    """Data as a script may hold it: no tag in it may end the script."""
    return json.dumps(data).replace("<", "\\u003c")


STYLE = """\
  body { margin: 0; font: 13px system-ui, sans-serif; display: flex; height: 100vh; color: #223; }
  #picture { flex: 1; overflow: hidden; cursor: grab; background: #fbfcfe; touch-action: none; }
  #picture svg { width: 100%; height: 100%; }
  #side { width: 320px; border-left: 1px solid #d5dbe5; padding: 12px; overflow: auto; }
  #side h1 { font-size: 15px; margin: 0 0 4px; }
  #side input { width: 100%; box-sizing: border-box; margin: 8px 0; padding: 5px; }
  #side pre { background: #f2f5f9; padding: 6px; white-space: pre-wrap; margin: 4px 0;
    overflow-wrap: anywhere; }
  #side dt { font-weight: bold; margin-top: 8px; } #side dd { margin: 2px 0 0; }
  .box { cursor: pointer; } .faded { opacity: .22; } .chosen rect { stroke-width: 3.5; }
  .near { stroke: #2563eb !important; stroke-width: 2.4 !important; }
  a { color: #2563eb; cursor: pointer; }
"""

SCRIPT = """\
const details = document.getElementById("details");
let items, svg, boxes, edges, boxOf, home, view, held = null;
function openPicture(about) {
  items = about;
  svg = document.querySelector("#picture svg");
  const full = svg.viewBox.baseVal;
  home = [full.x, full.y, full.width, full.height];
  svg.removeAttribute("width"); svg.removeAttribute("height");
  view = [...home];
  boxes = [...svg.querySelectorAll(".box")]; edges = [...svg.querySelectorAll(".edge")];
  boxOf = new Map(boxes.map(box => [Number(box.dataset.n), box]));
  boxes.forEach(box => box.addEventListener("click", () => choose(Number(box.dataset.n))));
  svg.addEventListener("wheel", zoom, { passive: false });
  svg.addEventListener("pointerdown", event => { held = [event.clientX, event.clientY]; });
  svg.addEventListener("dblclick", () => { view = [...home]; show(); });
}
function show() { svg.setAttribute("viewBox", view.join(" ")); }
function scale() {
  const box = svg.getBoundingClientRect();
  return Math.max(view[2] / box.width, view[3] / box.height);
}
function zoom(event) {
  event.preventDefault();
  const factor = Math.exp(event.deltaY * 0.0015), box = svg.getBoundingClientRect();
  const s = scale();
  const x = view[0] + view[2] / 2 + (event.clientX - box.left - box.width / 2) * s;
  const y = view[1] + view[3] / 2 + (event.clientY - box.top - box.height / 2) * s;
  view = [x + (view[0] - x) * factor, y + (view[1] - y) * factor,
          view[2] * factor, view[3] * factor];
  show();
}
window.addEventListener("pointermove", event => {
  if (!held) return;
  const s = scale();
  view[0] -= (event.clientX - held[0]) * s; view[1] -= (event.clientY - held[1]) * s;
  held = [event.clientX, event.clientY]; show();
});
window.addEventListener("pointerup", () => { held = null; });
function line(parent, tag, text) {
  const element = document.createElement(tag); element.textContent = text;
  parent.appendChild(element); return element;
}
function mark(chosen) {
  boxes.forEach(box => box.classList.toggle("chosen", chosen.includes(Number(box.dataset.n))));
  edges.forEach(edge => edge.classList.toggle(
    "near", chosen.includes(Number(edge.dataset.from)) || chosen.includes(Number(edge.dataset.to))
  ));
}
function choose(n) {
  const item = items[n];
  mark([n]);
  details.textContent = "";
  line(details, "h1", item.title + " #" + n);
  item.lines.forEach(text => line(details, "div", text));
  const list = document.createElement("dl"); details.appendChild(list);
  if (item.place) { line(list, "dt", "called at"); line(list, "dd", item.place); }
  if (item.source) line(list, "pre", item.source);
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
function fade(wanted) {
  items.forEach((item, n) => {
    const text = [item.title, ...item.lines, item.place, item.source].join(" ").toLowerCase();
    boxOf.get(n).classList.toggle("faded", wanted !== "" && !text.includes(wanted));
  });
}
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>$TITLE</title>
<style>
STYLE</style></head><body>
<div id="picture">$SVG</div>
<div id="side"><h1>$TITLE</h1><div>$SUMMARY</div>
<input id="search" type="search" placeholder="search: operation, name, shape, file">
<div id="details">Click a box for details. Drag to move, scroll to zoom, double click to fit.
Borders go from blue to red with the gradient's norm; gray: none known; violet: not finite.
</div></div>
<script>
SCRIPTopenPicture($DATA);
document.getElementById("search").addEventListener(
  "input", event => fade(event.target.value.toLowerCase()));
</script></body></html>
""".replace("STYLE", STYLE).replace("SCRIPT", SCRIPT)
