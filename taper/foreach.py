"""`torch._foreach_*`: an operator over lists of tensors, as optimizers of other packages use it.

    _foreach_mul_(parameters, 0.9)               # parameter.mul_(0.9) for each
    _foreach_add(gradients, parameters, alpha=2)

Arguments that are lists or tuples are gone through along with the first; others are the same for
all. Names that end in an underscore change the tensors of the first list and return None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taper
from taper import linalg
from taper.core.tensor import Tensor

__all__ = ["find"]

_BOTH = """abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min cos cosh div erf erfc exp
    expm1 floor frac lerp lgamma log log10 log1p log2 maximum minimum mul neg pow reciprocal round
    rsqrt sigmoid sign sin sinh sqrt sub tan tanh trunc""".split()
_NEW_ONLY = ("clone", "max", "mm", "norm", "powsum")
_INPLACE_ONLY = ("copy", "zero")
_PREFIX = "_foreach_"
NAMES = sorted([
    *[_PREFIX + name for name in (*_BOTH, *_NEW_ONLY)],
    *[f"{_PREFIX}{name}_" for name in (*_BOTH, *_INPLACE_ONLY)],
])


def find(name: str) -> Callable[..., Any]:
    """The function of that name, which is one of NAMES."""
    operator = name.removeprefix(_PREFIX)
    is_inplace = operator.endswith("_")
    compute = _SPECIAL.get(operator) or _method(operator)

    def for_each(self: Any, *args: Any, **options: Any) -> Any:
        given = (self, *args, *options.values())
        lists = [value for value in given if type(value) in (list, tuple)]
        if not lists or not lists[0]:
            raise RuntimeError("Tensor list must have at least one tensor.")
        count = len(lists[0])
        for other in lists:
            if len(other) != count:
                raise RuntimeError(
                    "Tensor lists must have the same number of tensors, got "
                    f"{count} and {len(other)}"
                )
        results = tuple([
            compute(_at(self, i), *[_at(a, i) for a in args],
                    **{key: _at(value, i) for key, value in options.items()})
            for i in range(count)
        ])
        return None if is_inplace else results

    for_each.__name__ = for_each.__qualname__ = name
    return for_each


def _at(value: Any, i: int) -> Any:
    return value[i] if type(value) in (list, tuple) else value


def _method(name: str) -> Callable[..., Any]:
    """An operator by its method; a number on its left is one of pow's."""

    def call(self: Any, *args: Any, **options: Any) -> Any:
        if isinstance(self, Tensor):
            return _by_method(self, name, args, options)
        return getattr(taper, name)(self, *args, **options)

    return call


def _by_method(self: Tensor, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    scalar = options.pop("value", None) if name.startswith("addc") else None
    if scalar is None and name.startswith("addc") and len(args) == 3:
        *args, scalar = args  # type: ignore[assignment]
    if name.rstrip("_") in ("maximum", "minimum") and not isinstance(args[0], Tensor):
        name = name.replace("maximum", "clamp_min").replace("minimum", "clamp_max")
    if scalar is not None:
        if isinstance(scalar, Tensor):
            scalar = scalar.item()
        options["value"] = scalar
    function = getattr(self, name, None)
    if function is not None:
        return function(*args, **options)
    result = getattr(taper, name.rstrip("_"))(self, *args, **options)
    return self.copy_(result)


def _power_sum(self: Tensor, ord: float = 2, dtype: Any = None) -> Tensor:
    """The sum of powers of absolute values: a norm before its root is taken."""
    return self.abs().pow(ord).sum(dtype=dtype)


_SPECIAL: dict[str, Callable[..., Any]] = {
    "norm": lambda self, ord=2, dtype=None: linalg.vector_norm(self, ord, dtype=dtype),
    "powsum": _power_sum,
}
