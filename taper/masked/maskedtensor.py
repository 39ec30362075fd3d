"""`MaskedTensor`: a tensor some of whose elements count as missing.

    >>> import taper as torch
    >>> x = torch.masked.masked_tensor(torch.tensor([1., 2.]), torch.tensor([True, False]))
    >>> (x + 1).sum()
    MaskedTensor(  2.0000, True)

It is a subclass that sees every operator (`__torch_function__`): elementwise ones run on the data
and keep the mask, those that move elements run on the data and on the mask, and reductions are
those of `torch.masked`. Others are refused: the data would say something about missing elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taper
from taper import Tensor
from taper.autograd import Function
from taper.core.overrides import DisableTorchFunctionSubclass, as_subclass
from taper.ops.declare import OPERATORS

__all__ = ["MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor"]

# Operators that say so themselves, and those that can't: composites, or computed otherwise.
ELEMENTWISE = frozenset([op.name for op in OPERATORS.values() if op.elementwise] + """
    angle bitwise_left_shift bitwise_right_shift clamp clamp_between clamp_tensors conj_physical
    conjugate contiguous detach digamma div divide_floor divide_into divide_trunc double erfinv
    float float_power floor_divide fmod frac half i0 ldexp left_shift_of lgamma polygamma positive
    pow power_of remainder right_shift_of round rsub sgn sign signbit sinc to type type_as where
    """.split())
MOVING = frozenset("""
    __getitem__ broadcast_to cat chunk clone concat concatenate diagonal expand expand_as flatten
    flip index_select movedim narrow permute ravel repeat reshape reshape_as roll select split
    squeeze stack swapaxes swapdims t tile transpose unbind unflatten unsqueeze view view_as
    """.split())
REDUCTIONS = {
    name: name for name in "amax amin argmax argmin mean norm prod std sum var".split()
} | {"vector_norm": "norm"}


class _Data(Function):
    """The data behind a mask, as a plain tensor; its gradient is masked as well."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, mask: Tensor) -> Tensor:
        ctx.mask = mask
        return as_subclass(Tensor.detach(tensor), Tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return masked(grad, ctx.mask), None


def masked(data: Tensor, mask: Tensor) -> MaskedTensor:
    """Data, with its history, behind a mask."""
    data = data_of(data)
    result: MaskedTensor = as_subclass(data, MaskedTensor)
    result._masked_mask = mask
    return result


def data_of(value: Any) -> Any:
    """A plain tensor of the same data and history; other values as they are."""
    if not isinstance(value, MaskedTensor):
        return value
    if value.requires_grad and value.is_leaf:
        with DisableTorchFunctionSubclass():
            return _Data.apply(value, value._masked_mask)
    return as_subclass(value, Tensor)


class MaskedTensor(Tensor):
    """A tensor with a mask that is False where elements are missing.

    Args:     data: the elements, missing ones included;  mask: bools of the same shape
    Raises:   TypeError: if one is no tensor, or of another dtype;  ValueError: of other sizes
    """

    __module__ = "torch.masked"
    _masked_mask: Tensor

    def __new__(cls, data: Any, mask: Any, requires_grad: bool = False) -> MaskedTensor:
        _check(data, mask)
        result = masked(data.detach(), mask)
        if requires_grad:
            result.requires_grad_(True)
        return result

    def __init__(self, data: Any, mask: Any, requires_grad: bool = False) -> None:
        pass  # __new__ has done it

    @property
    def _masked_data(self) -> Tensor:
        return self.get_data()

    def get_data(self) -> Tensor:
        """Returns the data, missing elements included."""
        return data_of(self)

    def get_mask(self) -> Tensor:
        """Returns the mask."""
        return self._masked_mask

    def to_tensor(self, value: Any) -> Tensor:
        """Returns a plain tensor with `value` for missing elements."""
        return self.get_data().masked_fill(~self.get_mask(), value)

    def detach(self) -> MaskedTensor:
        """Returns the same data and mask without history."""
        return masked(self.get_data().detach(), self._masked_mask)

    def contiguous(self, *args: Any, **kwargs: Any) -> MaskedTensor:
        """Returns data and mask with contiguous memory."""
        return masked(self.get_data().contiguous(*args, **kwargs), self._masked_mask.contiguous())

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        """Raises: NumPy would see missing elements; use `to_tensor`."""
        raise RuntimeError(".numpy() is not supported for tensor subclasses.")

    def tolist(self) -> Any:
        """Raises: Python would see missing elements; use `to_tensor`."""
        raise RuntimeError(".tolist() is not supported for tensor subclasses, got MaskedTensor")

    def __repr__(self, *args: Any, **kwargs: Any) -> str:
        data, mask = self.get_data().detach(), self._masked_mask
        show = "{:8.4f}".format if data.is_floating_point() else str
        text = _text(data.tolist(), mask.tolist(), show)
        if data.dim() == 0:
            return f"MaskedTensor({text}, {mask.item()})"
        return f"MaskedTensor(\n{_indented(text)}\n)"

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = _OPERATORS.get(func.__name__, func.__name__)
        plain = _mapped(data_of, args), _mapped(data_of, kwargs)
        if name in REDUCTIONS or name == "all":
            return _reduce(name, args, kwargs)
        if name in ("softmax", "log_softmax", "softmin"):
            return masked(getattr(taper.masked, name)(
                *plain[0], **plain[1], mask=args[0]._masked_mask), args[0]._masked_mask)
        if name in MOVING:
            of_mask = _mapped(_mask_of, args), _mapped(_mask_of, kwargs)
            return _joined(func(*plain[0], **plain[1]), func(*of_mask[0], **of_mask[1]))
        if name.rstrip("_") in ELEMENTWISE:
            mask = _common_mask((args, kwargs))
            result = func(*plain[0], **plain[1])
            if name.endswith("_") and not name.startswith("_"):
                return args[0]  # its memory was changed
            return masked(result, mask.broadcast_to(result.shape))
        if name in _QUESTIONS:
            return func(*plain[0], **plain[1])
        raise NotImplementedError(
            f"{name}() of a MaskedTensor is not supported: it would let missing elements in. Use "
            "x.to_tensor(value), or x.get_data() and x.get_mask()"
        )


_OPERATORS = {  # methods of Python's operators that have a public name, too
    "__and__": "bitwise_and", "__eq__": "eq", "__floordiv__": "floor_divide",
    "__invert__": "bitwise_not", "__lshift__": "bitwise_left_shift", "__or__": "bitwise_or",
    "__rdiv__": "div", "__rpow__": "pow", "__rshift__": "bitwise_right_shift",
    "__rsub__": "rsub", "__xor__": "bitwise_xor",
}
_QUESTIONS = frozenset("""is_complex is_floating_point numel is_same_size is_nonzero is_inference
    item __len__""".split())


_LEADING = {  # what stands before `keepdim` where it isn't `dim` alone
    "norm": ("ord", "dim"), "vector_norm": ("ord", "dim"), "std": ("dim", "unbiased"),
    "var": ("dim", "unbiased"),
}


def _reduce(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> MaskedTensor:
    """A reduction of what is not missing; where all of a lane is missing, so is the result."""
    self, *rest = args
    given = dict(zip((*_LEADING.get(name, ("dim",)), "keepdim"), rest, strict=False)) | kwargs
    order = given.pop("p", None)
    if order is not None:
        given["ord"] = 2.0 if order == "fro" else order
    given = {key: value for key, value in given.items() if value is not None}
    data, mask = self.get_data(), self._masked_mask
    dims = given.get("dim", ())
    keepdim = given.setdefault("keepdim", False)
    if dims in ((), []):
        given.pop("dim", None)
        dims = tuple(range(data.dim()))
    if name == "all":
        result = data.masked_fill(~mask, True).all(dims, keepdim)
    else:
        result = getattr(taper.masked, REDUCTIONS[name])(data, **given, mask=mask)
    if name in ("argmax", "argmin"):
        result = result.type_as(data)
    return masked(result, mask.any(dims, keepdim) if data.dim() else mask)


def _check(data: Any, mask: Any) -> None:
    if not isinstance(data, Tensor) or isinstance(data, MaskedTensor):
        raise TypeError("data must be a Tensor")
    if not isinstance(mask, Tensor):
        raise TypeError("mask must be a Tensor")
    if data.dtype.category == 3 or data.dtype not in (
        taper.bool, taper.int8, taper.int16, taper.int32, taper.int64, taper.float16,
        taper.bfloat16, taper.float32, taper.float64,
    ):
        raise TypeError(f"{data.dtype} is not supported in MaskedTensor.")
    if mask.dtype is not taper.bool:
        raise TypeError("mask must have dtype bool.")
    if data.layout != mask.layout or data.layout is not taper.strided:
        raise NotImplementedError(
            "MaskedTensor: data and mask must be strided; of sparse tensors, what is not stored "
            "is zero: give to_dense() and a mask"
        )
    if data.dim() != mask.dim():
        raise ValueError("data.dim() must equal mask.dim()")
    if data.size() != mask.size():
        raise ValueError("data.size() must equal mask.size()")


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)([_mapped(function, v) for v in value])
    if type(value) is dict:
        return {k: _mapped(function, v) for k, v in value.items()}
    return function(value)


def _mask_of(value: Any) -> Any:
    return value._masked_mask if isinstance(value, MaskedTensor) else value


def _joined(data: Any, mask: Any) -> Any:
    if isinstance(data, (tuple, list)):
        return type(data)([_joined(d, m) for d, m in zip(data, mask, strict=True)])
    return masked(data, mask)


def _common_mask(value: Any) -> Tensor:
    found: list[Tensor] = []
    _mapped(lambda v: found.append(v._masked_mask) if isinstance(v, MaskedTensor) else None, value)
    for mask in found[1:]:
        if mask is not found[0] and not taper.equal(mask, found[0]):
            raise ValueError(
                "Input masks must match. If you need support for this, please open an issue on "
                "Github."
            )
    return found[0]


def _text(data: Any, mask: Any, show: Callable[[Any], str]) -> str:
    """Values in nested brackets, ``--`` for missing ones."""
    if not isinstance(data, list):
        return show(data) if mask else "--"
    if data and isinstance(data[0], list):
        rows = [_text(d, m, show) for d, m in zip(data, mask, strict=True)]
        return "[\n" + ",\n".join(_indented(row) for row in rows) + "\n]"
    shown = [show(d) if m else "" for d, m in zip(data, mask, strict=True)]
    width = max([len(s) or 8 for s in shown], default=0)
    return "[" + ", ".join(s or "--".rjust(width) for s in shown) + "]"


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.split("\n"))


