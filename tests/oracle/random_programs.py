"""Writes small random PyTorch programs as source text, for two libraries to be compared by.

`write_program(oracle, seed)` gives a list of statements over a module called `torch`. Each one is
tried in the oracle as it is written, so the writer knows every shape and dtype, and keeps away
from what two correct libraries may answer differently: values that overflow, and comparisons or
roundings of numbers that sit on the edge up to rounding. Statements that raise are part of it: a
share of them stays in the program.

Running, comparing and shortening programs: see `program_comparison.py`.
"""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["FAMILIES", "write_program"]

MOST_ELEMENTS = 150
MOST_STATEMENTS = 16
LARGEST_FLOAT = 200.0
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
)

SMOOTH = (
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "neg",
    "square",
    "erf",
    "atan",
    "abs",
    "relu",
    "exp",
    "expm1",
    "sinh",
    "arctan",
    "positive",
    "deg2rad",
    "asinh",
    "exp2",
    "sinc",
    "cosh",
    "erfc",
)
EXPONENTIAL = ("exp", "expm1", "sinh", "cosh", "exp2")
STEPS = ("sign", "floor", "ceil", "round", "trunc", "frac", "signbit")
POSITIVE = ("log", "sqrt", "rsqrt", "reciprocal", "log1p", "log2", "log10", "lgamma", "digamma")
FUNCTIONAL = (
    "softplus",
    "silu",
    "gelu",
    "elu",
    "leaky_relu",
    "logsigmoid",
    "hardtanh",
    "mish",
    "softsign",
    "tanhshrink",
    "relu6",
)
COMPARISONS = ("<", ">", "<=", ">=", "==", "!=")

Family = Callable[["Writer"], "str | None"]
FAMILIES: list[tuple[int, Family]] = []


def family(weight: int) -> Callable[[Family], Family]:
    """Registers a writer of one kind of statement; it returns None where it has no material."""

    def register(write: Family) -> Family:
        FAMILIES.append((weight, write))
        return write

    return register


