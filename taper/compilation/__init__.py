"""`taper.compile`: records a call of a function once, and runs it as one native program.

What a call does is recorded as a graph (recording.py): the forward, and whatever of `backward()`,
the optimizer's step and `zero_grad()` the function contains. Before each call, all that the
function can reach is compared with what was recorded (snapshot.py, watches.py, words.py); what
differs is recorded anew, and what can't be captured runs as it is, with an explanation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taper.compiler.directives import BACKENDS
from taper.nn import Module

__all__ = ["InvalidBackend", "OptimizedModule", "compile"]

_MODES = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")


class InvalidBackend(RuntimeError):
    """Raised for a backend that doesn't exist."""

    __module__ = "torch._dynamo.exc"


class OptimizedModule(Module):
    """A module that was given to `compile`: it computes what the module computes.

    Its parameters, attributes and training mode are those of the module, which it holds as
    `_orig_mod`.
    """

    __module__ = "torch._dynamo.eval_frame"

    _orig_mod: Module

    def __init__(
        self, module: Module, fullgraph: bool = False, backend: str | None = None,
        dynamic: bool | None = None,
    ) -> None:
        super().__init__()
        self._orig_mod = module
        self.training = module.training
        self.__dict__["_compiled"] = compiled_function(
            module.__call__, fullgraph, backend, dynamic)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module."""
        return self._compiled(*args, **kwargs)

    def explain(self, html: Any = False) -> Any:
        """What was captured, and what ran as it is; `print` it. With `html`, True or a path, writes
        a page of it, with the graphs, and the kernels and their times."""
        return self._compiled.explain(html)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_compiled": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__["_compiled"] = compiled_function(self._modules["_orig_mod"].__call__)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self._modules["_orig_mod"]
        return getattr(self._orig_mod, name)

    def __setattr__(self, name: str, value: Any) -> None:
        is_made = "_orig_mod" in self.__dict__.get("_modules", ())
        if name in ("_orig_mod", "training") or not is_made:
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)


def compile(
    model: Callable[..., Any] | None = None, *, fullgraph: bool = False,
    dynamic: bool | None = None, backend: str | Callable[..., Any] | None = None,
    mode: str | None = None, options: dict[str, Any] | None = None, name: str | None = None,
    disable: bool = False, **others: Any,
) -> Any:
    """Returns a function or module that computes the same, by programs recorded from its calls.

    The first call runs as it is, the second is recorded; ``explain()`` of what is returned tells
    what became of them, ``explain(html=True)`` draws it: graphs, kernels, times. The numbers in
    tensors and in an optimizer's parameter groups, and random numbers, may change from call to
    call; whatever else the function depends on is compared, and recorded anew if it changed.

    Args:
        model: a function or module; without it, a decorator is returned.
        fullgraph: raise, naming the line, if a call can't be captured.
        dynamic: whether the batch size may stay open. By default it does from the second size on
            that is recorded; True records the second one when it first comes, False every size
            by itself.
        mode, options, name: accepted, and without effect.
        backend: one of `torch.compiler.list_backends()`; "eager" runs everything as it is.
        disable: returns `model` itself.
    Raises:
        RuntimeError: for `mode` and `options` together, and for modes that don't exist.
        NotImplementedError: for a backend that is a function: there is no graph to give it.
    Example:
        >>> import taper as torch
        >>> @torch.compile
        ... def double(x):
        ...     return x + x
        >>> double(torch.ones(2))
        tensor([2., 2.])
    """
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    if callable(backend):
        raise NotImplementedError(
            "a function as backend of compile() is not supported: there is no FX graph to give it. "
            "taper.capture.record() records the NumPy calls of a step."
        )
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
            options=options, name=name, disable=disable, **others,
        )
    if not callable(model):
        raise AssertionError(f"A callable function is expected, but {type(model)} is provided.")
    if disable:
        return model
    _check_backend(backend)
    if isinstance(model, Module):
        return OptimizedModule(model, fullgraph, backend, dynamic)
    return compiled_function(model, fullgraph, backend, dynamic)


def compiled_function(
    function: Callable[..., Any], fullgraph: bool = False, backend: str | None = None,
    dynamic: bool | None = None,
) -> Callable[..., Any]:
    """A function that runs programs recorded from calls of `function`."""
    from taper.compilation.captured_function import CapturedFunction

    captured = CapturedFunction(
        function, fullgraph=fullgraph, dynamic=dynamic,
        as_it_is="backend='eager'" if backend == "eager" else None,
    )

    def compiled(*args: Any, **kwargs: Any) -> Any:
        return captured(args, kwargs)

    functools.update_wrapper(compiled, function)
    compiled._torchdynamo_orig_callable = function  # type: ignore[attr-defined]
    compiled.explain = captured.explain_calls  # type: ignore[attr-defined]
    return compiled


def _check_backend(backend: str | None) -> None:
    if backend is not None and backend not in BACKENDS:
        raise InvalidBackend(
            f"Invalid backend: {backend!r}, see `torch._dynamo.list_backends()` for available "
            "backends."
        )
