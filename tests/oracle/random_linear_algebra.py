"""Statements of random programs: matrices, products by formula, norms, Fourier transforms."""

from __future__ import annotations

from program_writer import Writer, by_steps, family

# What is called with well-conditioned matrices {a}, symmetric ones {s} and columns {b}. Vectors
# are squared: their signs, or phases, are free. Results lie in columns in PyTorch, here in rows.
SQUARE = (
    "torch.linalg.inv({a})",
    "torch.linalg.inv({s})",
    "{a}.inverse()",
    "torch.linalg.inv_ex({a}).inverse",
    "torch.linalg.det({a})",
    "{a}.det()",
    "torch.linalg.slogdet({a}).logabsdet",
    "torch.linalg.slogdet({a})[0]",
    "torch.logdet({s})",
    "torch.linalg.solve({a}, {b})",
    "torch.linalg.solve_ex({a}, {b}).result",
    "torch.linalg.solve_triangular({a}, {b}, upper=False)",
    "torch.linalg.solve_triangular({a}, {b}, upper=True, unitriangular=True)",
    "torch.linalg.cholesky({s})",
    "torch.linalg.cholesky({s}, upper=True)",
    "torch.linalg.cholesky_ex({s}).L",
    "torch.cholesky_solve({b}, torch.linalg.cholesky({s}))",
    "torch.cholesky_inverse(torch.linalg.cholesky({s}))",
    "torch.linalg.eigvalsh({s})",
    "torch.linalg.eigh({s}).eigenvalues",
    "torch.linalg.eigh({s}, UPLO='U').eigenvectors.abs() ** 2",
    "torch.linalg.svdvals({a})",
    "torch.linalg.svd({a}).S",
    "torch.linalg.svd({a}, full_matrices=False).Vh.abs() ** 2",
    "torch.linalg.qr({a}).R.abs()",
    "torch.linalg.qr({a}, mode='r').R.abs()",
    "torch.linalg.lu_factor({a}).LU",
    "torch.linalg.lu_factor({a}).pivots",
    "~torch.linalg.lu({a}).U",
    "torch.linalg.lu_solve(*torch.linalg.lu_factor({a}), {b})",
    "torch.linalg.pinv({a})",
    "torch.linalg.pinv({s}, hermitian=True)",
    "torch.linalg.matrix_rank({a})",
    "torch.linalg.matrix_exp({a} * 0.25)",
    "~torch.linalg.matrix_power({a}, 2)",
    "~torch.linalg.matrix_power({a}, -1)",
    "~torch.linalg.cond({a})",
    "~torch.linalg.cond({a}, 'fro')",
    "torch.linalg.lstsq({a}, {b}).solution",
    "torch.linalg.matrix_norm({a})",
    "torch.linalg.matrix_norm({a}, 'nuc')",
    "torch.linalg.matrix_norm({a}, 2)",
    "torch.linalg.matrix_norm({a}, 1)",
    "torch.linalg.diagonal({a})",
    "torch.linalg.ldl_factor({s}).LD",
    "torch.trace({a}.reshape(-1, {n})[:{n}])",
)


@family(8)
def matrix_function(w: Writer) -> str | None:
    n = w.choice([1, 2, 2, 3])
    batch = w.choice([(), (), (2,), (1, 2)])
    name, text = w.material((*batch, n, n))
    if name is None:
        return None
    column = w.material((*batch, n, w.choice([1, 2])), like=name)[1]
    # Diagonally dominant, with a diagonal that keeps eigenvalues apart.
    spread = f"torch.diag(torch.arange({n}) * 1.5 + 4)"
    if w.value(name).dtype == w.torch.float64:
        spread = f"{spread}.double()"
    square = f"(({text}).sin() + {spread})" if not w.value(name).is_complex() else (
        f"(({text}) * 0.02 + {spread})"
    )
    symmetric = f"({square} + {square}.mH)"
    form = w.choice(SQUARE).format(a=square, s=symmetric, b=column, n=n)
    if "matrix_exp" in form and w.value(name).dtype in (w.torch.float64, w.torch.complex128):
        return None  # PyTorch's gradient has errors of 5e-13
    return f"{w.fresh()} = {by_steps(form if form.startswith('~') else '=' + form)}"


