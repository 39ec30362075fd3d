"""Batched arrays: each NumPy call gives what it gives for every sample, at one level or two."""

import numpy as np
import pytest

from taper.arrays.batched_rules import BatchedArray
from taper.arrays.levels import Level, batched_like, is_batched

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((3, 2, 3, 4, 5))  # two levels of samples, (4, 5) at the end after (3,)
AT = RANDOM.integers(0, 3, (3, 2, 3, 4))
MASK = X > 0

# Functions of floats x (3, 4, 5) and y (4, 5), positions i (3, 4) in 0 … 2, and a mask m like x.
CALLS = {
    "add": lambda x, y, i, m: x + y,
    "number": lambda x, y, i, m: 2 - x,
    "compare": lambda x, y, i, m: x > y,
    "several results": lambda x, y, i, m: np.modf(x),
    "out": lambda x, y, i, m: np.multiply(x, y, out=x.copy()),
    "ufunc where": lambda x, y, i, m: np.sqrt(np.abs(x), where=m, out=x.copy()),
    "reduce": lambda x, y, i, m: np.add.reduce(x, 1),
    "reduce all": lambda x, y, i, m: np.maximum.reduce(x, None),
    "reduce several": lambda x, y, i, m: np.add.reduce(x, (0, -1), None, None, True),
    "reduce where": lambda x, y, i, m: np.maximum.reduce(x, -1, initial=-9, where=m),
    "accumulate": lambda x, y, i, m: np.multiply.accumulate(x, -2),
    "reduceat": lambda x, y, i, m: np.add.reduceat(x, [0, 2], 1),
    "outer": lambda x, y, i, m: np.subtract.outer(x[0, 0], y),
    "at": lambda x, y, i, m: changed(x, lambda z: np.add.at(z, (i, 1), y[0])),
    "at slices": lambda x, y, i, m: changed(x, lambda z: np.add.at(z, i, 1.0)),
    "where": lambda x, y, i, m: np.where(m, x, y),
    "isin": lambda x, y, i, m: np.isin(i, i[0]),
    "isclose": lambda x, y, i, m: np.isclose(x, y),
    "round": lambda x, y, i, m: np.round(x, 1),
    "clip": lambda x, y, i, m: np.clip(x, -0.5, y),
    "copyto": lambda x, y, i, m: changed(x, lambda z: np.copyto(z, y, where=m)),
    "putmask": lambda x, y, i, m: changed(x, lambda z: np.putmask(z, m, 7)),
    "sum": lambda x, y, i, m: np.sum(x, (0, 2)),
    "mean": lambda x, y, i, m: x.mean(-1, keepdims=True),
    "std": lambda x, y, i, m: x.std(),
    "any": lambda x, y, i, m: m.any(0),
    "argmax": lambda x, y, i, m: x.argmax(),
    "argmin": lambda x, y, i, m: np.argmin(x, -1),
    "argmax kept": lambda x, y, i, m: np.argmax(x, keepdims=True),
    "cumsum": lambda x, y, i, m: np.cumsum(x, 1),
    "cumsum flat": lambda x, y, i, m: np.cumsum(x),
    "count": lambda x, y, i, m: np.count_nonzero(m, axis=1),
    "sort": lambda x, y, i, m: np.sort(x, 0),
    "sort in place": lambda x, y, i, m: changed(x, lambda z: z.sort(1)),
    "argsort": lambda x, y, i, m: x.argsort(),
    "partition": lambda x, y, i, m: np.sort(np.partition(x, 2, 1)[:, :3], 1),
    "diff": lambda x, y, i, m: np.diff(x, axis=1),
    "flip": lambda x, y, i, m: np.flip(x, (0, -1)),
    "roll": lambda x, y, i, m: np.roll(x, (1, 2), (0, 2)),
    "roll flat": lambda x, y, i, m: np.roll(x, 2),
    "rot90": lambda x, y, i, m: np.rot90(x, 1, (-1, 0)),
    "repeat": lambda x, y, i, m: np.repeat(x, [1, 0, 2], 0),
    "take": lambda x, y, i, m: x.take([2, 0], 1),
    "take each its own": lambda x, y, i, m: np.take(x, i, 0),
    "take_along_axis": lambda x, y, i, m: np.take_along_axis(x, i[:, :, None], 0),
    "put_along_axis": lambda x, y, i, m: changed(
        x, lambda z: np.put_along_axis(z, i[:1, :, None], 3.0, 0)),
    "searchsorted": lambda x, y, i, m: np.sort(y[0]).searchsorted(x),
    "reshape": lambda x, y, i, m: x.reshape(-1, 10),
    "ravel": lambda x, y, i, m: x.ravel(),
    "transpose": lambda x, y, i, m: x.transpose(2, 0, 1),
    "transpose all": lambda x, y, i, m: x.T,
    "swapaxes": lambda x, y, i, m: np.swapaxes(x, 0, -1),
    "moveaxis": lambda x, y, i, m: np.moveaxis(x, (0, 1), (-1, 0)),
    "expand_dims": lambda x, y, i, m: np.expand_dims(x, (0, -1)),
    "squeeze": lambda x, y, i, m: x[:1].squeeze(),
    "diagonal": lambda x, y, i, m: x.diagonal(1, 0, 2),
    "broadcast_to": lambda x, y, i, m: np.broadcast_to(y, (2, 4, 5)),
    "broadcast_arrays": lambda x, y, i, m: np.broadcast_arrays(x, y),
    "concatenate": lambda x, y, i, m: np.concatenate([x, y[None]], 0),
    "stack": lambda x, y, i, m: np.stack([y, x[0], y], -1),
    "tile": lambda x, y, i, m: np.tile(y, (2, 1, 3)),
    "pad": lambda x, y, i, m: np.pad(y, ((1, 0), (0, 2)), constant_values=3),
    "tril": lambda x, y, i, m: np.tril(x, -1),
    "full_like": lambda x, y, i, m: np.full_like(x, y),
    "zeros_like": lambda x, y, i, m: np.zeros_like(x, shape=(2,)),
    "astype": lambda x, y, i, m: x.astype(np.float32),
    "view": lambda x, y, i, m: x.view(np.int64),
    "matmul": lambda x, y, i, m: x @ y.T,
    "matmul of vectors": lambda x, y, i, m: x[0, 0] @ y[1],
    "matmul by a vector": lambda x, y, i, m: x @ y[0],
    "vector by matrices": lambda x, y, i, m: y[:, 0] @ x,
    "matmul of complex": lambda x, y, i, m: (x[0, 0] * 1j) @ (y[1] * 1j),
    "outer by matmul": lambda x, y, i, m: x[0, :, :1] @ y[:1],
    "outer by product": lambda x, y, i, m: x[0, :, :1] * y[:1],
    "dot": lambda x, y, i, m: x[0].dot(y.T),
    "vecdot": lambda x, y, i, m: np.vecdot(x, y),
    "einsum": lambda x, y, i, m: np.einsum("abc,bc->ca", x, y),
    "inv": lambda x, y, i, m: np.linalg.inv(x[:, :, :4]),
    "solve": lambda x, y, i, m: np.linalg.solve(x[0, :, :4], y),
    "solve for a vector": lambda x, y, i, m: np.linalg.solve(x[:, :, :4], y[:, 0]),
    "svd": lambda x, y, i, m: np.linalg.svd(x)[1],
    "fft": lambda x, y, i, m: np.fft.rfft(x, 4, 0),
    "fftn": lambda x, y, i, m: np.fft.fftn(x, axes=(0, 1)),
    "without a rule": lambda x, y, i, m: np.kron(y, x[0]),
    "int": lambda x, y, i, m: x[1],
    "slices": lambda x, y, i, m: x[::-1, None, 1:3, ..., 0],
    "ellipsis": lambda x, y, i, m: x[..., 1:],
    "positions": lambda x, y, i, m: x[i],
    "positions of a table": lambda x, y, i, m: y[i],
    "positions behind a slice": lambda x, y, i, m: x[:, i],
    "positions apart": lambda x, y, i, m: x[i, :, i],
    "shared positions": lambda x, y, i, m: x[:, [0, 2]],
    "shared positions apart": lambda x, y, i, m: x[[0, 2], :, [1, 1]],
    "positions and an int": lambda x, y, i, m: x[:, 1, i],
    "shared mask": lambda x, y, i, m: x[:, np.array([True, False, True, False])],
    "set": lambda x, y, i, m: changed(x, lambda z: z.__setitem__((0, slice(1, 3)), y[:2])),
    "set positions": lambda x, y, i, m: changed(x, lambda z: z.__setitem__((i, 2), 5.0)),
    "set positions apart": lambda x, y, i, m: changed(
        x, lambda z: z.__setitem__((i[0], slice(None), i[0]), 2.0)),
    "set behind a slice": lambda x, y, i, m: changed(
        x, lambda z: z.__setitem__((slice(None), i[:, 0]), y[:3])),
    "set where": lambda x, y, i, m: changed(x, lambda z: z.__setitem__(m, 0)),
    "set where to one of each": lambda x, y, i, m: changed(
        x, lambda z: z.__setitem__(m, y[0, 0])),
    "real": lambda x, y, i, m: (x + 1j * x).imag,
    "in place": lambda x, y, i, m: in_place(x.copy(), y),
}


