"""Statements of random programs: order and counts, running results, special functions, random
numbers."""

from __future__ import annotations

from program_writer import CONTIGUOUS, Writer, by_steps, family

# Of numbers that are apart; {d} is a dim.
ORDER = (
    "{v}, {u} = torch.sort({x}, {d})",
    "{v}, {u} = torch.sort({x}, {d}, descending=True)",
    "{v} = torch.msort({x})",
    "{v} = {x}.argsort({d}, descending=True)",
    "{v}, {u} = {x}.topk(2, {d})",
    "{v}, {u} = {x}.topk(1, {d}, largest=False)",
    "{v}, {u} = {x}.kthvalue(2, {d})",
    "{v}, {u} = {x}.kthvalue(1, {d}, keepdim=True)",
    "{v}, {u} = {x}.median({d})",
    "{v} = {x}.median()",
    "{v} = {x}.nanmedian()",
    "{v}, {u} = {x}.mode({d})",
    "{v} = ({x}.quantile(0.3, dim={d}) + 0) * 1",
    "{v} = ({x}.quantile(torch.tensor([0.25, 0.5], dtype={x}.dtype)) + 0) * 1",
    "{v} = ({x}.quantile(0.4, dim={d}, keepdim=True, interpolation='lower') + 0) * 1",
    "{v} = ({x}.nanquantile(0.6, dim={d}) + 0) * 1",
    "{v}, {u} = {x}.cummax({d})",
    "{v}, {u} = {x}.cummin({d})",
    "{v}, {u} = {x}.max({d}, keepdim=True)",
    "{v}, {u} = torch.aminmax({x}, dim={d})",
    "{v} = {x}.amax(({d},))",
    "{v} = {x}.argmin({d}, keepdim=True)",
    "{v} = torch.searchsorted({x}.flatten().sort().values, {x})",
    "{v} = torch.bucketize({x}, torch.tensor([-1.01, 0.26, 2.03], dtype={x}.dtype))",
    "{v} = torch.unique({x})",
    "{v}, {u} = torch.unique({x}, return_inverse=True)",
    "{v} = torch.unique({x}, dim={d})",
    "{v} = {x}.unique_consecutive()",
    "{v}, {u} = {x}.unique_consecutive(return_counts=True)",
    "{v} = torch.histc({x}.float(), 4, -3.01, 3.02)",
    "{v} = torch.isin({x}, {x}.flatten()[:2])",
)


@family(8)
def order(w: Writer) -> str | None:
    name, x = w.material((2, 3), complex_too=False)
    if name is None:
        return None
    x = f"({x} + 0)"
    if not w.are_apart_expression(x):
        steps = "torch.tensor([[5, 0, 3], [1, 4, 2]]) * 2.25"
        x = f"({x}.sin() + {steps}).to({x}.dtype){CONTIGUOUS}"
        if not w.are_apart_expression(x):
            return None
    form = w.choice(ORDER).format(x=x, d=w.random.randint(-2, 1), v=w.fresh(), u=w.fresh())
    return form


COUNTS = (
    "{v} = torch.bincount({x}.flatten().abs())",
    "{v} = torch.bincount({x}.flatten().abs(), minlength=4)",
    "{v}, {u} = torch.unique({x}, return_counts=True)",
    "{v}, {u} = torch.unique_consecutive({x}, return_inverse=True)",
    "{v} = torch.nn.functional.one_hot({x}.abs()) + 0",
    "{v} = {x}.cumsum(0)",
    "{v} = torch.gcd({x}, torch.tensor(6, dtype={x}.dtype))",
    "{v} = torch.lcm({x}.abs() + 1, torch.tensor(4, dtype={x}.dtype))",
    "{v} = {x}.count_nonzero(0)",
    "{v} = torch.cumprod({x}, 0)",
    "{v} = {x}.argwhere()",
    "{v} = {x}.sort(stable=True).indices",
    "{v} = {x}.bitwise_left_shift(1)",
    "{v} = torch.bitwise_xor({x}, 5)",
    "{v} = torch.diff({x}.flatten())",
    "{v} = {x}.mode(0).values",
)


