"""How far apart the numbers of two correct libraries may be: as far as rounding explains.

Both libraries round after every operation, in another order of additions and with other
implementations of the elementary functions. So numbers are compared in two steps, always relative
to the largest element of the tensor (or to 1, if that is more).

1. Within BASE of each other, for the least precise dtype that has flowed into the variable: a
   float64 tensor is compared as such, also in a program that has float32 elsewhere. That is 84
   units of float32's last place (the 1e-5 of PyTorch's own `testing.assert_close`: a mean that is
   taken off a dozen elements, scaled, leaves as much), 1,800 of float64's, whose special functions
   and factorizations are less exact, and 2 of float16's and bfloat16's.
2. Where a program cancels or divides by small numbers, errors grow, and no constant is right. Then
   PyTorch runs the program once more with more digits (`truth`): taper may be up to FACTOR times
   as far from that as PyTorch itself was until then. Errors of float64 are estimated by the same
   program in float32: rounding errors are proportional to the unit of rounding.

   Gradients are sums over paths, whose terms may cancel: they may also be off by BASE of the
   largest gradient of any variable (`largest_gradient`).

   One program's errors may cancel by chance, so if taper's number is refused, NEARBY programs with
   slightly other leaves are asked as well.

3. PyTorch may round luckily, in whatever precision: of large terms that cancel, each may be off
   by half a unit, or by nothing. And a number that is zero but for rounding may have either sign;
   the gradient of its absolute value is then 1, 0 or -1. So, last, PyTorch runs the program
   NEARBY times with other last digits: leaves that aren't zero, and whatever a statement has
   rounded, are moved by one unit of their last place, or not. Taper's numbers may be up to FACTOR
   times as far from PyTorch's as these are. This holds only from where a program rounds: of exact
   numbers, also ties are compared.

An error of PyTorch's above CAP bases is not believed: there, the program in other precision does
something else (it draws other random numbers, say). Then step 1 alone counts. Gradients are
believed whatever they are if all values were: those of what cancels are nothing but rounding.
"""

from __future__ import annotations

import contextlib
import random
import re
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "FACTOR", "FINEST", "NEARBY", "UNIT", "assigned", "error", "largest_gradient", "move_by_units",
    "narrowed", "nearby", "perturbed", "precisions", "units_off", "widened",
]  # fmt: skip

BASE = {
    "torch.float64": 4e-13, "torch.complex128": 4e-13, "torch.float32": 1e-5,
    "torch.complex64": 1e-5, "torch.float16": 2e-3, "torch.bfloat16": 1.6e-2,
}  # fmt: skip
UNIT = {4e-13: 2.0**-52, 1e-5: 2.0**-23, 2e-3: 2.0**-10, 1.6e-2: 2.0**-7}
FACTOR = 4.0
CAP = 100.0
NEARBY = 8
FINEST = BASE["torch.float64"]

WIDER = (
    ("bfloat16", "float64"), ("float16", "float64"), ("float32", "float64"),
    ("complex64", "complex128"), (".float()", ".double()"),
)  # fmt: skip
NARROWER = (("float64", "float32"), ("complex128", "complex64"), (".double()", ".float()"))
# What is drawn at random is drawn as the program has it, and then converted.
DRAWN = re.compile(
    r"^(\w+) = (torch\.randn?\(.*, dtype=torch\.(\w+))(, requires_grad=True)?\)$", re.MULTILINE
)
CONVERTED = re.compile(r"^(v\d+) = (\w+)\.(?:to|type|type_as|float|double|cdouble)\([^()]*\)$")
LIKE = re.compile(r"(torch\.randn?_like\(.*)\)\)$")
FILLED = re.compile(r"^torch\.manual_seed\(\d+\)\n(v\d+) = .*$")
MODULE = re.compile(r"^net = (.*)$", re.MULTILINE)
IN_FLOAT32 = (
    "default = torch.get_default_dtype()\ntorch.set_default_dtype(torch.float32)\n"
    "{}\ntorch.set_default_dtype(default)"
)
LEAF = re.compile(r"[abcd] = torch\.tensor\(.*dtype=(torch\.\w+)")
NUMBER = re.compile(r"-?\d+\.\d+")
ASSIGNED = re.compile(r"^\s*((?:\w+, )*\w+),?(?=\W)", re.MULTILINE)


def assigned(statement: str) -> set[str]:
    """The words that open its lines: the variables that it assigns, or whose methods it calls."""
    return {name for group in ASSIGNED.findall(statement) for name in group.split(", ")}


def error(one: Any, other: Any, least: float = 1.0) -> float:
    """The largest difference of two arrays of numbers, relative to the largest of `other`, or to
    `least` if that is more."""
    wide = np.complex128 if other.dtype.kind == "c" else np.float64
    finite = np.isfinite(other)
    if one.shape != other.shape or not np.array_equal(finite, np.isfinite(one)):
        return float("inf")
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    exact = other[finite].astype(wide)
    scale = max(least, float(np.abs(exact).max()))
    return float(np.abs(one[finite].astype(wide) - exact).max()) / scale


def units_off(value: Any, found: Any, base: float) -> tuple[float, float]:
    """By how many units of rounding a value is off another run's, and how many are believed."""
    coarser = max(base, BASE["torch.float32"])  # runs of float64 are set against one of float32
    return error(value, found) / UNIT[coarser], CAP * coarser / UNIT[coarser]


def widened(statements: list[str], dtypes: dict[str, str]) -> list[str]:
    """The same program with every float of 64 bits; `dtypes` are those of its variables."""
    return [in_precision(statement, WIDER, "double", dtypes) for statement in statements]


