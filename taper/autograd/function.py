"""Custom operations with a derivative written by the user: `autograd.Function`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.levels import running
from taper.autograd.function_tangents import pass_tangents
from taper.autograd.modes import no_grad
from taper.autograd.node import (
    Node,
    NodeOutput,
    check_version,
    edge_of,
    freed_error,
    next_sequence,
    restore_result,
    save_result,
    version_of,
)
from taper.autograd.saved_tensors import Packed, hooks
from taper.autograd.tangents import carried_by, forward_grad_mode
from taper.autograd.views import check_inplace, rebase_history, register_view
from taper.core import overrides
from taper.core.errors import set_by_ops
from taper.core.state import active, is_recording
from taper.core.tensor import LEAF, Tensor, alias, wrap

__all__ = ["BackwardCFunction", "Function", "FunctionCtx", "once_differentiable"]


# How functions run within a vmap; set by ops/function_samples.py.
innermost_level: Callable[..., Any] = set_by_ops
apply_to_samples: Callable[..., Any] = set_by_ops


class FunctionCtx:
    """What `forward` leaves for `backward`: the `ctx` of both. Any attribute may be set on it."""

    __module__ = "torch.autograd.function"

    def save_for_backward(self, *tensors: Any) -> None:
        """Saves tensors (or None): `backward` finds them in ``ctx.saved_tensors``.

        Unlike plain attributes, they are checked for in-place changes and freed after use.
        """
        for index, t in enumerate(tensors):
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {index} is of type "
                    f"{type(t).__name__}"
                )
        self.__dict__["_to_save"] = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Saves tensors for a forward-mode derivative."""
        self.__dict__["saved_for_forward"] = tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Says that `forward` changed these inputs in place; they must be returned."""
        self.__dict__["_dirty"] = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Says that these outputs have no gradient."""
        self.__dict__["_non_differentiable"] = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` sees zeros (True, the default) or None for missing gradients."""
        self.__dict__["materialize_grads"] = value


class BackwardCFunction(Node, FunctionCtx):
    """The node, and the `ctx`, of a custom function. Each Function has its own subclass."""

    __module__ = "torch.autograd.function"

    _forward_cls: type[Function]
    materialize_grads = True
    _to_save: tuple[Any, ...] = ()
    _dirty: tuple[Any, ...] = ()
    _non_differentiable: tuple[Any, ...] = ()
    needs_input_grad: tuple[bool, ...] = ()
    saves = True

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors given to `save_for_backward`."""
        saved = self.saved
        if saved is None:
            raise freed_error(self)
        if saved == () and self._to_save:
            return self._to_save
        return tuple([self._restore(item) for item in saved])

    saved_variables = saved_tensors

    @property
    def _raw_saved_tensors(self) -> tuple[Any, ...]:
        return self.saved or ()

    def _restore(self, item: Any) -> Any:
        kind, value, detail = item
        if kind == "packed":
            return value.unpack(self)
        if kind == "output":
            return restore_result(self, value, detail)
        if value is not None:
            check_version(self, value, detail)
        return value

    def _finish_saving(self, outputs: list[Tensor]) -> None:
        """Turns what was saved into versioned form; own outputs are kept without a cycle."""
        saved: list[Any] = []
        pair = hooks()
        for t in self._to_save:
            if t is None:
                saved.append(("none", None, 0))
                continue
            index = next((i for i, o in enumerate(outputs) if o is t), None)
            if pair is not None:
                output = index if self.outputs > 1 else None
                kind = "tensor" if index is None else "result"
                saved.append(("packed", Packed(pair, t, kind, output), 0))
            elif index is None:
                saved.append(("input", t, version_of(t)))
            else:
                saved.append(("output", save_result(t), index))
        self.saved = tuple(saved)
        self.__dict__.pop("_to_save", None)

    def backward(self, grad: Any) -> tuple[Any, ...]:
        user_function = self._forward_cls
        grads = [grad] if self.outputs == 1 else list(grad)
        if self.materialize_grads:
            grads = [
                wrap(np.zeros(*made)) if g is None and made is not None else g
                for g, made in zip(grads, self.output_metadata, strict=True)  # type: ignore[attr-defined]
            ]
        found = user_function._backward_function()(self, *grads)
        return self._checked(found if isinstance(found, (tuple, list)) else (found,))

    def _checked(self, found: Any) -> tuple[Any, ...]:
        """One gradient for each tensor input, with counts, types and shapes verified."""
        name = type(self).__name__
        inputs = self.input_metadata  # type: ignore[attr-defined]
        found = tuple(found)
        if len(found) > len(inputs):
            if any(g is not None for g in found[len(inputs):]):
                raise RuntimeError(
                    f"function {name} returned an incorrect number of gradients (expected "
                    f"{len(inputs)}, got {len(found)})"
                )
            found = found[: len(inputs)]
        if len(found) < len(inputs):
            raise RuntimeError(
                f"function {name} returned an incorrect number of gradients (expected "
                f"{len(inputs)}, got {len(found)})"
            )
        checked = []
        for index, (given, metadata) in enumerate(zip(found, inputs, strict=True)):
            if metadata is None:
                if given is not None:
                    raise RuntimeError(
                        f"function {name} returned a gradient different from None at position "
                        f"{index + 1}, but the corresponding forward input was not a Variable"
                    )
                continue
            checked.append(self._fitted(given, metadata, index, name))
        return tuple(checked)

    def _fitted(self, given: Any, metadata: Any, index: int, name: str) -> Any:
        from taper.autograd.engine import cast_and_reduce

        if given is None or self.edges[metadata[2]] is None:
            return None
        shape, dtype, _ = metadata
        if not isinstance(given, Tensor):
            raise RuntimeError(f"expected Variable or None (got {type(given).__name__})")
        if given._array.shape != shape:
            try:
                fits = np.broadcast_shapes(given._array.shape, shape) == given._array.shape
            except ValueError:
                fits = False
            if not fits:
                raise RuntimeError(
                    f"Function {name} returned an invalid gradient at index {index} - got "
                    f"{list(given._array.shape)} but expected shape compatible with {list(shape)}"
                )
            return cast_and_reduce(given, (shape, dtype))
        return given if given.dtype is dtype else cast_and_reduce(given, (None, dtype))

    def apply(self, *grads: Any) -> Any:
        """Calls the user's `backward`."""
        return self._forward_cls._backward_function()(self, *grads)


class FunctionMeta(type):
    """Gives every Function its own node class, named after it."""

    def __init__(cls, name: str, bases: Any, members: Any) -> None:
        backward_class = type(
            name + "Backward", (BackwardCFunction,),
            {"_forward_cls": cls, "__module__": "torch.autograd.function"},
        )
        cls._backward_cls = backward_class
        super().__init__(name, bases, members)


FunctionMeta.__module__ = "torch.autograd.function"


class Function(metaclass=FunctionMeta):
    """A custom operation: subclass it, write `forward` and `backward`, call `apply`.

    Example:
        >>> import taper as torch
        >>> class Double(torch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         return 2 * x
        ...     @staticmethod
        ...     def backward(ctx, grad_output):
        ...         return 2 * grad_output
        >>> Double.apply(torch.ones(2, requires_grad=True))
        tensor([2., 2.], grad_fn=<DoubleBackward>)
    """

    __module__ = "torch.autograd.function"
    _backward_cls: type[BackwardCFunction]
    generate_vmap_rule = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        import warnings

        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all "
            "static, so you should invoke them on the class itself. Instantiating an autograd "
            "function will raise an error in a future version of PyTorch.",
            DeprecationWarning, stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use "
            "new-style autograd function with static forward method. "
            "(Example: https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the result: ``forward(ctx, *inputs)``, or ``forward(*inputs)`` beside a
        `setup_context`."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Saves for `backward` what `forward`, which has no ctx then, could not."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Returns the gradient of each input of `forward`, given those of its outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """Forward-mode derivative."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with "
            "forward mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """What to do within `vmap`: returns ``(outputs, out_dims)`` for inputs with all samples.

        Functions without it run on samples as they are.
        """
        raise NotImplementedError("vmap is not implemented.")

    @classmethod
    def _backward_function(cls) -> Callable[..., Any]:
        if cls.backward is not Function.backward and cls.vjp is not Function.vjp:
            raise RuntimeError(
                "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You "
                "should only implement one of them."
            )
        return cls.vjp if cls.vjp is not Function.vjp else cls.backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs `forward` and records it."""
        for a in args:
            if overrides.has_override(a):
                found = overrides.intercept(cls.apply, args, args, kwargs)
                if found is not overrides.NOT_INTERCEPTED:
                    return found
                break
        if running.vmaps and cls.vmap is not Function.vmap:
            level = innermost_level(args)
            if level is not None:
                return apply_to_samples(cls.vmap, cls.__name__, args, level)
        node = _new_node(cls._backward_cls)
        recording = is_recording()
        tensors = [a for a in args if isinstance(a, Tensor)]
        node.needs_input_grad = tuple([
            isinstance(a, Tensor) and a._edge is not None for a in args
        ])
        dual = active.modes != 0 and carried_by(tensors)
        token = forward_grad_mode.set(False) if dual else None
        try:
            with no_grad():
                if cls.setup_context is not Function.setup_context:
                    result = cls.forward(*args, **kwargs)
                    cls.setup_context(node, args, result)
                else:
                    result = cls.forward(node, *args, **kwargs)
        finally:
            if token is not None:
                forward_grad_mode.reset(token)
        result = _record(cls, node, args, tensors, result, recording)
        if dual and forward_grad_mode.get():
            pass_tangents(cls, node, args, result)
        return result


def _new_node(kind: type[BackwardCFunction]) -> BackwardCFunction:
    node = object.__new__(kind)
    node.edges = ()
    node.saved = ()
    node.sequence = next_sequence()
    frame = sys._getframe(2)
    node.where = (frame.f_code, frame.f_lasti)
    node.extras = None
    node.adjust = None
    return node


def _record(
    cls: type[Function], node: BackwardCFunction, args: tuple[Any, ...], tensors: list[Tensor],
    result: Any, recording: bool,
) -> Any:
    """Connects outputs to the node, and the node to the inputs."""
    single = isinstance(result, Tensor)
    outputs = [result] if single else list(result) if isinstance(result, (tuple, list)) else None
    if outputs is None:
        if result is None:
            return None
        raise TypeError(
            f"{cls.__name__}.forward: expected to return Tensors or a tuple of them, not "
            f"{type(result).__name__}"
        )
    needs = recording and any(t._edge is not None for t in tensors)
    for t in node._dirty:
        if not any(t is i for i in tensors):
            raise RuntimeError("mark_dirty only accepts input tensors")
        if needs:
            check_inplace(t)
    previous = [(t, edge_of(t)) for t in tensors]
    visible = [_as_output(node, o, tensors) for o in outputs]
    if not needs:
        return visible[0] if single else tuple(visible)
    node.edges = tuple([edge for _, edge in previous])
    position = 0
    metadata: list[Any] = []
    for a in args:
        if isinstance(a, Tensor):
            metadata.append((a._array.shape, a.dtype, position))
            position += 1
        else:
            metadata.append(None)
    node.input_metadata = metadata  # type: ignore[attr-defined]
    node.outputs = len(outputs)
    node.output_metadata = [  # type: ignore[attr-defined]
        (o._array.shape, o._array.dtype) if isinstance(o, Tensor) else None for o in outputs
    ]
    for index, (made, shown) in enumerate(zip(outputs, visible, strict=True)):
        if not isinstance(shown, Tensor) or any(made is n for n in node._non_differentiable):
            continue
        if shown._array.dtype.kind in "biu":
            continue
        edge = node if len(outputs) == 1 else NodeOutput(node, index)
        if any(made is d for d in node._dirty):
            rebase_history(shown, edge)
        else:
            shown._edge = edge
            if shown._base is not None and shown._storage is not None:
                register_view(shown._storage, shown)
    replaced = {id(made): shown for made, shown in zip(outputs, visible, strict=True)}
    node._to_save = tuple(
        replaced.get(id(t), t) if t is not None and not any(t is i for i in tensors) else t
        for t in node._to_save
    )
    node._finish_saving(visible)
    return visible[0] if single else tuple(visible)


def _as_output(node: BackwardCFunction, output: Any, inputs: list[Tensor]) -> Any:
    """The tensor to return for an output: inputs come back as views, changed ones as they are."""
    if not isinstance(output, Tensor):
        return output
    if any(output is d for d in node._dirty):
        output._bump_version(None)
        return output
    if any(output is i for i in inputs):
        view = alias(output)
        view._base = output if output._base is None else output._base
        return view
    if output._edge is not None and output._edge is not LEAF:
        return alias(output)
    return output


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a `backward` that can't be differentiated again: a second derivative is an error."""

    @functools.wraps(function)
    def wrapped(ctx: Any, *args: Any) -> Any:
        with no_grad():
            found = function(ctx, *args)
        if not is_recording() or not any(
            isinstance(a, Tensor) and a._edge is not None for a in args
        ):
            return found
        results = found if isinstance(found, tuple) else (found,)
        blocked = tuple(
            _Blocked.apply(r, *[a for a in args if isinstance(a, Tensor)])
            if isinstance(r, Tensor) else r for r in results
        )
        return blocked if isinstance(found, tuple) else blocked[0]

    return wrapped


class _Blocked(Function):
    """Passes a value on; its derivative is an error."""

    @staticmethod
    def forward(ctx: Any, value: Any, *sources: Any) -> Any:
        return alias(value)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