def write_program(oracle: Any, seed: object) -> list[str]:
    """A random program: statements to run one after the other, with `torch` defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Writer(oracle, seed).write()


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
        if mixes_ghosts([t for n, t in known.items() if n in re.findall(r"\w+", statement)]):
            return False
        target = known.get(re.split(r"\W", statement)[0])
        recorded = target is None or target.requires_grad
        before = known if statement.startswith("with ") or not recorded else {}
        histories = {name: history(tensor) for name, tensor in before.items()}
        try:
            exec(compile(statement, "<program>", "exec"), self.variables)
        except Exception as error:
            # Errors of names and syntax would be this file's own.
            assert not isinstance(error, (NameError, SyntaxError)), statement
            if self.errors < 2 and self.chance(0.2):
                self.errors += 1
                self.statements.append(statement)
            else:
                self.rebuild()
            return False
        is_open = any(histories[name] != history(tensor) for name, tensor in before.items())
        if not is_open and self.has_open_layout(statement, known):
            self.rebuild()
            settled = contiguous(statement)
            return settled != statement and self.attempt(settled)
        if self.is_tame() and not is_open:
            self.statements.append(statement)
            return True
        self.rebuild()
        return False

    def has_open_layout(self, statement: str, known: dict[str, Any]) -> bool:
        """Whether new tensors were computed from others that are not contiguous.

        How they lie in memory is compared only if it is as one of those does.
        """
        mentioned = set(re.findall(r"\w+", statement))
        operands = [tensor for name, tensor in known.items() if name in mentioned]
        if "contiguous_format" in statement or all(is_row_major(tensor) for tensor in operands):
            return False
        layouts = {(tensor.shape, tensor.stride()) for tensor in operands}
        return any(
            tensor.numel() > 1
            and (tensor.shape, tensor.stride()) not in layouts
            and not any(shares_memory(tensor, operand) for operand in operands)
            for name, tensor in self.tensors().items()
            if name not in known
        )

    def rebuild(self) -> None:
        """Back to the state after the statements that were kept."""
        self.variables = {"torch": self.torch}
        for statement in self.statements:
            try:
                exec(compile(statement, "<program>", "exec"), self.variables)
            except Exception:
                continue

    def is_tame(self) -> bool:
        return all(self.is_tame_tensor(tensor) for tensor in self.tensors().values())

    def is_tame_tensor(self, tensor: Any) -> bool:
        if tensor.numel() > MOST_ELEMENTS:
            return False
        if tensor.numel() == 0:
            return True
        largest = magnitudes(tensor).max().item()
        limit = (
            LARGEST_FLOAT if tensor.is_floating_point() or tensor.is_complex() else LARGEST_INTEGER
        )
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
        if bool((values * 64 == (values * 64).round()).all()):
            return True
        away = (values - edge).abs()
        if period:
            away = torch.minimum(away % period, period - away % period)
        return bool((away > 0.01).all())

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
            if not tensor.requires_grad:
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
        self.statements.append("loss = torch.zeros(())")
        self.statements += [f"loss = loss + {term}" for term in terms]
        self.statements.append("loss.backward()")
        self.rebuild()
        if self.is_stable_backward():
            return
        self.statements, self.variables = kept, before

    def is_stable_backward(self) -> bool:
        """Gradients are compared where they exist and are tame; raising is fine for some."""
        for tensor in self.tensors().values():
            if is_leaf(tensor) and tensor.grad is not None and not self.is_tame_tensor(tensor.grad):
                return False
        return True


def is_changeable(tensor: Any) -> bool:
    # PyTorch changes an inference tensor first, and then says that it must not be changed.
    return not overlaps(tensor) and not tensor.is_inference()


def mixes_ghosts(tensors: list[Any]) -> bool:
    """Whether views that were made without recording meet tensors that do have a history.

    They require grad and have no node. What is saved for their sake is open.
    """
    ghosts = [t.requires_grad and t._is_view() and is_leaf(t) for t in tensors]
    pairs = zip(tensors, ghosts, strict=True)
    return any(ghosts) and any(t.requires_grad and not ghost for t, ghost in pairs)


def is_row_major(tensor: Any) -> bool:
    """`is_contiguous`, and the strides of dims with one element are as they would be made."""
    step = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if stride != step:
            return False
        step *= max(size, 1)
    return True


CONTIGUOUS = ".clone(memory_format=torch.contiguous_format)"


def contiguous(statement: str) -> str:
    """The statement, if it assigns one variable, with a contiguous value."""
    return re.sub(r"^(v\d+) = ([^\n]*)$", rf"\1 = (\2){CONTIGUOUS}", statement)


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


# -- pointwise -----------------------------------------------------------------------------------


@family(10)
def smooth_function(w: Writer) -> str | None:
    name = w.pick_number() if w.chance(0.9) else w.pick()
    if name is None:
        return None
    tensor = w.value(name)
    op = w.choice(SMOOTH)
    call = w.choice([f"{name}.{op}()", f"torch.{op}({name})"])
    if op in EXPONENTIAL and not is_small(tensor):
        call = f"torch.{op}({name} * 0.125)"
    return f"{w.fresh()} = {call}"


def is_small(tensor: Any) -> bool:
    return not tensor.numel() or magnitudes(tensor).max().item() < 4


def magnitudes(tensor: Any) -> Any:
    plain = tensor.detach()
    return plain.double() if str(plain.dtype) in ("torch.bool", "torch.uint8") else plain.abs()


@family(4)
def function_of_positive(w: Writer) -> str | None:
    name = w.pick_real()
    if name is None:
        return None
    return f"{w.fresh()} = torch.{w.choice(POSITIVE)}({name}.abs() + 0.5)"


@family(3)
def neural_function(w: Writer) -> str | None:
    name = w.pick_real()
    if name is None:
        return None
    return f"{w.fresh()} = torch.nn.functional.{w.choice(FUNCTIONAL)}({name})"


@family(3)
def step_function(w: Writer) -> str | None:
    name = w.pick(lambda tensor: not tensor.is_complex() and w.is_settled(tensor, period=0.5))
    if name is None:
        return None
    return f"{w.fresh()} = {name}.{w.choice(STEPS)}()"


@family(14)
def arithmetic(w: Writer) -> str | None:
    left = w.pick()
    if left is None:
        return None
    right = w.pick_partner(left)
    form = w.choice(["+", "+", "-", "*", "*", "add", "sub", "mul", "torch.add", "alpha"])
    if form in "+-*":
        text = f"{left} {form} {right}"
    elif form == "torch.add":
        text = f"torch.add({left}, {right})"
    elif form == "alpha":
        text = f"{left}.add({right}, alpha=2)"
    else:
        text = f"{left}.{form}({right})"
    return f"{w.fresh()} = {laid_out(w, text, left, right)}"


def laid_out(w: Writer, text: str, left: str, right: str) -> str:
    """The result, made contiguous if the operands' layouts differ: whose it takes is open."""
    one, other = w.value(left), w.value(right)
    if one.is_contiguous() and other.is_contiguous() and "loss" not in text:
        return text
    if one.shape == other.shape and one.stride() == other.stride():
        return text
    return f"({text}){CONTIGUOUS}"


@family(8)
def scalar_arithmetic(w: Writer) -> str | None:
    name = w.pick()
    if name is None:
        return None
    number = w.scalar()
    form = w.choice(
        ["{t} + {n}", "{t} * {n}", "{n} - {t}", "{t} - {n}", "{n} * {t}", "{t} / {n}", "-{t}"]
    )
    return f"{w.fresh()} = {form.format(t=name, n=number)}"


@family(4)
def division(w: Writer) -> str | None:
    left = w.pick()
    if left is None:
        return None
    right = w.pick_partner(left)
    if w.value(right).is_complex() or w.value(right).is_floating_point():
        text = f"{left} / ({right}.abs() + 0.5)"
    else:
        text = f"{left} / ({right} * {right} + 1)"
    if w.chance(0.2):
        return f"{w.fresh()} = 2 * ({left}.abs() + 1).reciprocal()"
    return f"{w.fresh()} = {laid_out(w, text, left, right)}"


@family(3)
def integer_division(w: Writer) -> str | None:
    name = w.pick(lambda tensor: not tensor.is_complex())
    if name is None:
        return None
    tensor = w.value(name)
    divisor = w.choice(["2", "3", "-2", "0.5", "-1.5"])
    if tensor.numel() and not w.is_settled(tensor.detach() / float(divisor), period=1.0):
        return None
    form = w.choice(
        [
            "{t} // {d}",
            "{t} % {d}",
            "torch.fmod({t}, {d})",
            "torch.remainder({t}, {d})",
            "torch.div({t}, {d}, rounding_mode='trunc')",
            "torch.div({t}, {d}, rounding_mode='floor')",
            "torch.floor_divide({t}, {d})",
        ]
    )
    if tensor.is_floating_point() and divisor == "3":
        return None  # 1/3 is inexact: the quotient sits on the edge of being a whole number
    return f"{w.fresh()} = {form.format(t=name, d=divisor)}"


