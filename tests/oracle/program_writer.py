"""The writer of random programs: what it has written, and what that does in the oracle.

Each statement is tried as it is written, so the writer knows every shape and dtype, and keeps away
from what two correct libraries may answer differently: values that overflow, comparisons of
numbers that sit on the edge up to rounding, layouts that nobody promises. Statements that raise
are part of it: a share of them stays in the program.

The statements themselves are in random_values.py, random_views.py and the other files named so;
they register with `family`. `write_program` of random_programs.py is what to call.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

__all__ = ["FAMILIES", "Writer", "family"]

MOST_ELEMENTS = 150
MOST_STATEMENTS = 16
LARGEST_FLOAT = 1e5
LARGEST_HALF = 200.0  # where functions such as the sine still make something of the digits
LARGEST_INTEGER = 10_000

# Which dtypes a program's leaves have. Programs without float32 are compared at float64's
# tolerance, since nothing of lower precision flows into them.
PALETTES = (
    (5, ("float32", "float32", "float32", "int64", "bool")),
    (3, ("float64", "float64", "int64", "bool")),
    (3, ("float32", "float64", "int64", "int32", "bool", "uint8")),
    (1, ("complex64", "float32", "int64")),
    (1, ("complex128", "float64", "bool")),
    (1, ("float16", "float32", "int8", "int16")),
    (1, ("bfloat16", "float32", "int64")),
    (1, ("float16", "float16", "bool")),
    (1, ("bfloat16", "bfloat16", "int64")),
)

Family = Callable[["Writer"], "str | None"]
FAMILIES: list[tuple[int, Family]] = []


def family(weight: int) -> Callable[[Family], Family]:
    """Registers a writer of one kind of statement; it returns None where it has no material."""

    def register(write: Family) -> Family:
        FAMILIES.append((weight, write))
        return write

    return register


class Writer:
    """The program so far, and the variables it has when run in the oracle."""

    def __init__(self, oracle: Any, seed: object) -> None:
        self.torch = oracle
        self.random = random.Random(str(seed))
        self.statements: list[str] = []
        self.variables: dict[str, Any] = {"torch": oracle}
        self.count = 0
        self.errors = 0

    def write(self) -> list[str]:
        self.write_leaves()
        length = self.random.randint(4, MOST_STATEMENTS)
        families = [write for _, write in FAMILIES]
        weights = [weight for weight, _ in FAMILIES]
        attempts = 0
        while len(self.statements) < length + 3 and attempts < 80:
            attempts += 1
            statement = self.random.choices(families, weights)[0](self)
            if statement is not None:
                self.attempt(statement)
        self.write_backward()
        return self.statements

    # -- leaves ----------------------------------------------------------------------------------

    def write_leaves(self) -> None:
        weights = [weight for weight, _ in PALETTES]
        self.palette = self.random.choices([names for _, names in PALETTES], weights)[0]
        rank = self.random.choice([0, 1, 2, 2, 3, 3, 4])
        self.shape = tuple(self.random.choice([1, 2, 2, 3, 3, 4]) for _ in range(rank))
        if rank and self.chance(0.05):
            self.shape = (0, *self.shape[1:])
        self.attempt(f"torch.manual_seed({self.random.randint(0, 99)})")
        for index in range(self.random.randint(2, 4)):
            dtype = self.palette[0] if index == 0 else self.random.choice(self.palette)
            probability = 1.0 if index == 0 else 0.6
            self.attempt(f"{'abcd'[index]} = {self.leaf(dtype, self.related_shape(), probability)}")

    def related_shape(self) -> tuple[int, ...]:
        """The program's shape, or one that broadcasts with it, or one for a product with it."""
        shape = self.shape
        kind = self.random.random()
        if kind < 0.4 or not shape:
            return shape
        if kind < 0.6:
            return shape[self.random.randint(0, len(shape)) :]
        if kind < 0.8:
            return tuple(1 if self.chance(0.4) else size for size in shape)
        if kind < 0.9:
            return (shape[-1], self.random.choice([1, 2, 3]))
        return shape[::-1]

    def leaf(self, dtype: str, shape: tuple[int, ...], probability: float) -> str:
        differentiable = dtype.startswith(("float", "bfloat", "complex"))
        grad = ", requires_grad=True" if differentiable and self.chance(probability) else ""
        if differentiable and self.chance(0.04):
            maker = self.random.choice(["rand", "randn"])
            return f"torch.{maker}({shape}, dtype=torch.{dtype}{grad})"
        if 0 in shape:
            return f"torch.zeros({shape}, dtype=torch.{dtype}{grad})"
        if len(shape) == 2 and self.chance(0.1):
            tail = ".requires_grad_()" if grad else ""
            values = self.values(dtype, shape[::-1])
            return f"torch.tensor({values}, dtype=torch.{dtype}).t().clone(){tail}"
        return f"torch.tensor({self.values(dtype, shape)}, dtype=torch.{dtype}{grad})"

    def values(self, dtype: str, shape: tuple[int, ...]) -> Any:
        if shape:
            return [self.values(dtype, shape[1:]) for _ in range(shape[0])]
        if dtype == "bool":
            return self.chance(0.5)
        if dtype == "uint8":
            return self.random.randint(0, 9)
        if dtype.startswith("int"):
            return self.random.randint(-4, 5)
        if dtype.startswith("complex"):
            return complex(self.number(), self.number())
        return self.number()

    def number(self) -> float:
        """A multiple of 1/8: sums and products of a few of them are exact in every float."""
        return self.random.randint(-20, 20) / 8

    # -- trying ----------------------------------------------------------------------------------

    def attempt(self, statement: str) -> bool:
        """Runs a statement in the oracle; keeps it if it is fit to be compared."""
        # Changes that are not recorded give all views of that memory new nodes in PyTorch, or
        # forbid them; taper does so for changes that it records.
        known = self.tensors()
        mentioned = [known[name] for name in re.findall(r"\w+", statement) if name in known]
        if is_unsafe(statement, mentioned):
            return False
        target = known.get(re.split(r"\W", statement.splitlines()[-1].strip())[0])
        recorded = target is None or target.requires_grad
        before = known if statement.startswith("with ") or not recorded else {}
        histories = {name: history(tensor) for name, tensor in before.items()}
        try:
            exec(compile(statement, "<program>", "exec"), self.variables)
        except Exception as error:
            # Errors of names and syntax would be this file's own.
            assert not isinstance(error, (NameError, SyntaxError)), statement
            if is_missing(error, target) or self.shows_what_is_kept(error, statement):
                self.rebuild()
                return False
            if self.errors < 2 and self.chance(0.2):
                self.errors += 1
                self.statements.append(statement)
            else:
                self.rebuild()
            return False
        is_open = any(histories[name] != history(tensor) for name, tensor in before.items())
        # In which order results lie whose operand has equal strides, as windows have, is open; and
        # where a dim of one element, or an expanded one, goes among others that are not in the
        # order of rows.
        if any(
            len(set(tensor.stride())) < tensor.dim()
            or 0 in tensor.stride()
            or (1 in tensor.shape and not is_row_major(tensor))
            for tensor in mentioned
        ):
            new = [tensor for name, tensor in self.tensors().items() if name not in known]
            is_open |= not all(
                tensor.is_contiguous() or any(shares_memory(tensor, m) for m in mentioned)
                for tensor in new
            )
        if self.is_tame() and not is_open:
            self.statements.append(statement)
            return True
        self.rebuild()
        return False

    def shows_what_is_kept(self, error: Exception, statement: str) -> bool:
        """Whether the error tells which of its inputs one of several steps has kept."""
        if not re.search("modified by an inplace operation|Inference tensors cannot", str(error)):
            return False
        return not self.is_exact() or bool(STEPS.search(statement))

    def rebuild(self) -> None:
        """Back to the state after the statements that were kept."""
        self.variables = {"torch": self.torch}
        for statement in self.statements:
            try:
                exec(compile(statement, "<program>", "exec"), self.variables)
            except Exception:
                continue

    def is_tame(self) -> bool:
        """Whether all values are; zeros without memory, as PyTorch has for sgn's gradient, are not:
        they can't be written to, and have no address."""
        tensors = self.tensors().values()
        return all(self.is_tame_tensor(t) and not t._is_zerotensor() for t in tensors)

    def is_tame_tensor(self, tensor: Any) -> bool:
        if tensor.numel() > MOST_ELEMENTS or tensor.dtype is self.torch.complex32:
            return False  # taper has no complex32, and says so
        if tensor.numel() == 0:
            return True
        largest = magnitudes(tensor).max().item()
        limit = (
            LARGEST_FLOAT if tensor.is_floating_point() or tensor.is_complex() else LARGEST_INTEGER
        )
        if tensor.dtype.itemsize == 2 and limit == LARGEST_FLOAT:
            limit = LARGEST_HALF
        return largest <= limit  # False for NaN

    # -- choosing --------------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def choice(self, options: Any) -> Any:
        return self.random.choice(list(options))

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def tensors(self) -> dict[str, Any]:
        kind = self.torch.Tensor
        return {name: value for name, value in self.variables.items() if isinstance(value, kind)}

    def pick(self, accepts: Callable[[Any], bool] = lambda tensor: True) -> str | None:
        """A variable's name; late ones are likelier, so that programs grow deep."""
        names = [name for name, tensor in self.tensors().items() if accepts(tensor)]
        if not names:
            return None
        return self.random.choices(names, [index + 2 for index in range(len(names))])[0]

    def value(self, name: str) -> Any:
        return self.variables[name]

    def pick_real(self) -> str | None:
        return self.pick(lambda tensor: tensor.is_floating_point())

    def pick_number(self) -> str | None:
        return self.pick(lambda tensor: tensor.is_floating_point() or tensor.is_complex())

    def material(
        self, shape: tuple[int, ...], like: str | None = None, complex_too: bool = True
    ) -> tuple[str | None, str]:
        """A variable, and an expression of this shape with its elements (or others, of its dtype).

        `like` names a variable whose dtype the expression shall have. Without material: None.
        """

        def accepts(tensor: Any) -> bool:
            if not tensor.numel() or is_ghost(tensor) or not is_readable(tensor):
                return False
            if like is not None:
                return bool(tensor.dtype == self.value(like).dtype)
            return bool(tensor.is_floating_point() or (complex_too and tensor.is_complex()))

        name = None
        if self.chance(0.5):
            name = self.pick(lambda tensor: accepts(tensor) and tuple(tensor.shape) == shape)
        name = name or self.pick(accepts)
        if name is None:
            return None, ""
        tensor = self.value(name)
        if tuple(tensor.shape) == shape:
            return name, name
        count, given = math.prod(shape), tensor.numel()
        text = f"{name}.flatten()"
        if given < count:
            text += f".repeat({-(-count // given)})"
        if given % count:
            text += f"[:{count}]"
        return name, f"{text}.reshape({shape})"

    def evaluate(self, expression: str) -> Any:
        """What a deterministic expression would give now; None if it raises."""
        with self.torch.no_grad():
            try:
                return eval(expression, dict(self.variables))
            except Exception:
                return None

    def is_settled_expression(
        self, expression: str, edge: float = 0.0, period: float = 0.0
    ) -> bool:
        value = self.evaluate(expression)
        return value is not None and self.is_settled(value, edge, period)

    def is_bounded_expression(self, expression: str, limit: float) -> bool:
        value = self.evaluate(expression)
        return value is not None and bool((magnitudes(value) < limit).all())

    def are_apart_expression(self, expression: str) -> bool:
        """No two elements are near each other, and none are equal: whose index is found is open."""
        value = self.evaluate(expression)
        return (
            value is not None
            and self.are_apart(value)
            and value.flatten().unique().numel() == value.numel()
        )

    def is_ordered_expression(self, expression: str) -> bool:
        """Which of two elements is larger is no matter of rounding; exact ones may be equal."""
        if self.is_exact() and self.is_settled_expression(expression, period=1e-9):
            return True
        return self.are_apart_expression(expression)

    def pick_changeable(self) -> str | None:
        """Mostly tensors that may be changed in place; now and then a leaf, for the error."""
        if self.chance(0.05):
            return self.pick(is_changeable)
        return self.pick(
            lambda tensor: is_changeable(tensor) and not (tensor.requires_grad and is_leaf(tensor))
        )

    def pick_partner(self, name: str) -> str:
        """A variable that broadcasts with the named one (nearly always), maybe itself."""
        shape = self.value(name).shape
        if self.chance(0.03):
            return self.pick() or name
        return self.pick(lambda tensor: broadcasts(tensor.shape, shape)) or name

    def scalar(self) -> str:
        return self.choice(["2", "-1", "3", "0.5", "-0.75", "1.5", "True", "0.25"])

    def position(self, size: int) -> int:
        """An index along a dim of that size, from either end."""
        return self.random.randint(-size, size - 1) if size else 0

    def dim(self, tensor: Any, extra: int = 0) -> int:
        """A dim, from either end; rarely one that isn't there."""
        rank = max(tensor.dim() + extra, 1)
        if self.chance(0.03):
            return self.choice([rank, -rank - 1])
        return self.random.randint(-rank, rank - 1)

    def is_settled(self, tensor: Any, edge: float = 0.0, period: float = 0.0) -> bool:
        """True if rounding errors can't push an element over the edge (or a multiple of period).

        Either every element is a small multiple of 1/64, hence exact, or far enough away.
        """
        torch = self.torch
        if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0:
            return True
        if tensor.is_complex():
            return self.is_settled(torch.view_as_real(tensor.detach().resolve_conj()), edge, period)
        values = tensor.detach().double()
        if self.is_exact() and bool((values * 64 == (values * 64).round()).all()):
            return True
        away = (values - edge).abs()
        if period:
            away = torch.minimum(away % period, period - away % period)
        return bool((away > 0.01 + 8 * torch.finfo(tensor.dtype).eps * values.abs()).all())

    def is_exact(self) -> bool:
        """Whether nothing was computed by steps whose order is open: a zero may then be a zero."""
        return not any(STEPS.search(statement) for statement in self.statements)

    def are_apart(self, tensor: Any) -> bool:
        """True if no two elements are so near that rounding could change their order."""
        if not self.is_settled(tensor, period=1e-9):
            values = tensor.detach().double().flatten().sort().values
            return bool((values.diff() > 0.01).all())
        return True

    # -- the end ---------------------------------------------------------------------------------

    def write_backward(self) -> None:
        """A scalar made of everything differentiable, and its backward pass."""
        terms = []
        for name, tensor in self.tensors().items():
            if not tensor.requires_grad or is_ghost(tensor):
                continue
            if tensor.is_complex():
                terms.append(f"({name}.real + 0.5 * {name}.imag).sum()")
            else:
                terms.append(
                    self.choice(
                        [f"{name}.sum()", f"({name} * {name}).sum()", f"({name} * 0.5).sum()"]
                    )
                )
        if not terms:
            return
        kept = list(self.statements)
        before = dict(self.variables)
        self.statements.append(f"loss = {terms[0]}")
        self.statements += [f"loss = loss + {term}" for term in terms[1:]]
        self.rebuild()
        try:
            exec("loss.backward()", self.variables)
        except Exception as error:
            is_open = is_missing(error) or self.shows_what_is_kept(error, "loss.backward()")
        else:
            is_open = not self.is_stable_backward()
        self.statements.append("loss.backward()")
        if is_open:
            self.statements, self.variables = kept, before

    def is_stable_backward(self) -> bool:
        """Gradients are compared where they exist and are tame; raising is fine for some."""
        for tensor in self.tensors().values():
            if is_leaf(tensor) and tensor.grad is not None and not self.is_tame_tensor(tensor.grad):
                return False
        return True


