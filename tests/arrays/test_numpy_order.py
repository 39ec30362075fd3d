"""Arrays without data lie in memory as NumPy's results do, whatever order their operands have."""

import random

import numpy as np
import pytest

from taper.arrays.shape import ShapeArray

I = np.array([1, 0, 1])
J = np.array([[0, 1], [1, 0], [1, 1]])


def array(shape, chance):
    """Zeros whose dimensions lie in any order, with gaps or repeated by a stride of 0."""
    ndim = len(shape)
    order = chance.sample(range(ndim), ndim)
    steps = [chance.choice([1, 1, 1, 2]) for _ in shape]
    wide = [n * s for n, s in zip(shape, steps, strict=True)]
    found = np.zeros([wide[d] for d in order]).transpose(np.argsort(order))
    found = found[tuple([slice(0, None, s) for s in steps])]
    for d in range(ndim):
        if chance.random() < 0.15:
            found = np.broadcast_to(found[(slice(None),) * d + (slice(0, 1),)], shape)
    return found


def lies(a):
    """The strides of dimensions that have more than one element."""
    if not a.size:
        return a.shape, a.dtype
    return a.shape, a.dtype, [s for n, s in zip(a.shape, a.strides, strict=True) if n > 1]


def integers(a):
    """Indices, without data where the array has none."""
    return a.astype(np.intp)


