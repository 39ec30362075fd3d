"""The Tensor's methods that read or cut its history: grad, grad_fn, backward, detach, hooks."""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict
from typing import Any

from numpy import ndarray

from taper.autograd.backward import backward
from taper.autograd.engine import observed
from taper.autograd.node import Node, NodeOutput, function_of
from taper.core.dtype import dtype
from taper.core.hidden_facts import ask_history
from taper.core.overrides import NOT_INTERCEPTED, has_override, intercept
from taper.core.promotion import cpp_type_name, scalar_type_name
from taper.core.removable_handle import RemovableHandle, register
from taper.core.storage import new_storage
from taper.core.tensor import LEAF, Parameter, Tensor, alias

__all__: list[str] = []

_new = object.__new__
OWN: Any = object()  # stands for the tensor's own dtype, see `grad_dtype`


def grad_fn(self: Tensor) -> Node | None:
    """The node of the operation that made this tensor; None for leaves."""
    edge = self._edge
    if edge is None or edge is LEAF:
        if edge is LEAF:
            ask_history(self._array, "grad_fn")
        return None
    return edge.node if type(edge) is NodeOutput else edge


def get_grad(self: Tensor) -> Tensor | None:
    """The gradient that `backward` has added up for this leaf; None before."""
    found = self._grad
    if found is None:
        edge = self._edge
        if edge is not None and edge is not LEAF and not _retains(self):
            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its "
                ".grad attribute won't be populated during autograd.backward(). If you indeed "
                "want the .grad field to be populated for a non-leaf Tensor, use .retain_grad() "
                "on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure "
                "you access the leaf Tensor instead. See github.com/pytorch/pytorch/pull/30531 "
                "for more informations.",
                UserWarning, stacklevel=2,
            )
    return found


def set_grad(self: Tensor, value: Any) -> None:
    if type(value) is Tensor and value is not self:
        ours, given = self._array, value._array
        if (
            type(given) is type(ours) is ndarray
            and given.dtype is ours.dtype
            and given.shape == ours.shape
            and self._grad_dtype is OWN
        ):  # the usual case, without building dtypes and devices to compare
            self._grad = value
            return
    if value is not None:
        if not isinstance(value, Tensor):
            raise TypeError(
                f"assigned grad expected to be a Tensor or None but got grad of type "
                f"{type(value).__name__}"
            )
        if value is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if value._array.shape != self._array.shape:
            raise RuntimeError(
                f"attempting to assign a gradient of size '{list(value._array.shape)}' to a tensor "
                f"of size '{list(self._array.shape)}'. Please ensure that the gradient and the "
                "tensor are the same size"
            )
        wanted = _allowed(self)
        if wanted is not None and value.dtype is not wanted:
            raise RuntimeError(
                f"attempting to assign a gradient with dtype '{cpp_type_name(value.dtype)}' to a "
                f"tensor with grad_dtype '{scalar_type_name(wanted)}'. The gradient must match the "
                "tensor's grad_dtype (defaults to the tensor's dtype)."
            )
        if value.device != self.device:
            raise RuntimeError(
                f"attempting to assign a gradient with device type '{value.device.type}' to a "
                f"tensor with device type '{self.device.type}'. Please ensure that the gradient "
                "and the tensor are on the same device"
            )
    self._grad = value


def get_grad_dtype(self: Tensor) -> dtype | None:
    """The dtype of this leaf's gradient: its own unless set; None allows any."""
    if self._edge is not None and self._edge is not LEAF:
        raise RuntimeError("grad_dtype can only be accessed on leaf tensors.")
    return _allowed(self)


def _allowed(self: Tensor) -> dtype | None:
    found: dtype | None = self._grad_dtype
    return self.dtype if found is OWN else found


def set_grad_dtype(self: Tensor, value: dtype | None) -> None:
    if self._edge is not None and self._edge is not LEAF:
        raise RuntimeError("grad_dtype can only be set on leaf tensors.")
    if value is not None and self._grad is not None and self._grad.dtype is not value:
        raise RuntimeError(
            f"Cannot set grad_dtype to '{value}' because there is already a gradient with dtype "
            f"'{self._grad.dtype}'. Please clear the gradient (.grad = None) before changing "
            "grad_dtype, or ensure the new grad_dtype matches the existing gradient's dtype."
        )
    if self._grad_dtype_hook is not None:
        self._grad_dtype_hook.remove()
    self._grad_dtype = value  # type: ignore[attr-defined]
    if value is not None and value is not self.dtype and self._edge is LEAF:
        self._grad_dtype_hook = register_hook(self, Cast(value))  # type: ignore[attr-defined]


class Cast:
    """The hook that brings gradients to a leaf's `grad_dtype`; others may not change the dtype."""

    changes_dtype = True

    def __init__(self, target: dtype) -> None:
        self.target = target

    def __call__(self, grad: Tensor) -> Tensor:
        return grad.to(self.target)  # type: ignore[no-any-return]