def is_missing(error: Exception, changed: Any = None) -> bool:
    """Whether PyTorch just lacks what taper may have: kernels for half precision, derivatives for
    complex numbers and of the slope of cdist, the history of what is written into one of many views
    of plain numbers, or
    into a view of plain numbers that was made without recording; a second backward pass after
    sgn's, whose gradient can't be added to."""
    if changed is not None and not changed.requires_grad and re.search(
        "created in (no_grad|inference mode)", str(error)
    ):
        return True
    words = (
        "not implemented for '(Half|BFloat16)'|tensors of type: (Half|BFloat16)|"
        "automatic differentiation for outputs with complex|ZeroTensors are immutable|"
        "derivative for '_cdist_backward' is not implemented"
    )
    return bool(re.search(words, str(error)))


def is_readable(tensor: Any) -> bool:
    """Not a view that raises whenever it is used, since its base was changed."""
    return "its base or another view" not in history(tensor)


def is_changeable(tensor: Any) -> bool:
    # PyTorch changes an inference tensor first, and then says that it must not be changed.
    return not overlaps(tensor) and not tensor.is_inference()


def is_unsafe(statement: str, tensors: list[Any]) -> bool:
    """Whether what is kept or raised is open, by what the statement reads."""
    if statement.startswith("with "):
        # Without recording, PyTorch takes no notice that a view may no longer be used.
        return not all(is_readable(tensor) for tensor in tensors)
    changes = re.search(r"_\(|\] =|[-+*/]=", statement)
    read = tensors[1:] if changes else tensors  # the first is the one that is changed
    return any(is_ghost(tensor) for tensor in read)


