"""Hooks on the gradients of a module's inputs and outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from taper import Tensor, is_grad_enabled
from taper.autograd import Function
from taper.core.user_warning import warn_user

__all__ = ["BackwardHooks", "hook_result_node"]

Hook = Callable[..., Any]


class BackwardHookFunction(Function):
    """Passes tensors on unchanged, and their gradients through `watch`, all of them at once."""

    @staticmethod
    def forward(ctx: Any, watch: Callable[[Any], Any], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.watch = watch
        passed = tuple(tensor.view_as(tensor) for tensor in tensors)
        ctx.mark_non_differentiable(
            *[after for before, after in zip(tensors, passed, strict=True)
              if not before.requires_grad]
        )
        return passed

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, *ctx.watch(grads)


class BackwardHooks:
    """The backward hooks around one call of a module.

    The module's inputs and outputs pass through a node each. When the gradients of the outputs
    arrive, the pre-hooks see them; when those of the inputs arrive, the hooks see both.
    """

    def __init__(self, module: Any, hooks: list[Hook], pre_hooks: list[Hook]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: tuple[Any, ...] | None = None
        self.input_positions: list[int] | None = None
        self.input_count = 0

    def setup_input_hook(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, passed through a node if any of them needs a gradient."""
        self.input_count = len(args)
        args, self.input_positions = _pass_through(args, self._on_input)
        return args

    def setup_output_hook(self, result: Any) -> Any:
        """The result, passed through a node if any of it needs a gradient."""
        if isinstance(result, Tensor):
            (result,), _ = _pass_through((result,), self._on_output(1, [0]))
        elif isinstance(result, (tuple, list)):
            positions = [i for i, item in enumerate(result) if isinstance(item, Tensor)]
            items, _ = _pass_through(tuple(result), self._on_output(len(result), positions))
            result = type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
        return result

    def _on_output(self, count: int, positions: list[int]) -> Callable[[Any], Any]:
        def watch(grads: tuple[Any, ...]) -> tuple[Any, ...]:
            grad_outputs = _spread(grads, positions, count)
            for hook in self.pre_hooks:
                changed = hook(self.module, grad_outputs)
                if changed is None:
                    continue
                grad_outputs = changed if isinstance(changed, tuple) else (changed,)
                if len(grad_outputs) != count:
                    raise RuntimeError(
                        "Backward pre hook returned an invalid number of grad_output, got "
                        f"{len(grad_outputs)}, but expected {count}"
                    )
            self.grad_outputs = grad_outputs
            if self.input_positions is None:
                self._run_without_input_gradients()
            return tuple(grad_outputs[i] for i in positions)

        return watch

    def _run_without_input_gradients(self) -> None:
        warn_user(
            "Full backward hook is firing when gradients are computed with respect to module "
            "outputs since no inputs require gradients. See https://docs.pytorch.org/docs/main/"
            "generated/torch.nn.Module.html#torch.nn.Module.register_full_backward_hook for more "
            "details."
        )
        none = (None,) * self.input_count
        for hook in self.hooks:
            changed = hook(self.module, none, self.grad_outputs)
            if changed is not None and not all(grad is None for grad in changed):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always "
                    "return None or None for all gradients."
                )
        self.grad_outputs = None

    def _on_input(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.grad_outputs is None:  # backward() started inside the module
            return grads
        assert self.input_positions is not None
        grad_inputs = _spread(grads, self.input_positions, self.input_count)
        for hook in self.hooks:
            changed = hook(self.module, grad_inputs, self.grad_outputs)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(grad_inputs):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, got "
                    f"{len(changed)}, but expected {len(grad_inputs)}"
                )
            grad_inputs = changed
        self.grad_outputs = None
        return tuple(grad_inputs[i] for i in self.input_positions)


def _spread(grads: Any, positions: list[int], count: int) -> tuple[Any, ...]:
    """A tuple of `count` values: the gradients at their positions, None elsewhere."""
    found: list[Any] = [None] * count
    for position, grad in zip(positions, grads, strict=True):
        found[position] = grad
    return tuple(found)


def _pass_through(
    values: tuple[Any, ...], watch: Callable[[Any], Any]
) -> tuple[tuple[Any, ...], list[int] | None]:
    """The values with their tensors led through one node; the tensors' positions, or None."""
    positions = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    if not (is_grad_enabled() and any(values[i].requires_grad for i in positions)):
        return values, None
    passed = BackwardHookFunction.apply(watch, *[values[i] for i in positions])
    found = list(values)
    for position, tensor in zip(positions, passed, strict=True):
        found[position] = tensor
    return tuple(found), positions


# -- the older kind: a hook on the last operator of forward ------------------------------------


def hook_result_node(module: Any, hooks: list[Hook], args: Any, result: Any) -> None:
    """Registers `hooks` on the operator that made the (first) result."""
    first = result
    while not isinstance(first, Tensor):
        if isinstance(first, dict):
            first = next(value for value in first.values() if isinstance(value, Tensor))
        else:
            first = first[0]
    node = first.grad_fn
    if node is None:
        return
    for hook in hooks:
        node.register_hook(lambda inputs, outputs, hook=hook: hook(module, inputs, outputs))
    _warn_about_missing_gradients(args, result, node)


def _warn_about_missing_gradients(args: Any, result: Any, node: Any) -> None:
    results = (result,) if isinstance(result, Tensor) else result
    if not (isinstance(results, tuple) and all(isinstance(r, Tensor) for r in results)):
        problem = ("Using non-full backward hooks on a Module that does not return a single Tensor "
                   "or a tuple of Tensors", "some of the grad_output")
    elif not (isinstance(args, tuple) and all(isinstance(a, Tensor) for a in args)):
        problem = ("Using non-full backward hooks on a Module that does not take as input a single "
                   "Tensor or a tuple of Tensors", "some of the grad_input")
    elif len({r.grad_fn for r in results if r.grad_fn is not None}) != 1:
        problem = ("Using a non-full backward hook when outputs are generated by different "
                   "autograd Nodes", "some grad_output")
    else:
        before = {arg.grad_fn for arg in args if arg.grad_fn is not None}
        if {edge[0] for edge in node.next_functions} == before:
            return
        problem = ("Using a non-full backward hook when the forward contains multiple autograd "
                   "Nodes", "some grad_input")
    warnings.warn(
        f"{problem[0]} is deprecated and will be removed in future versions. This hook will be "
        f"missing {problem[1]}. Please use register_full_backward_hook to get the documented "
        "behavior.",
        FutureWarning, stacklevel=6,
    )
