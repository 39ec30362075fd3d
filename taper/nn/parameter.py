"""Parameters and buffers: the tensors a module owns, also before their shape is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taper
from taper import Tensor
from taper.core.tensor import Buffer, Parameter, subclass_alias

__all__ = [
    "Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter",
    "UninitializedTensorMixin", "is_lazy",
]

_NO_SHAPE = (
    "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
    "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. "
    "Call `forward` to initialize the parameters before accessing their attributes."
)


def is_lazy(param: Any) -> bool:
    """Returns whether `param` is still waiting for its shape."""
    return isinstance(param, UninitializedTensorMixin)


def _uninitialized(function: Any) -> ValueError:
    return ValueError(
        f"Attempted to use an uninitialized parameter in {function}. This error happens when you "
        "are using a `LazyModule` or explicitly manipulating "
        "`torch.nn.parameter.UninitializedParameter` objects. When using LazyModules Call "
        "`forward` with a dummy batch to initialize the parameters before calling torch functions"
    )


class UninitializedTensorMixin:
    """A tensor that gets shape and memory later, from `materialize`."""

    __slots__ = ()

    cls_to_become: type
    #: What such a tensor can do already, by name.
    _allowed = frozenset([
        "__get__", "__hash__", "__set__", "bfloat16", "char", "copy_", "cpu", "cuda", "double",
        "float", "get_device", "half", "int", "is_complex", "is_floating_point", "long",
        "requires_grad_", "share_memory_", "short", "size", "to", "type",
    ])

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives the tensor memory for `shape`, uninitialised, and its final class."""
        device = self.data.device if device is None else device  # type: ignore[has-type]
        dtype = self.data.dtype if dtype is None else dtype  # type: ignore[has-type]
        self.data = taper.empty(  # type: ignore[misc]
            shape, device=device, dtype=dtype
        )
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        raise RuntimeError(_NO_SHAPE)

    def numel(self) -> int:  # asks no operator, so no override sees it
        raise _uninitialized("numel")

    nelement = numel

    def share_memory_(self) -> Any:
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to "
            "initialize the parameters before calling `module.share_memory()`."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        data = self.data
        return type(self), (self.requires_grad, data.device, data.dtype)  # type: ignore[attr-defined]

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in cls._allowed:
            return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[misc]
        raise _uninitialized(func)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter whose shape is not known yet, as in the Lazy layers."""

    __slots__ = ()
    __module__ = "torch.nn.parameter"
    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return Parameter.__new__(cls, taper.empty(0, device=device, dtype=dtype), requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            data = self.data
            memo[id(self)] = type(self)(self.requires_grad, data.device, data.dtype)
        return memo[id(self)]


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape is not known yet, as in the Lazy norms."""

    __slots__ = ()
    __module__ = "torch.nn.parameter"
    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
        persistent: bool = True,
    ) -> Any:
        buffer: Any = subclass_alias(
            cls, taper.empty(0, device=device, dtype=dtype), requires_grad
        )
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            data = self.data
            memo[id(self)] = type(self)(self.requires_grad, data.device, data.dtype)
        return memo[id(self)]
