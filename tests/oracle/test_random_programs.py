"""Random programs: whatever PyTorch makes of them, taper makes of them too.

    TAPER_PROGRAMS=2000             how many programs
    TAPER_PROGRAMS_SEED=123         the seed of a failed run, which it printed; default: a new one
    TAPER_PROGRAMS_IGNORE=stride,_version    properties that are not compared (for hunting)
"""

from __future__ import annotations

import os
import random
import re
import types

import pytest

torch = pytest.importorskip("torch")

import program_comparison  # noqa: E402
import random_programs  # noqa: E402
from program_comparison import compare, difference_of, explain, run, shorten  # noqa: E402

import taper  # noqa: E402

COUNT = int(os.environ.get("TAPER_PROGRAMS", "2000"))
SEED = os.environ.get("TAPER_PROGRAMS_SEED") or str(random.SystemRandom().randrange(10**6))
IGNORED = frozenset(filter(None, os.environ.get("TAPER_PROGRAMS_IGNORE", "").split(",")))
PARTS = 10
MOST_REPORTS = 12


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors gain nothing by threads, and sums come out the same each time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("part", range(PARTS))
def test_random_programs_equal_pytorch(part):
    count = len(range(part, COUNT, PARTS))
    failures = {}
    for number in range(part, COUNT, PARTS):
        statements = random_programs.write_program(torch, f"{SEED}/{number}")
        difference = difference_of(statements, torch, taper, IGNORED)
        if difference is not None:
            kind = re.sub(r"\bv?\d+\b", "#", f"{difference.aspect} {difference.actual[:60]}")
            failures.setdefault(kind, []).append((number, statements))
    if failures:
        pytest.fail(report(failures, count), pytrace=False)


def report(failures, count):
    """One shortened program for each kind of difference, the commonest first."""
    total = sum(len(programs) for programs in failures.values())
    lines = [f"{total} of {count} programs differ; TAPER_PROGRAMS_SEED={SEED} repeats them."]
    ordered = sorted(failures.values(), key=len, reverse=True)
    for programs in ordered[:MOST_REPORTS]:
        number, statements = min(programs, key=lambda item: len(item[1]))
        short, difference = shorten(statements, torch, taper, IGNORED)
        lines.append(f"\n--- program {number} ({len(programs)} like it)")
        lines.append(explain(short, difference))
    if len(ordered) > MOST_REPORTS:
        lines.append(f"\n… and {len(ordered) - MOST_REPORTS} more kinds")
    return "\n".join(lines)


# -- what random programs found, kept ------------------------------------------------------------

FOUND = {
    "real numbers in a complex base": [
        "a = torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex128, requires_grad=True)",
        "b = a * 2",
        "b.real[1:].mul_(3)",
        "loss = (b.real + 0.5 * b.imag).sum()",
        "loss.backward()",
    ],
    "negation of a strided view": [
        "a = torch.tensor([[1.0, -2.25, 3.0], [4.0, 5.0, 0.75], [7.0, 8.0, 9.0]])",
        "b = a.diagonal(1).reshape(-1, 2)",
        "b.neg_()",
    ],
    "a promoted operand changed in place": [
        "a = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)",
        "b = torch.tensor([3, 4])",
        "c = a * b",
        "b.add_(1)",
        "c.sum().backward()",
    ],
    "views of many that may no longer be used": [
        "a = torch.tensor([1.0, 2.0], requires_grad=True)",
        "b = a * 2",
        "c, d = b.unbind(0)",
        "b.mul_(3)",
        "e = c + 1",
    ],
    "a view made without recording is no leaf": [
        "a = torch.tensor([1.0, 2.0], requires_grad=True)",
        "with torch.no_grad():\n    b = a.view(2)",
        "(b * a).sum().backward()",
    ],
    "the pow of a number keeps no result": [
        "a = torch.tensor([1.0, 2.0], requires_grad=True)",
        "b = a**2",
        "b.fill_(0.0)",
        "b.sum().backward()",
    ],
    "retained gradients follow their tensor": [
        "a = torch.tensor([1.0, 2.0], requires_grad=True)",
        "b = a * 2",
        "b.retain_grad()",
        "b.mul_(3)",
        "b.sum().backward()",
    ],
    "integers have no history": [
        "a = torch.tensor([1.5, -2.5], requires_grad=True)",
        "b = a.long()",
        "c, d = a.max(0)",
    ],
}