@family(4)
def count(w: Writer) -> str | None:
    name = w.pick(
        lambda t: t.dim() > 0 and t.numel() > 0 and t.dtype in (w.torch.int64, w.torch.int32)
    )
    if name is None or w.value(name).abs().max().item() > 20:
        return None
    if w.value(name).numel() > 20 and "cumprod" in (form := w.choice(COUNTS)):
        return None
    form = w.choice(COUNTS)
    return form.format(x=name, v=w.fresh(), u=w.fresh())


RUNNING = (
    "torch.cumsum({x}, {d})",
    "torch.cumprod({x}, {d})",
    "torch.logcumsumexp({x}, {d})",
    "~torch.trapezoid({x}, dim={d})",
    "~torch.cumulative_trapezoid({x}, dx=0.5, dim={d})",
    "torch.diff({x}, dim={d})",
    "torch.diff({x}, n=2)",
    "~torch.gradient({x}, dim={d})[0]",
    "torch.logsumexp({x}, {d})",
    "torch.softmax({x}, {d})",
    "torch.nn.functional.log_softmax({x}, {d})",
    "torch.nn.functional.softmin({x}, {d})",
    "torch.var_mean({x}, {d})[0]",
    "torch.std_mean({x}, {d})[1]",
    "torch.std({x}.sin() + torch.tensor([[3, 0, 1], [0, 2, 5]]) * 1.5, {d}, correction=0)",
    "torch.nansum({x}, {d})",
    "torch.flip({x}, ({d},))",
    "torch.roll({x}, 1, {d})",
    "torch.rot90({x})",
    "torch.prod({x}, {d})",
    "torch.nan_to_num({x})",
    "torch.masked.sum({x}, {d})",
    "torch.masked.mean({x}, {d}, mask=torch.tensor([[True, False, True], [True, True, False]]))",
    "~torch.segment_reduce({x}, 'sum', lengths=torch.tensor([1, 1]))",
    "~torch.combinations({x}.flatten()[:3])",
    "torch.meshgrid({x}[0], {x}[1], indexing='ij')[1]",
    "torch.repeat_interleave({x}, torch.tensor([1, 2]), 0)",
    "torch.unravel_index(torch.tensor([1, 5]), (2, 3))[0]",
    "torch.tril_indices(2, 3)",
    "~torch.corrcoef({x}.sin() + torch.arange(3) * torch.tensor([[1.5], [-2]]))",
    "torch.block_diag({x}, {x})",
    "torch.column_stack([{x}, {x}])",
    "torch.dstack([{x}, {x}])",
)


@family(6)
def running_result(w: Writer) -> str | None:
    name, x = w.material((2, 3))
    if name is None:
        return None
    form = w.choice(RUNNING).format(x=f"({x} + 0)", d=w.random.randint(-2, 1))
    if w.value(name).is_complex():
        form = form.replace(".sin()", " * 0.02")  # the sine of complex numbers grows as exp
    return f"{w.fresh()} = {by_steps(form)}"


# Of numbers between 0.2 and 0.8 ({u}), positive ones ({p}), all ({x}). PyTorch's trigamma of
# float64 has errors of 5e-10, its Bessel functions from |x| = 2 on up to 5e-7, airy_ai of 3e-6.
SPECIAL = (
    "torch.special.erfcx({x})", "torch.erfinv({u})", "~torch.special.ndtr({x})",
    "torch.special.ndtri({u})", "torch.special.log_ndtr({x})", "torch.special.i0({x})",
    "torch.special.i0e({x})", "torch.special.i1({x})", "torch.special.i1e({x})",
    "torch.special.entr({p})", "torch.special.xlog1py({x}, {p})", "torch.xlogy({x}, {p})",
    "torch.logit({u})", "torch.logit({x}, eps=0.25)", "torch.polygamma(1, {p}.float())",
    "torch.mvlgamma({p} + 1, 2)", "torch.igamma({p}.detach(), {p})",
    "torch.igammac({p}.detach(), {p})",
    "torch.special.zeta(({p} + 1.5).detach(), {p})", "torch.special.bessel_j0({u})",
    "torch.special.bessel_j1({u})", "torch.special.airy_ai({u})", "torch.acos({u})",
    "torch.asin({u})", "torch.atanh({u})", "torch.acosh({p} + 1)", "torch.tan({u})",
    "torch.logaddexp({x}, {p})", "torch.logaddexp2({x}, {p})", "torch.hypot({x}, {p})",
    "torch.float_power({p}, 1.5)", "torch.ldexp({x}, torch.tensor(2))", "torch.frexp({p})[0]",
    "torch.nextafter({p}, {x}).detach()", "torch.copysign({p}, {x})", "torch.sgn({x})",
    "torch.signbit({x})", "=torch.special.legendre_polynomial_p({x}.detach(), 2)",
    "=torch.special.hermite_polynomial_h({x}.detach(), 3)",
    "=torch.special.chebyshev_polynomial_t({x}.detach(), 2)",
    "torch.nn.functional.hardswish({x} + 0.01)", "torch.nn.functional.hardsigmoid({x} + 0.01)",
    "torch.nn.functional.celu({x}, 0.5)", "torch.selu({x})",
    "torch.nn.functional.hardshrink({x})", "torch.nn.functional.softshrink({x}, 0.26)",
    "torch.nn.functional.threshold({x}, 0.26, 1.5)", "torch.nn.functional.glu({x}, 0)",
    "torch.nn.functional.gelu({x}, approximate='tanh')",
    "torch.nn.functional.prelu({x}, torch.tensor(0.25, dtype={x}.dtype))",
    "=torch.nn.functional.rrelu({x})", "torch.lerp({x}, {p}, {u})", "torch.sinc({x})",
    "torch.rad2deg({x})", "torch.special.multigammaln({p} + 1, 2)", "torch.exp2({x} * 0.5)",
    "torch.clamp({x}, {u} * -1, {p})", "torch.fmin({x}, {p})", "torch.remainder({x}, 1.5)",
)


