"""`graph(tensor)`: the history of a tensor as something to look at."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import webbrowser
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from taper import Tensor
from taper.nn import Module
from taper.viewer.drawing import as_svg
from taper.viewer.history import Item, read_history
from taper.viewer.page import as_page
from taper.viewer.text import as_dot, as_text

__all__ = ["Graph", "graph"]

_IN_NOTEBOOK = ('<iframe srcdoc="{page}" style="width: 100%; height: 480px; border: 1px solid '
                '#d5dbe5" title="{title}"></iframe>')


class Graph:
    """A tensor's history: prints as text, shows itself in notebooks, and is saved as a page."""

    def __init__(self, items: list[Item], title: str) -> None:
        self.items = items
        self.title = title

    def __str__(self) -> str:
        return as_text(self.items)

    def __repr__(self) -> str:
        operations = sum(item.kind == "operation" for item in self.items)
        return f"<taper.Graph of {self.title}: {operations} operations>"

    def _repr_html_(self) -> str:
        return _IN_NOTEBOOK.format(page=escape(self.html(), quote=True), title=escape(self.title))

    def html(self) -> str:
        """A web page that needs nothing else: zoom, search, details of each operation."""
        return as_page(self.items, self.title)

    def svg(self) -> str:
        """A picture."""
        return as_svg(self.items)

    def dot(self) -> str:
        """The graph in the language of graphviz."""
        return as_dot(self.items)

    @property
    def saved_bytes(self) -> int:
        """How much memory the history keeps for backward; shared memory counts once."""
        return sum(item.saved_bytes for item in self.items)

    def save(self, path: str | Path) -> Path:
        """Writes a page (.html), a picture (.svg; .png and .pdf by graphviz), .dot, or text (.txt).

        Raises: ValueError: for other endings; RuntimeError: if graphviz is needed and missing.
        """
        path = Path(path)
        kind = path.suffix.lower()
        writers = {".html": self.html, ".svg": self.svg, ".dot": self.dot,
                   ".txt": lambda: f"{self}\n"}
        if kind in (".png", ".pdf"):
            self._draw(path, kind[1:])
        elif kind in writers:
            path.write_text(writers[kind](), encoding="utf-8")
        else:
            raise ValueError(
                f"a graph can't be saved as {path.name!r}: the name must end in .html, .svg, .png, "
                ".pdf, .dot or .txt"
            )
        return path

    def _draw(self, path: Path, kind: str) -> None:
        program = shutil.which("dot")
        if program is None:
            raise RuntimeError(
                f"{path.suffix} pictures are drawn by graphviz, whose program `dot` isn't on the "
                "path; .svg and .html need nothing"
            )
        subprocess.run([program, f"-T{kind}", "-o", str(path)], input=self.dot(), text=True,
                       encoding="utf-8", check=True)

    def show(self) -> None:
        """Opens the page in the web browser."""
        folder = Path(tempfile.mkdtemp(prefix="taper-graph-"))
        webbrowser.open(self.save(folder / "graph.html").as_uri())


def graph(tensor: Tensor, names: Any = None, gradients: bool = True, title: str = "") -> Graph:
    """The history of `tensor`: operations, what they saved, where they were called, gradients.

    Args:
        names: what leaves are called: a module, or a dict from name to tensor or module.
        gradients: runs a backward pass that keeps the graph and changes no `.grad`, to learn the
            norm and shape of the gradient at each operation.
    Raises: TypeError: if `tensor` is no tensor.
    Example:
        >>> import taper as torch
        >>> w = torch.tensor([3., 4.], requires_grad=True)
        >>> print(torch.graph((w * w).sum(), names={"w": w}, gradients=False))
        result  #3  float32 []
        └─ SumBackward0  #2  float32 []  at <doctest taper.viewer.graph.graph[2]>:1
           └─ MulBackward0  #1  saves 8 B  at <doctest taper.viewer.graph.graph[2]>:1
              ├─ w  #0  float32 [2]
              └─ w  #0  float32 [2]
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"graph(): argument 'tensor' must be Tensor, not {type(tensor).__name__}")
    reading = read_history(tensor, tensors_by_name(names), gradients)
    return Graph(reading.items, title or "history of a tensor")


def tensors_by_name(names: Any) -> dict[str, Tensor]:
    """The names that were given, those of modules' parameters among them."""
    if names is None:
        return {}
    if isinstance(names, Module):
        return dict(names.named_parameters())
    if not isinstance(names, Mapping):
        raise TypeError(f"names must be a module or a dict, not {type(names).__name__}")
    found: dict[str, Tensor] = {}
    for name, value in names.items():
        if isinstance(value, Module):
            found.update({f"{name}.{inner}": t for inner, t in value.named_parameters()})
        elif isinstance(value, Tensor):
            found[name] = value
    return found