# -- making and asking -----------------------------------------------------------------------------


def masked_tensor(data: Any, mask: Any, requires_grad: bool = False) -> MaskedTensor:
    """Makes a MaskedTensor of copies of data and mask; a leaf of its own.

    Example:
        >>> import taper as torch
        >>> torch.masked.masked_tensor(torch.tensor([1, 2]), torch.tensor([True, False]))
        MaskedTensor(
          [1,       --]
        )
    """
    _check(data, mask)
    return MaskedTensor(data.detach().clone(), mask.detach().clone(), requires_grad)


def as_masked_tensor(data: Any, mask: Any) -> MaskedTensor:
    """Makes a MaskedTensor that keeps the history of `data`, whose gradient is masked as well.

    Example:
        >>> import taper as torch
        >>> x = torch.tensor([1., 2.], requires_grad=True)
        >>> torch.masked.as_masked_tensor(x, torch.tensor([True, False])).sum().backward()
        >>> x.grad
        MaskedTensor(
          [  1.0000,       --]
        )
    """
    _check(data, mask)
    return masked(_Data.apply(data, mask), mask)


def is_masked_tensor(obj: Any) -> bool:
    """Returns whether `obj` is a MaskedTensor.

    Example:
        >>> import taper as torch
        >>> torch.masked.is_masked_tensor(torch.ones(1))
        False
    """
    return isinstance(obj, MaskedTensor)
