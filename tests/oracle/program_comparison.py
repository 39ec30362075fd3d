"""Runs a program in two libraries, says where they differ, and shortens the program to that.

Compared are, after every statement, what it assigned or changed, and at the end every variable:
value, dtype, shape, stride, storage offset, `requires_grad`, `is_leaf`, the node's name and the
names of the nodes behind it, `output_nr`, `_version`, what shares storage with what, the gradients
of leaves and of what retains them, and how it prints. Where a statement raises: the error's type
and the first line of its message.

How far numbers may be apart: program_precision.py. Integers and bools are equal.
"""

from __future__ import annotations

import re
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from program_precision import (
    FACTOR,
    FINEST,
    NEARBY,
    UNIT,
    assigned,
    error,
    largest_gradient,
    move_by_units,
    narrowed,
    nearby,
    perturbed,
    precisions,
    units_off,
    widened,
)

__all__ = [
    "Difference", "Run", "compare", "compiled", "difference_of", "difference_of_runs", "explain",
    "observed", "run", "shorten",
]  # fmt: skip

OPENING = 100  # so many characters of a message are its opening words
# Of these, a backward pass may meet several: which one first is open.
ERRORS_OF_BACKWARD = (
    "modified by an inplace operation",
    "is not implemented",
    "a second time",
    "its base or another view",
    "The derivative of",
)
# Now and then, PyTorch 2.13 fails so when it prints a plain tensor, and not when asked again.
PYTORCH_FAULT = "Attempted to make a tensor into a differentiable view"
GRADIENTS = frozenset({"has grad", "grad"})


@dataclass
class Difference:
    """What two runs disagree about: after which statement, on which variable's which property."""

    statement: int
    subject: str
    aspect: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return (
            f"after statement {self.statement + 1}: {self.aspect} of {self.subject}\n"
            f"  expected {self.expected}\n  actual   {self.actual}"
        )


@dataclass
class Run:
    """What a program did: one entry per statement, then the state at its end."""

    statements: list[str]
    errors: list[tuple[str, str] | None] = field(default_factory=list)
    changes: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    final: dict[str, dict[str, Any]] = field(default_factory=dict)


def run(
    statements: list[str],
    module: Any,
    codes: list[types.CodeType] | None = None,
    after: Callable[[int, dict[str, Any]], None] | None = None,
) -> Run:
    """Executes the statements one by one; a statement that raises doesn't stop the program.

    `after` is called after each, with its number and what it assigned.
    """
    codes = codes or compiled(statements)
    result = Run(statements)
    variables: dict[str, Any] = {"torch": module}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index, (statement, code) in enumerate(zip(statements, codes, strict=True)):
            try:
                exec(code, variables)
                result.errors.append(None)
            except Exception as error:
                result.errors.append(described(error))
            changed = {n: variables[n] for n in assigned(statement) if n in variables}
            if after is not None:
                after(index, changed)
            result.changes.append(observed(changed, module))
        result.final = observed(variables, module, is_final=True)
    return result


def compiled(statements: list[str]) -> list[types.CodeType]:
    return [
        compile(statement, f"<statement {n}>", "exec") for n, statement in enumerate(statements, 1)
    ]


def described(error: Exception) -> tuple[str, str]:
    message = str(error).split("\n")[0].split(" Hint:")[0]
    # Which of its kernels PyTorch names is its own affair.
    message = re.sub(r'^"\w+" not implemented', '"…" not implemented', message)
    if isinstance(error, IndexError):
        # With None and ellipsis in an index, PyTorch counts dimensions as it goes.
        message = re.sub(r"for dimension \d+", "for dimension", message)
    return type(error).__name__, message[:OPENING]


def observed(variables: dict[str, Any], module: Any, is_final: bool = False) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    owners: dict[int, str] = {}
    for name, value in variables.items():
        if name in ("torch", "handle", "net") or name.startswith("__"):
            continue  # a module is known by what it computes
        if isinstance(value, module.Tensor):
            aspects = observed_tensor(value)
            if is_final:
                if value.numel():
                    pointer = value.untyped_storage().data_ptr()
                    aspects["storage"] = owners.setdefault(pointer, name)
                aspects |= observed_at_end(value, aspects["is_leaf"])
        else:
            kind = type(value)
            aspects = {
                "type": f"{kind.__module__}.{kind.__name__}"
                if kind.__module__ != "builtins"
                else kind.__name__
            }
            aspects |= observed_python(value, module)
        seen[name] = aspects
    return seen


def observed_python(value: Any, module: Any) -> dict[str, Any]:
    """Its numbers as an array, which may differ by rounding, or itself."""
    if isinstance(value, (float, complex)) or (isinstance(value, list) and value):
        return {"value": np.array(value)}
    return {"python": repr(value) if isinstance(value, (module.dtype, str)) else value}


