"""Sums of products over named dimensions: einsum, tensordot, kron, inner.

`einsum` contracts its operands one after the other. Each contraction of two is brought to one
batched matrix product: permute to (batch, own, summed) x (batch, summed, own), bmm, permute back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from taper.core.tensor import Tensor, wrap
from taper.kernels.bilinear import bilinear
from taper.ops.declare import composite
from taper.ops.matrix import matmul, may_compute_at_once

Shape = tuple[int, ...]


def _parse(equation: str, operands: Sequence[Shape]) -> tuple[list[list[str]], list[str]]:
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
        named, hidden = _labels_of(term, len(operand), i)
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


@composite(offers=True)
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
    shapes = tuple([tuple(operand.shape) for operand in operands])
    return _computed(_plan(equation, shapes), operands)


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


def _check_sizes(labels: list[list[str]], shapes: Sequence[Shape]) -> None:
    sizes: dict[str, int] = {}
    for i, (named, shape) in enumerate(zip(labels, shapes, strict=True)):
        own: dict[str, int] = {}
        for label, n in zip(named, shape, strict=True):
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


# -- plans: what sizes and labels determine ------------------------------------------------------


class _Arrangement(NamedTuple):
    """How an operand becomes what a product takes; None for a step that isn't needed."""

    diagonals: tuple[tuple[int, int], ...]
    summed: list[int] | None
    expanded: Shape | None
    order: list[int] | None
    shape: Shape | None


class _Contraction(NamedTuple):
    """A product of two operands, summed over what nobody needs any more."""

    first: _Arrangement
    second: _Arrangement
    is_matrix_product: bool  # or elementwise
    shape: Shape | None  # of the result, if it isn't the product's


class _Bilinear(NamedTuple):
    """An equation such as "bi,kij,bj->bk": which operand is what, and the order of its axes."""

    operands: tuple[int, int, int]  # the rows, matrices and rows that kernels/bilinear.py takes
    orders: tuple[list[int], list[int], list[int]]
    is_turned: bool  # whether the result's features come first


class _Plan(NamedTuple):
    contractions: list[_Contraction]
    last: _Arrangement
    bilinear: _Bilinear | None


class _Labelled:
    """The labels and sizes of an operand while steps are planned for it."""

    def __init__(self, labels: Sequence[str], shape: Sequence[int]) -> None:
        self.labels = list(labels)
        self.sizes = dict(zip(labels, shape, strict=True))
        self.diagonals: list[tuple[int, int]] = []
        self.summed: list[int] = []
        self.expanded: Shape | None = None
        self.order: list[int] | None = None
        self.shape: Shape | None = None

    def take_diagonals(self) -> None:
        """Leaves each label once: repeated ones are the operand's diagonals."""
        labels = self.labels
        while len(set(labels)) != len(labels):
            label = next(k for k in labels if labels.count(k) > 1)
            first = labels.index(label)
            second = labels.index(label, first + 1)
            self.diagonals.append((first, second))
            labels = [k for d, k in enumerate(labels) if d not in (first, second)] + [label]
        self.labels = labels

    def sum_over(self, unwanted: set[str]) -> None:
        self.summed = [d for d, k in enumerate(self.labels) if k in unwanted]
        self.labels = [k for k in self.labels if k not in unwanted]

    def expand(self, sizes: dict[str, int]) -> None:
        shape = tuple([sizes.get(k, self.sizes[k]) for k in self.labels])
        if shape != tuple([self.sizes[k] for k in self.labels]):
            self.expanded = shape
            self.sizes.update(sizes)

    def arrange(self, labels: Sequence[str]) -> None:
        order = [self.labels.index(k) for k in labels]
        if order != list(range(len(order))):
            self.order = order
        self.labels = list(labels)

    def arrange_matrices(
        self, batch: list[str], rows: list[str], columns: list[str]
    ) -> None:
        """A batch of matrices: the batch's dimensions, then one each for the rows and columns."""
        self.arrange([*batch, *rows, *columns])
        if len(rows) != 1 or len(columns) != 1:
            self.shape = tuple([
                *[self.sizes[k] for k in batch], math.prod(self.sizes[k] for k in rows),
                math.prod(self.sizes[k] for k in columns),
            ])

    def align(self, result: list[str]) -> None:
        """The dimensions of a broadcast product."""
        self.arrange([k for k in result if k in self.labels])
        self.shape = tuple([self.sizes[k] if k in self.labels else 1 for k in result])

    def done(self) -> _Arrangement:
        return _Arrangement(
            tuple(self.diagonals), self.summed or None, self.expanded, self.order, self.shape)


