"""The linear map of layers: a product with a transposed matrix, and a bias."""

from __future__ import annotations

from taper.arrays.levels import is_batched
from taper.core.state import is_recording
from taper.core.tensor import Tensor, wrap
from taper.kernels import small_products
from taper.ops.added_product import addmm
from taper.ops.declare import composite
from taper.ops.matrix import are_plain, matmul, matmul_batched, mm, mv

mm_function, addmm_function = mm.function, addmm.function


@composite("nn.functional.linear", out=True)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Applies a linear map: :math:`y = x W^T + b`.

    Shape: input (*, in), weight (out, in) or (in), bias (out) or () → (*, out) or (*)
    Raises: RuntimeError: if the sizes do not match
    Example:
        >>> import taper as torch
        >>> torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).shape
        torch.Size([2, 4])
    """
    a, w = input._array, weight._array
    ndim = a.ndim
    if ndim >= 2 and w.ndim == 2 and (
        bias is not None and (not is_recording() or (
            input._edge is None and weight._edge is None and bias._edge is None
        )) and are_plain(input, weight, a, w)
    ):
        b, size = bias._array, w.shape[1]
        if b.shape == w.shape[:1] and b.dtype is a.dtype and a.shape[-1] == size:
            if ndim == 2:
                return wrap(small_products.affine(a, w.transpose(), b))
            if size:
                r = small_products.affine(a.reshape(-1, size), w.transpose(), b)
                return wrap(r.reshape(*a.shape[:-1], w.shape[0]))
    if ndim == 2 and w.ndim == 2:
        if bias is None:
            return mm_function(input, weight.t())
        return addmm_function(bias, input, weight.t())
    if weight._array.ndim < 2 or ndim < 2:
        if ndim == 1 and w.ndim == 2 and (is_batched(a) or is_batched(w)):
            result = mv(weight, input)  # fewer steps, as vmap makes large ones of them
        else:
            result = matmul(input, weight.t())
        return result if bias is None else result + bias
    flat = input.reshape(-1, input.shape[-1])
    shape = (*input._array.shape[:-1], weight._array.shape[0])
    if bias is None:
        return matmul_batched(input, weight.t())
    return addmm_function(bias, flat, weight.t()).view(shape)
