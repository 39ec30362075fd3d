"""Which function computes the divergence of which two kinds of distributions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from taper import Tensor
from taper.distributions.distribution import Distribution

__all__ = ["kl_divergence", "register_kl"]

Formula = Callable[[Any, Any], Tensor]

_KL_REGISTRY: dict[tuple[type, type], Formula] = {}
_KL_MEMOIZE: dict[tuple[type, type], Formula | None] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Formula], Formula]:
    """Registers, as a decorator, a function of (p, q) for `kl_divergence`.

    It serves subclasses too; of several functions that fit, the most specific is called.

    Raises: TypeError: if they are no classes. Those of other libraries need not be derived from
        `Distribution`, as in PyTorch.
    """
    for name, kind in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(kind, type):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {kind}")

    def register(formula: Formula) -> Formula:
        _KL_REGISTRY[type_p, type_q] = formula
        _KL_MEMOIZE.clear()  # what fitted best may fit no longer
        return formula

    return register


def _find(type_p: type, type_q: type) -> Formula | None:
    """The function whose types come first among the bases of both."""
    bases_p, bases_q = type_p.__mro__, type_q.__mro__
    fits = [
        (bases_p.index(p), bases_q.index(q)) for p, q in _KL_REGISTRY
        if p in bases_p and q in bases_q
    ]
    if not fits:
        return None
    left, right = min(fits), min(fits, key=lambda fit: fit[::-1])
    found = _KL_REGISTRY[bases_p[left[0]], bases_q[left[1]]]
    if found is not _KL_REGISTRY[bases_p[right[0]], bases_q[right[1]]]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please "
            f"register_kl({bases_p[left[0]].__name__}, {bases_q[right[1]].__name__})",
            RuntimeWarning, stacklevel=3,
        )
    return found


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """Returns the Kullback-Leibler divergence, the mean under p of log p(x) - log q(x).

    Raises: NotImplementedError: if no formula is known; see `register_kl`.
    Example:
        >>> import taper as torch
        >>> D = torch.distributions
        >>> D.kl_divergence(D.Normal(1., 1.), D.Normal(0., 1.))
        tensor(0.5000)
    """
    kinds = type(p), type(q)
    if kinds not in _KL_MEMOIZE:
        _KL_MEMOIZE[kinds] = _find(*kinds)
    formula = _KL_MEMOIZE[kinds]
    if formula is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type "
            f"{type(q).__name__}"
        )
    return formula(p, q)
