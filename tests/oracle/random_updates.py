"""Statements of random programs that scatter, fill and accumulate by an index; sparse tensors."""

from __future__ import annotations

from program_writer import Writer, by_steps, family, is_readable, is_small

# {x} is (3, 2), {y} (2, 2), {i} two different rows, {m} is a mask of {x}, {p} positions like {y}.
UPDATES = (
    "{x}.index_add(0, {i}, {y})", "{x}.index_add(0, {i}, {y}, alpha=2)",
    "{x}.index_copy(0, {i}, {y})", "{x}.index_fill(0, {i}, 0.5)",
    "{x}.scatter(0, {p}, {y})", "{x}.scatter(0, {p}, 1.5)", "{x}.scatter_add(0, {p}, {y})",
    "{x}.scatter(0, {p}, {y}, reduce='add')", "{x}.scatter_reduce(0, {p}, {y}, 'sum')",
    "{x}.scatter_reduce(0, {p}, {y}, 'mean')",
    "{x}.scatter_reduce(0, {p}, {y}, 'prod', include_self=False)",
    "{x}.scatter_reduce(0, {p}, {y}, 'amax')",
    "{x}.scatter_reduce(0, {p}, {y}, 'amin', include_self=False)",
    "{x}.index_reduce(0, {i}, {y}, 'mean')", "{x}.index_reduce(0, {i}, {y}, 'amax')",
    "{x}.index_reduce(0, {i}, {y}, 'prod')",
    "{x}.index_put(({i},), {y})", "{x}.index_put(({i},), {y}, accumulate=True)",
    "{x}.index_put((torch.tensor([0, 0]), torch.tensor([1, 1])), {y}[0], accumulate=True)",
    "{x}.masked_fill({m}, 0.5)", "{x}.masked_scatter({m}, {x})", "{x}.masked_select({m})",
    "{x}.gather(0, {p})", "{x}.take(torch.tensor([0, 5, 2]))",
    "torch.take_along_dim({x}, {p}, 0)", "{x}.put(torch.tensor([0, 4]), {y}[0])",
    "{x}.put(torch.tensor([1, 1]), {y}[0], accumulate=True)", "{x}[{m}]", "{x}[{i}, 1]",
    "{x}[:, [1, 0]]", "{x}.select_scatter({y}[0], 0, 1)",
    "{x}.slice_scatter({y}, 0, 1)", "{x}.diagonal_scatter({y}[0])",
    "torch.where({m}, {x}, {y}[:1])", "torch.where({m}, {x}, 0.5)", "{x}.index_select(0, {i})",
    "torch.diag_embed({x})", "{x}.fill_diagonal_(2)", "{x}.unfold(0, 2, 1)",
    "{x}.tensor_split(2)[1]", "torch.hsplit({x}, 2)[0]", "torch.atleast_3d({x})",
    "torch.narrow_copy({x}, 0, 1, 2)", "torch.swapdims({x}, 0, 1)", "torch.ravel({x})",
    "torch.broadcast_to({x}, (2, 3, 2))", "torch.tile({x}, (2, 1))", "torch.movedim({x}, 0, 1)",
    "torch.unflatten({x}, 0, (3, 1))", "torch.nonzero_static({m}, size=3)",
)


@family(8)
def update(w: Writer) -> str | None:
    form = w.choice(UPDATES)
    name, x = w.material((3, 2))
    if name is None:
        return None
    if ("am" in form or "prod" in form) and (
        w.value(name).is_complex() or not w.are_apart_expression(x)
    ):
        return None
    y = w.material((2, 2), like=name)[1]
    if "am" in form:
        y = f"({y} + 0.03125)"
    rows = w.random.sample(range(3), 2)
    mask = [[w.chance(0.5) for _ in range(2)] for _ in range(3)]
    places = [[w.random.randint(0, 2) for _ in range(2)] for _ in range(2)]
    if "scatter(" in form and "reduce" not in form:  # which of two values stays is open
        places[1] = [(place + 1) % 3 for place in places[0]]
    text = form.format(
        x=f"({x} + 0)", y=f"({y})", i=f"torch.tensor({rows})", m=f"torch.tensor({mask})",
        p=f"torch.tensor({places})",
    )
    return f"{w.fresh()} = {by_steps(text)}"


