"""Random programs compute the same compiled as they do eagerly: values, gradients, changes.

    TAPER_COMPILED_PROGRAMS=5000    how many programs
    TAPER_PROGRAMS_SEED=123         the seed of a failed run, which it printed; default: a new one

How far numbers may be apart: program_precision.py, with taper's own eager run in PyTorch's place.
Half of the programs run as machine code, half by NumPy.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

oracle = pytest.importorskip("torch")

import random_programs  # noqa: E402
from program_comparison import Run, difference_of_runs, observed, run  # noqa: E402

import taper as torch  # noqa: E402

COUNT = int(os.environ.get("TAPER_COMPILED_PROGRAMS", "150"))
SEED = os.environ.get("TAPER_PROGRAMS_SEED") or str(random.SystemRandom().randrange(10**6))
PARTS = 10
CALLS = 3  # as it is, recorded, as a program
LEAVES = "abcd"
# Of a result, and of a leaf; what else there is to know, a compiled function's results have anew.
ASPECTS = frozenset({"dtype", "shape", "requires_grad", "value"})
LEAF_ASPECTS = ASPECTS | {"_version", "has grad", "grad's dtype", "grad's shape", "grad's value"}
START = re.compile(rf"torch\.manual_seed\(\d+\)$|[{LEAVES}] = torch\.")
NET = re.compile(r"(torch\.manual_seed\(\d+\))\n(net = .*)\n")
SEEDING = re.compile(r"torch\.manual_seed\(\d+\)\n")


class Program:
    """A random program as a function of its leaves; statements that raise are left out.

    Most can't be captured as they are written: they seed, make modules, return tensors with hooks
    or views of each other. If asked to be capturable, a program takes its modules from outside,
    never seeds and returns copies.
    """

    def __init__(self, statements: list[str], is_capturable: bool) -> None:
        self.start = list(itertools.takewhile(START.match, statements))
        self.nets: list[str] = []
        self.body = statements[len(self.start) :]
        if is_capturable:
            self.body = [self.capturable(statement) for statement in self.body]
        first = len(self.start) + len(self.nets)
        errors = run([*self.nets, *self.start, *self.body], torch).errors[first:]
        self.body = [s for s, error in zip(self.body, errors, strict=True) if error is None]
        self.expected = run([*self.nets, *self.start, *self.body], torch)
        self.names = [name for name in LEAVES if name in self.expected.final]
        self.results = [
            name for name, aspects in self.expected.final.items()
            if "dtype" in aspects and name not in LEAVES
            and not (is_capturable and aspects["is_leaf"] == "forbidden")  # nor may it be copied
        ]  # fmt: skip
        returned = f"[t.clone() for t in [{', '.join(self.results)}]]"
        self.text = "\n".join([
            f"def program({', '.join(self.names)}):", *self.body,
            f"return {returned if is_capturable else returned[returned.rindex('['):-1]}",
        ]).replace("\n", "\n    ")  # fmt: skip
        self.expected.final = self.compared(self.expected.final | random_state())

    def __str__(self) -> str:
        return "\n".join([*self.nets, *self.start, self.text])

    def capturable(self, statement: str) -> str:
        """The statement without seeds, and with a module that is made before."""
        made = NET.match(statement)
        if not made:
            return SEEDING.sub("", statement)
        name = f"net{len(self.nets) // 2}"
        self.nets += [made[1], re.sub(r"^net\b", name, made[2])]
        return re.sub(r"\bnet\b", name, statement[made.end() :])

    def compared(self, state: dict[str, Any]) -> dict[str, Any]:
        return {
            name: {
                aspect: value for aspect, value in state[name].items()
                if aspect in (LEAF_ASPECTS if name in LEAVES else ASPECTS)
            }
            for name in [*self.names, *self.results, *random_state()]
        }  # fmt: skip

    def difference(self) -> str | None:
        """How the compiled program differs, if it does."""
        if any(self.expected.errors):
            return None  # a statement that was left out was needed
        scope: dict[str, Any] = {"torch": torch}
        exec("\n".join([*self.nets, self.text]), scope)
        nets = [value for value in scope.values() if isinstance(value, torch.nn.Module)]
        states = [{k: v.clone() for k, v in net.state_dict().items()} for net in nets]
        self.function = torch.compile(scope["program"])
        for call in range(CALLS):
            for net, state in zip(nets, states, strict=True):
                net.load_state_dict(state)
                net.zero_grad()
            exec("\n".join(self.start), scope)
            leaves = {name: scope[name] for name in self.names}
            found = dict(zip(self.results, self.function(*leaves.values()), strict=True))
            final = observed(found | leaves, torch, is_final=True) | random_state()
            actual = Run(
                self.expected.statements, self.expected.errors, self.expected.changes,
                self.compared(final),
            )  # fmt: skip
            difference = difference_of_runs(self.expected, actual, torch)
            if difference is not None:
                return f"call {call}: {difference}"
        return None


def random_state() -> dict[str, Any]:
    return observed({"random state": torch.get_rng_state()}, torch)


def captured(number: int) -> tuple[bool, str | None]:
    """Whether a program was compiled, and how it differs if it does."""
    statements = random_programs.write_program(oracle, f"{SEED}/{number}")
    for is_capturable in (False, True):
        program = Program(statements, is_capturable)
        try:
            problem = program.difference()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            return True, f"--- program {number}\n{program}\n{problem}"
        if not any(program.expected.errors) and program.function.explain().calls["compiled"]:
            return True, None
    return False, None


def checked_part(check: Callable[[int], tuple[bool, str | None]], numbers: range) -> list[bool]:
    """Checks programs, by machine code or by NumPy; fails if some differ. What `check` says of each
    besides."""
    before = torch.settings.native
    torch.settings.native = ("now", "off")[numbers.start % 2]
    try:
        found = [check(number) for number in numbers]
    finally:
        torch.settings.native = before
    failures = [problem for _, problem in found if problem is not None]
    if failures:
        pytest.fail(f"{len(failures)} programs differ; TAPER_PROGRAMS_SEED={SEED}\n"
                    + "\n".join(failures[:5]), pytrace=False)
    return [flag for flag, _ in found]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.filterwarnings("error:taper couldn't make")
@pytest.mark.parametrize("part", range(PARTS))
def test_compiled_programs(part: int) -> None:
    were_compiled = checked_part(captured, range(part, COUNT, PARTS))
    assert sum(were_compiled) > len(were_compiled) / 3
