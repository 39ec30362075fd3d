"""Reads a tensor's history into plain records, and the gradients that pass through it."""

from __future__ import annotations

import linecache
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import taper
from taper import Tensor
from taper.autograd.node import AccumulateGrad, line_number

__all__ = ["Item", "Reading", "read_history"]

_PACKAGE = os.path.dirname(os.path.abspath(taper.__file__))


@dataclass
class Item:
    """One box of the picture: an operation, a leaf, or the result."""

    number: int
    kind: str  # "operation", "leaf" or "result"
    title: str
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    place: str = ""  # file:line of the call
    source: str = ""  # that line
    saved: list[tuple[str, str]] = field(default_factory=list)  # name, value
    saved_bytes: int = 0
    gradient: float | None = None  # its norm
    inputs: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # further lines of the box


class Reading:
    """All items of a history; those that feed an item come before it."""

    def __init__(self, result: Tensor, names: Mapping[str, Tensor]) -> None:
        self.items: list[Item] = []
        self._of_node: dict[Any, Item] = {}
        self._nodes: list[tuple[Any, Item]] = []
        self._names = {id(tensor): name for name, tensor in names.items()}
        self._seen_memory: set[int] = set()
        last = self._read(result)
        self.result = self._add(Item(
            0, "result", self._names.get(id(result), "result"), tuple(result.shape),
            _short(result.dtype), inputs=[last.number],
        ))
        last.shape, last.dtype = self.result.shape, self.result.dtype

    def _add(self, item: Item) -> Item:
        item.number = len(self.items)
        self.items.append(item)
        return item

    def _read(self, result: Tensor) -> Item:
        """Walks the nodes without recursion, inputs first."""
        root = result.grad_fn
        if root is None:
            return self._leaf(result)
        stack = [(root, False)]
        while stack:
            node, inputs_are_read = stack.pop()
            if node in self._of_node:
                continue
            if isinstance(node, AccumulateGrad):
                self._of_node[node] = self._leaf(node.variable)
                self._nodes.append((node, self._of_node[node]))
            elif inputs_are_read:
                item = self._add(self._operation(node))
                self._of_node[node] = item
                self._nodes.append((node, item))
            else:
                stack.append((node, True))
                stack.extend((n, False) for n, _ in node.next_functions if n is not None)
        return self._of_node[root]

    def _leaf(self, tensor: Tensor) -> Item:
        default = "Parameter" if isinstance(tensor, taper.nn.Parameter) else "Tensor"
        return self._add(Item(
            0, "leaf", self._names.get(id(tensor), default), tuple(tensor.shape),
            _short(tensor.dtype),
        ))

    def _operation(self, node: Any) -> Item:
        place, source = _place(node)
        item = Item(0, "operation", _plain_name(node.name()), place=place, source=source)
        item.inputs = [self._of_node[n].number for n, _ in node.next_functions if n is not None]
        for name in sorted(n for n in dir(type(node)) if n.startswith("_saved_")):
            try:
                value = getattr(node, name)
            except RuntimeError:  # freed by a backward pass, or changed in place since
                item.saved.append((name[7:], "freed"))
                continue
            item.saved.append((name[7:], _told(value)))
            item.saved_bytes += self._new_bytes(value)
        return item

    def _new_bytes(self, value: Any) -> int:
        """What a saved value keeps alive; memory that several nodes save counts once."""
        if isinstance(value, (tuple, list)):
            return sum(map(self._new_bytes, value))
        if not isinstance(value, Tensor) or value.is_sparse or value.device.type != "cpu":
            return 0
        storage = value.untyped_storage()
        start = storage.data_ptr()
        if start in self._seen_memory:
            return 0
        self._seen_memory.add(start)
        return storage.nbytes()

    # -- gradients -------------------------------------------------------------------------------

    def watch(self) -> Callable[[], None]:
        """Notes the gradients of the next backward pass; returns what ends that."""
        handles = []
        for node, item in self._nodes:
            if isinstance(node, AccumulateGrad):
                handles.append(node.variable.register_hook(_noting(item)))
            else:
                handles.append(node.register_prehook(_noting_first(item)))

        def stop() -> None:
            for handle in handles:
                handle.remove()
            self.result.gradient = self.items[self.result.inputs[0]].gradient

        return stop


def read_history(result: Tensor, names: Mapping[str, Tensor], gradients: bool) -> Reading:
    """The history of a tensor. `gradients`: runs a backward pass, from ones, that keeps the graph
    and leaves `.grad` alone, to learn the gradients' norms and shapes."""
    reading = Reading(result, names)
    if gradients and result.grad_fn is not None and not any(
        value == "freed" for item in reading.items for _, value in item.saved
    ):
        leaves = [node.variable for node, _ in reading._nodes if isinstance(node, AccumulateGrad)]
        stop = reading.watch()
        try:
            taper.autograd.grad(
                result, leaves, taper.ones_like(result), retain_graph=True, allow_unused=True
            )
        finally:
            stop()
    return reading


def _noting(item: Item) -> Callable[[Any], None]:
    def note(grad: Any) -> None:
        if isinstance(grad, Tensor):
            item.shape, item.dtype = tuple(grad.shape), item.dtype or _short(grad.dtype)
            norm = taper.linalg.vector_norm(grad.detach()) if not grad.is_sparse else grad.norm()
            item.gradient = float(norm.real if norm.is_complex() else norm)

    return note


def _noting_first(item: Item) -> Callable[[Any], None]:
    note = _noting(item)
    return lambda grads: note(next((g for g in grads if g is not None), None))


# -- words -----------------------------------------------------------------------------------------


def _plain_name(name: str) -> str:
    return name.removeprefix("torch::autograd::")


def _short(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{_short(value.dtype)} {list(value.shape)}"
    if isinstance(value, (tuple, list)) and any(isinstance(v, Tensor) for v in value):
        return ", ".join(map(_told, value))
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _place(node: Any) -> tuple[str, str]:
    """Where the operation was called: file:line, and that line."""
    if node.where is None:
        return "", ""
    line = line_number(node.where)
    file = node.where[0].co_filename
    source = linecache.getline(file, line).strip()
    if file.startswith(_PACKAGE):
        file = "taper" + file[len(_PACKAGE):]
    elif os.path.isabs(file):
        relative = os.path.relpath(file)
        file = file if relative.startswith("..") else relative
    return f"{file}:{line}", source


def human_bytes(count: int) -> str:
    """1536 → "1.5 KiB"."""
    if count < 1024:
        return f"{count} B"
    power = min(int(math.log(count, 1024)), 4)
    return f"{count / 1024**power:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def described(item: Item) -> Sequence[str]:
    """What a box says below its title."""
    lines = []
    if item.shape is not None:
        lines.append(f"{item.dtype} {list(item.shape)}".strip())
    if item.gradient is not None:
        lines.append(f"|grad| {item.gradient:.3g}")
    return lines + item.notes
