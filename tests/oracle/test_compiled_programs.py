"""Random programs compute the same compiled as they do eagerly: values, gradients, changes.

    TAPER_COMPILED_PROGRAMS=5000    how many programs
    TAPER_PROGRAMS_SEED=123         the seed of a failed run, which it printed; default: a new one
"""

from __future__ import annotations

import itertools
import os
import random
import re
from typing import Any

import pytest

oracle = pytest.importorskip("torch")

import random_programs  # noqa: E402

import taper as torch  # noqa: E402

COUNT = int(os.environ.get("TAPER_COMPILED_PROGRAMS", "150"))
SEED = os.environ.get("TAPER_PROGRAMS_SEED") or str(random.SystemRandom().randrange(10**6))
PARTS = 10
CALLS = 3
TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float32: 1e-3}


class Program:
    """A random program as a function of its leaves; statements that raise are left out."""

    def __init__(self, statements: list[str]) -> None:
        start = itertools.takewhile(
            lambda s: re.match(r"torch\.manual_seed|[a-d] = torch\.", s), statements)
        self.leaves: list[str] = []
        for statement in start:
            self.leaves.append(statement)
            try:
                self.start()
            except Exception:
                self.leaves.pop()
                break
        self.body = statements[len(self.leaves):]
        self.names = list(dict.fromkeys(s[0] for s in self.leaves if s[1] == " "))
        scope = self.start()
        kept = []
        for statement in self.body:
            try:
                exec(statement, scope)
            except Exception:
                continue
            kept.append(statement)
        self.results = [
            name for name, value in scope.items()
            if isinstance(value, torch.Tensor) and name not in self.names
        ]
        text = "\n".join([
            f"def program({', '.join(self.names)}):", *kept, f"return [{', '.join(self.results)}]",
        ]).replace("\n", "\n    ")
        self.text = "\n".join(self.leaves) + "\n" + text
        exec(text, scope := {"torch": torch})
        self.function = scope["program"]

    def start(self) -> dict[str, Any]:
        scope: dict[str, Any] = {"torch": torch}
        for statement in self.leaves:
            exec(statement, scope)
        return scope

    def run(self, call: Any) -> dict[str, Any]:
        scope = self.start()
        leaves = [scope[name] for name in self.names]
        found = dict(zip(self.results, call(*leaves), strict=True))
        for name, leaf in zip(self.names, leaves, strict=True):
            found[name], found[f"{name}.grad"] = leaf, leaf.grad
            found[f"{name}._version"] = torch.tensor(leaf._version)
        found["random state"] = torch.get_rng_state()
        return found


def difference(program: Program) -> str | None:
    """How a compiled program differs, if it does."""
    try:
        expected = program.run(program.function)
    except Exception:
        return None  # a statement that was left out was needed
    compiled = torch.compile(program.function)
    for i in range(CALLS):
        found = program.run(compiled)
        for name, want in expected.items():
            got = found[name]
            if want is None or got is None:
                if want is not got:
                    return f"call {i}: {name} is {got}, not {want}"
                continue
            if want.dtype is not got.dtype or want.shape != got.shape:
                return f"call {i}: {name} is {got.dtype} {got.shape}, not {want.dtype} {want.shape}"
            if want.requires_grad != got.requires_grad:
                return f"call {i}: {name} requires grad: {got.requires_grad}"
            bound = TOLERANCE.get(want.dtype, 1e-6)
            want, got = want.detach(), got.detach()
            if want.is_floating_point() or want.is_complex():
                scale = max(1.0, float(want.abs().nan_to_num().max())) if want.numel() else 1.0
                fits = torch.allclose(got, want, rtol=bound, atol=bound * scale, equal_nan=True)
            else:
                fits = torch.equal(got, want)
            if not fits:
                return f"call {i}: {name} is\n{got}\nnot\n{want}"
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.filterwarnings("error:taper couldn't make")
@pytest.mark.parametrize("part", range(PARTS))
def test_compiled_programs(part: int) -> None:
    failures = []
    for number in range(part, COUNT, PARTS):
        program = Program(random_programs.write_program(oracle, f"{SEED}/{number}"))
        try:
            problem = difference(program)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            failures.append(f"--- program {number}\n{program.text}\n{problem}")
    if failures:
        pytest.fail(f"{len(failures)} programs differ; TAPER_PROGRAMS_SEED={SEED}\n"
                    + "\n".join(failures[:5]), pytrace=False)
