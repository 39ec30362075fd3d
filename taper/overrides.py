"""`torch.overrides`: seeing operator calls from outside, by type or by mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from taper.core.overrides import has_override, has_torch_function, mode_stack, offer
from taper.core.state import active
from taper.core.tensor import Tensor

__all__ = [
    "TorchFunctionMode", "handle_torch_function", "has_torch_function", "is_tensor_like",
    "resolve_name",
]


class TorchFunctionMode:
    """Sees every operator call inside its ``with`` block: subclass it and write
    ``__torch_function__(self, func, types, args=(), kwargs=None)``."""

    inner: TorchFunctionMode

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise NotImplementedError("a TorchFunctionMode needs a __torch_function__")

    def __enter__(self) -> TorchFunctionMode:
        self._token = mode_stack.set((*mode_stack.get(), self))
        active.modes += 1
        return self

    def __exit__(self, *exception: Any) -> None:
        active.modes -= 1
        mode_stack.reset(self._token)


def handle_torch_function(
    public_api: Callable[..., Any], relevant_args: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """Offers a call to the arguments that override, and returns what the first taker answers.

    Raises:   TypeError: if nobody takes it
    """
    overriding = [a for a in relevant_args if has_override(a)]
    types = tuple(type(a) for a in overriding)
    result = offer(public_api, mode_stack.get(), overriding, types, args, kwargs)
    if result is not NotImplemented:
        return result
    name = getattr(public_api, "__name__", public_api)
    raise TypeError(
        f"no implementation found for '{name}' on types that implement __torch_function__: "
        f"{list(types)}"
    )


def is_tensor_like(inp: Any) -> bool:
    """Returns whether `inp` is a Tensor, or something that takes part in operator calls as one."""
    return type(inp) is Tensor or hasattr(inp, "__torch_function__")


def resolve_name(f: Callable[..., Any]) -> str:
    """Returns a readable name of a public function."""
    name = getattr(f, "__name__", "")
    if getattr(Tensor, name, None) is f:  # Python's methods have the module that they stand in
        return f"torch.Tensor.{name}"
    module = getattr(f, "__module__", "") or "torch"
    return f"{module}.{getattr(f, '__qualname__', getattr(f, '__name__', str(f)))}"