@family(4)
def power(w: Writer) -> str | None:
    name = w.pick(is_small)
    if name is None:
        return None
    form = w.choice(
        [
            "{t} ** 2",
            "{t} ** 3",
            "{t}.pow(2)",
            "2 ** {t}",
            "({t}.abs() + 0.5) ** 1.5",
            "({t}.abs() + 0.5) ** -1",
            "torch.pow({t}.abs() + 0.5, 0.5)",
            "1.5 ** {t}",
            "{t} ** 0",
            "{t} ** 1",
        ]
    )
    return f"{w.fresh()} = {form.format(t=name)}"


@family(5)
def two_argument_function(w: Writer) -> str | None:
    left = w.pick(lambda tensor: not tensor.is_complex())
    if left is None:
        return None
    shape = w.value(left).shape
    # PyTorch's derivatives fail where one of two operands is bool; that is no model.
    right = w.pick(
        lambda tensor: (
            broadcasts(tensor.shape, shape)
            and not tensor.is_complex()
            and tensor.dtype != w.torch.bool
        )
    )
    if right is None or w.value(left).dtype == w.torch.bool:
        right = left
    form = w.choice(
        [
            "torch.maximum({l}, {r})",
            "torch.minimum({l}, {r})",
            "torch.atan2({l}, {r}.abs() + 0.5)",
            "torch.hypot({l}, {r}.abs() + 0.5)",
            "torch.where({l} > 0.3, {l}, {r})",
            "torch.lerp({l}, {r}, 0.25)",
            "torch.addcmul({l}, {r}, {r}, value=0.5)",
            "torch.addcdiv({l}, {r}, {r}.abs() + 1)",
            "torch.fmax({l}, {r})",
            "{l}.clamp(min=-1.01)",
            "torch.clamp({l}, -0.76, 1.26)",
            "torch.where({l} > 0.3, {l}, 0.5)",
            "torch.logaddexp({l}, {r})",
            "torch.rsub({l}, {r})",
            "torch.copysign({l}, {r}) * 1",
            "torch.xlogy({l}, {r}.abs() + 0.5)",
            "torch.heaviside({l}, {r})",
            "torch.nn.functional.mse_loss({l}, {r}, reduction='none')",
        ]
    )
    if not (
        w.is_settled(w.value(left))
        and w.is_settled(w.value(right))
        and w.is_settled(w.value(left), 0.3)
    ):
        return None
    return f"{w.fresh()} = {laid_out(w, form.format(l=left, r=right), left, right)}"


@family(4)
def comparison(w: Writer) -> str | None:
    left = w.pick(lambda tensor: not tensor.is_complex())
    if left is None:
        return None
    if w.chance(0.5):
        number = w.choice([0, 1, 0.5, -0.3])
        if not w.is_settled(w.value(left), float(number)):
            return None
        return f"{w.fresh()} = {left} {w.choice(COMPARISONS)} {number}"
    right = w.pick_partner(left)
    if not (w.is_settled(w.value(left)) and w.is_settled(w.value(right))):
        return None
    form = w.choice(
        [*(f"{{l}} {sign} {{r}}" for sign in COMPARISONS), "torch.eq({l}, {r})", "{l}.lt({r})"]
    )
    if not is_comparable(w, left, right):
        return None
    return f"{w.fresh()} = {laid_out(w, form.format(l=left, r=right), left, right)}"


def is_comparable(w: Writer, left: str, right: str) -> bool:
    """Both exact, or nowhere near each other."""
    one, other = w.value(left), w.value(right)
    if one.is_complex() or other.is_complex():
        return False
    try:
        return w.is_settled(one.detach() * 1.0 - other.detach() * 1.0)
    except RuntimeError:
        return True  # they don't broadcast: an error to compare


@family(3)
def logic(w: Writer) -> str | None:
    name = w.pick(lambda tensor: not (tensor.is_floating_point() or tensor.is_complex()))
    if name is None:
        return None
    shape = w.value(name).shape
    other = w.pick(
        lambda tensor: (
            broadcasts(tensor.shape, shape)
            and not (tensor.is_floating_point() or tensor.is_complex())
        )
    )
    form = w.choice(
        [
            "~{l}",
            "{l} & {r}",
            "{l} | {r}",
            "{l} ^ {r}",
            "torch.logical_and({l}, {r})",
            "torch.logical_not({l})",
            "{l} & 1",
            "{l} << 1",
            "{l}.logical_xor({r})",
            "torch.bitwise_or({l}, {r})",
        ]
    )
    return f"{w.fresh()} = {laid_out(w, form.format(l=name, r=other), name, other or name)}"


@family(3)
def complex_parts(w: Writer) -> str | None:
    name = w.pick(lambda tensor: tensor.is_complex())
    target = w.fresh()
    if name is None:
        real = w.pick(lambda tensor: str(tensor.dtype) in ("torch.float32", "torch.float64"))
        if real is None or not w.palette[0].startswith("complex"):
            return None
        return f"{target} = torch.complex({real}, {real} * 0.5)"
    form = w.choice(
        [
            "{t}.real",
            "{t}.imag",
            "torch.conj_physical({t})",
            "torch.view_as_real({t})",
            "{t}.abs()",
            "{t} * 1j",
            "({t} + 0.3).angle()",
            "{t}.conj() * {t}",
            "{t}.resolve_conj()",
            "{t}.mT" if w.value(name).dim() >= 2 else "{t}.T",
        ]
    )
    return f"{target} = {form.format(t=name)}"