def is_ghost(tensor: Any) -> bool:
    """A view that was made without recording: it requires grad, and has no node. What is saved for
    its sake is open."""
    return bool(tensor.requires_grad and tensor._is_view() and is_leaf(tensor))


STEPS = re.compile(r"= \(|clone\(memory_format|nn\.functional|net\(")
CONTIGUOUS = ".clone(memory_format=torch.contiguous_format)"


def by_steps(text: str) -> str:
    """The expression in parentheses, which say that its value comes from several steps.

    One that opens with = is copied, since taper's result lies elsewhere in memory than PyTorch's,
    and one that opens with ~ so that its nodes are hidden, too: docs/compatibility.md lists them.
    """
    if text.startswith("~"):
        return f"({text[1:]}){CONTIGUOUS} * 1"
    if text.startswith("="):
        return f"({text[1:]}){CONTIGUOUS}"
    return f"({text})"


def history(tensor: Any) -> str:
    try:
        return str(tensor.grad_fn and tensor.grad_fn.name())
    except RuntimeError as error:
        return str(error)


def shares_memory(one: Any, other: Any) -> bool:
    return bool(one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr())


def overlaps(tensor: Any) -> bool:
    """Whether two elements may share memory, other than by expanding (which has its error).

    What an in-place operation does to them depends on the order it takes them in.
    """
    sizes = sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1)
    reach = 0
    for stride, size in sizes:
        if 0 < stride <= reach:
            return True
        reach += (size - 1) * stride
    return False


