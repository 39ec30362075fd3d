"""Random programs compute the same compiled as eagerly when their batch size changes.

    TAPER_PROGRAMS_AT_SIZES=5000    how many programs
    TAPER_PROGRAMS_SEED=123         the seed of a failed run, which it printed; default: a new one

The first dimension of a program's leaves changes from call to call, so its calls are recorded with
a symbolic size (taper/compilation/symbolic_call.py) wherever the program doesn't depend on it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

oracle = pytest.importorskip("torch")

import random_programs  # noqa: E402
from test_compiled_programs import SEED, Program, checked_part  # noqa: E402

import taper as torch  # noqa: E402
from taper.compilation.captured_function import CapturedFunction  # noqa: E402

COUNT = int(os.environ.get("TAPER_PROGRAMS_AT_SIZES", "60"))
PARTS = 4
# By what a program's text has in it: the least precise type decides for all of its values.
TOLERANCES = {"bfloat16": 6e-2, "float16": 2e-2, "float": 5e-3, "complex64": 5e-3}


def sizes_around(n: int) -> list[int]:
    """Sizes that a batch has, one after the other."""
    return [n, n, n + 1, n + 1, n + 3, 2 * n + 5, 2, n, n + 4]


class Calls:
    """A program, called eagerly and compiled, at several sizes."""

    def __init__(self, program: Program) -> None:
        self.program = program
        scope: dict[str, Any] = {"torch": torch}
        exec("\n".join([*program.nets, program.text]), scope)
        self.function = scope["program"]
        self.captured = CapturedFunction(self.function)
        self.nets = [v for v in scope.values() if isinstance(v, torch.nn.Module)]
        self.states = [{k: v.clone() for k, v in net.state_dict().items()} for net in self.nets]
        exec("\n".join(program.start), scope)
        text = str(program).replace("float64", "")
        self.tolerance = next((t for name, t in TOLERANCES.items() if name in text), 1e-7)
        self.leaves = [scope[name] for name in program.names]
        self.batch = next((t.shape[0] for t in self.leaves if t.ndim and t.shape[0] > 1), 0)

    def outcome(self, function: Any, size: int) -> Any:
        """What a call gives: the error's type, or results, leaves and their gradients."""
        for net, state in zip(self.nets, self.states, strict=True):
            net.load_state_dict(state)
            net.zero_grad()
        torch.manual_seed(17)
        leaves = [self.resized(t, size) for t in self.leaves]
        try:
            results = function(*leaves)
        except Exception as error:
            return type(error)
        gradients = [p.grad for net in self.nets for p in net.parameters()]
        found = [*results, *leaves, *[t.grad for t in leaves], *gradients]
        return [None if t is None else t.detach() for t in found] + [torch.get_rng_state()]

    def resized(self, leaf: Any, size: int) -> Any:
        """A leaf whose first dimension has another size, if it has that of the batch."""
        rows = leaf.detach()
        if leaf.ndim and leaf.shape[0] == self.batch:
            rows = rows[torch.arange(size) % self.batch]
        return rows.clone().requires_grad_(leaf.requires_grad)

    def difference(self) -> str | None:
        """How compiled calls differ, if they do."""
        for call, size in enumerate(sizes_around(self.batch)):
            expected = self.outcome(self.function, size)
            actual = self.outcome(lambda *leaves: self.captured(leaves, {}), size)
            if isinstance(expected, type) or isinstance(actual, type):
                if expected is not actual:
                    return f"call {call}, size {size}: {expected}, compiled {actual}"
                continue
            for i, (a, b) in enumerate(zip(expected, actual, strict=True)):
                problem = unlike(a, b, self.tolerance)
                if problem is not None:
                    return f"call {call}, size {size}, tensor {i}: {problem}"
        return None


def unlike(a: Any, b: Any, tolerance: float) -> str | None:
    """How two tensors differ."""
    if a is None or b is None:
        return None if a is b else f"{a} and {b}"
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return f"{a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
    name = str(a.dtype).removeprefix("torch.")
    x, y = (t.double().numpy() if name in ("bfloat16", "float16") else t.numpy() for t in (a, b))
    if not (a.is_floating_point() or a.is_complex()):
        tolerance = 0
    elif name in ("float32", "complex64"):
        tolerance = max(tolerance, TOLERANCES["float"])
    finite = np.isfinite(x)
    scale = np.abs(x[finite]).max(initial=0) if x.size else 0
    if np.allclose(x, y, rtol=tolerance, atol=tolerance * max(1, scale), equal_nan=True):
        return None
    return f"{x.tolist()} and {y.tolist()}"


def checked(number: int) -> tuple[bool, str | None]:
    """Whether a program was recorded for any size, and how it differs if it does."""
    program = Program(random_programs.write_program(oracle, f"{SEED}/{number}"), True)
    calls = Calls(program)
    if any(program.expected.errors) or not calls.batch:
        return False, None
    problem = calls.difference()
    if problem is not None:
        problem = f"--- program {number}\n{program}\n{problem}"
    return bool(calls.captured.symbolic), problem


@pytest.mark.filterwarnings("ignore")
@pytest.mark.filterwarnings("error:taper couldn't make")
@pytest.mark.parametrize("part", range(PARTS))
def test_programs_at_sizes(part: int) -> None:
    assert any(checked_part(checked, range(part, COUNT, PARTS)))