@family(4)
def conversion(w: Writer) -> str | None:
    name = w.pick()
    if name is None:
        return None
    tensor = w.value(name)
    kinds = ["float", "double", "to(torch.float64)", "to(torch.float32)", "type(torch.float64)"]
    if w.is_settled(tensor, period=1.0) and not tensor.is_complex():
        kinds += ["long", "int", "bool", "to(torch.int16)"]
    if tensor.is_complex():
        kinds = ["to(torch.complex128)", "to(torch.complex64)", "cdouble"]
    kind = w.choice(kinds)
    if kind == "double" and "float16" not in w.palette and w.chance(0.3):
        kind = (
            f"type_as({w.pick()})"
            if not tensor.is_complex() and w.is_settled(tensor, period=1.0)
            else kind
        )
    call = kind if kind.endswith(")") else f"{kind}()"
    return f"{w.fresh()} = {name}.{call}"


# -- reductions ----------------------------------------------------------------------------------


@family(8)
def reduction(w: Writer) -> str | None:
    name = w.pick()
    if name is None:
        return None
    tensor = w.value(name)
    op = w.choice(
        [
            "sum",
            "sum",
            "mean",
            "mean",
            "prod",
            "amax",
            "amin",
            "var",
            "std",
            "norm",
            "logsumexp",
            "any",
            "all",
            "count_nonzero",
            "nansum",
            "nanmean",
        ]
    )
    if op in ("amax", "amin") and not w.are_apart(tensor):
        return None
    if op in ("any", "all", "count_nonzero") and not w.is_settled(tensor):
        return None
    if op in ("norm", "std") and (tensor.numel() < 2 or not magnitudes(tensor).min().item() > 0.01):
        return None
    if op == "prod" and tensor.numel() > 12:
        return None
    dims = reduction_dims(w, tensor, several=op not in ("prod",))
    keep = ", keepdim=True" if dims and w.chance(0.4) and op != "count_nonzero" else ""
    if op == "prod":
        # PyTorch's derivative keeps the product, taper's does not: nobody may change it in place.
        return f"{w.fresh()} = {name}.prod({dims}) * 2"
    if op == "logsumexp" and not dims:
        dims = "dim=0" if tensor.dim() else "dim=-1"
    arguments = (dims + keep).removeprefix(", ")
    if op in ("var", "std") and w.chance(0.3):
        arguments = ", ".join(part for part in (arguments, "correction=0") if part)
    if op in ("sum", "mean") and w.chance(0.1) and not tensor.is_complex():
        arguments = ", ".join(part for part in (arguments, "dtype=torch.float64") if part)
    form = w.choice(
        [f"{name}.{op}({arguments})", f"torch.{op}({name}, {arguments})".replace(", )", ")")]
    )
    return f"{w.fresh()} = {form}"


def reduction_dims(w: Writer, tensor: Any, several: bool = True) -> str:
    kind = w.random.random()
    if kind < 0.35:
        return ""
    if kind < 0.8 or not several or tensor.dim() < 2:
        return f"dim={w.dim(tensor)}"
    return f"dim={tuple(w.random.sample(range(tensor.dim()), 2))}"


@family(5)
def along_one_dim(w: Writer) -> str | None:
    name = w.pick_real()
    if name is None:
        return None
    tensor = w.value(name)
    op = w.choice(
        ["cumsum", "cumsum", "softmax", "log_softmax", "flip", "logcumsumexp", "cumprod", "roll"]
    )
    dim = w.dim(tensor)
    target = w.fresh()
    if op == "flip":
        return f"{target} = {name}.flip({dim})"
    if op == "roll":
        return f"{target} = {name}.roll({w.random.randint(-2, 2)}, {dim})"
    if op == "cumprod" and (tensor.numel() > 30 or not w.is_settled(tensor)):
        return None
    return f"{target} = {name}.{op}({dim})"


@family(4)
def extremum(w: Writer) -> str | None:
    name = w.pick(
        lambda tensor: (
            not tensor.is_complex() and tensor.numel() > 0 and tensor.dtype != w.torch.bool
        )
    )
    if name is None or not w.are_apart(w.value(name)):
        return None
    tensor = w.value(name)
    dim = w.dim(tensor)
    if tensor.detach().flatten().unique().numel() < tensor.numel():
        # Which of equal elements kthvalue and topk find is open; max and min take the first.
        return f"{w.fresh()}, {w.fresh()} = {name}.{w.choice(['max', 'min'])}({dim})"
    first, second = w.fresh(), w.fresh()
    form = w.choice(
        [
            "{a} = {t}.max()",
            "{a} = {t}.min()",
            "{a}, {b} = {t}.max({d})",
            "{a}, {b} = {t}.min({d})",
            "{a} = {t}.argmax({d})",
            "{a} = {t}.argmin()",
            "{a}, {b} = {t}.sort(dim={d}, stable=True)",
            "{a} = {t}.max({d}, keepdim=True).values",
            "{a}, {b} = {t}.sort(dim={d}, descending=True, stable=True)",
            "{a}, {b} = torch.cummax({t} + 0, {d})",
            "{a} = {t}.aminmax().max",
            "{a}, {b} = {t}.kthvalue(1, {d})",
            "{a} = {t}.argsort(dim={d}, stable=True)",
            "{a} = {t}.flatten().median()",
            "{a} = {t}.flatten().topk(1).values",
        ]
    )
    return form.format(a=first, b=second, t=name, d=dim)


