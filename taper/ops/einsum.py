"""Sums of products over named dimensions: einsum, tensordot, kron, inner.

`einsum` contracts its operands one after the other. Each contraction of two is brought to one
batched matrix product: permute to (batch, own, summed) x (batch, summed, own), bmm, permute back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from taper.core.tensor import Tensor
from taper.ops.declare import composite
from taper.ops.matrix import matmul


def _parse(equation: str, operands: Sequence[Tensor]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand and of the result; "..." becomes labels of its own."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) > len(operands):
        raise RuntimeError(
            "einsum(): fewer operands were provided than specified in the equation"
        )
    if len(terms) < len(operands):
        raise RuntimeError(
            "einsum(): more operands were provided than specified in the equation"
        )
    labels = []
    widest = 0
    for i, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        named, hidden = _labels_of(term, operand.ndim, i)
        widest = max(widest, hidden)
        labels.append(named)
    ellipsis = [f"...{k}" for k in range(widest)]
    if arrow:
        result = _result_labels(right, ellipsis, labels)
    else:
        counts: dict[str, int] = {}
        for named in labels:
            for label in named:
                counts[label] = counts.get(label, 0) + 1
        result = ellipsis[::-1] + sorted(k for k, n in counts.items() if n == 1 and k[0] != ".")
    return labels, result


def _labels_of(term: str, ndim: int, position: int) -> tuple[list[str], int]:
    """The labels of one operand, and how many dimensions its ellipsis covers."""
    letters = term.replace("...", "")
    if "." in letters or term.count("...") > 1:
        raise RuntimeError(
            f"einsum(): found '.' for operand {position} that is not part of any ellipsis"
        )
    for c in letters:
        if not c.isalpha() or not c.isascii():
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {term.index(c)} in the equation "
                "string, subscripts must be in [a-zA-Z]"
            )
    hidden = ndim - len(letters)
    if "..." not in term:
        if hidden != 0:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({len(letters)}) does not "
                f"match the number of dimensions ({ndim}) for operand {position} and no ellipsis "
                "was given"
            )
        return list(letters), 0
    if hidden < 0:
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({len(letters)}) is more than the "
            f"number of dimensions ({ndim}) for operand {position}"
        )
    before, _, after = term.partition("...")
    # Ellipses are aligned at their last dimensions, as broadcasting is.
    covered = [f"...{k}" for k in range(hidden)][::-1]
    return [*before, *covered, *after], hidden


def _result_labels(right: str, ellipsis: list[str], labels: list[list[str]]) -> list[str]:
    letters = right.replace("...", "")
    known = {label for named in labels for label in named}
    for c in letters:
        if c not in known:
            raise RuntimeError(
                f"einsum(): output subscript {c} does not appear in the equation for any input "
                "operand"
            )
    if len(set(letters)) != len(letters):
        twice = next(c for c in letters if letters.count(c) > 1)
        raise RuntimeError(
            f"einsum(): output subscript {twice} appears more than once in the output"
        )
    if "..." not in right:
        return list(letters)
    before, _, after = right.partition("...")
    return [*before, *ellipsis[::-1], *after]


@composite()
def einsum(*args: Any) -> Tensor:
    """Multiplies operands and sums over dimensions, as a string of subscripts says.

    Args:     equation (str): such as "ij,jk->ik"; letters that are missing after the arrow are
        summed over; without an arrow the result has the letters that occur once, sorted.
        operands (Tensors)
    Example:
        >>> import taper as torch
        >>> torch.einsum("i,i->", torch.tensor([1., 2.]), torch.tensor([3., 4.]))
        tensor(11.)
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one "
            "operand and its subscripts list"
        )
    equation, *operands = args
    if isinstance(equation, Tensor):
        equation, operands = _from_lists(args)
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    labels, result = _parse(equation, operands)
    _check_sizes(labels, operands)
    values = [_take_diagonals(o, named) for o, named in zip(operands, labels, strict=True)]
    current, present = values[0]
    for i, (other, named) in enumerate(values[1:], 1):
        needed = set(result).union(*(set(n) for _, n in values[i + 1:]))
        current, present = _contract(current, present, other, named, needed)
    extra = [d for d, label in enumerate(present) if label not in result]
    if extra:
        current = current.sum(extra)
        present = [label for label in present if label in result]
    order = [present.index(label) for label in result]
    if order != list(range(len(order))):
        current = current.permute(order)
    return current


