"""A history as text, and as DOT, which graphviz draws."""

from __future__ import annotations

from collections.abc import Sequence

from taper.viewer.history import Item, described, human_bytes

__all__ = ["as_dot", "as_text"]

_SHAPES = {
    "operation": 'shape=box, style="rounded,filled", fillcolor="#eef2f7"',
    "leaf": 'shape=box, style=filled, fillcolor="#cfe8ff"',
    "result": 'shape=box, style=filled, fillcolor="#d5f0cf"',
}


def as_text(items: Sequence[Item]) -> str:
    """A tree from the result to the leaves; what was shown before is only named again."""
    lines: list[str] = []
    shown: set[int] = set()
    stack: list[tuple[int, str, str]] = [(items[-1].number, "", "")]
    while stack:
        number, lead, below = stack.pop()
        item = items[number]
        if number in shown and item.inputs:
            lines.append(f"{lead}{item.title} #{number} (above)")
            continue
        shown.add(number)
        words = [item.title, f"#{number}", *described(item)]
        if item.saved_bytes:
            words.append(f"saves {human_bytes(item.saved_bytes)}")
        if item.place:
            words.append(f"at {item.place}")
        lines.append(lead + "  ".join(words))
        last = len(item.inputs) - 1
        for i in range(last, -1, -1):
            branch, under = ("└─ ", "   ") if i == last else ("├─ ", "│  ")
            stack.append((item.inputs[i], below + branch, below + under))
    return "\n".join(lines)


def as_dot(items: Sequence[Item]) -> str:
    """The graph in DOT, from the leaves down to the result."""
    lines = ["digraph history {", '  node [fontname="sans-serif", fontsize=11];']
    for item in items:
        label = "\\n".join(map(_escaped, [item.title, *described(item)]))
        tip = _escaped(f"{item.place} {item.source}".strip())
        lines.append(f'  n{item.number} [label="{label}", tooltip="{tip}", {_SHAPES[item.kind]}];')
    lines += [f"  n{j} -> n{item.number};" for item in items for j in item.inputs]
    return "\n".join([*lines, "}\n"])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
