"""Every operator on every kind of dtype: what PyTorch refuses taper refuses, in the same words.

The arguments are the samples of tests/ops/operator_samples.py, cast to one dtype after another.
Which kernel a message names is PyTorch's own affair. Where PyTorch has no kernel for numbers of
half precision, taper may compute: in float32, rounded, as everywhere.
"""

from __future__ import annotations

import re
import sys
import warnings
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import taper  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
from operator_samples import missing_sample, sample, unique_operators  # noqa: E402

UNIQUE = unique_operators()
DTYPES = ("bool", "uint8", "int64", "float16", "bfloat16", "complex64")
OPENING = 30  # characters of a message that must be equal


# Differences that are choices, by operator and dtypes, with the reason.
ACCEPTED = {
    "convolution": ("complex64", "PyTorch computes conv2d of complex numbers, not `convolution`"),
    **dict.fromkeys(
        [f"nn.functional.{name}" for name in (
            "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "avg_pool1d", "avg_pool2d",
            "avg_pool3d", "local_response_norm")],
        ("uint8", "PyTorch has these for int64 only; one way for all integers"),
    ),
    **dict.fromkeys(["conv_tbc", "affine_grid_generator", "gradient"],
                    ("bool", "computed by products and differences of 0 and 1")),
    "linalg.solve_triangular": ("bool uint8 int64", "operands that promote are broadcast first"),
    "nn.functional.max_pool1d_with_indices": ("uint8 int64", "max_pool1d refuses integers"),
    **dict.fromkeys(["complex", "polar", "view_as_complex"],
                    ("float16", "no complex numbers of half precision")),
    **dict.fromkeys(["clamp_min", "clamp_max"], ("complex64", "the words of clamp")),
    "nn.functional.hinge_embedding_loss": ("uint8 int64", "the margin is a float, so are losses"),
    "nn.functional.margin_ranking_loss": ("uint8 int64", "PyTorch rounds to integers and averages"),
    "frobenius_norm": (" ".join(DTYPES), "PyTorch's private overload has no default for dim"),
    "norm_except_dim": ("bool uint8 int64", "the words of the norm that it is made of"),
    "nuclear_norm": ("float16 bfloat16", "svd refuses half precision first"),
    **dict.fromkeys(["rnn_tanh", "rnn_tanh_cell"], ("uint8 int64", "one step would do in PyTorch")),
    "stft": ("bool", "refused before it is padded"),
}


def in_torch(path):
    try:
        return attrgetter(path)(torch)
    except AttributeError:
        return None


ASKED = [path for path in UNIQUE if missing_sample(path) is None and in_torch(path)]


def converted(value, dtype, module):
    """The argument with its floating tensors in a dtype, as tensors of the module."""
    if isinstance(value, taper.Tensor):
        plain = value.detach()
        if plain.is_floating_point() or plain.is_complex():
            plain = plain.to(getattr(taper, dtype))
        if module is taper:
            return plain
        if str(plain.dtype) == "torch.bfloat16":
            return torch.tensor(plain.double().numpy()).to(torch.bfloat16)
        return torch.tensor(plain.numpy())
    if isinstance(value, taper.dtype):
        return getattr(module, value.name)
    if isinstance(value, (tuple, list)):
        return type(value)([converted(v, dtype, module) for v in value])
    if isinstance(value, dict):
        return {name: converted(v, dtype, module) for name, v in value.items()}
    return value


def outcome(path, dtype, module):
    """The error that the call ends in, its type and its message; None and "" if it doesn't."""
    args, keywords = sample(path)
    args, keywords = converted(args, dtype, module), converted(keywords, dtype, module)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            attrgetter(path)(module)(*args, **keywords)
        except Exception as error:
            kind = type(error)
            name = kind.__name__ if not kind.__module__.startswith("numpy") else f"numpy.{kind}"
            words = re.sub(r"\s+", " ", str(error)).strip()
            return name, re.sub(r'^"\w+" not impl', '"…" not impl', words)
    return None, ""


def is_missing_kernel(dtype, words):
    """Whether PyTorch lacks just the kernel for half precision."""
    return "float16" in dtype and ("not implemented for" in words or "MKL FFT" in words)


@pytest.mark.parametrize("path", ASKED)
def test_refuses_what_pytorch_refuses(path):
    different = []
    accepted = ACCEPTED.get(path, ("", ""))[0].split()
    for dtype in (d for d in DTYPES if d not in accepted):
        wanted, words = outcome(path, dtype, torch)
        got, said = outcome(path, dtype, taper)
        if got is None and is_missing_kernel(dtype, words):
            continue
        if (wanted, words[:OPENING]) != (got, said[:OPENING]):
            different.append(f"{dtype}: {got}: {said[:90]!r}\n   PyTorch: {wanted}: {words[:90]!r}")
    assert not different, "\n".join(different)