def _from_lists(args: tuple[Any, ...]) -> tuple[str, list[Tensor]]:
    """The other calling form: operand, list of ints, operand, list … and maybe a result list."""

    def text(subscripts: Sequence[Any]) -> str:
        found = ""
        for s in subscripts:
            if s is Ellipsis:
                found += "..."
            elif 0 <= s < 52:
                found += chr(ord("A") + s) if s < 26 else chr(ord("a") + s - 26)
            else:
                raise ValueError(
                    f"einsum(): subscripts must be in the range [0, 52), but got {s}"
                )
        return found

    count = len(args) // 2
    operands = [args[2 * i] for i in range(count)]
    equation = ",".join(text(args[2 * i + 1]) for i in range(count))
    if len(args) % 2:
        equation += "->" + text(args[-1])
    return equation, operands


def _check_sizes(labels: list[list[str]], operands: Sequence[Tensor]) -> None:
    sizes: dict[str, int] = {}
    for i, (named, operand) in enumerate(zip(labels, operands, strict=True)):
        own: dict[str, int] = {}
        for label, n in zip(named, operand._array.shape, strict=True):
            if label in own and own[label] != n:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for operand {i} but the sizes don't "
                    f"match, {n} != {own[label]}"
                )
            own[label] = n
            seen = sizes.get(label, 1)
            if n != 1 and seen != 1 and n != seen:
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {n} for operand {i} which does not "
                    f"broadcast with previously seen size {seen}"
                )
            sizes[label] = max(n, seen) if n != 0 and seen != 0 else 0


def _take_diagonals(operand: Tensor, labels: list[str]) -> tuple[Tensor, list[str]]:
    """An operand with each label once: repeated ones are its diagonals."""
    labels = list(labels)
    while len(set(labels)) != len(labels):
        label = next(k for k in labels if labels.count(k) > 1)
        first = labels.index(label)
        second = labels.index(label, first + 1)
        operand = operand.diagonal(0, first, second)
        labels = [k for d, k in enumerate(labels) if d not in (first, second)] + [label]
    return operand, labels


def _contract(
    a: Tensor, a_labels: list[str], b: Tensor, b_labels: list[str], needed: set[str]
) -> tuple[Tensor, list[str]]:
    """The product of two operands, summed over what nobody needs any more."""
    a, a_labels = _sum_own(a, a_labels, b_labels, needed)
    b, b_labels = _sum_own(b, b_labels, a_labels, needed)
    shared = [k for k in a_labels if k in b_labels]
    batch = [k for k in shared if k in needed]
    summed = [k for k in shared if k not in needed]
    a_own = [k for k in a_labels if k not in shared]
    b_own = [k for k in b_labels if k not in shared]
    if not summed:
        return _multiply(a, a_labels, b, b_labels, batch, a_own, b_own)
    sizes = {k: max(a.shape[a_labels.index(k)], b.shape[b_labels.index(k)]) for k in shared}
    a = _expand_shared(a, a_labels, sizes)
    b = _expand_shared(b, b_labels, sizes)
    left = _arranged(a, a_labels, batch, a_own, summed)
    right = _arranged(b, b_labels, batch, summed, b_own)
    product = matmul(left, right)
    if len(a_own) == 1 and len(b_own) == 1:
        return product, [*batch, *a_own, *b_own]
    shape = [sizes[k] for k in batch]
    shape += [a.shape[a_labels.index(k)] for k in a_own]
    shape += [b.shape[b_labels.index(k)] for k in b_own]
    return product.reshape(shape), [*batch, *a_own, *b_own]


def _sum_own(
    a: Tensor, labels: list[str], other: list[str], needed: set[str]
) -> tuple[Tensor, list[str]]:
    """Sums over the labels that only this operand has and nobody needs."""
    dims = [d for d, k in enumerate(labels) if k not in other and k not in needed]
    if not dims:
        return a, labels
    return a.sum(dims), [k for d, k in enumerate(labels) if d not in dims]


def _expand_shared(a: Tensor, labels: list[str], sizes: dict[str, int]) -> Tensor:
    shape = [sizes.get(k, n) for k, n in zip(labels, a.shape, strict=True)]
    return a if shape == list(a.shape) else a.expand(shape)


