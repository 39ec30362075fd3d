"""Statements of random programs that compute new values: pointwise, reductions, products."""

from __future__ import annotations

from typing import Any

from program_writer import CONTIGUOUS, Writer, broadcasts, family, is_small, laid_out, magnitudes

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
STEPS = ("sign", "floor", "ceil", "round", "trunc", "frac")
POSITIVE = ("log", "sqrt", "rsqrt", "reciprocal", "log1p", "log2", "log10", "lgamma", "digamma")
FUNCTIONAL: dict[str, tuple[float, ...]] = {  # and where they have corners
    "softplus": (), "silu": (), "gelu": (), "elu": (), "leaky_relu": (0.0,), "logsigmoid": (),
    "hardtanh": (-1.0, 1.0), "mish": (), "softsign": (), "tanhshrink": (), "relu6": (0.0, 6.0),
}  # fmt: skip
COMPARISONS = ("<", ">", "<=", ">=", "==", "!=")


# -- pointwise -----------------------------------------------------------------------------------


@family(10)
def smooth_function(w: Writer) -> str | None:
    name = w.pick_number() if w.chance(0.9) else w.pick()
    if name is None:
        return None
    tensor = w.value(name)
    op = w.choice(SMOOTH)
    if tensor.is_complex() and op in ("atan", "arctan"):
        op = "sin"  # on the branch cut PyTorch's vector loop takes the other side
    if op in ("abs", "relu") and not w.is_settled(tensor):
        op = "cos"
    call = w.choice([f"{name}.{op}()", f"torch.{op}({name})"])
    if op in EXPONENTIAL and not is_small(tensor):
        call = f"torch.{op}({name} * 0.125)"
    return f"{w.fresh()} = {call}"


@family(4)
def function_of_positive(w: Writer) -> str | None:
    name = w.pick_real()
    if name is None or not w.is_settled(w.value(name)):
        return None
    op = w.choice(POSITIVE)
    if op == "digamma" and w.value(name).dtype == w.torch.float64:
        op = "lgamma"  # PyTorch's derivative, its trigamma, has errors of 5e-10
    return f"{w.fresh()} = torch.{op}({name}.abs() + 0.5)"


@family(3)
def neural_function(w: Writer) -> str | None:
    name = w.pick_real()
    if name is None:
        return None
    op = w.choice(list(FUNCTIONAL))
    if not all(w.is_settled(w.value(name), corner) for corner in FUNCTIONAL[op]):
        return None
    return f"{w.fresh()} = torch.nn.functional.{op}({name})"


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
    if not (w.is_settled(w.value(left)) and w.is_settled(w.value(right))):
        return None  # abs has a corner
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
            f"torch.where({{l}} > 0.3, {{l}}, 0.5){CONTIGUOUS}",
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
    if "atan2" in form and w.value(left).dtype == w.torch.uint8:
        return None  # PyTorch's derivative negates it, modulo 256
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
            "{t}.real.clone()",
            "{t}.imag + 0",
            "torch.conj_physical({t})",
            "torch.view_as_real({t}) * 1",
            "{t}.abs()",
            "{t} * 1j",
            "({t} + 0.3).angle()" if w.is_exact() else "{t}.abs()",  # there is a cut at -1 + 0j
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
    if op in ("amax", "amin") and (not w.are_apart(tensor) or not tensor.numel()):
        return None
    if op in ("any", "all", "count_nonzero") and not w.is_settled(tensor):
        return None
    if op in ("norm", "std") and (tensor.numel() < 2 or not magnitudes(tensor).min().item() > 0.01):
        return None
    if op == "prod" and tensor.numel() > 12:
        return None
    dims = reduction_dims(w, tensor, several=op not in ("prod",))
    if op == "std":
        found = w.evaluate(f"{name}.detach().std({dims})")
        if found is not None and not bool((found > 0.05).all()):
            return None  # of equal numbers, its derivative is rounding divided by rounding
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
        return f"{target} = {name}.roll({w.random.randint(-2, 2)}, {dim % max(tensor.dim(), 1)})"
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
    dim = w.dim(tensor) if tensor.dim() else 0
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
        text = product_of_copies(left, f"{left}.transpose(-1, -2)")
        return f"{target} = {text}" if tensor.dim() > 2 else None
    if {tensor.dim(), w.value(right).dim()} not in ({2}, {1}, {2, 1}):
        return f"{target} = {product_of_copies(left, right)}"
    return f"{target} = " + w.choice([f"{left} @ {right}", f"torch.matmul({left}, {right})"])


def folded(text: str) -> str:
    """A product that PyTorch folds into others: two steps keep the nodes it makes out of sight."""
    return f"({text}) * 0.5 + 0"


def product_of_copies(left: str, right: str) -> str:
    """Some of PyTorch's ways keep copies of the operands, others the operands themselves."""
    return folded(f"({left} + 0) @ ({right} + 0)")