def narrowed(statements: list[str], dtypes: dict[str, str]) -> list[str]:
    """The same program with every float of 32 bits."""
    return [in_precision(statement, NARROWER, "float", dtypes) for statement in statements]


def in_precision(
    statement: str, names: tuple[tuple[str, str], ...], convert: str, dtypes: dict[str, str]
) -> str:
    drawn = DRAWN.match(statement)
    if drawn:
        dtype = dict(names).get(drawn[3], drawn[3])
        tail = ".requires_grad_()" if drawn[4] else ""
        made = f"{drawn[1]} = {drawn[2]}).to(torch.{dtype}){tail}"
        return made + statement[drawn.end() :]
    filled = FILLED.match(statement)
    if filled:
        name = filled[1]
        statement = LIKE.sub(rf"\1, dtype={dtypes.get(name)}))", statement)
        made = f"{statement}\nif {name}.is_floating_point():\n    {name} = {name}.{convert}()"
        return IN_FLOAT32.format(made)
    converted = CONVERTED.match(statement)
    if converted and dtypes.get(converted[1]) != dtypes.get(converted[2]):
        statement += ".clone()"  # as it was no alias of the other
    for old, new in names:
        statement = statement.replace(old, new)
    return MODULE.sub(IN_FLOAT32.format(rf"net = (\1).{convert}()"), statement)


def nearby(statements: list[str], number: int) -> list[str]:
    """The same program from slightly other leaves: errors of one program may cancel by chance."""
    chance = random.Random(number)
    # What is drawn becomes multiples of 1/16, which are exact in every precision.
    drawn = "if {0}.is_floating_point(): {0}.copy_((({0} * 16).round() + {1}) / 16)"
    return [
        with_leaves(
            statement,
            lambda value, _: value + chance.randint(-8, 8) / 1024,
            lambda name, _: drawn.format(name, chance.randint(-1, 1)),
        )
        for statement in statements
    ]


def perturbed(statements: list[str], number: int) -> list[str]:
    """The same program from leaves that are off by one unit of their last place, or not."""
    chance = random.Random(number)

    def factor(unit: float) -> float:
        return 1 + chance.randint(-1, 1) * unit

    return [
        with_leaves(
            statement,
            lambda value, unit: value * factor(unit),
            lambda name, unit: f"{name}.mul_({factor(unit)!r})",
        )
        for statement in statements
    ]


def move_by_units(tensor: Any, chosen: Any, chance: np.random.Generator, module: Any) -> None:
    """Moves the chosen elements by one unit of their last place, or not, unnoticed by autograd."""
    unit = UNIT[BASE[str(tensor.dtype)]]
    factors = 1 + unit * chance.integers(-1, 2, chosen.shape) * chosen
    with contextlib.suppress(RuntimeError):  # expanded, or made in inference mode
        tensor.data.mul_(module.as_tensor(factors, dtype=tensor.dtype))


def with_leaves(
    statement: str, number: Callable[[float, float], float], drawn: Callable[[str, float], str]
) -> str:
    """The statement, with other numbers if it makes a leaf of them, and with a line that changes
    what it draws; both are made knowing the unit of the leaf's last place."""
    leaf = LEAF.match(statement)
    if leaf and leaf[1] in BASE:
        unit = UNIT[BASE[leaf[1]]]
        return NUMBER.sub(lambda match: repr(number(float(match[0]), unit)), statement)
    random_leaf = DRAWN.match(statement)
    if random_leaf:
        unit = UNIT[BASE[f"torch.{random_leaf[3]}"]]
        return f"{statement}\nwith torch.no_grad():\n    {drawn(random_leaf[1], unit)}"
    return statement


def largest_gradient(statements: list[str], module: Any) -> float:
    """Of the loss that a program ends with, in any of its variables."""
    variables: dict[str, Any] = {"torch": module}
    found = 0.0
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        for statement in statements[:-1]:
            with contextlib.suppress(Exception):
                exec(statement, variables)
        tensors = [
            value for value in variables.values()
            if isinstance(value, module.Tensor) and value.requires_grad
        ]
        gradients = module.autograd.grad(variables["loss"], tensors, allow_unused=True)
        found = max(float(g.abs().max()) for g in gradients if g is not None and g.numel())
    return found


def precisions(
    statements: list[str], codes: list[types.CodeType], module: Any
) -> list[dict[str, float]]:
    """After each statement, each variable's BASE: of the least precise dtype that flowed into it,
    or into memory that it shares."""
    variables: dict[str, Any] = {"torch": module}
    known: dict[str, float] = {}
    history = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for statement, code in zip(statements, codes, strict=True):
            before = dict(variables)
            with contextlib.suppress(Exception):  # raising is part of some programs
                exec(code, variables)
            read = {name for name in re.findall(r"\w+", statement) if name in variables}
            least = max((base_of(variables[name], known.get(name)) for name in read), default=0.0)
            written = read if "_(" in statement else read & assigned(statement)
            written |= {n for n, value in variables.items() if value is not before.get(n)}
            memory = {pointer(variables[name]) for name in written} - {None}
            for name, value in variables.items():
                if name in written or pointer(value) in memory:
                    known[name] = max(known.get(name, 0.0), least)
            history.append(dict(known))
    return history


def base_of(value: Any, known: float | None = None) -> float:
    return max(BASE.get(str(getattr(value, "dtype", "")), 0.0), known or 0.0)


def pointer(value: Any) -> int | None:
    if hasattr(value, "untyped_storage") and value.numel():
        return int(value.untyped_storage().data_ptr())
    return None
