"""`torch.utils.checkpoint`: forget what a part of a program saved for backward; compute it again.

Two ways lead there. With ``use_reentrant=False`` the part runs as always, but saved-tensor hooks
replace everything that its nodes save by numbers; the first number that a backward pass asks for
makes the part run once more, under hooks that collect what is saved, in the same order. With
``use_reentrant=True`` the part is one node (`CheckpointFunction`), whose backward runs it with
recording on and goes backward through it.
"""

from __future__ import annotations

import functools
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from os.path import dirname
from typing import Any

import taper as torch
from taper import Tensor
from taper.autograd.engine import current_walk, observed
from taper.autograd.saved_tensors import Packed, hooks
from taper.utils.selective_checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    create_selective_checkpoint_contexts,
)

__all__ = [
    "CheckpointError", "CheckpointFunction", "CheckpointPolicy", "DefaultDeviceType",
    "SelectiveCheckpointContext", "check_backward_validity", "checkpoint", "checkpoint_sequential",
    "create_selective_checkpoint_contexts", "detach_variable", "get_device_states",
    "noop_context_fn", "set_checkpoint_debug_enabled", "set_checkpoint_early_stop",
    "set_device_states",
]

Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


observed.passes = True


class CheckpointError(RuntimeError):
    """What ran again did not save what it had saved at first."""

    __module__ = "torch.utils.checkpoint"


class Settings:
    """What `set_checkpoint_early_stop` and `set_checkpoint_debug_enabled` switch."""

    early_stop: bool | None = None
    debug: bool | None = None


def set_checkpoint_early_stop(enable: bool) -> AbstractContextManager[None]:
    """Within this block, checkpoints stop to compute again, or don't, when the last tensor that
    backward needs is there; this goes before their own `early_stop`."""
    return _setting("early_stop", enable)


def set_checkpoint_debug_enabled(enabled: bool | None) -> AbstractContextManager[None]:
    """Within this block, errors of checkpoints show what was saved and where, or don't; this goes
    before their own `debug`."""
    return _setting("debug", enabled)


@contextmanager
def _setting(name: str, value: bool | None) -> Any:
    previous = getattr(Settings, name)
    setattr(Settings, name, value)
    try:
        yield
    finally:
        setattr(Settings, name, previous)


def noop_context_fn() -> Contexts:
    """Returns two contexts that do nothing: the default `context_fn`."""
    return nullcontext(), nullcontext()


_EXPLICIT = (
    "the use_reentrant parameter should be passed explicitly. {since} "
    "use_reentrant=False is recommended, but if you need to preserve the current default behavior, "
    "you can pass use_reentrant=True. Refer to docs for more details on the differences between "
    "the two variants."
)


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], Contexts] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """Returns ``function(*args)`` without keeping what its nodes save: backward runs it again.

    Args:
        use_reentrant: False is recommended: True can't pass gradients to tensors that `function`
            finds by itself, nor serve `autograd.grad`. Not given: True, with a warning.
        preserve_rng_state (bool): random numbers are the same the second time. Default True.
        context_fn: gives two contexts: for the first run, and for the second.
        determinism_check: "default" compares shapes, dtypes and devices; "none" nothing.
        debug: errors list what was saved in both runs, with its lines.
        early_stop: the second run ends when it has saved what is needed.
    Raises:   CheckpointError: in backward, if the second run saves something else
    Example:
        >>> import taper as torch
        >>> from taper.utils.checkpoint import checkpoint
        >>> x = torch.ones(2, requires_grad=True)
        >>> checkpoint(lambda x: x.exp().exp(), x, use_reentrant=False).sum().backward()
        >>> x.grad
        tensor([41.1936, 41.1936])
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: " + _EXPLICIT.format(
                since="Starting in PyTorch 2.9, calling checkpoint without use_reentrant will "
                      "raise an exception."),
            UserWarning, stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug is not False:
            raise ValueError(
                "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
            )
        return CheckpointFunction.apply(function, preserve, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(
            f"determinism_check should be one of ['default', 'none'], but got {determinism_check}"
        )
    if not torch.is_grad_enabled():
        return function(*args, **kwargs)
    first, second = context_fn()
    if Settings.early_stop is not None:
        early_stop = Settings.early_stop
    if Settings.debug is not None:
        debug = Settings.debug
    again = Recomputation(function, args, kwargs, second, preserve)
    again.compares, again.stops, again.explains = determinism_check == "default", early_stop, debug
    with again.forgetting(), first:
        return function(*args, **kwargs)


# -- without re-entering the engine ---------------------------------------------------------------


class Enough(BaseException):
    """Ends a second run: all that backward needs is there."""


class Place:
    """What a node holds instead of a tensor: the how-manyth it was to be saved."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number = number


