"""Takes down what runs and when: operators, backward nodes, modules, optimizer steps, named blocks.

Nothing of this costs anything while nobody records. Operators are seen as a function mode sees
them (`core/overrides.py`), nodes through `Observed.around` of the engine, modules and optimizers
through their global hooks; all of that is put up by `Recorder.start` and taken down by `stop`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import numpy as np

from taper import Tensor
from taper.autograd.engine import observed
from taper.core.overrides import mode_stack
from taper.core.state import active
from taper.ops.declare import OPERATORS

__all__ = ["Range", "Recorder", "running"]

ANNOTATION, BACKWARD, MODULE, OPERATOR = "user_annotation", "backward", "module", "cpu_op"


class Range:
    """Something that ran: its name, when it began and ended, and what began within it."""

    __slots__ = (
        "children", "end", "kind", "memory", "name", "note", "parent", "shapes", "stack", "start",
        "thread",
    )

    def __init__(self, name: str, kind: str, parent: Range | None) -> None:
        self.name = name
        self.kind = kind
        self.parent = parent
        self.children: list[Range] = []
        self.thread = threading.get_ident()
        self.shapes: list[Any] = []
        self.stack: list[str] = []
        self.note: str | None = None
        self.memory: int | None = None  # bytes of new results; None: what the children have
        self.start = self.end = 0

    @property
    def total_memory(self) -> int:
        """Bytes that were allocated within and are still held at its end."""
        if self.memory is not None:
            return self.memory
        return sum(child.total_memory for child in self.children)


class Recorder:
    """Records from `start` to `stop`; then `ranges` has everything in the order it began.

    Args:
        record_shapes: keep the shapes of operators' arguments.
        profile_memory: keep the bytes of operators' results.
        with_stack: keep the lines of the program that called.
        with_modules: record modules' forwards, too.
    """

    only_watches = True  # `has_torch_function` needn't send functions made of operators here

    def __init__(
        self, *, record_shapes: bool = False, profile_memory: bool = False,
        with_stack: bool = False, with_modules: bool = False,
    ) -> None:
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_modules = with_modules
        self.ranges: list[Range] = []
        self.started_at = self.stopped_at = 0
        self._open = threading.local()
        self._entering: Any = None
        self._handles: list[Any] = []
        self._module_names: dict[int, str] = {}

    # -- beginning and end -----------------------------------------------------------------------

    def start(self) -> None:
        """Begins to record in this thread.

        Raises:   RuntimeError: if another recorder runs
        """
        if running.recorder is not None:
            raise RuntimeError("Can't start profiler: another profiler is running in this process")
        running.recorder = self
        mode_stack.set((*mode_stack.get(), self))
        active.modes += 1
        observed.around = self._around_node
        from taper.optim.optimizer import (
            register_optimizer_step_post_hook,
            register_optimizer_step_pre_hook,
        )

        self._handles = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after),
        ]
        if self.with_modules:
            from taper.nn.modules.hooks import (
                register_module_forward_hook,
                register_module_forward_pre_hook,
            )

            self._handles += [
                register_module_forward_pre_hook(self._before_module),
                register_module_forward_hook(self._after, always_call=True),
            ]
        self.started_at = perf_counter_ns()

    def stop(self) -> None:
        """Ends recording; blocks that are still open end here."""
        self.stopped_at = perf_counter_ns()
        for opened in self.ranges:
            opened.end = opened.end or self.stopped_at
        for handle in self._handles:
            handle.remove()
        observed.around = None
        active.modes -= 1
        mode_stack.set(tuple(mode for mode in mode_stack.get() if mode is not self))
        running.recorder = None

    # -- ranges ----------------------------------------------------------------------------------

    def begin(self, name: str, kind: str) -> Range:
        """Opens a range within those that are open in this thread."""
        opened: list[Range] | None = getattr(self._open, "ranges", None)
        if opened is None:
            opened = self._open.ranges = []
        parent = opened[-1] if opened else None
        begun = Range(name, kind, parent)
        if parent is not None:
            parent.children.append(begun)
        if self.with_stack:
            begun.stack = _lines_of_program(sys._getframe(1))
        opened.append(begun)
        self.ranges.append(begun)
        begun.start = perf_counter_ns()
        return begun

    def end(self, begun: Range) -> None:
        """Closes a range, and whatever an exception left open within it."""
        now = perf_counter_ns()
        opened: list[Range] = getattr(self._open, "ranges", [])
        if begun not in opened:
            return  # its thread is another one, or the recorder has been started anew since
        while opened:
            last = opened.pop()
            last.end = now
            if last is begun:
                return

    # -- who is asked ----------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs one operator call as a range. `intercept` hides this mode meanwhile, so it is put
        up again for the operators within; the call itself then comes by once more."""
        if self._entering is func:
            self._entering = None
            # Modes outside of the recording come next.
            return func(*args, **(kwargs or {})) if mode_stack.get() else NotImplemented
        begun = self.begin(_operator_name(func, args), OPERATOR)
        if self.record_shapes:
            begun.shapes = [_shape_of(value) for value in args]
        token = mode_stack.set((*mode_stack.get(), self))
        self._entering = func
        try:
            begun.start = perf_counter_ns()
            result = func(*args, **(kwargs or {}))
        finally:
            self._entering = None
            self.end(begun)
            mode_stack.reset(token)
        if self.profile_memory:
            begun.memory = _new_bytes(result, (args, kwargs))
        return result

    def _around_node(self, node: Any, run: Callable[[], Any]) -> Any:
        outer = self.begin(f"autograd::engine::evaluate_function: {node.name()}", BACKWARD)
        self.begin(node.name(), BACKWARD)
        try:
            return run()
        finally:
            self.end(outer)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        kind = type(optimizer).__name__
        self.begin(f"Optimizer.step#{kind}.step", ANNOTATION)

    def _before_module(self, module: Any, args: Any) -> None:
        names = self._module_names
        if id(module) not in names:
            kind = type(module).__name__
            count = sum(name.rpartition("_")[0] == kind for name in names.values())
            names[id(module)] = f"{kind}_{count}"
        self.begin(f"nn.Module: {names[id(module)]}", MODULE)

    def _after(self, subject: Any, *_: Any) -> None:
        """Ends the youngest range of a module or optimizer that is open."""
        kind = ANNOTATION if hasattr(subject, "param_groups") else MODULE
        opened: list[Range] = getattr(self._open, "ranges", [])
        for begun in reversed(opened):
            if begun.kind == kind:
                self.end(begun)
                return


