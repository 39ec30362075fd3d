"""Statements of random programs that make views, index, gather and join."""

from __future__ import annotations

from typing import Any

from program_writer import CONTIGUOUS, Writer, family, fits_into, may_take, shares_memory

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
    # Beyond the part that a view shows, PyTorch's gradients of as_strided depend on whether it was
    # changed in place.
    is_whole = tensor.is_contiguous() and tensor.storage_offset() == 0
    if w.chance(0.1) and tensor.numel() >= 3 and is_whole:
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
    with_dots = w.chance(0.2)
    if with_none or with_dots:
        wrong = 0.0  # which dimension an error names is open then
    budget = w.random.randint(0, tensor.dim())
    lengths: list[int] = [w.choice([1, 2, 3])]
    for position in range(budget):
        size = tensor.shape[position]
        items.append(index_item(w, size, advanced, lengths, wrong / budget))
    if with_none:
        items.insert(w.random.randint(0, len(items)), "None")
    if with_dots:
        # What follows an ellipsis counts from the end: it fits if all dimensions are named.
        at = w.random.randint(0, len(items))
        if at == len(items) or budget == tensor.dim():
            items.insert(at, "...")
    return ", ".join(items) or w.choice(
        ["...", "None", "()", ":"] if tensor.dim() else ["...", "None", "()"]
    )


def index_item(w: Writer, size: int, advanced: bool, lengths: list[int], wrong: float) -> str:
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
    tensor = w.value(name)
    # How picked elements of what is not contiguous are laid out is open.
    return f"{w.fresh()} = {name}[{index(w, tensor, advanced=tensor.is_contiguous())}]"


@family(8)
def assignment(w: Writer) -> str | None:
    name = w.pick_changeable()
    if name is None:
        return None
    tensor = w.value(name)
    # PyTorch lets an index of tensors write into expanded memory.
    # PyTorch writes a part before it finds an index that is out of range: none of those here.
    advanced = w.chance(0.6) and 0 not in tensor.stride()
    where = index(w, tensor, advanced, wrong=0.0)
    sign = w.choice(["=", "=", "=", "+=", "*="])
    if w.chance(0.5):
        value = w.scalar()
    else:
        try:
            shape = eval(f"detached[{where}]", {"detached": tensor.detach(), **w.variables}).shape
        except (RuntimeError, IndexError, TypeError):
            shape = ()
        value = (
            w.pick(lambda other: fits_into(other.shape, shape) and may_take(tensor, other)) or "1.5"
        )
        other = w.variables.get(value)
        if other is not None and advanced and other.dtype != tensor.dtype:
            return None  # cast before or after it is shaped, or by way of masked_fill_
        if other is not None and other.requires_grad and not tensor.requires_grad:
            sign = "="  # PyTorch refuses the second half of += for some views
    return f"{name}[{where}] {sign} {value}"


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
        f"({name} + 0).take(torch.tensor({flat}))",
        f"torch.take_along_dim({name} + 0, torch.tensor({places}).reshape({tuple(shape)}), {dim})",
        f"torch.repeat_interleave({name}, 2, {dim})",
        f"{name}.repeat({', '.join(['2'] * tensor.dim())})",
        f"{name}.tril()" if tensor.dim() >= 2 else f"{name}.tile(2)",
        f"{name}.triu(1)" if tensor.dim() >= 2 else f"torch.diag({name})",
        f"torch.diag_embed({name})",
        f"torch.nn.functional.pad({name}, (1, 0))",
        f"{name}.trace()" if tensor.dim() == 2 else f"{name}.diff()",
        f"torch.rot90({name}){CONTIGUOUS}" if tensor.dim() >= 2 else f"torch.diff({name})",
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
    dim = w.dim(tensor) if tensor.numel() else 0
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