IN_PLACE = (
    "{t}.index_add_(0, torch.tensor([0]), {t}[:1].detach() * 0.5)",
    "{t}.index_fill_(0, torch.tensor([-1]), 1.5)",
    "{t}.index_put_((torch.tensor([0, 0]),), torch.ones_like({t}[0]), accumulate=True)",
    "{t}.scatter_add_(0, torch.zeros_like({t}[:1], dtype=torch.int64), {t}[:1].detach() + 1)",
    "{t}.masked_fill_(torch.ones_like({t}[:1], dtype=torch.bool), 0.5)",
    "{t}.clamp_(-1.26, 1.51)", "{t}.tril_()", "{t}.fill_diagonal_(1)", "{t}.cumsum_(0)",
    "{t}.addcmul_({t}.detach(), {t}.detach())", "{t}.hardtanh_()", "{t}.sinh_()", "{t}.sqrt_()",
    "{t}.floor_divide_(2)", "{t}.remainder_(1.5)", "{t}.rsqrt_()",
    "{t}.swapaxes_(0, -1)", "{t}.erf_()",
    "{t}.lerp_({t}.detach() + 1, 0.5)", "{t}.copysign_(-1)", "{t}.hypot_({t}.detach() + 3)",
    "{t}.clamp_max_(0.76)", "{t}.atan2_({t}.detach().abs() + 1)", "{t}.exp2_()", "{t}.frac_()",
    "torch.nn.functional.relu_({t})", "torch.nn.functional.elu_({t})",
    "torch.nn.functional.leaky_relu_({t}, 0.2)",
    "torch.nn.functional.dropout({t}, 0.0, inplace=True)",
)


@family(4)
def change_in_place(w: Writer) -> str | None:
    """On a copy, which has a history of its own."""
    name = w.pick(
        lambda t: t.is_floating_point() and t.dim() > 0 and is_readable(t) and is_small(t)
    )
    if name is None or not w.value(name).numel() or not w.is_settled(w.value(name), period=0.25):
        return None
    target = w.fresh()
    changed = w.choice(IN_PLACE).format(t=target)
    # In place, PyTorch gives elu and its like nodes of another name.
    return f"{target} = {name}.clone()\n{changed}\n{target} = ({target} + 0) * 1"


# {s} is a sparse (2, 3), {y} a dense (3, 2), {x} a dense (2, 3).
SPARSE = (
    "{s}.to_dense()", "torch.sparse.mm({s}, {y})", "{s} @ {y}", "torch.mm({s}, {y})",
    "torch.sparse.addmm({y}[:2], {s}, {y})", "torch.sparse.sum({s})",
    "torch.sparse.sum({s}, 1).to_dense()", "({s} * 2).to_dense()", "({s} + {s}).to_dense()",
    "{s}.t().to_dense()", "={s}.coalesce().values()", "={s}.coalesce().indices()",
    "torch.sparse.softmax({s}, 1).to_dense()", "{s}.transpose(0, 1).to_dense()",
    "{x}.to_sparse().to_dense()", "={x}.detach().to_sparse().values()",
    "={x}.detach().to_sparse_csr().crow_indices()", "={x}.detach().to_sparse_csr().col_indices()",
    "{x}.detach().to_sparse_csr() @ {y}", "{x}.detach().to_sparse_csr().to_dense()",
    "{s}.sum()", "{s}.neg().to_dense()", "({s} * {s}).to_dense()",
    "torch.sparse_csr_tensor(torch.tensor([0, 2, 3]), torch.tensor([0, 2, 1]), {v}, (2, 3))"
    ".to_dense()",
    "torch.sparse_coo_tensor(torch.tensor([[0, 1, 1], [2, 0, 2]]), {v}).to_dense()",
)


@family(4)
def sparse(w: Writer) -> str | None:
    name, x = w.material((2, 3), complex_too=False)
    if name is None or w.value(name).dtype.itemsize < 4:
        return None
    if not w.is_settled_expression(x):
        return None  # which elements are zero would be a matter of rounding
    x = f"({x} + 0)"
    y = f"({w.material((3, 2), like=name)[1]} + 0)"
    values = f"({w.material((3,), like=name)[1]} + 0)"
    columns = [w.random.randint(0, 2) for _ in range(3)]
    made = f"torch.sparse_coo_tensor(torch.tensor([[0, 1, 1], {columns}]), {values}, (2, 3))"
    text = w.choice(SPARSE).format(s=made, x=f"({x})", y=f"({y})", v=f"({values})")
    return f"{w.fresh()} = {by_steps(text)}"