def del_grad(self: Tensor) -> None:
    self._grad = None


def tensor_backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Adds the gradient of this tensor to the `.grad` of the leaves it was computed from."""
    backward(self, gradient, retain_graph, create_graph, inputs=inputs)



def detach(self: Tensor) -> Tensor:
    """Returns a tensor with the same memory and no history. In-place changes are seen by both."""
    array = self._array
    storage = self._storage
    if storage is None:
        storage = self._storage = new_storage(array)
    result = _new(Tensor)
    result._array = array
    result._storage = storage
    result._edge = result._base = result._grad = None
    if type(self) is not Tensor:
        taken = _offered(Tensor.detach, self)  # type: ignore[attr-defined]
        return result if taken is NOT_INTERCEPTED else taken
    return result


def _offered(function: Any, self: Tensor) -> Any:
    """What the class of a tensor makes of a call; parameters' classes see none of them."""
    kind = type(self)
    if Parameter in kind.__mro__ or not has_override(self):
        return NOT_INTERCEPTED
    return intercept(function, (self,), (self,))


def detach_(self: Tensor) -> Tensor:
    """Forgets this tensor's history; returns the tensor."""
    if self._base is not None and self._edge is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using "
            "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set as "
            "True, gradients are views of DDP buckets, and hence detach_() cannot be called on "
            "these gradients. To fix this error, please refer to the Optimizer.zero_grad() "
            "function in torch/optim/optimizer.py as a solution."
        )
    self._edge = None
    return self


def get_data(self: Tensor) -> Tensor:
    """The same memory without history, and with its own version counter: changes go unnoticed."""
    if type(self) is not Tensor:
        taken = _offered(Tensor.data.__get__, self)  # type: ignore[attr-defined]
        if taken is not NOT_INTERCEPTED:
            return taken  # type: ignore[no-any-return]
    result = alias(self)
    own = new_storage(result._storage.array)  # type: ignore[union-attr]
    result._storage = own
    return result


def set_data(self: Tensor, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"Variable data has to be a tensor, but got {type(value).__name__}"
        )
    if self._edge is not None and not (value.is_floating_point() or value.is_complex()):
        raise RuntimeError(
            "data set to a tensor that requires gradients must be floating point or complex dtype"
        )
    self._array = value._array
    self._storage = new_storage(value._shared_storage().array)


def _retains(self: Tensor) -> bool:
    edge = self._edge
    if edge is None or edge is LEAF:
        ask_history(self._array, "retains_grad")
        return False
    node, index = function_of(edge)
    if node.extras is None:
        return False
    held = node.extras.retained.get(index)
    return held is not None and held() is self


def retain_grad(self: Tensor) -> None:
    """Makes `backward` store the gradient of this non-leaf in `.grad` too."""
    edge = self._edge
    if edge is None:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if edge is LEAF:
        return
    node, index = function_of(edge)
    node._extras().retained[index] = weakref.ref(self)


def register_hook(self: Tensor, hook: Any) -> RemovableHandle:
    """Calls ``hook(grad)`` when this tensor's gradient is known; returns a handle.

    A tensor that the hook returns replaces the gradient.
    """
    edge = self._edge
    if edge is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if edge is LEAF:
        observed.leaves = True
        if self._backward_hooks is None:
            self._backward_hooks = OrderedDict()
        return register(self._backward_hooks, hook)
    node, index = function_of(edge)
    hooks = node._extras().tensor_hooks.setdefault(index, OrderedDict())
    return register(hooks, hook)


def register_post_accumulate_grad_hook(self: Tensor, hook: Any) -> RemovableHandle:
    """Calls ``hook(tensor)`` after `backward` has added to this leaf's `.grad`."""
    if self._edge is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self._edge is not LEAF:
        raise RuntimeError(
            "post accumulate grad hooks cannot be registered on non-leaf tensors"
        )
    observed.leaves = True
    if self._post_accumulate_grad_hooks is None:
        self._post_accumulate_grad_hooks = OrderedDict()
    return register(self._post_accumulate_grad_hooks, hook)


Tensor._grad_dtype = OWN  # type: ignore[attr-defined]
Tensor._grad_dtype_hook = None  # type: ignore[attr-defined]
Tensor.grad_fn = property(grad_fn)  # type: ignore[attr-defined]
Tensor.grad = property(get_grad, set_grad, del_grad)
Tensor.grad_dtype = property(get_grad_dtype, set_grad_dtype)  # type: ignore[attr-defined]
Tensor.data = property(get_data, set_data)  # type: ignore[attr-defined]
Tensor.retains_grad = property(_retains)  # type: ignore[attr-defined]
Tensor.backward = tensor_backward  # type: ignore[attr-defined]
for _method in (detach, detach_, retain_grad, register_hook, register_post_accumulate_grad_hook):
    setattr(Tensor, _method.__name__, _method)