@lru_cache(maxsize=256)
def _plan(equation: str, shapes: tuple[Shape, ...]) -> _Plan:
    """The steps of an equation for operands of these shapes."""
    labels, result = _parse(equation, shapes)
    _check_sizes(labels, shapes)
    operands = [_Labelled(named, shape) for named, shape in zip(labels, shapes, strict=True)]
    for operand in operands:
        operand.take_diagonals()
    bilinear = _as_bilinear(labels, result, shapes) if len(operands) == 3 else None
    current, *others = operands
    contractions = []
    for i, other in enumerate(others):
        needed = set(result).union(*(set(later.labels) for later in others[i + 1:]))
        contraction, current = _contraction(current, other, needed)
        contractions.append(contraction)
    current.sum_over(set(current.labels) - set(result))
    current.arrange(result)
    return _Plan(contractions, current.done(), bilinear)


def _as_bilinear(
    labels: list[list[str]], result: list[str], shapes: tuple[Shape, ...]
) -> _Bilinear | None:
    """How an equation of three operands is a bilinear map of rows, if it is."""
    if sorted(map(len, labels)) != [2, 2, 3]:
        return None
    matrices = next(i for i, named in enumerate(labels) if len(named) == 3)
    first, second = (i for i in range(3) if i != matrices)
    found: dict[str, set[int]] = {}
    for named, shape in zip(labels, shapes, strict=True):
        for label, n in zip(named, shape, strict=True):
            found.setdefault(label, set()).add(n)
    shared = set(labels[first]) & set(labels[second])
    if len(found) != 4 or len(shared) != 1 or any(len(sizes) != 1 for sizes in found.values()):
        return None
    (row,) = shared
    own = [next((k for k in labels[i] if k != row), row) for i in (first, second)]
    features = set(labels[matrices]) - set(own)
    if len(set(labels[matrices])) != 3 or len(features) != 1 or row in labels[matrices]:
        return None
    (feature,) = features
    if set(result) != {row, feature}:
        return None
    orders = (
        [labels[first].index(k) for k in (row, own[0])],
        [labels[matrices].index(k) for k in (feature, *own)],
        [labels[second].index(k) for k in (row, own[1])],
    )
    return _Bilinear((first, matrices, second), orders, result[0] == feature)


def _contraction(
    a: _Labelled, b: _Labelled, needed: set[str]
) -> tuple[_Contraction, _Labelled]:
    """How two operands are multiplied, and what comes out."""
    a.sum_over(set(a.labels) - set(b.labels) - needed)
    b.sum_over(set(b.labels) - set(a.labels) - needed)
    shared = [k for k in a.labels if k in b.labels]
    batch = [k for k in shared if k in needed]
    summed = [k for k in shared if k not in needed]
    a_own = [k for k in a.labels if k not in shared]
    b_own = [k for k in b.labels if k not in shared]
    result = [*batch, *a_own, *b_own]
    sizes = {k: max(a.sizes[k], b.sizes[k]) if a.sizes[k] and b.sizes[k] else 0 for k in shared}
    both = {**a.sizes, **b.sizes, **sizes}
    shape = tuple([both[k] for k in result])
    if not summed:
        a.align(result)
        b.align(result)
        return _Contraction(a.done(), b.done(), False, None), _Labelled(result, shape)
    a.expand(sizes)
    b.expand(sizes)
    a.arrange_matrices(batch, a_own, summed)
    b.arrange_matrices(batch, summed, b_own)
    is_shaped = len(a_own) == 1 and len(b_own) == 1
    return (
        _Contraction(a.done(), b.done(), True, None if is_shaped else shape),
        _Labelled(result, shape),
    )


def _computed(plan: _Plan, operands: Sequence[Tensor]) -> Tensor:
    if plan.bilinear is not None and may_compute_at_once(*operands):
        factors = [operands[i]._array.transpose(order)
                   for i, order in zip(plan.bilinear.operands, plan.bilinear.orders, strict=True)]
        found = bilinear(*factors)
        return wrap(found.T if plan.bilinear.is_turned else found)
    current = operands[0]
    for contraction, other in zip(plan.contractions, operands[1:], strict=True):
        current = _contracted(contraction, current, other)
    return _arranged(plan.last, current)


def _contracted(contraction: _Contraction, a: Tensor, b: Tensor) -> Tensor:
    a, b = _arranged(contraction.first, a), _arranged(contraction.second, b)
    if not contraction.is_matrix_product:
        return a * b
    product = matmul(a, b)
    return product if contraction.shape is None else product.reshape(contraction.shape)


def _arranged(arrangement: _Arrangement, a: Tensor) -> Tensor:
    diagonals, summed, expanded, order, shape = arrangement
    for first, second in diagonals:
        a = a.diagonal(0, first, second)
    if summed is not None:
        a = a.sum(summed)
    if expanded is not None:
        a = a.expand(expanded)
    if order is not None:
        a = a.permute(order)
    return a if shape is None else a.reshape(shape)


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
    contraction, _ = _contraction(
        _Labelled(a_labels, a.shape), _Labelled(b_labels, b.shape), needed)
    return _contracted(contraction, a, b)


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