class Recomputation:
    """One checkpointed call: how to run it again, and what it saved when it first ran."""

    compares = stops = True
    explains = False

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
        context: AbstractContextManager[Any], preserve: bool,
    ) -> None:
        self.function = function
        # Within another checkpoint, or other hooks, these tensors are theirs to keep.
        pair = hooks()
        self.args = tuple(_packed(pair, a) for a in args)
        self.kwargs = {name: _packed(pair, a) for name, a in kwargs.items()}
        self.context = context
        self.random_state = torch.get_rng_state() if preserve else None
        self.autocast = _autocast_as_now()
        self.places: list[weakref.ref[Place]] = []
        self.kinds: list[tuple[Any, ...]] = []
        self.lines: list[str] = []

    def forgetting(self) -> AbstractContextManager[None]:
        """The hooks for the first run."""
        return torch.autograd.graph.saved_tensors_hooks(self._forget, self._recall)

    def _forget(self, tensor: Tensor) -> Place:
        place = Place(len(self.places))
        self.places.append(weakref.ref(place))
        self.kinds.append(_kind_of(tensor))
        if self.explains:
            self.lines.append(_line_outside())
        return place

    def _recall(self, place: Place) -> Tensor:
        walk = current_walk.get()
        found = {} if walk is None else walk.notes_of(self)
        if place.number not in found:  # the first to ask in this pass, or asked twice
            found.clear()
            found.update(self._run_again())
        return found.pop(place.number)

    def _run_again(self) -> dict[int, Tensor]:
        collected: dict[int, Tensor] = {}
        kinds: list[tuple[Any, ...]] = []
        lines: list[str] = []

        def collect(tensor: Tensor) -> Tensor:
            number = len(kinds)
            if number >= len(self.places):
                raise CheckpointError(
                    "torch.utils.checkpoint: trying to save more tensors during recomputation than "
                    "during the original forward pass.\n" + self._advice(lines)
                )
            kinds.append(_kind_of(tensor))
            if self.explains:
                lines.append(_line_outside())
            kept = tensor.detach()
            if self.places[number]() is not None:  # else its node is gone
                collected[number] = kept
            if self.stops and number + 1 == len(self.places):
                raise Enough
            return kept

        with _random_state(self.random_state), self.autocast, self.context, torch.enable_grad():
            args = [_unpacked(a) for a in self.args]
            kwargs = {name: _unpacked(a) for name, a in self.kwargs.items()}
            try:
                with torch.autograd.graph.saved_tensors_hooks(collect, lambda kept: kept):
                    self.function(*args, **kwargs)
            except Enough:
                pass
        self._compare(kinds, lines)
        return collected

    def _compare(self, kinds: list[tuple[Any, ...]], lines: list[str]) -> None:
        if len(kinds) != len(self.kinds):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the "
                "original forward and recomputation.\n"
                f"Number of tensors saved during forward: {len(self.kinds)}\n"
                f"Number of tensors saved during recomputation: {len(kinds)}.\n"
                + self._advice(lines)
            )
        if not self.compares:
            return
        different = [
            f"tensor at position {i}:\nsaved metadata: {_told(was)}\n"
            f"recomputed metadata: {_told(now)}\n"
            for i, (was, now) in enumerate(zip(self.kinds, kinds, strict=True))
            if was != now and self.places[i]() is not None
        ]
        if different:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have "
                "different metadata than during the forward pass.\n"
                + "".join(different) + self._advice(lines)
            )

    def _advice(self, lines: list[str]) -> str:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        told = f"{name}() has to save the same tensors each time: what it does must not depend on "
        told += "anything that changes between forward and backward."
        if not self.explains:
            return f"{told}\nPass debug=True to checkpoint() to see which lines saved what."
        for run, of_run in (("the original forward", self.lines), ("recomputation", lines)):
            told += f"\nTensors saved during {run}:"
            told += "".join(f"\n  {i}: {line}" for i, line in enumerate(of_run))
        return told


def _kind_of(tensor: Tensor) -> tuple[Any, ...]:
    return (tensor.shape, tensor.dtype, tensor.device)


def _told(kind: tuple[Any, ...]) -> str:
    return str(dict(zip(("shape", "dtype", "device"), kind, strict=True)))


_PACKAGE = dirname(dirname(__file__))