def changed(x, change):
    z = x.copy()
    change(z)
    return z


def in_place(z, y):
    z += y
    z[1] *= 2
    return z


def as_tuple(result):
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def inner_of(result, level):
    """The array of all samples of a level."""
    return result.inner if is_batched(result) and result.level is level else np.broadcast_to(
        result, (level.size, *np.shape(result)))


ARGUMENTS = (X, X[:, :, 0], AT, MASK)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("shared", [(), (1,), (0,), (2, 3)])
def test_one_level(name, shared):
    """All arguments batched, or some the same for all samples."""
    level = Level(3, "error", 0)
    arguments = [a[:, 0] for a in ARGUMENTS]
    batched = [a[0] if i in shared else BatchedArray(a, level) for i, a in enumerate(arguments)]
    expected = [
        as_tuple(CALLS[name](*[a[0 if i in shared else n] for i, a in enumerate(arguments)]))
        for n in range(3)
    ]
    try:
        found = as_tuple(CALLS[name](*batched))
    except (RuntimeError, IndexError, TypeError) as error:
        # Plain memory can't take what differs from sample to sample; operators batch it first.
        assert shared and ("inplace arithmetic" in str(error) or "item()" in str(error)), error
        return
    for a, *b in zip(found, *expected, strict=True):
        assert np.shape(a) == np.shape(b[0])
        np.testing.assert_allclose(inner_of(a, level), np.stack(b))