@family(6)
def product(w: Writer) -> str | None:
    # Products of bools have no kernel, which is noticed late in some of the ways.
    left = w.pick(lambda tensor: tensor.dim() > 0 and tensor.dtype != w.torch.bool)
    if left is None:
        return None
    tensor = w.value(left)
    right = w.pick(
        lambda other: (
            other.dim() > 0
            and other.dtype == tensor.dtype
            and other.shape[-2 if other.dim() > 1 else -1] == tensor.shape[-1]
        )
    )
    target = w.fresh()
    if right is None or w.chance(0.15):
        if tensor.dim() == 2 and w.chance(0.9):
            return f"{target} = " + w.choice(
                [
                    f"{left} @ {left}.t()",
                    f"{left}.T.mm({left})",
                    f"torch.mm({left}, {left}.T)",
                    folded(f"torch.einsum('ij,kj->ik', {left}, {left})"),
                    f"torch.nn.functional.linear({left}, {left})",
                    f"torch.addmm({left}.new_zeros(1), {left}, {left}.t(), alpha=0.5)",
                ]
            )
        if tensor.dim() == 1:
            return f"{target} = " + w.choice(
                [f"torch.dot({left}, {left})", f"torch.outer({left}, {left})", f"{left} @ {left}"]
            )
        text = f"{left} @ {left}.transpose(-1, -2)"
        return f"{target} = {folded(text)}" if tensor.dim() > 2 else None
    text = w.choice([f"{left} @ {right}", f"torch.matmul({left}, {right})"])
    ranks = {tensor.dim(), w.value(right).dim()}
    return f"{target} = {text}" if ranks in ({2}, {1}, {2, 1}) else f"{target} = {folded(text)}"


def folded(text: str) -> str:
    """A product that PyTorch folds into others: two steps keep the nodes it makes out of sight."""
    return f"({text}) * 0.5 + 0"


# -- views ---------------------------------------------------------------------------------------


@family(22)
def view(w: Writer) -> str | None:
    name = w.pick()
    if name is None:
        return None
    expression = view_of(w, name)
    return None if expression is None else f"{w.fresh()} = {expression}"


def view_of(w: Writer, name: str) -> str | None:
    """An expression that views the variable (`contiguous` and `reshape` may copy)."""
    tensor = w.value(name)
    dim, other = w.dim(tensor), w.dim(tensor)
    size = tensor.shape[dim] if tensor.dim() and -tensor.dim() <= dim < tensor.dim() else 1
    start = w.random.randint(0, max(size - 1, 0))
    options = [
        f"{name}.transpose({dim}, {other})",
        f"{name}.unsqueeze({w.dim(tensor, extra=1)})",
        f"{name}.squeeze()" if w.chance(0.5) else f"{name}.squeeze({dim})",
        f"{name}.expand({expanded(w, tensor)})",
        f"{name}.reshape({regrouped(w, tensor)})",
        f"{name}.view({regrouped(w, tensor)})",
        f"{name}.select({dim}, {start})",
        f"{name}.narrow({dim}, {start}, {w.random.randint(0, max(size - start, 0))})",
        f"{name}.permute({permutation(w, tensor)})",
        f"{name}.detach()" if w.chance(0.3) else f"{name}.flatten()",
        f"{name}.unbind({dim})[0]" if w.chance(0.5) else f"{name}.chunk(2, {dim})[0]",
        f"{name}[{index(w, tensor, advanced=False)}]",
        f"{name}[{index(w, tensor, advanced=False)}]",
        f"{name}.view_as({name})",
        f"{name}.contiguous()",
        f"{name}.swapaxes({dim}, {other})",
        f"{name}.movedim({dim}, {other})",
    ]
    if tensor.dim() == 2:
        options += [
            f"{name}.t()",
            f"{name}.T",
            f"{name}.diagonal()",
            f"{name}.diagonal({w.random.randint(-1, 1)})",
        ]
    if tensor.dim() >= 2:
        options += [
            f"{name}.diagonal(dim1=-2, dim2=-1)",
            f"{name}.flatten({w.random.randint(0, 1)})",
            f"{name}.mT",
        ]
    if tensor.dim() >= 1 and size >= 2:
        options += [
            f"{name}.unfold({dim}, 2, 1)",
            f"torch.split({name}, 1, {dim})[1]",
            f"{name}.unflatten({dim}, (1, -1))",
        ]
    if w.chance(0.1) and tensor.numel() >= 3 and tensor.is_contiguous():
        options = [
            f"{name}.as_strided((2,), (1,), {w.random.randint(0, 1)})",
            f"{name}.as_strided((2, 2), (1, 1))",
        ]
    return w.choice(options)


def expanded(w: Writer, tensor: Any) -> str:
    sizes = [w.choice([2, 3, -1]) if size == 1 else w.choice([size, -1]) for size in tensor.shape]
    if w.chance(0.4):
        sizes.insert(0, 2)
    return ", ".join(map(str, sizes)) or "2"


def regrouped(w: Writer, tensor: Any) -> str:
    """A shape with the same number of elements, by joining neighbours or splitting off ones."""
    sizes = list(tensor.shape)
    kind = w.random.random()
    if kind < 0.3:
        return "-1"
    if kind < 0.6 and len(sizes) >= 2:
        at = w.random.randint(0, len(sizes) - 2)
        sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
    elif kind < 0.8:
        sizes.insert(w.random.randint(0, len(sizes)), 1)
    else:
        w.random.shuffle(sizes)
    if sizes and w.chance(0.3):
        sizes[w.random.randint(0, len(sizes) - 1)] = -1
    return f"{tuple(sizes)}"