FUNCTIONS = {
    "exp": lambda a, b, c: np.exp(a),
    "add": lambda a, b, c: a + b,
    "add_row": lambda a, b, c: a + b[:1],
    "add_matrix": lambda a, b, c: a + b[0],
    "add_number": lambda a, b, c: a + 1,
    "modf": lambda a, b, c: np.modf(a)[1],
    "greater": lambda a, b, c: a > b,
    "where": lambda a, b, c: np.where(a > 0, b, c),
    "where_number": lambda a, b, c: np.where(a > 0, b, 0.0),
    "clip": lambda a, b, c: np.clip(a, -1, b),
    "conj": lambda a, b, c: a.astype(np.complex128).conj(),
    "sum_0": lambda a, b, c: np.add.reduce(a, 0),
    "sum_12": lambda a, b, c: np.add.reduce(a, (1, 2)),
    "max_keep": lambda a, b, c: np.maximum.reduce(a, -1, None, None, True),
    "mean": lambda a, b, c: np.mean(a, 1),
    "var": lambda a, b, c: np.var(a, 1),
    "any": lambda a, b, c: np.any(a, 0),
    "count_nonzero": lambda a, b, c: np.count_nonzero(a, 0),
    "argmax": lambda a, b, c: np.argmax(a, 1),
    "accumulate": lambda a, b, c: np.add.accumulate(a, 1),
    "cumprod": lambda a, b, c: np.cumprod(a, 0),
    "outer": lambda a, b, c: np.subtract.outer(a, b[0]),
    "matmul": lambda a, b, c: a @ b.swapaxes(-1, -2),
    "matmul_vector": lambda a, b, c: a @ b[(0,) * (b.ndim - 1)],
    "vecdot": lambda a, b, c: np.vecdot(a, b),
    "dot": lambda a, b, c: np.dot(a, b[0].swapaxes(-1, -2)),
    "einsum": lambda a, b, c: np.einsum(
        f"{'wxyz'[:a.ndim]},{'wxyz'[:a.ndim]}->{'wxyz'[:a.ndim][::-1]}", a, b),
    "zeros_like": lambda a, b, c: np.zeros_like(a),
    "zeros_like_shape": lambda a, b, c: np.zeros_like(a, shape=(*a.shape[:-1], 7)),
    "full_like_shape": lambda a, b, c: np.full_like(a, 2, shape=(4, *a.shape)),
    "empty_like_c": lambda a, b, c: np.empty_like(a, np.int8, "C"),
    "astype": lambda a, b, c: a.astype(np.int8),
    "copy": lambda a, b, c: a.copy(),
    "copy_k": lambda a, b, c: a.copy("K"),
    "np_copy": lambda a, b, c: np.copy(a),
    "concatenate": lambda a, b, c: np.concatenate([a, b, c], 1),
    "concatenate_0": lambda a, b, c: np.concatenate([a, b[:1]]),
    "stack": lambda a, b, c: np.stack([a, b], 1),
    "stack_last": lambda a, b, c: np.stack([a, b, c], -1),
    "take": lambda a, b, c: np.take(a, I, 1),
    "take_all": lambda a, b, c: np.take(a, I),
    "take_along_axis": lambda a, b, c: np.take_along_axis(a, integers(b), 1),
    "index_first": lambda a, b, c: a[I],
    "index_middle": lambda a, b, c: a[:, I],
    "index_matrix": lambda a, b, c: a[:, J],
    "index_slices": lambda a, b, c: a[1:, J, None, ::2],
    "index_pairs": lambda a, b, c: a[I, I],
    "index_apart": lambda a, b, c: a[I, None, :1, I],
    "index_number": lambda a, b, c: a[0, :, I],
    "index_array": lambda a, b, c: a[integers(b[0])],
    "index_mask": lambda a, b, c: a[..., np.array([True, False, True])],
    "sort": lambda a, b, c: np.sort(a, 0),
    "argsort": lambda a, b, c: np.argsort(a, 0),
    "roll": lambda a, b, c: np.roll(a, 1, 0),
    "tril": lambda a, b, c: np.tril(a),
    "nan_to_num": lambda a, b, c: np.nan_to_num(a),
    "round": lambda a, b, c: np.round(a, 1),
    "repeat": lambda a, b, c: np.repeat(a, 2, 1),
    "tile": lambda a, b, c: np.tile(a, (2, 1, 1)),
    "tile_1": lambda a, b, c: np.tile(a, (1, 1)),
    "pad": lambda a, b, c: np.pad(a, ((0, 1),) * a.ndim),
    "searchsorted": lambda a, b, c: np.searchsorted(a[0, 0], b) if a.ndim == 3 else a,
    "ravel": lambda a, b, c: a.ravel(),
    "reshape": lambda a, b, c: a.reshape(-1, 2),
    "transpose": lambda a, b, c: np.exp(a.T),
    "fft": lambda a, b, c: np.fft.fft(a, axis=0),
    "fftn": lambda a, b, c: np.fft.fftn(a),
    "rfft": lambda a, b, c: np.fft.rfft(a, 5, 1),
    "irfft": lambda a, b, c: np.fft.irfft(a, axis=1),
    "rfftn": lambda a, b, c: np.fft.rfftn(a, axes=(0, 1)),
    "irfftn": lambda a, b, c: np.fft.irfftn(a, axes=(0, 1)),
    "fftshift": lambda a, b, c: np.fft.fftshift(a),
    "svd": lambda a, b, c: np.linalg.svd(a, full_matrices=False)[0],
    "svd_values": lambda a, b, c: np.linalg.svd(a, compute_uv=False),
    "svd_right": lambda a, b, c: np.linalg.svd(a)[2],
    "qr_q": lambda a, b, c: np.linalg.qr(a)[0],
    "qr_r": lambda a, b, c: np.linalg.qr(a)[1],
    "qr_only_r": lambda a, b, c: np.linalg.qr(a, "r"),
    "qr_complete": lambda a, b, c: np.linalg.qr(a, "complete")[0],
}
SQUARE = {
    "inv": lambda a, b, c: np.linalg.inv(a),
    "cholesky": lambda a, b, c: np.linalg.cholesky(a),
    "matrix_power": lambda a, b, c: np.linalg.matrix_power(a, 3),
    "det": lambda a, b, c: np.linalg.det(a),
    "slogdet": lambda a, b, c: np.linalg.slogdet(a)[1],
    "solve": lambda a, b, c: np.linalg.solve(a, b),
    "eigh": lambda a, b, c: np.linalg.eigh(a)[1],
    "eigvalsh": lambda a, b, c: np.linalg.eigvalsh(a),
    "eig": lambda a, b, c: np.linalg.eig(a)[1].astype(np.complex128),
    "eigvals": lambda a, b, c: np.linalg.eigvals(a).astype(np.complex128),
}


@pytest.mark.parametrize("name", [*FUNCTIONS, *SQUARE])
def test_lies_as_numpy_lays_it(name):
    chance = random.Random(name)
    function = FUNCTIONS.get(name) or SQUARE[name]
    for _ in range(30):
        sizes = [2, 3, 3] if name in SQUARE else [chance.choice([1, 2, 2]) * 2, 2, 3]
        if chance.random() < 0.3:
            sizes.insert(0, 2)
        elif chance.random() < 0.3:
            sizes[0] = 1 if name in SQUARE else 2
        operands = [array(tuple(sizes), chance) for _ in "abc"]
        if name in SQUARE:
            operands[0] = _positive(operands[0])
        shapes = [ShapeArray(x.shape, x.dtype, x.strides) for x in operands]
        assert lies(function(*shapes)) == lies(function(*operands)), [lies(x) for x in operands]


def _positive(a):
    """The identity in each of the matrices, in the same places of memory where there are such."""
    if 0 in a.strides:
        a = np.zeros(a.shape)
    a[..., range(3), range(3)] = 1
    return a