@family(6)
def special_function(w: Writer) -> str | None:
    name, x = w.material((2, 3), complex_too=False)
    if name is None or not w.is_settled_expression(x, 0.26) or not w.is_settled_expression(x):
        return None
    form = w.choice(SPECIAL)
    if "remainder" in form and not w.is_settled_expression(f"({x}) / 1.5", period=1.0):
        return None
    small = f"(({x}) * 0.125)" if "{x}" in form and not form.startswith("torch.nn") else f"({x})"
    if ("signbit" in form or "sgn" in form or "copysign" in form or "nextafter" in form) and (
        not w.is_settled_expression(x)
    ):
        return None
    unit = f"(({x}).sigmoid() * 0.6 + 0.2)"
    if ("signbit" in form or "copysign" in form) and not bool((w.evaluate(x) != 0).all()):
        return None  # which sign a zero has is open
    positive = f"(({x}).abs() * 0.25 + 0.5)"
    if "igamma" in form and not w.is_bounded_expression(positive, 20.0):
        return None  # from there on, PyTorch's has nine digits
    text = form.format(x=small, u=unit, p=positive)
    return f"{w.fresh()} = {by_steps(text)}"


RANDOM = (
    "torch.rand(2, 3)", "torch.randn(3)", "torch.randint(-3, 5, (2, 2))", "torch.randperm(5)",
    "torch.rand_like({x})", "torch.randn_like({x})", "torch.bernoulli(torch.full((2, 3), 0.5))",
    "torch.normal(0.0, 1.0, (3,))", "torch.normal({x}.detach(), 0.5)",
    "torch.empty(3).uniform_(-1, 1)", "torch.empty(2, 2).normal_(1, 0.5)",
    "torch.zeros(2, 3).bernoulli_(0.3)", "torch.zeros(4, dtype=torch.int64).random_(0, 7)",
    "torch.nn.functional.dropout({x}, 0.4)", "torch.nn.functional.dropout({x}, training=False)",
    "torch.nn.functional.dropout1d({x}.unsqueeze(0), 0.5)",
    "torch.nn.functional.alpha_dropout({x}, 0.3)",
    "=torch.nn.functional.rrelu({x} + 0.01, training=True)",
    "torch.rand((2, 2), dtype=torch.float64)", "torch.randn((2, 3), dtype=torch.float64)",
    "torch.empty(4).exponential_(2.0)", "torch.multinomial(torch.tensor([1.0, 2.0, 3.0]), 2)",
    "torch.randint_like({x}, 5)", "torch.randn(2, dtype=torch.complex64)",
)


@family(4)
def random_numbers(w: Writer) -> str | None:
    name, x = w.material((2, 3), complex_too=False)
    if name is None:
        return None
    text = w.choice(RANDOM).format(x=f"({x})")
    return f"torch.manual_seed({w.random.randint(0, 99)})\n{w.fresh()} = {by_steps(text)}"