def permutation(w: Writer, tensor: Any) -> str:
    dims = list(range(tensor.dim()))
    w.random.shuffle(dims)
    dims = [dim - tensor.dim() if w.chance(0.3) else dim for dim in dims]
    return f"{tuple(dims)}"


@family(4)
def several_views(w: Writer) -> str | None:
    name = w.pick(lambda tensor: tensor.dim() > 0)
    if name is None:
        return None
    tensor = w.value(name)
    dim = w.random.randint(-tensor.dim(), tensor.dim() - 1)
    size = tensor.shape[dim]
    if not 2 <= size <= 3:
        return None
    names = ", ".join(w.fresh() for _ in range(size))
    form = w.choice(
        [
            "{t}.unbind({d})",
            "torch.split({t}, 1, {d})",
            "{t}.chunk({n}, {d})",
            "torch.tensor_split({t}, {n}, {d})",
        ]
    )
    return f"{names} = {form.format(t=name, d=dim, n=size)}"


# -- indexing ------------------------------------------------------------------------------------


def index(w: Writer, tensor: Any, advanced: bool, wrong: float = 0.03) -> str:
    """The text between the brackets."""
    if advanced and w.chance(0.15) and tensor.dim():
        masks = [
            n
            for n, t in w.tensors().items()
            if t.dtype == w.torch.bool
            and not shares_memory(t, tensor)
            and 0 < t.dim() <= tensor.dim()
            and t.shape == tensor.shape[: t.dim()]
        ]
        if masks:
            return w.choice(masks)
    items: list[str] = []
    advanced = advanced and tensor.numel() > 0  # of empty ones, several things are wrong at once
    with_none = w.chance(0.2) and tensor.numel() > 0
    if with_none:
        wrong = 0.0  # which dimension an error names is open then
    budget = w.random.randint(0, tensor.dim())
    lengths: list[int] = [w.choice([1, 2, 3])]
    for position in range(budget):
        size = tensor.shape[position]
        items.append(index_item(w, size, advanced, lengths, wrong / budget))
    if with_none:
        items.insert(w.random.randint(0, len(items)), "None")
    if w.chance(0.2):
        # What follows an ellipsis counts from the end: sizes may not fit, which is an error too.
        at = w.random.randint(0, len(items))
        if at == len(items) or w.chance(0.3):
            items.insert(at, "...")
    return ", ".join(items) or w.choice(
        ["...", "None", "()", ":"] if tensor.dim() else ["...", "None", "()"]
    )


def index_item(
    w: Writer, size: int, advanced: bool, lengths: list[int], wrong: float
) -> str:
    kind = w.random.random()
    if advanced and kind < 0.45:
        if kind < 0.1 and size <= 4:
            return f"torch.tensor({[w.chance(0.6) for _ in range(size)]}, dtype=torch.bool)"
        positions = [size if w.chance(wrong) else w.position(size) for _ in range(lengths[0])]
        if kind < 0.2:
            return str(positions)
        if kind < 0.27:
            return f"torch.tensor({positions[0]})"
        if kind < 0.33:
            return f"torch.tensor({[[p] for p in positions]})"
        return f"torch.tensor({positions})"
    if kind < 0.65:
        return str(size + 1 if w.chance(wrong) else w.position(size))
    start = w.choice(["", "", "1", "-1", "-2", "0"])
    stop = w.choice(["", "", "2", "-1", str(size)])
    step = w.choice(["", "", "", ":2", ":1"])
    return f"{start}:{stop}{step}"


@family(8)
def indexing(w: Writer) -> str | None:
    name = w.pick()
    if name is None:
        return None
    return f"{w.fresh()} = {name}[{index(w, w.value(name), advanced=True)}]"


@family(8)
def assignment(w: Writer) -> str | None:
    name = w.pick_changeable()
    if name is None:
        return None
    tensor = w.value(name)
    # PyTorch lets an index of tensors write into expanded memory.
    # PyTorch writes a part before it finds an index that is out of range: none of those here.
    where = index(w, tensor, advanced=w.chance(0.6) and 0 not in tensor.stride(), wrong=0.0)
    sign = w.choice(["=", "=", "=", "+=", "*="])
    if w.chance(0.5):
        value = w.scalar()
    else:
        try:
            shape = eval(f"detached[{where}]", {"detached": tensor.detach(), **w.variables}).shape
        except (RuntimeError, IndexError, TypeError):
            shape = ()
        value = (
            w.pick(lambda other: fits_into(other.shape, shape) and may_take(tensor, other))
            or "1.5"
        )
    return f"{name}[{where}] {sign} {value}"


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