def observed_at_end(tensor: Any, is_leaf: Any) -> dict[str, Any]:
    """How it prints, and its gradient; `is_leaf` is an error where the history is forbidden."""
    aspects = {"repr": attempt(lambda: repr(tensor))}
    if is_leaf is True or (is_leaf is False and tensor.retains_grad):
        grad = tensor.grad
        aspects["has grad"] = grad is not None
        if grad is not None:
            found = observed_tensor(grad)
            # Whose memory a gradient is part of, and how often it was added to there, is open.
            del found["_version"], found["_is_view"], found["storage_offset"]
            aspects |= {f"grad's {key}": item for key, item in found.items()}
    return aspects


def observed_tensor(tensor: Any) -> dict[str, Any]:
    # Asking a changed view for its history renews its node, which PyTorch forbids for some views.
    history = attempt(lambda: tensor.grad_fn)
    node = None if isinstance(history, tuple) else history
    return {
        "dtype": str(tensor.dtype),
        "shape": tuple(tensor.shape),
        "stride": significant_strides(tensor),
        "storage_offset": tensor.storage_offset() if tensor.numel() else None,
        "requires_grad": tensor.requires_grad,
        "is_leaf": "forbidden" if isinstance(history, tuple) else tensor.is_leaf,
        "grad_fn": None if node is None else node.name(),
        "next_functions": None if node is None else next_names(node),
        "output_nr": None if node is None else tensor.output_nr,
        "_version": attempt(lambda: tensor._version),
        "_is_view": attempt(tensor._is_view),
        "is_conj": tensor.is_conj(),
        "value": numbers(tensor),
    }


def significant_strides(tensor: Any) -> tuple[int | None, ...]:
    """The strides of dims with more than one element; others are never used to go anywhere."""
    if not tensor.numel():
        return ()
    sizes_and_strides = zip(tensor.shape, tensor.stride(), strict=True)
    return tuple(stride if size > 1 else None for size, stride in sizes_and_strides)


def next_names(node: Any) -> list[str | None]:
    return [
        f"{following.name()}:{n}" if following is not None else None
        for following, n in node.next_functions
    ]


def attempt(ask: Any) -> Any:
    try:
        return ask()
    except Exception as error:
        return described(error)


def numbers(tensor: Any) -> np.ndarray[Any, Any]:
    plain = tensor.detach()
    if plain.is_conj():
        plain = plain.resolve_conj()
    if plain.is_neg():
        plain = plain.resolve_neg()
    if str(plain.dtype) == "torch.bfloat16":
        plain = plain.float()
    return np.array(plain.numpy(force=True))


# -- comparing -----------------------------------------------------------------------------------


def difference_of(
    statements: list[str], oracle: Any, subject: Any, ignored: frozenset[str] = frozenset()
) -> Difference | None:
    """What two libraries make different of a program, beyond rounding."""
    codes = compiled(statements)
    expected, actual = run(statements, oracle, codes), run(statements, subject, codes)
    return difference_of_runs(expected, actual, oracle, ignored)


def difference_of_runs(
    expected: Run, actual: Run, oracle: Any, ignored: frozenset[str] = frozenset()
) -> Difference | None:
    """What is different in two runs of a program, beyond the rounding of the one in `oracle`."""
    statements = expected.statements
    allowance = Allowance(precisions(statements, compiled(statements), oracle))
    difference = compare(expected, actual, ignored, allowance)
    if difference is None or not difference.aspect.endswith("value"):
        return difference
    measure(allowance, statements, expected, oracle)
    difference = compare(expected, actual, ignored, allowance)
    if difference is None or not difference.aspect.endswith("value"):
        return difference
    for number in range(NEARBY):
        other = nearby(statements, number)
        measure(allowance, other, run(other, oracle), oracle)
        allowance.learn_of_other_digits(statements, number, expected, oracle)
    return compare(expected, actual, ignored, allowance)


def measure(allowance: Allowance, statements: list[str], expected: Run, oracle: Any) -> None:
    """Runs a program with more digits, and with fewer, to see how far rounding takes it."""
    dtypes = {name: aspects.get("dtype", "") for name, aspects in expected.final.items()}
    wide = run_in_precision(widened(statements, dtypes), oracle, oracle.float64)
    narrow = run_in_precision(narrowed(statements, dtypes), oracle, oracle.float32)
    allowance.learn(expected, wide, narrow)
    allowance.flow = max(allowance.flow, largest_gradient(statements, oracle))


def run_in_precision(statements: list[str], module: Any, default_dtype: Any) -> Run:
    before = module.get_default_dtype()
    module.set_default_dtype(default_dtype)
    try:
        return run(statements, module)
    finally:
        module.set_default_dtype(before)


