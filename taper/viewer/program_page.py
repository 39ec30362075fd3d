"""The page of a compiled function: its kernels and their times, graphs, guards, fallbacks."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from taper.viewer.drawing import as_svg
from taper.viewer.page import SCRIPT, STYLE, as_json, details_of
from taper.viewer.programs import FunctionView, KernelView, ProgramView

__all__ = ["as_page"]


def as_page(function: FunctionView) -> str:
    """A web page that needs nothing else."""
    pictures = "\n".join([
        f'<template id="{name}-{i}">{as_svg(items)}</template>'
        for i, program in enumerate(function.programs)
        for name, items in (("before", program.before), ("after", program.after))])
    data = {
        "programs": [_program_data(program) for program in function.programs],
        "fallbacks": function.fallbacks,
    }
    summary = (f"{function.compiled_calls} calls ran as programs, "
               f"{function.eager_calls} as they are")
    parts = {
        "$TITLE": escape(function.name), "$SUMMARY": escape(summary),
        "$MACHINE": escape("; ".join(function.machine) or "no speeds of this machine are known"),
        "$PICTURES": pictures, "$DATA": as_json(data),
    }
    return "".join([parts.get(piece, piece) for piece in _PIECES])


def _program_data(program: ProgramView) -> dict[str, Any]:
    return {
        "title": program.title, "seconds": program.seconds, "least": program.least,
        "unmeasured": program.unmeasured, "notes": program.notes,
        "kernels": [_kernel_data(kernel) for kernel in program.kernels],
        "guards": [[g.place, g.kind, g.content, "yes" if g.holds else "no"]
                   for g in program.guards],
        "before": details_of(program.before), "after": details_of(program.after),
    }


def _kernel_data(kernel: KernelView) -> dict[str, Any]:
    return {
        **vars(kernel), "speed": kernel.gigabytes_per_second, "gigaflops": kernel.gigaflops,
        "share": kernel.share,
    }


_STYLE = """\
  #main { flex: 1; display: flex; flex-direction: column; min-width: 0; }
  #head { padding: 8px 12px; border-bottom: 1px solid #d5dbe5; }
  #head h1 { font-size: 15px; margin: 0; display: inline; } #head p { margin: 4px 0 0; }
  #head button { padding: 3px 10px; margin: 6px 4px 0 0; border: 1px solid #b9c3d3;
    border-radius: 4px; background: #fff; cursor: pointer; }
  #head button.current { background: #223; color: #fff; }
  .panel { flex: 1; overflow: auto; padding: 0 12px; } .panel[hidden] { display: none; }
  #picture.panel { overflow: hidden; padding: 0; }
  table { border-collapse: collapse; } tbody tr:hover { background: #eef2f7; }
  td, th { padding: 3px 10px 3px 0; text-align: left; vertical-align: top; }
  th { position: sticky; top: 0; background: #fff; border-bottom: 1px solid #b9c3d3; }
  #kernels th { cursor: pointer; white-space: nowrap; } #kernels tbody tr { cursor: pointer; }
  td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
  td.share { text-align: left; }
  tr.current { background: #e3ecfb !important; }
  .bar { display: inline-block; width: 60px; height: 9px; background: #e4e8ef; margin-right: 6px; }
  .bar i { display: block; height: 100%; background: #2563eb; }
  .quiet { color: #667; } .no { color: #b00020; }
"""

_SCRIPT = """\
const data = $DATA;
const panels = ["kernels", "after", "before", "guards", "fallbacks"];
const columns = [
  ["#", k => k.number, n => n], ["kind", k => k.kind, t => t],
  ["what it does", k => k.title, t => t],
  ["read", k => k.read, bytes], ["written", k => k.written, bytes],
  ["time", k => k.seconds, duration], ["of all", k => part(k), percent],
  ["GB/s", k => k.speed, decimal], ["GFLOP/s", k => k.gigaflops, decimal],
  ["of the bound", k => k.share, percent],
];
let program = 0, panel = "kernels", sorted = { column: 5, down: true };
const element = id => document.getElementById(id);
const total = () => data.programs[program].kernels.reduce((sum, k) => sum + (k.seconds || 0), 0);
const part = k => k.seconds === null || !total() ? null : k.seconds / total();
function duration(s) {
  return s < 1e-3 ? (s * 1e6).toFixed(s < 1e-5 ? 2 : 1) + " µs" : (s * 1e3).toFixed(2) + " ms";
}
function percent(x) { return (100 * x).toFixed(0) + " %"; }
function decimal(x) { return x.toPrecision(3); }
function bytes(n) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (n < 1024) return (unit === "B" ? n : n.toFixed(1)) + " " + unit;
    n /= 1024;
  }
  return n.toFixed(1) + " GiB";
}
function go(where) {
  panel = where;
  panels.forEach(name => element("to-" + name).classList.toggle("current", name === panel));
  const isPicture = panel === "after" || panel === "before";
  element("picture").hidden = !isPicture;
  for (const name of ["kernels", "guards", "fallbacks"]) element(name).hidden = name !== panel;
  const known = data.programs[program];
  if (isPicture && known) {
    const picture = element(panel + "-" + program).content.cloneNode(true);
    element("picture").replaceChildren(picture);
    openPicture(known[panel]);
  }
  search();
}
function search() {
  const wanted = element("search").value.toLowerCase();
  if (!element("picture").hidden) {
    if (data.programs[program]) fade(wanted);
    return;
  }
  document.querySelectorAll("tbody tr, #fallbacks li").forEach(
    row => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
}
function openProgram(n) {
  program = n;
  const known = data.programs[n];
  element("notes").textContent = !known ? "" : [
    known.seconds === null ? "" : "a call takes " + duration(known.seconds) + ", at least "
      + duration(known.least) + "; its steps, one by one, " + duration(total()),
    known.unmeasured && "not measured: " + known.unmeasured,
  ].filter(text => text).join("; ");
  element("about").textContent = "";
  if (known) known.notes.forEach(text => line(element("about"), "div", text));
  fillKernels(); fillGuards(); go(panel);
}
function fillKernels() {
  const known = data.programs[program], table = element("kernels");
  table.textContent = "";
  if (!known || !known.kernels.length) {
    line(table, "p", known ? "No kernels: " + known.unmeasured
      : "There is no program: see what ran as it is.");
    return;
  }
  const grid = line(table, "table", ""), head = line(line(grid, "thead", ""), "tr", "");
  columns.forEach(([title], i) => {
    const arrow = i === sorted.column ? (sorted.down ? " ▾" : " ▴") : "";
    line(head, "th", title + arrow).addEventListener("click", () => {
      sorted = { column: i, down: i === sorted.column ? !sorted.down : i > 2 };
      fillKernels(); search();
    });
  });
  const value = columns[sorted.column][1], body = line(grid, "tbody", "");
  const order = [...known.kernels].sort((a, b) => {
    const x = value(a) ?? -1, y = value(b) ?? -1;
    return (x < y ? -1 : x > y ? 1 : 0) * (sorted.down ? -1 : 1);
  });
  for (const kernel of order) {
    const row = line(body, "tr", "");
    row.dataset.kernel = kernel.number;
    columns.forEach(([title, of, text], i) => {
      const found = of(kernel), cell = line(row, "td", found === null ? "–" : text(found));
      if (i === 0 || i > 2) cell.className = "number" + (title === "of the bound" ? " share" : "");
      if (title === "of the bound" && found !== null) {
        const bar = document.createElement("span"); bar.className = "bar";
        line(bar, "i", "").style.width = Math.min(100, 100 * found) + "%";
        cell.prepend(bar);
      }
    });
    row.addEventListener("click", () => chooseKernel(kernel.number));
  }
}
function chooseKernel(n) {
  const kernel = data.programs[program].kernels[n];
  document.querySelectorAll("#kernels tbody tr").forEach(
    row => row.classList.toggle("current", Number(row.dataset.kernel) === n));
  details.textContent = "";
  line(details, "h1", "kernel " + n + ": " + kernel.kind);
  if (kernel.seconds !== null && kernel.bound !== null)
    line(details, "div", duration(kernel.seconds) + "; at best " + duration(kernel.bound));
  if (kernel.nodes.length) line(details, "a", "show in the graph").addEventListener("click", () => {
    go("after"); mark(kernel.nodes);
  });
  const list = line(details, "dl", "");
  line(list, "dt", "computes");
  line(list, "pre", kernel.operations.join("\\n"));
  line(list, "dt", "made from");
  line(list, "pre", kernel.source);
}
function fillGuards() {
  const known = data.programs[program], place = element("guards");
  place.textContent = "";
  if (!known || !known.guards.length) {
    line(place, "p", "Nothing is watched for this program alone.");
    return;
  }
  line(place, "p", "A call runs as this program if all of these are as they were, and the "
    + "arguments are of the same types and shapes.");
  const grid = line(place, "table", ""), head = line(line(grid, "thead", ""), "tr", "");
  for (const title of ["place", "kind", "held", "holds now"]) line(head, "th", title);
  const body = line(grid, "tbody", "");
  const broken = known.guards.filter(guard => guard[3] === "no");
  for (const guard of [...broken, ...known.guards.filter(guard => guard[3] === "yes")]) {
    const row = line(body, "tr", "");
    for (const text of guard) line(row, "td", text);
    if (guard[3] === "no") row.lastChild.className = "no";
  }
}
function fillFallbacks() {
  const place = element("fallbacks");
  if (!data.fallbacks.length) line(place, "p", "No call had to run as it is, but for those before "
    + "there was a program.");
  const list = line(place, "ul", "");
  for (const [reason, where] of data.fallbacks) {
    const item = line(list, "li", reason);
    if (where) line(item, "pre", where);
  }
  element("to-fallbacks").textContent += " (" + data.fallbacks.length + ")";
}
data.programs.forEach((known, i) => { line(element("program"), "option", known.title).value = i; });
element("program").hidden = data.programs.length < 2;
element("program").addEventListener("change", event => openProgram(Number(event.target.value)));
panels.forEach(name => element("to-" + name).addEventListener("click", () => go(name)));
element("search").addEventListener("input", search);
fillFallbacks();
if (!data.programs.length) panel = "fallbacks";
openProgram(0);
"""

_PAGE = f"""\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>$TITLE</title>
<style>
{STYLE}{_STYLE}</style></head><body>
<div id="main"><div id="head"><h1>$TITLE</h1> <select id="program"></select>
<span class="quiet">$SUMMARY</span><p id="notes"></p><p class="quiet">This machine: $MACHINE.</p>
<details><summary>about this program</summary><div id="about"></div></details>
<button id="to-kernels">Kernels</button><button id="to-after">Graph after passes</button><button
id="to-before">Graph as recorded</button><button id="to-guards">Guards</button><button
id="to-fallbacks">Ran as it is</button></div>
<div id="kernels" class="panel"></div><div id="picture" class="panel" hidden></div>
<div id="guards" class="panel" hidden></div><div id="fallbacks" class="panel" hidden></div></div>
<div id="side">
<input id="search" type="search" placeholder="search: operation, name, shape">
<div id="details">Click a kernel, or a box of a graph, for details. The bound is what moving its
bytes, or its arithmetic, takes at the speed of this machine for as many; what lies in a near cache
may come quicker. In graphs: drag to move, scroll to zoom, double click to fit.</div></div>
$PICTURES
<script>
{SCRIPT}{_SCRIPT}</script></body></html>
"""
_PIECES = re.split(r"(\$[A-Z]+)", _PAGE)
