"""Pointwise operators against PyTorch: special values in every dtype, and second derivatives."""

import numpy as np
import pytest

import taper

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

INF, NAN = float("inf"), float("nan")
FLOATS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.5, -2.5, 3.5, INF, -INF, NAN, 30.0, 1e-3]
VALUES = {
    "bool": [True, False],
    "uint8": [0, 1, 5, 200],
    "int8": [0, 1, -3, 7],
    "int64": [0, 1, -3, 7],
    "float16": FLOATS,
    "bfloat16": FLOATS,
    "float32": FLOATS,
    "float64": FLOATS,
    "complex64": [0, 1 + 1j, -2.5 + 0.5j, 0.3 - 2j, -1, 1j],
}
TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 1e-5, "complex64": 1e-5}

UNARY_NAMES = """
    abs sign sgn neg positive reciprocal square sqrt rsqrt exp exp2 expm1 log log2 log10
    log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh sinc deg2rad rad2deg floor
    ceil trunc round frac angle conj conj_physical real isfinite isinf isnan isposinf isneginf
    isreal signbit logical_not bitwise_not sigmoid logit erf erfc erfinv lgamma digamma i0
    nan_to_num relu selu celu nn.functional.relu6 nn.functional.leaky_relu nn.functional.elu
    nn.functional.silu nn.functional.mish nn.functional.hardtanh nn.functional.hardsigmoid
    nn.functional.hardswish nn.functional.hardshrink nn.functional.softshrink
    nn.functional.tanhshrink nn.functional.softplus nn.functional.softsign
    nn.functional.logsigmoid nn.functional.glu frexp special.i0e special.i1 special.i1e
    special.ndtr special.entr"""
BINARY_NAMES = """add sub mul div floor_divide remainder fmod pow maximum minimum fmax fmin atan2
    copysign hypot nextafter logaddexp2 gcd lcm heaviside eq ne lt le gt ge isclose logical_and
    logical_xor bitwise_and bitwise_xor xlogy special.xlog1py igamma"""
UNARY, BINARY = UNARY_NAMES.split(), BINARY_NAMES.split()
NOT_SMOOTH = """signbit isfinite isinf isnan isposinf isneginf isreal logical_not bitwise_not
    frexp nn.functional.hardshrink nn.functional.softshrink"""


def find(module, name):
    for part in name.split("."):
        module = getattr(module, part)
    return module


def outcome(function):
    try:
        return function(), None
    except Exception as error:  # whatever it is, it is compared
        return None, error


def as_numpy(tensor):
    if str(tensor.dtype).endswith("bfloat16"):
        tensor = tensor.float()
    return tensor.detach().resolve_conj().numpy()


def assert_same(ours, theirs):
    if isinstance(theirs, tuple):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
        return
    name = str(theirs.dtype)[6:]
    assert str(ours.dtype)[6:] == name
    tolerance = TOLERANCE.get(name, 1e-9)
    np.testing.assert_allclose(
        as_numpy(ours), as_numpy(theirs), rtol=tolerance, atol=tolerance, equal_nan=True
    )


def compare(call):
    (ours, our_error), (theirs, their_error) = outcome(lambda: call(taper)), outcome(
        lambda: call(torch))
    if their_error is not None:
        assert type(our_error) is type(their_error), our_error
        assert str(our_error)[:20] == str(their_error)[:20]
        return
    assert our_error is None, our_error
    assert_same(ours, theirs)


@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, dtype):
    compare(lambda m: find(m, name)(m.tensor(VALUES[dtype], dtype=getattr(m, dtype))))


@pytest.mark.parametrize("second", ["bool", "int64", "bfloat16", "float64", "complex64"])
@pytest.mark.parametrize("first", ["bool", "uint8", "int64", "float16", "float32"])
@pytest.mark.parametrize("name", BINARY)
def test_binary(name, first, second):
    if name in ("pow", "add", "sub") and second == "complex64":
        pytest.skip("NumPy's infinite and zero complex powers, and inf + 0j, differ")
    left, right = VALUES[first][:6], VALUES[second][::-1]
    if name in ("floor_divide", "remainder", "fmod"):
        right = [r for r in right if r]
    pairs = [(a, b) for a in left for b in right]
    compare(lambda m: find(m, name)(
        m.tensor([a for a, _ in pairs], dtype=getattr(m, first)),
        m.tensor([b for _, b in pairs], dtype=getattr(m, second)),
    ))


SMOOTH = {
    name: (lambda m, x, name=name: find(m, name)(x))
    for name in UNARY if name not in NOT_SMOOTH.split()
}
SMOOTH |= {
    "softmax": lambda m, x: m.softmax(x, 0),
    "log_softmax": lambda m, x: m.log_softmax(x, 0),
    "gelu": lambda m, x: m.nn.functional.gelu(x),
    "gelu tanh": lambda m, x: m.nn.functional.gelu(x, approximate="tanh"),
    "x ** 3": lambda m, x: x**3,
    "2.5 ** x": lambda m, x: 2.5**x,
    "x ** x": lambda m, x: x**x,
    "2.5 / x": lambda m, x: 2.5 / x,
    "clamp": lambda m, x: x.clamp(0.3, 0.6),
    "polygamma": lambda m, x: m.polygamma(2, x),
    "logaddexp": lambda m, x: m.logaddexp(x, x * x),
    "lerp": lambda m, x: m.lerp(x, x * x, x + 1),
    "addcdiv": lambda m, x: m.addcdiv(x, x * x, x + 1, value=0.3),
    "prelu": lambda m, x: m.nn.functional.prelu(x - 0.5, x[:1]),
    "where": lambda m, x: m.where(x.abs() > 0.5, x * x, x**3),
}


def derivatives(m, function, values):
    """First derivatives, and those of a function of them."""
    x = m.tensor(values).requires_grad_()
    y = function(m, x)
    weights = m.tensor(np.arange(1, y.numel() + 1) * 0.1)
    loss = (y * weights).sum()
    if y.is_complex():
        loss = (loss * (1 - 0.5j)).real
    (first,) = m.autograd.grad(loss, x, create_graph=True)
    found = [as_numpy(first)]
    if first.requires_grad:
        bent = (first * first).sum()
        bent = bent.real + bent.imag if bent.is_complex() else bent
        (second,) = m.autograd.grad(bent, x, allow_unused=True)
        found.append(0 if second is None else as_numpy(second))
    return found


@pytest.mark.parametrize("kind", ["positive", "negative", "complex"])
@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name, kind):
    values = np.random.RandomState(0).rand(6) * 0.8 + 0.1
    values = {"positive": values, "negative": -values, "complex": values + values[::-1] * 1j}[kind]
    theirs, error = outcome(lambda: derivatives(torch, SMOOTH[name], values))
    if error is not None:
        pytest.skip(f"PyTorch: {error}")
    ours = derivatives(taper, SMOOTH[name], values)
    for one, other in zip(ours, theirs, strict=False):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8, equal_nan=True)
