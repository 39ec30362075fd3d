"""Counts the multiplications and additions of products and convolutions, by module."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import taper
from taper import Tensor
from taper.autograd.graph import register_multi_grad_hook
from taper.utils._python_dispatch import TorchDispatchMode

__all__ = ["FlopCounterMode"]

Counts = dict[Any, int]
_UNITS = ("", "K", "M", "B", "T")


def _product_flops(args: tuple[Any, ...], result: Tensor) -> int:
    first = args[0] if len(args) == 2 else args[1]
    return 2 * result.numel() * first.shape[-1]


def _convolution_flops(args: tuple[Any, ...], result: Tensor) -> int:
    input, weight, transposed = args[0], args[1], args[6]
    places = (input if transposed else result).shape[2:]
    return 2 * input.shape[0] * math.prod(places) * weight.numel()


def _weight_gradient_flops(args: tuple[Any, ...], result: Tensor) -> int:
    grad_output = args[0]
    return 2 * grad_output.shape[0] * math.prod(grad_output.shape[2:]) * result.numel()


def _input_gradient_flops(args: tuple[Any, ...], result: Tensor) -> int:
    grad_output, weight = args[0], args[1]
    return 2 * grad_output.shape[0] * math.prod(grad_output.shape[2:]) * weight.numel()


#: Operator → what PyTorch calls it, and its number of operations.
_FORMULAS: dict[str, tuple[str, Callable[[tuple[Any, ...], Tensor], int]]] = {
    "mm": ("mm", _product_flops), "addmm": ("addmm", _product_flops),
    "bmm": ("bmm", _product_flops), "baddbmm": ("baddbmm", _product_flops),
    "matmul_batched": ("bmm", _product_flops),
    "convolution": ("convolution", _convolution_flops),
    "weight_gradient": ("convolution_backward", _weight_gradient_flops),
    "input_gradient": ("convolution_backward", _input_gradient_flops),
}


class FlopCounterMode(TorchDispatchMode):
    """A block that counts floating point operations: a product of m×k and k×n has 2mkn.

    Elementwise operators and reductions count nothing, as in PyTorch, nor does
    `scaled_dot_product_attention` (on a CPU).

    Args:
        mods: not needed: modules are noticed when they are called.
        depth: how many levels of modules the table shows.
        display: print the table at the end.

    Example:
        >>> import taper as torch
        >>> from taper.utils.flop_counter import FlopCounterMode
        >>> with FlopCounterMode(display=False) as counter:
        ...     x = torch.ones(2, 3) @ torch.ones(3, 4)
        >>> counter.get_total_flops()
        48
    """

    __module__ = "torch.utils.flop_counter"

    def __init__(
        self, mods: Any = None, depth: int = 2, display: bool = True,
        custom_mapping: dict[Any, Any] | None = None,
    ) -> None:
        if custom_mapping:
            raise NotImplementedError(
                "FlopCounterMode: custom_mapping is not here; products and convolutions are counted"
            )
        self.depth = depth
        self.display = display
        self.flop_counts: dict[str, Counts] = defaultdict(lambda: defaultdict(int))
        self._names: dict[int, str] = {}
        self._running: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> FlopCounterMode:
        self.flop_counts.clear()
        modules = taper.nn.modules.module
        self._handles = [
            modules.register_module_forward_pre_hook(self._begin),
            modules.register_module_forward_hook(self._end),
        ]
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        for handle in self._handles:
            handle.remove()
        self._running.clear()
        if self.display:
            print(self.get_table(self.depth))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        found = _FORMULAS.get(func.__name__)
        if found is not None:
            name, formula = found
            packet = getattr(taper.ops.aten, name)
            count = formula(args, result)
            for owner in dict.fromkeys([*self._running, "Global"]):
                self.flop_counts[owner][packet] += count
        return result

    # -- which modules run: forwards between their hooks, backwards from the gradient of what they
    # returned to that of what they took

    def _begin(self, module: Any, args: Any) -> None:
        if id(module) not in self._names:
            parent = type(module).__name__
            for name, part in module.named_modules():
                self._names.setdefault(id(part), f"{parent}.{name}" if name else parent)
        name = self._names[id(module)]
        self._running.append(name)
        taken = _in_the_graph(args)
        if taken:
            register_multi_grad_hook(taken, lambda grads: self._leave(name))

    def _end(self, module: Any, args: Any, result: Any) -> None:
        name = self._names[id(module)]
        self._leave(name)
        for tensor in _in_the_graph(result):
            tensor.register_hook(lambda grad: self._running.append(name))

    def _leave(self, name: str) -> None:
        if name in self._running:
            self._running.remove(name)

    # -- what was counted

    def get_flop_counts(self) -> dict[str, Counts]:
        """The numbers by module (``Global``: all) and operator."""
        return {name: dict(counts) for name, counts in self.flop_counts.items()}

    def get_total_flops(self) -> int:
        """The number of operations."""
        return sum(self.flop_counts["Global"].values())

    def get_table(self, depth: int | None = None) -> str:
        """The numbers as a table."""
        depth = self.depth if depth is None else depth
        total = max(self.get_total_flops(), 1)
        modules = [name for name in self.flop_counts if name != "Global"]
        rows = []
        for name in sorted(modules) or ["Global"]:
            if name.count(".") + 1 > depth:
                continue
            counts = self.flop_counts[name]
            rows.append((name, sum(counts.values())))
            rows += [(f"- {packet}", count) for packet, count in counts.items()]
        unit = min(int(math.log10(total) // 3), len(_UNITS) - 1)
        cells = [("Module", "FLOP", "% Total")] + [
            (name, f"{count / 1000**unit:.3f}{_UNITS[unit]}" if unit else str(count),
             f"{count / total:.2%}") for name, count in rows
        ]
        widths = [max(len(cells[0][i]) + 2, *(len(row[i]) for row in cells)) for i in range(3)]
        cells.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in cells)


def _in_the_graph(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values] if values.requires_grad else []
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (tuple, list)):
        return [tensor for value in values for tensor in _in_the_graph(value)]
    return []