@pytest.mark.parametrize("name", CALLS)
def test_two_levels(name):
    outer, inner = Level(3, "error", 0), Level(2, "error", 0)
    batched = [BatchedArray(BatchedArray(a, outer), inner) for a in ARGUMENTS]
    found = as_tuple(CALLS[name](*batched))
    expected = [
        [as_tuple(CALLS[name](*[a[n, k] for a in ARGUMENTS])) for k in range(2)] for n in range(3)
    ]
    for place, result in enumerate(found):
        values = inner_of(inner_of(result, inner), outer)
        wanted = np.stack([np.stack([e[place] for e in row]) for row in expected])
        np.testing.assert_allclose(values, wanted)


def test_it_looks_like_one_sample():
    x = BatchedArray(X, Level(3, "error", 0))
    assert (x.shape, x.ndim, x.size, len(x)) == ((2, 3, 4, 5), 4, 120, 2)
    assert x.dtype == np.float64 and x.strides == X.strides[1:] and x.flags.c_contiguous
    assert x.reshape(-1).base is x.base and x.copy().base is not x.base


def test_the_youngest_level_is_taken_off_first():
    old, young = Level(3, "error", 0), Level(3, "error", 0)
    x, y = BatchedArray(X[:, 0], old), BatchedArray(X[:, 1], young)
    for result in (x + y, y + x):
        assert result.level is young and result.inner.level is old
        np.testing.assert_allclose(result.inner.inner[1, 2], X[1, 0] + X[2, 1])


def test_batched_like():
    level = Level(3, "error", 0)
    x = BatchedArray(X, level)
    assert batched_like(x, x) is x
    y = batched_like(np.ones(2), x)
    assert y.level is level and y.shape == (2,)


@pytest.mark.parametrize("change", [
    lambda z, x: np.add(z, x, out=z),
    np.copyto,
    lambda z, x: z.__setitem__(0, x[0]),
])
def test_plain_memory_takes_no_batched_values(change):
    x = BatchedArray(X[:, 0, 0], Level(3, "error", 0))
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        change(np.zeros((4, 5)), x)


def test_no_samples():
    x = BatchedArray(np.zeros((0, 2, 3)), Level(0, "error", 0))
    assert (x + 1).shape == (2, 3) and np.sum(x, 1).shape == (2,) and x.reshape(-1).shape == (6,)
    assert (x @ np.ones((3, 4))).inner.shape == (0, 2, 4)