def is_leaf(tensor: Any) -> bool:
    """Asking makes PyTorch renew a changed view's node, which some views forbid by an error."""
    try:
        return bool(tensor.is_leaf)
    except RuntimeError:
        return False


def broadcasts(one: Any, other: Any) -> bool:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return all(a in (b, 1) or b == 1 for a, b in pairs)


def is_small(tensor: Any) -> bool:
    return not tensor.numel() or magnitudes(tensor).max().item() < 4


def magnitudes(tensor: Any) -> Any:
    plain = tensor.detach()
    return plain.double() if str(plain.dtype) in ("torch.bool", "torch.uint8") else plain.abs()


def is_row_major(tensor: Any) -> bool:
    """`is_contiguous`, and the strides of dims with one element are as they would be made: PyTorch
    looks at those as well when it orders the result's."""
    step = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if stride != step:
            return False
        step *= max(size, 1)
    return True


def laid_out(w: Writer, text: str, left: str, right: str) -> str:
    """The result, made contiguous if the operands' layouts differ: whose it takes is open."""
    one, other = w.value(left), w.value(right)
    if is_row_major(one) and is_row_major(other) and "loss" not in text:
        return text
    if one.shape == other.shape and one.stride() == other.stride():
        return text
    return f"({text}){CONTIGUOUS}"


def may_take(tensor: Any, other: Any) -> bool:
    """Whether `other` may be written into `tensor`.

    Not if it is differentiable and the tensor holds integers or bools, which PyTorch then makes
    require grad, or complex numbers, for which its backward pass fails; and not if both share
    memory, which PyTorch refuses in some operations.
    """
    if other.requires_grad and not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    if other.requires_grad and tensor.is_complex() and not other.is_complex():
        return False
    return not shares_memory(tensor, other)


def fits_into(shape: Any, room: Any) -> bool:
    return len(shape) <= len(room) and all(
        size in (1, space) for size, space in zip(reversed(shape), reversed(room), strict=False)
    )