def _line_outside() -> str:
    """The line of the program that is running: the innermost one that is not of taper."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE) and not file.startswith("<taper"):
            return f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return "unknown line"


def _packed(pair: Any, value: Any) -> Any:
    return value if pair is None or not isinstance(value, Tensor) else Packed(pair, value, "tensor")


def _unpacked(value: Any) -> Any:
    return value.unpacked() if type(value) is Packed else value


def _autocast_as_now() -> AbstractContextManager[Any]:
    """A block in which operators have the precision that they have now."""
    return torch.autocast("cpu", enabled=torch.is_autocast_enabled("cpu"))


def _precision() -> Callable[[], AbstractContextManager[Any]]:
    """What makes a block in which autocast is on or off as it is now."""
    return functools.partial(
        torch.autocast, "cpu", dtype=torch.get_autocast_dtype("cpu"),
        enabled=torch.is_autocast_enabled("cpu"), cache_enabled=torch.is_autocast_cache_enabled(),
    )


@contextmanager
def _random_state(state: Tensor | None) -> Any:
    """Random numbers as they were in `state`; afterwards as if nothing had been drawn."""
    if state is None:
        yield
        return
    with torch.random.fork_rng():
        torch.set_rng_state(state)
        yield


# -- by re-entering the engine --------------------------------------------------------------------


class CheckpointFunction(torch.autograd.Function):
    """A call as one node: its backward runs the function again, recorded, and goes through it."""

    @staticmethod
    def forward(ctx: Any, run_function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        check_backward_validity(args)
        ctx.run_function = run_function
        ctx.random_state = torch.get_rng_state() if preserve_rng_state else None
        ctx.precision = _precision()
        ctx.autocast = _autocast_as_now()
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.inputs = [None if isinstance(a, Tensor) else a for a in args]
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        walk = current_walk.get()
        if walk is not None and walk.needed is not None:
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or "
                "passing an `inputs` parameter to .backward(). To resolve this error, you can "
                "either set use_reentrant=False, or call .backward() without passing the `inputs` "
                "argument."
            )
        inputs = list(ctx.inputs)
        for place, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            inputs[place] = tensor
        inputs = list(detach_variable(tuple(inputs)))
        with _random_state(ctx.random_state), ctx.autocast, torch.enable_grad():
            outputs = ctx.run_function(*inputs)
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        wanted = [
            (o, g) for o, g in zip(outputs, grads, strict=True)
            if isinstance(o, Tensor) and o.requires_grad
        ]
        if not wanted:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        torch.autograd.backward([o for o, _ in wanted], [g for _, g in wanted])
        return (None, None, *[a.grad if isinstance(a, Tensor) else None for a in inputs])


CheckpointFunction.__module__ = "torch.utils.checkpoint"


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the tensors cut from their history, requiring grad as before; others as they are."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(
            "Only tuple of tensors is supported. Got Unsupported input type: "
            f"{type(inputs).__name__}"
        )
    return tuple([
        a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in inputs
    ])


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """Warns if no input requires grad: a checkpoint then has no gradients either."""
    if not any(a.requires_grad for a in inputs if isinstance(a, Tensor)):
        warnings.warn(
            "None of the inputs have requires_grad=True. Gradients will be None", UserWarning,
            stacklevel=3,
        )


# -- sequences, devices ---------------------------------------------------------------------------


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Runs modules one after the other, each of `segments` parts as one `checkpoint`; the last
    part keeps what it saves.

    Args:     functions (Sequential, or a list of functions)
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: " + _EXPLICIT.format(
                since="In version 2.9 we will raise an exception if use_reentrant is not passed."),
            UserWarning, stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions.children() if isinstance(functions, torch.nn.Sequential) else functions)
    size = len(steps) // segments

    def part(first: int, after: int) -> Callable[[Any], Any]:
        def run(value: Any) -> Any:
            for step in steps[first:after]:
                value = step(value)
            return value

        return run

    for number in range(segments - 1):
        input = checkpoint(
            part(number * size, (number + 1) * size), input, use_reentrant=use_reentrant,
            preserve_rng_state=preserve,
        )
    return part((segments - 1) * size, len(steps))(input)


class DefaultDeviceType:
    """The device whose random state `checkpoint` keeps when no argument lies on another."""

    _kind = "cpu"

    @staticmethod
    def set_device_type(device: str = "cpu") -> None:
        """Sets it, by name."""
        DefaultDeviceType._kind = device

    @staticmethod
    def get_device_type() -> str:
        """Returns its name."""
        return DefaultDeviceType._kind


def get_device_states(*args: Any) -> tuple[list[int], list[Tensor]]:
    """Returns the devices other than the CPU that the arguments lie on, and the states of their
    random generators: none."""
    return [], []


def set_device_states(devices: Any, states: Any, *, device_type: str | None = None) -> None:
    """Sets what `get_device_states` returned."""
