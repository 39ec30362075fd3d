"""Bad input: whatever PyTorch refuses taper refuses, by the same type of error and, but for
TypeErrors, in the same opening words; nothing crashes, no input is changed by a call that fails,
and no NumPy error comes through untold."""

import re
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import taper  # noqa: E402

UNARY = """abs acos acosh angle asin asinh atan atanh bitwise_not ceil clone conj cos cosh deg2rad
    digamma erf erfc erfinv exp exp2 expm1 fix floor frac isfinite isinf isnan lgamma log log10
    log1p log2 logical_not logit neg nan_to_num positive rad2deg real reciprocal relu round rsqrt
    sigmoid sign signbit sin sinc sinh sqrt square tan tanh trunc zeros_like ones_like numel
    nonzero t trace flatten ravel isreal is_complex""".split()
BINARY = """add atan2 bitwise_and bitwise_or bitwise_xor copysign div dot eq floor_divide fmod ge gt
    hypot le logaddexp logical_and lt matmul maximum minimum mm mul mv ne outer pow remainder sub
    bmm cross kron inner equal allclose isclose xlogy fmax fmin gcd vdot""".split()
REDUCTIONS = """sum mean prod amax amin argmax argmin all any std var logsumexp cumsum cumprod
    sort argsort median nansum unbind squeeze unsqueeze flip diff softmax log_softmax""".split()
SHAPED = "reshape view expand permute tile".split()
CREATION = "zeros ones empty rand randn full eye".split()


def tensors(module):
    """Good, bad and strange operands, made the same way in both modules."""
    t = module.tensor
    return {
        "f32[3]": t([1.0, -2.0, 3.0]),
        "f32[2, 3]": module.arange(6.0).reshape(2, 3),
        "f64[3]": t([1.0, 2.0, 3.0], dtype=module.float64),
        "i64[3]": t([1, 2, 0]),
        "bool[3]": t([True, False, True]),
        "c64[3]": t([1 + 2j, 0j, -1j]),
        "u8[2]": t([1, 255], dtype=module.uint8),
        "f32[]": t(2.5),
        "f32[0]": module.empty(0),
        "f32[0, 3]": module.empty(0, 3),
        "f32[2, 0]": module.empty(2, 0),
        "nan": t([float("nan"), float("inf"), -float("inf")]),
        "f32[4]": module.ones(4),
        "f32[2, 2, 2]": module.ones(2, 2, 2),
        "None": None,
        "str": "abc",
        "list": [1.0, 2.0],
        "object": object,
        "float": 2.5,
        "int": 3,
        "complex": 1j,
        "dict": {},
    }


def calls():
    """(description, function of the module) pairs."""
    names = list(tensors(taper))
    for f in UNARY:
        for a in names:
            yield f"{f}({a})", lambda m, f=f, a=a: getattr(m, f)(tensors(m)[a])
    for f in BINARY:
        for i, a in enumerate(names):
            for b in names[i % 3 :: 3]:
                yield (
                    f"{f}({a}, {b})",
                    lambda m, f=f, a=a, b=b: getattr(m, f)(tensors(m)[a], tensors(m)[b]),
                )
    dims = [0, 1, -1, 5, -7, 10**9, 2**70, 1.5, "x", None, (0, 1), (0, 0), [], True]
    for f in REDUCTIONS:
        for a in ("f32[2, 3]", "f32[]", "f32[0, 3]", "i64[3]", "bool[3]", "c64[3]"):
            for d in dims:
                yield (
                    f"{f}({a}, {d!r})",
                    lambda m, f=f, a=a, d=d: getattr(m, f)(tensors(m)[a], d),
                )
    sizes = [(), (6,), (3, 2), (-1,), (-1, -1), (4,), (2, -1), (0, -1), (10**6, 10**7), (-2,),
             (1.5,), ("x",), (2**70,), (None,)]
    for f in SHAPED:
        for a in ("f32[2, 3]", "f32[]", "f32[0, 3]"):
            for s in sizes:
                yield (
                    f"Tensor.{f}({a}, {s!r})",
                    lambda m, f=f, a=a, s=s: getattr(tensors(m)[a], f)(s),
                )
    for f in CREATION:
        for s in sizes:
            if f in ("full", "eye"):
                extra = (1.0,) if f == "full" else ()
            else:
                extra = ()
            if s and s[0] == 10**6:
                s = (2**40, 2**30)  # absurd: must be refused, not tried
            yield f"{f}({s!r})", lambda m, f=f, s=s, extra=extra: getattr(m, f)(
                *((s[0],) if f == "eye" and s else (s, *extra))
            )
    indices = [0, 5, -4, 1.5, "x", None, ..., slice(None, None, -1), slice(1.5), [0, 9], [-9],
               (0, 0, 0), True, [True, False], (..., ...), 2**70, [[0], [1, 2]], {}]
    for a in ("f32[3]", "f32[2, 3]", "f32[]", "f32[0]"):
        for index in indices:
            yield f"{a}[{index!r}]", lambda m, a=a, index=index: tensors(m)[a][index]

            def assign(m, a=a, index=index):
                x = tensors(m)[a]
                x[index] = 1.0
                return x

            yield f"{a}[{index!r}] = 1", assign