@pytest.mark.parametrize("name", FOUND)
def test_programs_that_once_differed(name):
    statements = FOUND[name]
    difference = compare(run(statements, torch), run(statements, taper))
    assert difference is None, explain(statements, difference)


# -- the instrument itself -----------------------------------------------------------------------


def test_programs_are_reproducible():
    one, same, other = (random_programs.write_program(torch, seed) for seed in "aab")
    assert one == same
    assert one != other


def test_pytorch_equals_itself():
    for number in range(60):
        statements = random_programs.write_program(torch, f"{SEED}/{number}")
        difference = compare(run(statements, torch), run(statements, torch))
        assert difference is None, explain(statements, difference)


def test_programs_cover_what_they_are_for():
    names, errors, kinds, backwards, calls = set(), 0, set(), 0, set()
    for number in range(250):
        statements = random_programs.write_program(torch, f"coverage/{number}")
        calls.update(re.findall(r"[a-z_.]*\w+(?=\()", "\n".join(statements)))
        result = run(statements, torch)
        errors += sum(error is not None for error in result.errors)
        backwards += statements[-1] == "loss.backward()" and result.errors[-1] is None
        for aspects in result.final.values():
            names.add(aspects.get("grad_fn"))
            kinds.add(aspects.get("dtype"))
    assert {
        "torch::autograd::CopySlices", "AsStridedBackward0", "IndexBackward0", "UnbindBackward0",
        "ExpandBackward0", "TransposeBackward0", "SliceBackward0",
    } <= names  # fmt: skip
    dtypes = ("float32", "float64", "int64", "bool", "complex64", "float16", "bfloat16")
    assert {f"torch.{dtype}" for dtype in dtypes} <= kinds
    assert len(names) > 60
    assert errors > 10
    assert backwards > 75
    for family in (
        "torch.linalg", "torch.fft", "torch.special", "torch.sparse", "torch.einsum", "torch.nn.",
        "torch.nn.functional.conv", "torch.nn.functional.interpolate", "scatter", "index_",
        "_loss", "_norm", "torch.unique", "quantile", "torch.manual_seed", "sort", "cum",
    ):
        assert any(family in call for call in calls), family
    assert len(calls) > 300


def test_a_wrong_library_is_caught_and_the_program_shortened():
    wrong = types.ModuleType("wrong")
    wrong.__getattr__ = lambda name: getattr(torch, name)
    wrong.flip = lambda tensor, dims: torch.flip(tensor, dims) + 1
    statements = [
        "a = torch.tensor([1.0, 2.0], requires_grad=True)", "b = a * 2", "c = b.sin()",
        "d = torch.flip(b, (0,))", "e = c + d", "loss = e.sum()", "loss.backward()",
    ]  # fmt: skip
    difference = compare(run(statements, torch), run(statements, wrong))
    assert difference is not None
    assert difference.aspect == "grad_fn"
    short, difference = shorten(statements, torch, wrong)
    assert short == [statements[0], statements[1], statements[3]]
    assert explain(short, difference).startswith("import torch\na = torch.tensor(")


@pytest.mark.parametrize(("function", "is_difference"), [("cos", False), ("neg", True)])
def test_ties_that_rounding_decides_are_no_difference(function, is_difference):
    wrong = types.ModuleType("wrong")
    wrong.__getattr__ = lambda name: getattr(torch, name)
    wrong.sub = lambda one, other: torch.sub(one, other) + 1e-17
    statements = [
        "a = torch.tensor([1.375, 1.375], dtype=torch.float64, requires_grad=True)",
        f"b = torch.{function}(a)", "c = torch.sub(b[0], b[1]).abs()", "c.backward()",
    ]  # fmt: skip
    nodes = frozenset({"grad_fn", "next_functions", "repr"})
    assert (difference_of(statements, torch, wrong, nodes) is not None) is is_difference


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        (("RuntimeError", "shapes differ."), ("RuntimeError", "shapes differ: 2 and 3"), True),
        (("RuntimeError", "shapes differ"), ("ValueError", "shapes differ"), False),
        (("RuntimeError", "shapes differ"), ("RuntimeError", "other words"), False),
    ],
)
def test_errors_are_the_same_if_the_opening_words_are(wanted, got, same):
    assert program_comparison.is_same_error(wanted, got) is same
