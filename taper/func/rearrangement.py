"""`rearrange`: reshaping and permuting by a pattern of names, in the notation of einops."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import taper
from taper.core.tensor import Tensor

__all__ = ["rearrange"]

Groups = list[list[str]]


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Tensor:
    """Returns the tensor with its dimensions moved, split and joined as `pattern` says.

    Args:
        tensor: a tensor, or a sequence of tensors, which are stacked first.
        pattern: names of dimensions on both sides of ``->``; names in parentheses share one,
            ``...`` stands for any others.
        axes_lengths: sizes of names in parentheses; one of each may be left out.
    Source: A. Rogozhnikov, Einops, ICLR 2022.
    Example:
        >>> import taper as torch
        >>> torch.func.rearrange(torch.zeros(6, 2), "(a b) c -> c a b", a=3).shape
        torch.Size([2, 3, 2])
    """
    if not isinstance(tensor, Tensor):
        tensor = taper.stack(list(tensor))
    if pattern.count("->") != 1:
        raise ValueError(f"the pattern needs one '->', got {pattern!r}")
    left, right = [_groups(side) for side in pattern.split("->")]
    if ["..."] in left:
        others = [f"...{i}" for i in range(tensor.ndim - len(left) + 1)]
        left, right = [list(_spelled_out(side, others)) for side in (left, right)]
    _check(left, right, pattern, tensor.ndim)
    sizes = dict(axes_lengths)
    for group, size in zip(left, tensor.shape, strict=True):
        _solve(group, size, sizes)
    names = [name for group in left for name in group]
    wanted = [name for group in right for name in group]
    parts = tensor.reshape([sizes[name] for name in names])
    moved = parts.permute([names.index(name) for name in wanted])
    return moved.reshape([
        math.prod([sizes[name] for name in group]) for group in right
    ])


def _groups(side: str) -> Groups:
    """The dimensions on one side of a pattern, each with its names; a 1 has none."""
    found: Groups = []
    for token in re.findall(r"\([^()]*\)|\.\.\.|\w+|\S", side):
        if token.startswith("("):
            found.append([name for name in token[1:-1].split() if name != "1"])
        elif token == "1":
            found.append([])
        elif token == "..." or token.isidentifier():
            found.append([token])
        else:
            raise ValueError(f"unexpected {token!r} in the pattern {side.strip()!r}")
    return found


def _spelled_out(side: Groups, others: list[str]) -> Iterator[list[str]]:
    for group in side:
        if group == ["..."]:
            yield from [[name] for name in others]
        else:
            yield [n for name in group for n in (others if name == "..." else [name])]


def _check(left: Groups, right: Groups, pattern: str, ndim: int) -> None:
    sides = [sorted([name for group in side for name in group]) for side in (left, right)]
    if any([len(set(names)) != len(names) for names in sides]):
        raise ValueError(f"a name stands twice on one side of the pattern {pattern!r}")
    if sides[0] != sides[1]:
        raise ValueError(f"both sides of the pattern {pattern!r} must have the same names")
    if len(left) != ndim:
        raise ValueError(
            f"the pattern {pattern!r} has {len(left)} dimensions on its left, the tensor {ndim}"
        )


def _solve(group: list[str], size: int, sizes: dict[str, int]) -> None:
    """Finds the size of the one name in a group that is not known yet."""
    known = math.prod([sizes[name] for name in group if name in sizes])
    unknown = [name for name in group if name not in sizes]
    if len(unknown) > 1:
        raise ValueError(f"the sizes of {unknown} don't follow: give all but one")
    if size % known if unknown and known else known != size:
        raise ValueError(f"a dimension of size {size} can't be split into {group}")
    for name in unknown:
        sizes[name] = size // known if known else 0