def outcome(function, module):
    """What a call did: the name of its error's type, or None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(module)
        except Exception as error:
            kind = type(error)
            if kind.__module__.startswith("numpy"):
                return f"{kind.__module__}.{kind.__name__}", str(error)
            return kind.__name__, str(error)
    return None, ""


# Differences that are choices: patterns of descriptions, with the reason.
ACCEPTED = {
    r"flip\(.*, -?\d+\)": "one dim stands for a tuple of one, as in Tensor.flip",
    r"(squeeze|prod|median|logsumexp)\(.*, None\)": "None means all, as in sum and mean",
    r"logsumexp\(.*, \[\]\)": "no dims mean all, as in sum; PyTorch trips over its own result",
    r"Tensor.expand\(f32\[\], \(0, -1\)\)": "PyTorch makes a tensor of size -1",
}


def test_errors_have_pytorchs_types():
    different = []
    count = 0
    for text, function in calls():
        count += 1
        expected, _ = outcome(function, torch)
        actual, message = outcome(function, taper)
        if actual != expected and not any(re.fullmatch(known, text) for known in ACCEPTED):
            different.append(f"{text}: {actual} ({message[:80]!r}), PyTorch: {expected}")
    assert not different, f"{len(different)} of {count}:\n" + "\n".join(different[:50])


# Messages that may differ, by patterns of descriptions, with the reason.
OTHER_WORDS = {
    r"Tensor.expand\(f32\[\], .*\)": "PyTorch counts the elements of negative sizes",
    r"Tensor.tile\(.*10000000\)\)": "how the allocator says that there is no memory",
    r"matmul\(f32\[2, 2, 2\], bool\[3\]\)": "PyTorch multiplies by a vector",
    r"(floor_divide|fmod|remainder)\(u8\[2\], i64\[3\]\)": "a zero among divisors is seen first",
}
OPENING = 25  # characters
# What PyTorch's kernels are called is its own affair.
KERNEL = re.compile(r'^"\w+" not implemented')


def opening(message):
    return KERNEL.sub('"…" not implemented', " ".join(message.split()))[:OPENING]


def test_errors_open_with_pytorchs_words():
    """Of shapes, dims, dtypes and values. Of types (TypeError) taper names the argument, where
    PyTorch may list its overloads."""
    different = []
    count = 0
    for text, function in calls():
        expected, words = outcome(function, torch)
        actual, message = outcome(function, taper)
        if expected in (None, "TypeError") or actual != expected:
            continue
        count += 1
        if opening(words) != opening(message) and not any(
            re.fullmatch(known, text) for known in OTHER_WORDS
        ):
            different.append(f"{text}: {message[:90]!r}\n    PyTorch: {words[:90]!r}")
    assert count > 2500
    assert not different, f"{len(different)} of {count}:\n" + "\n".join(different[:50])


def test_failed_calls_change_nothing():
    x = taper.arange(6.0).reshape(2, 3)
    before = x.numpy().copy()
    version = x._version
    for call in (
        lambda: x.add_(taper.ones(4)),
        lambda: x.mul_("a"),
        lambda: x.__setitem__((0, 7), 1.0),
        lambda: x.__setitem__(0, taper.ones(5)),
        lambda: x.copy_(taper.ones(7)),
        lambda: x.resize_(-3),
        lambda: taper.add(x, x, out=taper.ones(2, 3, dtype=taper.int64)),
        lambda: x.clamp_("a", 1),
        lambda: x.index_add_(0, taper.tensor([9]), taper.ones(1, 3)),
        lambda: x.scatter_(0, taper.tensor([[5]]), 1.0),
        lambda: x.masked_fill_(taper.ones(4, dtype=taper.bool), 0.0),
    ):
        with pytest.raises((RuntimeError, TypeError, IndexError, ValueError)):
            call()
        np.testing.assert_array_equal(x.numpy(), before)
        assert x._version == version
