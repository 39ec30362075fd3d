"""What matrix products ask of their operands' dtypes, and the errors in PyTorch's words.

Each is a `check=` of an operator, or makes one: products do not promote. If their sizes don't fit,
that is said first, by the forwards; so the checks here pass such operands on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.core.dtype import REDUCED_FLOATS, float32
from taper.core.promotion import cpp_type_name, scalar_type_name
from taper.core.tensor import Tensor
from taper.ops.declare import Operator
from taper.ops.signature import Signature

__all__ = [
    "product_in_dtype",
    "same_dtypes_in_addmm", "same_dtypes_in_addmv", "same_dtypes_in_baddbmm",
    "same_dtypes_in_batch_mv", "same_dtypes_in_cross", "same_dtypes_in_matmul",
    "same_dtypes_in_mv", "same_dtypes_of_batches", "same_dtypes_of_factors",
    "same_dtypes_of_vectors",
]

Check = Callable[[dict[str, Any]], None]


def product_in_dtype(op: Operator, args: tuple[Any, ...], out_dtype: Any) -> Tensor:
    """A product with `out_dtype=`: the operands in that dtype, so that sums are in it as well."""
    given = dict(zip(Signature(op.forward).names, args, strict=True))
    for name, value in given.items():
        if not isinstance(value, Tensor):
            continue
        if value.dtype is not out_dtype and (
            out_dtype is not float32 or value.dtype not in REDUCED_FLOATS
        ):
            raise RuntimeError(
                f"{op.name}(): out_dtype must be the same as input dtype or fp32 for fp16/bf16 "
                f"inputs, but got {out_dtype} for {value.dtype}"
            )
        given[name] = value.to(out_dtype)
    result: Tensor = op.function(**given)
    return result


def _sizes_fit(a: Any, b: Any) -> bool:
    """Whether the last dimension of the first meets one of the same size of the second."""
    if not a.ndim or not b.ndim:
        return False
    return bool(a._array.shape[-1] == b._array.shape[-2 if b.ndim > 1 else -1])


def _raise_unless_factors_agree(first: Any, second: Any) -> None:
    if first.dtype is not second.dtype:
        raise RuntimeError(
            "expected m1 and m2 to have the same dtype, but got: "
            f"{cpp_type_name(first.dtype)} != {cpp_type_name(second.dtype)}"
        )


def same_dtypes_of_factors(first: str, second: str) -> Check:
    """Two matrices: mm."""


    def check(bound: dict[str, Any]) -> None:
        a, b = bound[first], bound[second]
        if a.ndim == b.ndim == 2 and _sizes_fit(a, b):
            _raise_unless_factors_agree(a, b)

    return check


def _raise_unless_scalars_agree(first: Any, second: Any) -> None:
    if first.dtype is not second.dtype:
        raise RuntimeError(
            f"expected scalar type {scalar_type_name(first.dtype)} but found "
            f"{scalar_type_name(second.dtype)}"
        )


def same_dtypes_of_batches(first: str, second: str) -> Check:
    """Two batches: bmm."""

    def check(bound: dict[str, Any]) -> None:
        a, b = bound[first], bound[second]
        if a.ndim == b.ndim == 3 and a._array.shape[0] == b._array.shape[0] and _sizes_fit(a, b):
            _raise_unless_scalars_agree(a, b)

    return check


def same_dtypes_in_cross(bound: dict[str, Any]) -> None:
    """Two tensors of vectors with three elements."""
    a, b, dim = bound["input"], bound["other"], bound["dim"]
    has_dim = a.ndim == b.ndim and -a.ndim <= dim < a.ndim
    if has_dim and a._array.shape[dim] == b._array.shape[dim] == 3:
        _raise_unless_scalars_agree(a, b)


def same_dtypes_in_matmul(bound: dict[str, Any]) -> None:
    """What matmul makes of batches: one large product if the second has no batch."""
    a, b = bound["input"], bound["other"]
    if not _sizes_fit(a, b):
        return
    if b.ndim == 2:
        _raise_unless_factors_agree(a, b)
    else:
        _raise_unless_scalars_agree(a, b)


def same_dtypes_of_vectors(first: str, second: str) -> Check:
    """Two vectors: dot, vdot."""

    def check(bound: dict[str, Any]) -> None:
        a, b = bound[first], bound[second]
        if a.ndim == b.ndim == 1 and a.dtype is not b.dtype:
            raise RuntimeError(
                "dot : expected both vectors to have same dtype, but found "
                f"{scalar_type_name(a.dtype)} and {scalar_type_name(b.dtype)}"
            )

    return check


def _raise_addmv(*tensors: Any) -> None:
    a, b, c = (scalar_type_name(t.dtype) for t in tensors)
    if not a == b == c:
        raise RuntimeError(
            f"addmv input tensors must have the same dtype, but got {a}, {b}, and {c}"
        )


def same_dtypes_in_mv(bound: dict[str, Any]) -> None:
    """A matrix and a vector, whose dtype is the result's."""
    if bound["input"].ndim == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    if bound["input"].ndim == 2 and bound["vec"].ndim == 1:
        same_dtypes_in_batch_mv(bound)


def same_dtypes_in_batch_mv(bound: dict[str, Any]) -> None:
    """A batch of matrices and a vector, whose dtype is the result's."""
    if _sizes_fit(bound["input"], bound["vec"]):
        _raise_addmv(bound["vec"], bound["input"], bound["vec"])


def same_dtypes_in_addmv(bound: dict[str, Any]) -> None:
    """A vector to add to, a matrix and a vector."""
    _raise_addmv(bound["input"], bound["mat"], bound["vec"])


def same_dtypes_in_addmm(first: str, second: str) -> Check:
    """A matrix to add to and two factors."""

    def check(bound: dict[str, Any]) -> None:
        added, b = bound["input"], bound[second]
        if added.dtype is not b.dtype:
            raise RuntimeError(
                "self and mat2 must have the same dtype, but got "
                f"{scalar_type_name(added.dtype)} and {scalar_type_name(b.dtype)}"
            )
        if bound[first].dtype is not b.dtype:
            raise RuntimeError(
                "mat1 and mat2 must have the same dtype, but got "
                f"{scalar_type_name(bound[first].dtype)} and {scalar_type_name(b.dtype)}"
            )

    return check


def same_dtypes_in_baddbmm(bound: dict[str, Any]) -> None:
    """A batch to add to and two batches of factors."""
    tensors = [bound[name] for name in ("input", "batch1", "batch2")]
    a, b, c = (cpp_type_name(t.dtype) for t in tensors)
    if not a == b == c:
        raise RuntimeError(
            f"Input dtypes must be the same, got: input {a}, batch1: {b}, batch2: {c}"
        )
