"""Hooks: what runs around a module's forward, and the call that runs it.

Hooks for every module (`register_module_forward_hook` …) are kept here; those of one module in the
module. Hooks on gradients are in backward_hooks.py, those of `state_dict` in state_dict.py.
"""

from __future__ import annotations

import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from taper import Tensor
from taper.nn.modules.backward_hooks import BackwardHooks, hook_result_node
from taper.utils.hooks import RemovableHandle

__all__ = [
    "HookedCall", "register_module_backward_hook",
    "register_module_buffer_registration_hook", "register_module_forward_hook",
    "register_module_forward_pre_hook", "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook", "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

Hook = Callable[..., Any]


class GlobalHooks:
    """The hooks of all modules; `call` is true if any of them concerns a call."""

    def __init__(self) -> None:
        self.forward: Any = OrderedDict()
        self.forward_pre: Any = OrderedDict()
        self.forward_with_kwargs: Any = OrderedDict()
        self.forward_always_called: Any = OrderedDict()
        self.backward: Any = OrderedDict()
        self.backward_pre: Any = OrderedDict()
        self.is_full_backward: bool | None = None
        self.buffer_registration: Any = OrderedDict()
        self.module_registration: Any = OrderedDict()
        self.parameter_registration: Any = OrderedDict()

    def add(self, table: Any, hook: Hook, extra: Any = None) -> RemovableHandle:
        handle = RemovableHandle(table, extra_dict=extra)
        table[handle.id] = hook
        call_hooks.append(True)
        return handle

    def concern_calls(self) -> bool:
        """Whether any hook is left that a call must run; else the fast path opens again."""
        if self.forward or self.forward_pre or self.backward or self.backward_pre:
            return True
        call_hooks.clear()
        return False


#: Not empty while a hook of all modules may concern calls: what `Module.__call__` looks at.
call_hooks: list[bool] = []
everywhere = GlobalHooks()


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Registers `hook(module, args)` to run before the forward of every module."""
    return everywhere.add(everywhere.forward_pre, hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Registers `hook(module, args, output)` to run after the forward of every module."""
    handle = everywhere.add(
        everywhere.forward, hook,
        [everywhere.forward_with_kwargs, everywhere.forward_always_called],
    )
    if with_kwargs:
        everywhere.forward_with_kwargs[handle.id] = True
    if always_call:
        everywhere.forward_always_called[handle.id] = True
    return handle


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Registers `hook(module, grad_output)` to run before the backward of every module."""
    return everywhere.add(everywhere.backward_pre, hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Registers `hook(module, grad_input, grad_output)` for the backward of every module."""
    if everywhere.is_full_backward is False:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module "
            "hook. Please use only one of them."
        )
    everywhere.is_full_backward = True
    return everywhere.add(everywhere.backward, hook)


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """Registers a backward hook of PyTorch's older kind for every module (deprecated)."""
    if everywhere.is_full_backward is True:
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module "
            "hook. Please use only one of them."
        )
    everywhere.is_full_backward = False
    return everywhere.add(everywhere.backward, hook)


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """Registers `hook(module, name, buffer)` to run when a module gets a buffer."""
    return everywhere.add(everywhere.buffer_registration, hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """Registers `hook(module, name, submodule)` to run when a module gets a submodule."""
    return everywhere.add(everywhere.module_registration, hook)


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """Registers `hook(module, name, parameter)` to run when a module gets a parameter."""
    return everywhere.add(everywhere.parameter_registration, hook)


_MIXED_BACKWARD_HOOKS = (
    "Cannot use both regular backward hooks and full backward hooks on a single Module. "
    "Please use only one of them."
)


class HookedCall:
    """The part of `Module` that registers hooks and calls `forward` among them."""

    _hooked = False
    _is_full_backward_hook: bool | None
    _forward_hooks: Any
    _forward_hooks_with_kwargs: Any
    _forward_hooks_always_called: Any
    _forward_pre_hooks: Any
    _forward_pre_hooks_with_kwargs: Any
    _backward_hooks: Any
    _backward_pre_hooks: Any
    forward: Callable[..., Any]

    # -- calling -------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooked or call_hooks:
            return self._call_impl(*args, **kwargs)
        if kwargs:
            return self.forward(*args, **kwargs)
        return self.forward(*args)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        """Calls `forward` with every hook around it, or what `compile()` made of that."""
        compiled = self.__dict__.get("_compiled_call_impl")
        if compiled is not None:
            return compiled(*args, **kwargs)
        return self._call_hooked(*args, **kwargs)

    def _call_hooked(self, *args: Any, **kwargs: Any) -> Any:
        """Calls `forward` with every hook around it, in PyTorch's order."""
        if not (
            self._forward_hooks or self._forward_pre_hooks or self._backward_hooks
            or self._backward_pre_hooks
        ):
            self.__dict__["_hooked"] = "_compiled_call_impl" in self.__dict__
            if not everywhere.concern_calls():
                return self.forward(*args, **kwargs)
        called: set[int] = set()
        try:
            return self._forward_among_hooks(args, kwargs, called)
        except Exception:
            self._call_remaining(args, kwargs, called)
            raise

    def _forward_among_hooks(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]
    ) -> Any:
        backward_hooks, old_backward_hooks = self._get_backward_hooks()
        backward_pre_hooks = self._get_backward_pre_hooks()
        args, kwargs = self._run_forward_pre_hooks(args, kwargs)
        watch = None
        if backward_hooks or backward_pre_hooks:
            watch = BackwardHooks(self, backward_hooks, backward_pre_hooks)
            args = watch.setup_input_hook(args)
        result = self.forward(*args, **kwargs)
        result = self._run_forward_hooks(args, kwargs, result, called)
        if watch is not None:
            if not isinstance(result, (Tensor, tuple)):
                warnings.warn(
                    "For backward hooks to be called, module output should be a Tensor or a tuple "
                    f"of Tensors but received {type(result)}",
                    stacklevel=4,
                )
            result = watch.setup_output_hook(result)
        if old_backward_hooks:
            hook_result_node(self, old_backward_hooks, args, result)
        return result

    def _run_forward_pre_hooks(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        own = list(self._forward_pre_hooks.items())
        for key, hook in itertools.chain(list(everywhere.forward_pre.items()), own):
            if key in self._forward_pre_hooks_with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                        f"but got {changed}."
                    )
                args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _all_forward_hooks(self) -> Iterator[tuple[int, Hook, bool, bool]]:
        """(id, hook, with kwargs, always called) of every forward hook, global ones first."""
        for key, hook in list(everywhere.forward.items()):
            yield (key, hook, key in everywhere.forward_with_kwargs,
                   key in everywhere.forward_always_called)
        for key, hook in list(self._forward_hooks.items()):
            yield (key, hook, key in self._forward_hooks_with_kwargs,
                   key in self._forward_hooks_always_called)

    def _run_forward_hooks(self, args: Any, kwargs: Any, result: Any, called: set[int]) -> Any:
        for key, hook, with_kwargs, always in self._all_forward_hooks():
            if always:
                called.add(key)
            changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            if changed is not None:
                result = changed
        return result

    def _call_remaining(self, args: Any, kwargs: Any, called: set[int]) -> None:
        """After an error: runs the `always_call` hooks that have not run."""
        result = None
        for key, hook, with_kwargs, always in self._all_forward_hooks():
            if not always or key in called:
                continue
            try:
                changed = (hook(self, args, kwargs, result) if with_kwargs
                           else hook(self, args, result))
            except Exception as error:
                kind = "global module" if key in everywhere.forward else "module"
                warnings.warn(
                    f"{kind} forward hook with ``always_call=True`` raised an exception that was "
                    f"silenced as another error was raised in forward: {error!s}",
                    stacklevel=4,
                )
                continue
            if changed is not None:
                result = changed

    # -- registering ---------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Registers `hook(module, args)` to run before `forward`.

        What it returns, if not None, replaces the arguments (one value or a tuple). With
        `with_kwargs` it is called as `hook(module, args, kwargs)` and returns both or None.
        """
        handle = RemovableHandle(
            self._forward_pre_hooks, extra_dict=self._forward_pre_hooks_with_kwargs
        )
        _add(self._forward_pre_hooks, handle, hook, prepend)
        if with_kwargs:
            self._forward_pre_hooks_with_kwargs[handle.id] = True
        return handle

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Registers `hook(module, args, output)` to run after `forward`.

        What it returns, if not None, replaces the output. With `with_kwargs` it is called as
        `hook(module, args, kwargs, output)`; with `always_call` it runs even if forward raises.

        Example:
            >>> import taper as torch
            >>> layer = torch.nn.Linear(2, 3)
            >>> handle = layer.register_forward_hook(lambda m, args, out: print(out.shape))
            >>> _ = layer(torch.ones(4, 2))
            torch.Size([4, 3])
            >>> handle.remove()
        """
        handle = RemovableHandle(
            self._forward_hooks,
            extra_dict=[self._forward_hooks_with_kwargs, self._forward_hooks_always_called],
        )
        _add(self._forward_hooks, handle, hook, prepend)
        if with_kwargs:
            self._forward_hooks_with_kwargs[handle.id] = True
        if always_call:
            self._forward_hooks_always_called[handle.id] = True
        return handle

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Registers `hook(module, grad_output)`, called when the gradients of the output are known.

        What it returns, if not None, replaces them.
        """
        handle = RemovableHandle(self._backward_pre_hooks)
        _add(self._backward_pre_hooks, handle, hook, prepend)
        return handle

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Registers `hook(module, grad_input, grad_output)`, called when all gradients are known.

        What it returns, if not None, replaces `grad_input`.
        """
        if self._is_full_backward_hook is False:
            raise RuntimeError(_MIXED_BACKWARD_HOOKS)
        self._is_full_backward_hook = True
        handle = RemovableHandle(self._backward_hooks)
        _add(self._backward_hooks, handle, hook, prepend)
        return handle

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """Registers a backward hook of PyTorch's older kind: prefer the full one.

        It sees the gradients of the last operator of forward, not of the module's inputs.
        """
        if self._is_full_backward_hook is True:
            raise RuntimeError(_MIXED_BACKWARD_HOOKS)
        self._is_full_backward_hook = False
        handle = RemovableHandle(self._backward_hooks)
        self._backward_hooks[handle.id] = hook
        return handle

    def _get_backward_hooks(self) -> tuple[list[Hook], list[Hook]]:
        """The full backward hooks and those of the older kind, global ones first."""
        full: list[Hook] = []
        old: list[Hook] = []
        if everywhere.backward:
            (full if everywhere.is_full_backward else old).extend(everywhere.backward.values())
        if self._backward_hooks:
            (full if self._is_full_backward_hook else old).extend(self._backward_hooks.values())
        return full, old

    def _get_backward_pre_hooks(self) -> list[Hook]:
        return [*everywhere.backward_pre.values(), *self._backward_pre_hooks.values()]


def _add(table: Any, handle: RemovableHandle, hook: Hook, prepend: bool) -> None:
    table[handle.id] = hook
    if prepend:
        table.move_to_end(handle.id, last=False)
