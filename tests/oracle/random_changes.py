"""Statements of random programs that change tensors, modes and gradients, and control flow."""

from __future__ import annotations

import re

from program_writer import (
    Writer,
    family,
    fits_into,
    is_changeable,
    is_leaf,
    is_readable,
    laid_out,
    may_take,
    shares_memory,
)
from random_values import arithmetic, smooth_function
from random_views import assignment, view, view_of

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
    other = w.pick(lambda other: fits_into(other.shape, shape) and may_take(tensor, other)) or name
    number = w.scalar()
    shared = [n for n, t in w.tensors().items() if n != name and shares_memory(t, tensor)]
    options = [
        f"{name} += {other}",
        f"{name} *= {other}",
        f"{name} -= {number}",
        f"{name} *= {number}",
        f"{name}.add_({other})",
        f"{name}.add_({other}, alpha={0.5 if tensor.is_floating_point() else 2})",
        f"{name}.mul_({number})",
        f"{name}.sub_({other})",
        f"{name}.div_(2)",
        f"{name} /= 2",
        f"{name}.fill_({number})" if 0 not in tensor.stride() else f"{name}.neg_()",
        f"{name}.zero_()" if 0 not in tensor.stride() else f"{name}.cos_()",
        f"{name}.copy_({other})" if other != name else f"{name}.cos_()",
        f"{name}.neg_()",
        f"{name}.sin_()",
        f"{name}.tanh_()",
        f"{name}.relu_()",
        f"{name}.clamp_(min=-1.26)" if tensor.is_floating_point() else f"{name}.neg_()",
        f"{name}.addcmul_({other}, {other}, value=0.5)",
        f"{name}.masked_fill_(torch.zeros_like({name}, dtype=torch.bool), 2)"
        if 0 not in tensor.stride()
        else f"{name}.neg_()",
        f"{name}.square_()",
        f"{name}.sigmoid_()",
        f"{name}.lerp_({other}, 0.5)" if tensor.is_floating_point() else f"{name}.neg_()",
        f"{name}.pow_(2)",
    ]
    if (
        w.chance(0.25)
        and tensor.numel()
        and not shared
        and not (tensor.requires_grad and tensor.retains_grad)
    ):
        options = [
            f"{name}.unsqueeze_({w.dim(tensor, extra=1)})",
            f"{name}.squeeze_()",
            f"{name}.transpose_(0, -1)",
            f"{name}.requires_grad_()",
            f"{name}.t_()",
            f"{name}.asinh_()" if tensor.dtype == w.torch.bool else f"{name}.cumsum_(-1)",
            # What PyTorch lets write into expanded memory, taper refuses.
            f"{name}.index_fill_(0, torch.tensor([0]), 1)"
            if 0 not in tensor.stride()
            else f"{name}.neg_()",
            f"{name}.tril_()" if 0 not in tensor.stride() else f"{name}.neg_()",
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
    # Whether a change in place passes the hooks of the changed view is open.
    name = w.pick(lambda tensor: tensor.requires_grad and not tensor._is_view())
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
    readable = is_readable(w.value(name))
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
            "bool({t}.is_leaf)",
            "{t}.item()",
            "{t}.nbytes",
            "{t}.type()",
            "{t}._is_view()",
            # PyTorch tells it of views that may no longer be used, too.
            "{t}.output_nr" if readable else "{t}.dim()",
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
    if any("lgamma" in statement for statement in w.statements):
        create = "retain_graph=True"  # PyTorch's second derivative has errors of 5e-10
    # How a gradient is laid out in memory, expanded say, and how its graph looks, is open.
    gradient = f"torch.autograd.grad({output}.sum(), [{leaf}], {create})"
    if not w.is_exact():  # what the gradient of several steps still depends on is open as well
        return f"{w.fresh()} = {gradient}[0].detach().contiguous() * 1"
    return f"{w.fresh()} = {gradient}[0].contiguous() * 1 + 0"


@family(2)
def backward_in_between(w: Writer) -> str | None:
    output = w.pick(
        lambda tensor: tensor.requires_grad and not is_leaf(tensor) and not tensor.is_complex()
    )
    if output is None:
        return None
    return (
        f"{output}.{w.choice(['sum()', 'sum()', 'mean()'])}.backward(retain_graph=True)"
        if w.chance(0.9) or not w.is_exact()  # what several steps keep, and so give up, is open
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