class Allowance:
    """How far numbers may be apart, statement by statement (see program_precision.py)."""

    def __init__(self, bases: list[dict[str, float]]) -> None:
        self.bases = [*bases, bases[-1]]  # after each statement, and at the end
        self.truth: Run | None = None
        self.flow = 1.0
        self.growth = [0.0] * len(self.bases)
        self.rounded: dict[tuple[int, str], np.ndarray[Any, Any]] = {}  # which elements are inexact
        self.jumps: dict[tuple[int, str, str], float] = {}

    def base(self, index: int, name: str, aspect: str) -> float:
        bases = self.bases[index]
        if is_gradient(aspect):  # which come from all sides
            return max(bases.values(), default=0.0)
        return bases.get(name, 0.0)

    def learn(self, expected: Run, wide: Run, narrow: Run) -> None:
        """By how many units of rounding PyTorch's numbers were off until each statement."""
        is_first = self.truth is None
        self.truth = self.truth or wide
        worst, believed = 0.0, True
        for index, state in enumerate(states(expected)):
            for name, aspects in state.items():
                for aspect, value in aspects.items():
                    base = self.base(index, name, aspect)
                    other = narrow if base <= FINEST else wide
                    found = states(other)[index].get(name, {}).get(aspect)
                    if not base or not is_inexact(value) or not is_inexact(found):
                        continue
                    off, limit = units_off(value, found, base)
                    if is_first and aspect == "value" and value.shape == found.shape:
                        inexact = value != found
                        if inexact.any():
                            self.rounded[index, name] = inexact
                    if off <= limit or (believed and is_gradient(aspect) and off < np.inf):
                        worst = max(worst, off)
                    else:
                        believed = False
            self.growth[index] = max(self.growth[index], worst)

    def learn_of_other_digits(
        self, statements: list[str], number: int, expected: Run, oracle: Any
    ) -> None:
        """How far PyTorch's numbers are from those that it has with other last digits."""
        if not self.rounded:
            return
        chance = np.random.default_rng(number)

        def after(index: int, changed: dict[str, Any]) -> None:
            for name, value in changed.items():
                chosen = self.rounded.get((index, name))
                is_tensor = isinstance(value, oracle.Tensor)
                if chosen is not None and is_tensor and chosen.shape == tuple(value.shape):
                    move_by_units(value, chosen, chance, oracle)

        other = run(perturbed(statements, number), oracle, after=after)
        for index in range(min(index for index, _ in self.rounded), len(self.bases)):
            for name, aspects in states(expected)[index].items():
                for aspect, value in aspects.items():
                    found = states(other)[index].get(name, {}).get(aspect)
                    if not is_inexact(value) or not is_inexact(found):
                        continue
                    jump, key = error(found, value), (index, name, aspect)
                    if jump < np.inf:
                        self.jumps[key] = max(self.jumps.get(key, 0.0), jump)

    def accepts(self, index: int, name: str, aspect: str, wanted: Any, got: Any) -> bool:
        """Whether rounding explains that these arrays differ."""
        base = self.base(index, name, aspect)
        if error(got, wanted) <= max(base, FACTOR * self.jumps.get((index, name, aspect), 0.0)):
            return True
        if self.truth is None or not base:
            return False
        true = wanted if base <= FINEST else states(self.truth)[index].get(name, {}).get(aspect)
        if not is_inexact(true):
            return False
        if is_gradient(aspect) and error(got, true, self.flow) <= base:
            return True
        return error(got, true) <= FACTOR * self.growth[index] * UNIT[base]


def states(result: Run) -> list[dict[str, dict[str, Any]]]:
    return [*result.changes, result.final]


def is_gradient(aspect: str) -> bool:
    return "'s " in aspect