def _arranged(
    a: Tensor, labels: list[str], batch: list[str], rows: list[str], columns: list[str]
) -> Tensor:
    """A batch of matrices: the batch's dimensions, then one each for the rows and columns."""
    order = [labels.index(k) for k in (*batch, *rows, *columns)]
    if order != list(range(len(order))):
        a = a.permute(order)
    if len(rows) == 1 and len(columns) == 1:
        return a
    count, height = len(batch), len(rows)
    shape = a._array.shape
    inner = (math.prod(shape[count : count + height]), math.prod(shape[count + height :]))
    return a.reshape((*shape[:count], *inner))


def _multiply(
    a: Tensor, a_labels: list[str], b: Tensor, b_labels: list[str], batch: list[str],
    a_own: list[str], b_own: list[str],
) -> tuple[Tensor, list[str]]:
    """The broadcast product of two operands with nothing to sum."""
    result = [*batch, *a_own, *b_own]

    def aligned(x: Tensor, labels: list[str]) -> Tensor:
        order = [labels.index(k) for k in result if k in labels]
        if order != list(range(len(order))):
            x = x.permute(order)
        shape = []
        sizes = iter(x.shape)
        for k in result:
            shape.append(next(sizes) if k in labels else 1)
        return x.reshape(shape)

    return aligned(a, a_labels) * aligned(b, b_labels), result


@composite(out=True)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums products over pairs of dimensions: the last `dims` of a with the first of b, or lists.

    Example:
        >>> import taper as torch
        >>> torch.tensordot(torch.ones(2, 3), torch.ones(3, 4), 1).shape
        torch.Size([2, 4])
    """
    if isinstance(dims, Tensor):
        dims = dims.tolist() if dims.numel() > 1 else int(dims)
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.dim(), b.dim()):
            raise RuntimeError(
                f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}"
            )
        dims_a, dims_b = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        dims_a, dims_b = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(dims_a) != len(dims_b):
        raise RuntimeError("both dimension lists should have same length")
    dims_a = [d % max(a.ndim, 1) for d in dims_a]
    dims_b = [d % max(b.ndim, 1) for d in dims_b]
    for i, j in zip(dims_a, dims_b, strict=True):
        if a.shape[i] != b.shape[j] and 1 not in (a.shape[i], b.shape[j]):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} "
                f"and second has size {b.shape[j]} in dim {j}"
            )
    names = iter(f"l{k}" for k in range(a.ndim + b.ndim))
    a_labels = [next(names) for _ in range(a.ndim)]
    b_labels = [next(names) for _ in range(b.ndim)]
    for i, j in zip(dims_a, dims_b, strict=True):
        b_labels[j] = a_labels[i]
    needed = {k for d, k in enumerate(a_labels) if d not in dims_a}
    needed |= {k for d, k in enumerate(b_labels) if d not in dims_b}
    return _contract(a, a_labels, b, b_labels, needed)[0]


@composite(method=True, out=True)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """Computes the Kronecker product: every element of `input` times all of `other`.

    Shape:    (a, b, …), (c, d, …) → (a c, b d, …)
    Example:
        >>> import taper as torch
        >>> torch.kron(torch.tensor([1, 2]), torch.tensor([1, 10]))
        tensor([ 1, 10,  2, 20])
    """
    ndim = max(input.ndim, other.ndim)
    a = (1,) * (ndim - input.ndim) + tuple(input.shape)
    b = (1,) * (ndim - other.ndim) + tuple(other.shape)
    wide = [n for pair in zip(a, (1,) * ndim, strict=True) for n in pair]
    fine = [n for pair in zip((1,) * ndim, b, strict=True) for n in pair]
    product = input.reshape(wide) * other.reshape(fine)
    return product.reshape([m * n for m, n in zip(a, b, strict=True)])


@composite(method=True, out=True)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums products over the last dimensions of both.

    Shape:    (*a, n), (*b, n) → (*a, *b)
    Example:
        >>> import taper as torch
        >>> torch.inner(torch.tensor([1, 2]), torch.tensor([3, 4]))
        tensor(11)
    """
    if 0 in (input.ndim, other.ndim):
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    if input.dtype is not other.dtype:
        raise RuntimeError("both inputs should have same dtype")
    return tensordot(input, other, [[-1], [-1]])