PRODUCTS = (
    ("~torch.einsum('ij,jk->ik', {x}, {y})", (2, 3), (3, 2)),
    ("~torch.einsum('ij,ij->j', {x}, {y})", (2, 3), (2, 3)),
    ("~torch.einsum('bij,bjk->bik', {x}, {y})", (2, 2, 3), (2, 3, 2)),
    ("~torch.einsum('bij,kj->bki', {x}, {y})", (2, 2, 3), (2, 3)),
    ("~torch.einsum('...i,i', {x}, {y})", (2, 2, 3), (3,)),
    ("~torch.einsum('ii', {x})", (3, 3), ()),
    ("~torch.einsum('ijk->kji', {x})", (2, 2, 3), ()),
    ("~torch.einsum('i,j->ij', {x}, {y})", (3,), (2,)),
    ("~torch.tensordot({x}, {y}, 1)", (2, 3), (3, 2)),
    ("~torch.tensordot({x}, {y}, ([0, 1], [0, 1]))", (2, 3), (2, 3)),
    ("torch.bmm({x}, {y})", (2, 2, 3), (2, 3, 2)),
    ("torch.baddbmm({x}[:, :, :2], {x}, {y}, beta=0.5, alpha=2)", (2, 2, 3), (2, 3, 2)),
    ("torch.addbmm({x}[0, :, :2], {x}, {y})", (2, 2, 3), (2, 3, 2)),
    ("torch.addmv({x}[:, 0], {x}, {y})", (2, 3), (3,)),
    ("=torch.addr({x}, {x}[:, 0], {y})", (2, 3), (3,)),
    ("torch.addmm({x}[:, :2], {x}, {y}, beta=2)", (2, 3), (3, 2)),
    ("torch.mv({x}, {y})", (2, 3), (3,)),
    ("~torch.inner({x}, {y})", (2, 3), (2, 3)),
    # PyTorch's kron takes no transposed operands ("view size is not compatible").
    ("~torch.kron({x}.contiguous(), {y}.contiguous())", (2, 2), (1, 3)),
    ("torch.cross({x}.sin() + 2, {y}.cos() - 2, dim=1)", (2, 3), (2, 3)),
    ("torch.linalg.multi_dot([{x}, {y}, {x}])", (2, 3), (3, 2)),
    ("torch.chain_matmul({x}, {y})", (2, 3), (3, 2)),
    ("torch.linalg.vecdot({x}, {y})", (2, 3), (2, 3)),
    ("torch.vdot({x}, {y})", (3,), (3,)),
    ("torch.cartesian_prod({x}, {y})", (2,), (3,)),
    ("~torch.vander({x}, 3)", (3,), ()),
    ("torch.block_diag({x}, {y})", (2, 2), (1, 2)),
    ("~torch.nn.functional.bilinear({x}, {x}, {y})", (2, 2), (1, 2, 2)),
    ("~torch.cov({x})", (2, 3), ()),
    ("~{x} @ {y}", (2, 3), (3,)),
    ("~{x} @ {y}", (3,), (3, 2)),
    ("~{x} @ {y}", (2, 2, 3), (3, 2)),
    ("~{x} @ {y}", (2, 3), (2, 3, 2)),
    ("~{x} @ {y}", (2, 1, 2, 2), (2, 2, 3)),
    ("~{x}.matmul({y})", (2, 2, 3), (2, 3, 1)),
)


@family(8)
def product_by_formula(w: Writer) -> str | None:
    form, left, right = w.choice(PRODUCTS)
    name, x = w.material(left)
    if name is None:
        return None
    y = w.material(right, like=name)[1]
    if form.startswith("~"):
        x, y = f"({x} + 0)", f"({y} + 0)"
    return f"{w.fresh()} = {by_steps(form.format(x=x, y=y))}"


NORMS = (
    "torch.linalg.vector_norm({x})",
    "torch.linalg.vector_norm({x}, 1, dim=1)",
    "torch.linalg.vector_norm({x}, 3, dim=0, keepdim=True)",
    "torch.linalg.vector_norm({x}, float('inf'))",
    "torch.linalg.norm({x})",
    "torch.linalg.norm({x}, 1, dim=1)",
    "torch.norm({x}, 2, 1)",
    "{x}.norm(1)",
    "{x}.norm(p=3, dim=0)",
    "torch.renorm({x}, 2, 0, 1.5)",
    "torch.dist({x}, {y})",
    "torch.dist({x}, {y}, 1)",
    "torch.cdist({x}, {y})",
    "torch.cdist({x}, {y}, 1)",
    "torch.nn.functional.pdist({x}).add(0) * 1",
    "torch.nn.functional.normalize({x})",
    "torch.nn.functional.normalize({x}, p=1, dim=0)",
    "torch.nn.functional.cosine_similarity({x}, {y})",
    "torch.nn.functional.pairwise_distance({x}, {y}).add(0) * 1",
)


@family(4)
def norm(w: Writer) -> str | None:
    name, x = w.material((2, 3))
    if name is None:
        return None
    y = w.material((2, 3), like=name)[1]
    if not (w.is_settled_expression(x) and w.is_settled_expression(y)):
        return None
    # Away from zero, where norms have a corner, and from each other.
    x, y = f"(({x}).abs() + 0.5)", f"(({y}).abs() + torch.arange(3) * 0.25 + 1).neg()"
    form = w.choice(NORMS).format(x=x, y=y)
    if "renorm" in form and w.value(name).dtype.itemsize == 2:
        return None  # the gradient is a small difference of large numbers
    if "inf" in form and not w.are_apart_expression(x):
        return None
    return f"{w.fresh()} = {form}"


TRANSFORMS = (
    "torch.fft.fft({x})",
    "torch.fft.fft({x}, n=4)",
    "torch.fft.fft({x}, n=2, norm='ortho')",
    "~torch.fft.ifft({x}, dim=0)",
    "~torch.fft.fft2({x})",
    "torch.fft.ifft2({x}, norm='forward')",
    "~torch.fft.fftn({x}, s=(2, 4))",
    "torch.fft.rfft({r})",
    "torch.fft.rfft({r}, n=4, norm='ortho')",
    "torch.fft.rfft2({r})",
    "torch.fft.irfft({x}, n=5)",
    "torch.fft.irfft2({x})",
    "torch.fft.irfftn({x}, s=(2, 3))",
    "torch.fft.hfft({x}, n=4)",
    "torch.fft.ihfft({r})",
    "torch.fft.fftshift({x})",
    "torch.fft.ifftshift({x}, dim=1)",
    "~torch.stft({r}.flatten(), 4, hop_length=2, window=torch.ones(4, dtype={r}.dtype), "
    "return_complex=True)",
)


@family(4)
def transform(w: Writer) -> str | None:
    name, x = w.material((w.choice([2, 3]), w.choice([3, 4])))
    if name is None:
        return None
    x = f"{x} + 0"
    real = f"({x}).real" if w.value(name).is_complex() else f"({x})"
    form = w.choice(TRANSFORMS).format(x=f"({x})", r=real)
    return f"{w.fresh()} = {by_steps(form if form.startswith('~') else '=' + form)}"