@family(4)
def gathering(w: Writer) -> str | None:
    name = w.pick(lambda tensor: tensor.dim() > 0 and tensor.numel() > 0)
    if name is None:
        return None
    tensor = w.value(name)
    dim = w.random.randint(-tensor.dim(), tensor.dim() - 1)
    size = tensor.shape[dim]
    places = [w.random.randint(0, size - 1) for _ in range(w.random.randint(1, 3))]
    flat = [w.random.randint(0, tensor.numel() - 1) for _ in range(3)]
    shape = [1] * tensor.dim()
    shape[dim] = len(places)
    options = [
        f"{name}.index_select({dim}, torch.tensor({places}))",
        f"({name} + 0).gather({dim}, torch.tensor({places}).reshape({tuple(shape)}))",
        f"{name}.take(torch.tensor({flat}))",
        f"torch.take_along_dim({name} + 0, torch.tensor({places}).reshape({tuple(shape)}), {dim})",
        f"torch.repeat_interleave({name}, 2, {dim})",
        f"{name}.repeat({', '.join(['2'] * tensor.dim())})",
        f"{name}.tril()" if tensor.dim() >= 2 else f"{name}.tile(2)",
        f"{name}.triu(1)" if tensor.dim() >= 2 else f"torch.diag({name})",
        f"torch.diag_embed({name})",
        f"torch.nn.functional.pad({name}, (1, 0))",
        f"{name}.trace()" if tensor.dim() == 2 else f"{name}.diff()",
        f"torch.rot90({name})" if tensor.dim() >= 2 else f"torch.diff({name})",
    ]
    if w.is_settled(tensor, 0.3) and not tensor.is_complex():
        options += [
            f"({name} + 0).masked_select({name} > 0.3)",
            f"torch.masked_fill({name}, {name} > 0.3, 1)",
            f"({name} > 0.3).nonzero()",
            f"torch.where({name} > 0.3)[0].clone()",
        ]
    return f"{w.fresh()} = {w.choice(options)}"


@family(4)
def joining(w: Writer) -> str | None:
    first = w.pick(lambda tensor: tensor.dim() > 0)
    if first is None:
        return None
    tensor = w.value(first)
    second = w.pick(lambda other: other.shape == tensor.shape) or first
    dim = w.dim(tensor)
    form = w.choice(
        [
            "torch.cat([{a}, {b}], {d})",
            "torch.stack([{a}, {b}], {d})",
            "torch.cat([{a}, {a}])",
            "torch.hstack([{a}, {b}])",
            "torch.vstack(({a}, {b}))",
            "torch.stack(({b}, {a}))",
        ]
    )
    return f"{w.fresh()} = {form.format(a=first, b=second, d=dim)}"


# -- in-place ------------------------------------------------------------------------------------


@family(7)
def fresh_copy(w: Writer) -> str | None:
    """Material for in-place operations that no derivative depends on."""
    name = w.pick_number() or w.pick()
    if name is None:
        return None
    form = w.choice(
        [
            "{t}.clone()",
            "{t} + 0",
            "{t} * 2",
            "{t}.detach().clone()",
            "torch.zeros_like({t})",
            "{t}.clone().t()" if w.value(name).dim() == 2 else "{t}.clone()",
        ]
    )
    return f"{w.fresh()} = {form.format(t=name)}"


@family(14)
def in_place(w: Writer) -> str | None:
    name = w.pick_changeable()
    if name is None:
        return None
    return change(w, name)


def change(w: Writer, name: str) -> str:
    tensor = w.value(name)
    shape = tensor.shape
    # With itself, or with what it shares no memory with.
    other = (
        w.pick(lambda other: fits_into(other.shape, shape) and may_take(tensor, other)) or name
    )
    number = w.scalar()
    shared = [n for n, t in w.tensors().items() if n != name and shares_memory(t, tensor)]
    options = [
        f"{name} += {other}",
        f"{name} *= {other}",
        f"{name} -= {number}",
        f"{name} *= {number}",
        f"{name}.add_({other})",
        f"{name}.add_({other}, alpha=0.5)",
        f"{name}.mul_({number})",
        f"{name}.sub_({other})",
        f"{name}.div_(2)",
        f"{name} /= 2",
        f"{name}.fill_({number})" if 0 not in tensor.stride() else f"{name}.neg_()",
        f"{name}.zero_()" if 0 not in tensor.stride() else f"{name}.cos_()",
        f"{name}.copy_({other})",
        f"{name}.neg_()",
        f"{name}.sin_()",
        f"{name}.tanh_()",
        f"{name}.relu_()",
        f"{name}.clamp_(min=-1.26)" if tensor.is_floating_point() else f"{name}.abs_()",
        f"{name}.addcmul_({other}, {other}, value=0.5)",
        f"{name}.masked_fill_(torch.zeros_like({name}, dtype=torch.bool), 2)",
        f"{name}.square_()",
        f"{name}.sigmoid_()",
        f"{name}.lerp_({other}, 0.5)",
        f"{name}.pow_(2)",
    ]
    if w.chance(0.25) and not shared:
        options = [
            f"{name}.unsqueeze_({w.dim(tensor, extra=1)})",
            f"{name}.squeeze_()",
            f"{name}.transpose_(0, -1)",
            f"{name}.requires_grad_()",
            f"{name}.t_()",
            f"{name}.asinh_()" if tensor.dtype == w.torch.bool else f"{name}.cumsum_(-1)",
            f"{name}.index_fill_(0, torch.tensor([0]), 1)",
            f"{name}.tril_()",
            f"{name}.sign_()" if w.is_settled(tensor) else f"{name}.cos_()",
            f"{name}.index_add_(0, torch.tensor([0]), {name}[:1].clone())",
            f"{name}.scatter_(0, torch.zeros_like({name}, dtype=torch.int64), 0.5)",
            f"{name}.index_copy_(0, torch.tensor([0]), {name}[:1] * 2)",
        ]
    return w.choice(options)


@family(7)
def in_place_on_view(w: Writer) -> str | None:
    """Takes a view of a tensor and changes that: the base's history must follow."""
    name = w.pick_changeable()
    if name is None:
        return None
    expression = view_of(w, name)
    tails = [
        ".mul_(2)", ".add_(1)", ".neg_()", ".sin_()", ".tanh_()", ".sub_(0.5)", "[...] = 1.5",
    ]  # fmt: skip
    if "expand" not in str(expression) and 0 not in w.value(name).stride():
        # What is not an error for an expanded view becomes one in PyTorch's backward pass.
        tails += [".fill_(0.5)", ".zero_()"]
    if expression is None or re.search("unfold|strided|detach", expression):
        return None
    return f"{expression}{w.choice(tails)}"


