"""`TorchDispatchMode`: sees each operator below the tape, where it computes.

The functions that a mode gets are taper's operators, not PyTorch's ATen overloads: compare their
`__name__`, or ask `func.overloadpacket is torch.mm`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper import Tensor
from taper.autograd.modes import no_grad
from taper.core.state import active, around_forwards
from taper.core.tensor import alias, wrap
from taper.ops.slow import as_array, pack_results, split_results

__all__ = ["TorchDispatchMode", "is_traceable_wrapper_subclass"]


def is_traceable_wrapper_subclass(t: object) -> bool:
    """Whether a tensor is a wrapper around others that can be taken apart by a compiler: never."""
    return False


class TorchDispatchMode:
    """A block in which ``__torch_dispatch__`` stands in for each operator's computation.

    What it gets has no history, and what it computes isn't recorded: the tape records the operator
    itself, above.

    Example:
        >>> import taper as torch
        >>> from taper.utils._python_dispatch import TorchDispatchMode
        >>> class Names(TorchDispatchMode):
        ...     def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        ...         print(func.__name__)
        ...         return func(*args, **(kwargs or {}))
        >>> with Names():
        ...     x = torch.ones(2).exp().sum()
        exp
        sum
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Computes one operator call: ``func(*args, **kwargs)`` does it as usual."""
        raise NotImplementedError

    def __enter__(self) -> TorchDispatchMode:
        active.modes += 1
        self._outer = around_forwards.get()
        around_forwards.set(self._around)
        return self

    def __exit__(self, *exception: Any) -> None:
        around_forwards.set(self._outer)
        active.modes -= 1

    def _around(self, op: Any, bound: dict[str, Any], run: Callable[[], Any]) -> Any:
        call = DispatchedCall(op, bound, run, self._outer)
        around_forwards.set(self._outer)
        try:
            with no_grad():
                result = self.__torch_dispatch__(call, (), tuple(call.given), {})
        finally:
            around_forwards.set(self._around)
        return call.raw_for(result)


class DispatchedCall:
    """The `func` that a mode gets: one operator, in one call."""

    def __init__(
        self, op: Any, bound: dict[str, Any], run: Callable[[], Any], outer: Any
    ) -> None:
        self.op = op
        self.__name__ = op.name
        self.overloadpacket = op.function
        self.given = [_without_history(v) for v in bound.values()]
        self.run = run if outer is None else lambda: outer(op, bound, run)
        self.raw: Any = None
        self.results: Any = None

    def __repr__(self) -> str:
        return f"<operator {self.op.path}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Computes; with other arguments than those given, the operator anew."""
        if kwargs or len(args) != len(self.given) or any(
            a is not g for a, g in zip(args, self.given, strict=True)
        ):
            return self.op.function(*args, **kwargs)
        self.raw = self.run()
        results, _ = split_results(self.op, self.raw)
        self.results = pack_results(self.op, [wrap(as_array(r)) for r in results], self.raw)
        return self.results

    def raw_for(self, result: Any) -> Any:
        """What the forward would have returned, had it computed `result`."""
        if result is self.results and self.raw is not None:
            return self.raw
        if self.op.aux:
            raise NotImplementedError(
                f"__torch_dispatch__: the result of {self.op.path} can't be replaced, because the "
                "operator hands more than that to its derivative; return what func() returned"
            )
        if isinstance(result, Tensor):
            return result._array
        return type(self.raw or result)([t._array for t in result])


def _without_history(value: Any) -> Any:
    if isinstance(value, Tensor):
        return alias(value)
    if type(value) is list or type(value) is tuple:
        return type(value)([_without_history(v) for v in value])
    return value
