"""Questions about tensors and dtypes that need no computation, or one value only."""

from __future__ import annotations

from typing import Any

from taper.core.dtype import dtype, legacy_type_name
from taper.core.promotion import can_cast as castable
from taper.core.promotion import dtype_of_number, result_dtype
from taper.core.promotion import promote_types as promoted
from taper.core.storage import UntypedStorage
from taper.core.tensor import Tensor
from taper.ops.declare import composite, method
from taper.ops.signature import Number


def _tensor(function: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{function}(): argument 'input' (position 1) must be Tensor, not "
            f"{type(value).__name__}"
        )
    return value


@composite()
def is_tensor(obj: Any) -> bool:
    """Returns whether `obj` is a Tensor.

    Example:
        >>> import taper as torch
        >>> torch.is_tensor(torch.zeros(1)), torch.is_tensor([0])
        (True, False)
    """
    return isinstance(obj, Tensor)


@composite()
def is_distributed(input: Tensor) -> bool:
    """Returns False: no tensor is spread over several machines.

    Example:
        >>> import taper as torch
        >>> torch.is_distributed(torch.ones(1))
        False
    """
    _tensor("is_distributed", input)
    return False


@composite()
def is_storage(obj: Any) -> bool:
    """Returns whether `obj` is a storage.

    Example:
        >>> import taper as torch
        >>> torch.is_storage(torch.ones(2).untyped_storage()), torch.is_storage(torch.ones(2))
        (True, False)
    """
    return isinstance(obj, UntypedStorage) or hasattr(obj, "_untyped_storage")


@composite()
def is_floating_point(input: Tensor) -> bool:
    """Returns whether the dtype is a floating point one.

    Example:
        >>> import taper as torch
        >>> torch.is_floating_point(torch.ones(2)), torch.is_floating_point(torch.tensor([1j]))
        (True, False)
    """
    return _tensor("is_floating_point", input).dtype.is_floating_point


@composite()
def is_complex(input: Tensor) -> bool:
    """Returns whether the dtype is a complex one.

    Example:
        >>> import taper as torch
        >>> torch.is_complex(torch.tensor([1j]))
        True
    """
    return _tensor("is_complex", input).dtype.is_complex


@composite()
def is_signed(input: Tensor) -> bool:
    """Returns whether the dtype holds negative numbers.

    Example:
        >>> import taper as torch
        >>> torch.is_signed(torch.ones(2)), torch.is_signed(torch.tensor([True]))
        (True, False)
    """
    return _tensor("is_signed", input).dtype.is_signed


@composite()
def is_conj(input: Tensor) -> bool:
    """Returns False: taper conjugates at once.

    Example:
        >>> import taper as torch
        >>> torch.is_conj(torch.tensor([1j]))
        False
    """
    return _tensor("is_conj", input).is_conj()


@composite()
def is_neg(input: Tensor) -> bool:
    """Returns False: taper negates at once.

    Example:
        >>> import taper as torch
        >>> torch.is_neg(torch.ones(2))
        False
    """
    return _tensor("is_neg", input).is_neg()


@composite()
def is_inference(input: Tensor) -> bool:
    """Returns whether the tensor was made in inference mode.

    Example:
        >>> import taper as torch
        >>> with torch.inference_mode():
        ...     x = torch.ones(2)
        >>> torch.is_inference(x)
        True
    """
    return _tensor("is_inference", input).is_inference()


@composite(method=True)
def is_nonzero(input: Tensor) -> bool:
    """Returns whether the only element is not zero.

    Raises: RuntimeError: if there is not exactly one element
    Example:
        >>> import taper as torch
        >>> torch.is_nonzero(torch.tensor([0.5]))
        True
    """
    return bool(_tensor("is_nonzero", input))


@composite()
def numel(input: Tensor) -> int:
    """Returns the number of elements.

    Example:
        >>> import taper as torch
        >>> torch.numel(torch.ones(2, 3))
        6
    """
    return _tensor("numel", input).numel()


@composite(method=True)
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Returns whether two tensors have the same shape.

    Example:
        >>> import taper as torch
        >>> torch.is_same_size(torch.ones(2, 3), torch.zeros(3, 2))
        False
    """
    return _tensor("is_same_size", input).shape == other.shape


@composite()
def get_device(input: Tensor) -> int:
    """Returns -1: the tensor is on the CPU.

    Example:
        >>> import taper as torch
        >>> torch.get_device(torch.ones(2))
        -1
    """
    return _tensor("get_device", input).get_device()


@composite()
def typename(obj: Any) -> str:
    """Returns the name of a type as PyTorch has it: ``torch.FloatTensor`` for a float32 tensor.

    Example:
        >>> import taper as torch
        >>> torch.typename(torch.ones(2))
        'torch.FloatTensor'
    """
    if isinstance(obj, Tensor):
        return legacy_type_name(obj.dtype, obj.device.type)
    kind = obj if isinstance(obj, type) else type(obj)
    module = kind.__module__
    name = kind.__qualname__
    return name if module in ("builtins", "", None) else f"{module}.{name}"


@composite()
def can_cast(from_: dtype, to: dtype) -> bool:
    """Returns whether PyTorch's rules let `from_` be stored as `to` without an explicit cast.

    Example:
        >>> import taper as torch
        >>> torch.can_cast(torch.double, torch.float), torch.can_cast(torch.float, torch.int)
        (True, False)
    """
    return castable(from_, to)


@composite()
def promote_types(type1: dtype, type2: dtype) -> dtype:
    """Returns the smallest dtype that holds both.

    Example:
        >>> import taper as torch
        >>> torch.promote_types(torch.int32, torch.float32)
        torch.float32
    """
    return promoted(type1, type2)


@composite(method=False, also={"tensor1": "tensor", "tensor2": "other"})
def result_type(tensor: Tensor | Number, other: Tensor | Number) -> dtype:
    """Returns the dtype that an operation on two tensors or numbers would have.

    Example:
        >>> import taper as torch
        >>> torch.result_type(torch.tensor([1, 2], dtype=torch.int32), 1.0)
        torch.float32
    """
    groups: tuple[list[dtype], list[dtype], list[dtype]] = ([], [], [])
    for value in (tensor, other):
        if isinstance(value, Tensor):
            groups[0 if value.ndim else 1].append(value.dtype)
        else:
            groups[2].append(dtype_of_number(value))
    return result_dtype(*groups)


@method()
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Returns whether both have the same memory, offset, shape and strides."""
    return (
        self.data_ptr() == tensor.data_ptr() and self.shape == tensor.shape
        and self.stride() == tensor.stride() and self.dtype is tensor.dtype
    )