# -- modes, hooks, control flow ------------------------------------------------------------------


@family(5)
def under_a_mode(w: Writer) -> str | None:
    name = w.pick()
    if name is None:
        return None
    mode = w.choice(
        [
            "no_grad()",
            "no_grad()",
            "no_grad()",
            "enable_grad()",
            "set_grad_enabled(False)",
            "inference_mode()",
        ]
    )
    body = w.choice([smooth_function, view, arithmetic, in_place, assignment])(w)
    if w.chance(0.3):
        changed = w.pick(is_changeable)
        body = f"{changed}.mul_(0.5)"
    if body is not None and re.search(r"\.(un)?squeeze_|\.t(ranspose)?_\(", body):
        return None  # the shape changes, what was recorded doesn't
    return None if body is None else f"with torch.{mode}:\n    {body}"


@family(3)
def branch(w: Writer) -> str | None:
    name = w.pick(lambda tensor: not tensor.is_complex() and tensor.numel() > 0)
    if name is None or not w.is_settled(w.value(name).detach().sum(), 0.3):
        return None
    left, target = w.pick_number() or name, w.fresh()
    return f"if {name}.sum() > 0.3:\n    {target} = {left} * 2\nelse:\n    {target} = {left}.neg()"


@family(3)
def loop(w: Writer) -> str | None:
    name = w.pick_number()
    if name is None:
        return None
    target = w.fresh()
    other = w.pick_partner(name)
    if w.chance(0.4) and w.value(name).dim():
        return f"{target} = 0\nfor row in {name}:\n    {target} = {target} + row.sum() * 0.5"
    if w.chance(0.5):
        return (
            f"{target} = {name}.clone()\nfor i in range({name}.shape[0]):\n    {target}[i] *= i + 1"
        )
    step = laid_out(w, f"{target} * 0.5 + {other}", name, other)
    return f"{target} = {name}\nfor _ in range(2):\n    {target} = {step}"


@family(2)
def hook(w: Writer) -> str | None:
    name = w.pick(lambda tensor: tensor.requires_grad)
    if name is None:
        return None
    # PyTorch 2.13 crashes on a hook for a view that may not renew its node; asking for it raises.
    known = f"{name}.is_leaf or {name}.grad_fn"
    if w.chance(0.5):
        return f"if {known}:\n    {name}.retain_grad()"
    return f"if {known}:\n    handle = {name}.register_hook(lambda grad: grad * 2)"


@family(3)
def python_value(w: Writer) -> str | None:
    name = w.pick()
    if name is None:
        return None
    form = w.choice(
        [
            "{t}.tolist()",
            "{t}.shape",
            "{t}.numel()",
            "len({t})",
            "{t}.dim()",
            "{t}.size(-1)",
            "{t}.sum().item()",
            "{t}.is_contiguous()",
            "tuple({t}.size())",
            "{t}.element_size()",
            "{t}.dtype",
            "float({t}.real.sum())",
            "{t}.data",
            "bool({t}.is_leaf)",
            "{t}.item()",
            "{t}.nbytes",
            "{t}.type()",
            "{t}._is_view()",
            "{t}.output_nr",
            "torch.is_tensor({t})",
            "{t}.data_ptr() == {t}.detach().data_ptr()",
        ]
    )
    return f"{w.fresh()} = {form.format(t=name)}"


@family(2)
def inner_gradient(w: Writer) -> str | None:
    """A gradient inside the program, which the loss may then be built on."""
    output = w.pick(
        lambda tensor: tensor.requires_grad and not is_leaf(tensor) and not tensor.is_complex()
    )
    leaf = w.pick(lambda tensor: tensor.requires_grad and not tensor.is_complex())
    if output is None or leaf is None:
        return None
    create = w.choice(["create_graph=True", "retain_graph=True"])
    # How a gradient is laid out in memory, expanded say, is open.
    gradient = f"torch.autograd.grad({output}.sum(), [{leaf}], {create})"
    return f"{w.fresh()} = {gradient}[0].contiguous().clone()"


@family(2)
def backward_in_between(w: Writer) -> str | None:
    output = w.pick(
        lambda tensor: tensor.requires_grad and not is_leaf(tensor) and not tensor.is_complex()
    )
    if output is None:
        return None
    return (
        f"{output}.{w.choice(['sum()', 'sum()', 'mean()'])}.backward(retain_graph=True)"
        if w.chance(0.9)
        else f"{output}.backward()"
    )


@family(2)
def creation(w: Writer) -> str | None:
    name = w.pick()
    if name is None:
        return None
    shape = w.related_shape()
    form = w.choice(
        [
            f"torch.ones_like({name})",
            f"torch.full_like({name}, 2)",
            f"{name}.new_zeros({shape})",
            f"torch.ones{shape}",
            f"torch.full({shape}, 0.5)",
            "torch.arange(4)",
            "torch.linspace(0, 1, 5)",
            "torch.eye(3)",
            f"torch.zeros({shape}, dtype=torch.int64)",
            f"{name}.new_tensor([1, 2])",
            "torch.tensor(3)",
            "torch.arange(1, 3, 0.5)",
            f"torch.empty({shape}).fill_(2)",
            f"{name}.new_full({shape}, 3)",
            f"torch.rand_like({name}.real.float()) + 0",
        ]
    )
    return f"{w.fresh()} = {form}"