def is_inexact(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def compare(
    expected: Run,
    actual: Run,
    ignored: frozenset[str] = frozenset(),
    allowance: Allowance | None = None,
) -> Difference | None:
    """The first difference of two runs of the same program, if there is one.

    `ignored` names properties that may differ, such as "stride", for tensors and their gradients.
    Without an allowance, floats must be equal.
    """
    allowance = allowance or Allowance([{}] * len(expected.statements))
    last = len(expected.errors)
    if any("inference_mode" in statement for statement in expected.statements):
        # What is computed from inference tensors, PyTorch counts and links as it happens to.
        ignored |= {"_version", "_is_view"}
    for index, (wanted, got) in enumerate(zip(expected.errors, actual.errors, strict=True)):
        if wanted is not None and "backward(" in expected.statements[index]:
            # PyTorch has by then written the gradients of some leaves, taper of none.
            ignored |= GRADIENTS
        if (wanted is None) != (got is None):
            return Difference(index, "the statement", "error", said(wanted), said(got))
        if wanted is not None and got is not None and not is_same_error(wanted, got, ignored):
            aspect = "error type" if wanted[0] != got[0] else "error message"
            return Difference(index, "the statement", aspect, said(wanted), said(got))
        difference = compare_states(
            index, expected.changes[index], actual.changes[index], allowance, ignored
        )
        if difference is not None:
            return difference
    return compare_states(last, expected.final, actual.final, allowance, ignored)


def said(error: tuple[str, str] | None) -> str:
    return "no error" if error is None else f"{error[0]}: {error[1]}"


def is_same_error(
    wanted: tuple[str, str], got: tuple[str, str], ignored: frozenset[str] = frozenset()
) -> bool:
    """The same type, and a message that opens with the same words; more may follow."""
    if " is a view and its base" in wanted[1]:
        return True  # whatever else is wrong with the statement
    if wanted[1].startswith("Inference tensors cannot be saved"):
        return True  # PyTorch says so before it looks at shapes and dtypes, taper after
    if all(any(words in error[1] for words in ERRORS_OF_BACKWARD) for error in (wanted, got)):
        return True
    if wanted[0] != got[0]:
        return False
    for words in (" is a view and ", " created in "):
        if words in wanted[1] and words in got[1]:
            return True
        if words in wanted[1]:
            # It may not be changed, or not be used since its base was changed: both can be true.
            wanted = (wanted[0], wanted[1].partition(words)[0])
            if got[1].startswith("a view of a leaf Variable"):
                return True
    return "message" in ignored or got[1].startswith(wanted[1].rstrip(".\n "))


def compare_states(
    index: int,
    expected: dict[str, Any],
    actual: dict[str, Any],
    allowance: Allowance,
    ignored: frozenset[str],
) -> Difference | None:
    for name, aspects in expected.items():
        if name not in actual:
            return Difference(index, name, "existence", "defined", "not defined")
        values_equal = True
        for aspect, wanted in aspects.items():
            got = actual[name].get(aspect)
            if is_ignored(aspect, ignored):
                continue
            if aspect == "repr":
                # Digits may differ by rounding, and a grad_fn's address does.
                if not values_equal or PYTORCH_FAULT in str(wanted):
                    continue
                same = address_free(wanted) == address_free(got)
            elif is_inexact(wanted):
                same = is_same_kind(wanted, got) and allowance.accepts(
                    index, name, aspect, wanted, got
                )
                values_equal &= same and wanted.tobytes() == got.tobytes()
            elif isinstance(wanted, np.ndarray):
                same = is_same_kind(wanted, got) and np.array_equal(wanted, got)
            else:
                same = wanted == got
            if not same:
                return Difference(index, name, aspect, shown(wanted), shown(got))
    return None


def is_same_kind(wanted: Any, got: Any) -> bool:
    """Of equal shape and dtype."""
    return isinstance(got, np.ndarray) and (wanted.shape, wanted.dtype) == (got.shape, got.dtype)


def is_ignored(aspect: str, ignored: frozenset[str]) -> bool:
    prefix, _, name = aspect.rpartition("'s ")
    return name in ignored or prefix in ignored


def address_free(text: Any) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", str(text))


def shown(value: Any) -> str:
    return np.array2string(value, threshold=40) if isinstance(value, np.ndarray) else str(value)


# -- shortening ----------------------------------------------------------------------------------


def shorten(
    statements: list[str], oracle: Any, subject: Any, ignored: frozenset[str] = frozenset()
) -> tuple[list[str], Difference]:
    """Deletes statements as long as the program still shows a difference of the same kind."""

    def found_in(program: list[str]) -> Difference | None:
        # Without a seed of its own, a program that draws would differ each time.
        seeded = ["torch.manual_seed(0)", *program]
        found = difference_of(seeded, oracle, subject, ignored) if program else None
        if found is not None:
            found.statement -= 1
        return found

    difference = difference_of(statements, oracle, subject, ignored)
    assert difference is not None
    kept, size = list(statements), max(len(statements) // 2, 1)
    while True:
        at = len(kept) - size
        deleted = False
        while at > -size:
            shorter = kept[: max(at, 0)] + kept[at + size :]
            found = found_in(shorter)
            if found is not None and kind_of(found) == kind_of(difference):
                kept, difference, deleted = shorter, found, True
            at -= size
        if size > 1:
            size //= 2
        elif not deleted:
            return kept, difference


def kind_of(difference: Difference) -> tuple[str, str]:
    """What stays the same while a program shrinks."""
    aspect = difference.aspect
    if aspect.startswith("error"):
        # Names in a message vary with what was deleted; its first words don't.
        return aspect, " ".join(difference.actual.split()[:3])
    return aspect, ""


def explain(statements: list[str], difference: Difference) -> str:
    """A program to paste into a file, and what is wrong with it."""
    return "\n".join(["import torch", *statements, "# " + str(difference).replace("\n", "\n# ")])