class Running:
    """Which recorder runs in this process, if any."""

    __slots__ = ("recorder",)

    def __init__(self) -> None:
        self.recorder: Recorder | None = None


running = Running()


# Where PyTorch's name isn't that of the function: its operators are cut in another way.
_NAMES = {
    "__setitem__": "index_put_", "attend": "scaled_dot_product_attention",
    "binary_entropy_of_logits": "binary_cross_entropy_with_logits", "divide_into": "div",
    "gru_layer": "gru", "lstm_layer": "lstm", "_max_pool2d": "max_pool2d",
    "normalize_batch": "native_batch_norm", "normalize_layer": "native_layer_norm",
    "picked_loss": "nll_loss", "real_to_complex": "_fft_r2c", "spread": "expand",
    "squared_error": "mse_loss",
}


def _operator_name(function: Any, args: tuple[Any, ...]) -> str:
    """`aten::add`, as PyTorch's tables say."""
    qualified = getattr(function, "_qualname", None)
    if qualified is not None:  # a custom operator, mylib::foo
        return str(qualified)
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type):  # a custom Function's apply
        return owner.__name__
    name: str = function.__name__
    if name == "__getitem__":
        return _name_of_indexing(args[1])
    for room in ("fft", "linalg", "special"):
        found = OPERATORS.get(f"{room}.{name}")
        if found is not None and found.__dict__.get("function") is function:
            return f"aten::{found.path.replace('.', '_')}"
    return f"aten::{_NAMES.get(name, name)}"


def _name_of_indexing(index: Any) -> str:
    parts = index if type(index) is tuple else (index,)
    if any(isinstance(part, (Tensor, list, np.ndarray)) for part in parts):
        return "aten::index"
    return "aten::select" if any(isinstance(part, int) for part in parts) else "aten::slice"


def _shape_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return list(value.shape)
    if type(value) in (list, tuple) and any(isinstance(item, Tensor) for item in value):
        return [_shape_of(item) for item in value]
    return []


def _tensors_in(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return []
    return [tensor for item in value for tensor in _tensors_in(item)]


def _new_bytes(result: Any, given: Any) -> int:
    """The bytes of results that lie in none of the arguments' memory."""
    arguments = [t._array for t in _tensors_in(given)]
    return sum(
        tensor._array.nbytes
        for tensor in _tensors_in(result)
        if type(tensor._array) is np.ndarray
        and not any(
            type(a) is np.ndarray and np.may_share_memory(a, tensor._array) for a in arguments
        )
    )


_HERE = os.path.dirname(os.path.abspath(__file__))
_HIDDEN = tuple(
    os.path.join(os.path.dirname(_HERE), room) + os.sep
    for room in ("profiler", "ops", "core", "autograd")
)


def _lines_of_program(frame: Any) -> list[str]:
    """The calls that led here, newest first, without the machinery between."""
    lines = []
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_HIDDEN) and not code.co_filename.startswith("<"):
            lines.append(f"{code.co_filename}({frame.f_lineno}): {code.co_name}")
        frame = frame.f_back
    return lines
