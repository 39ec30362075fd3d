"""What every test can rely on: fresh settings, seeded random numbers, one Hypothesis profile.

Tests run in any order and in one process, so whatever a test sets for the whole library (default
dtype, print options, grad mode, seeds) is put back after it.
"""

from __future__ import annotations

import doctest
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import taper

SEED = 20260

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # the tests that need it skip themselves
    pass
else:
    # No deadline: machines that run tests are busy. "thorough" is for nights and for hunting.
    settings.register_profile(
        "taper", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.register_profile("thorough", parent=settings.get_profile("taper"), max_examples=2000)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "taper"))


_first_states: dict[int, Any] = {}  # by id of a module's generator: before its first test


def rewind_generators(module: Any) -> None:
    """Lets each test draw the same numbers from its module's generators, in whatever order."""
    for value in vars(module).values():
        if isinstance(value, np.random.Generator):
            bits = value.bit_generator
            bits.state = _first_states.setdefault(id(value), bits.state)


@pytest.fixture(autouse=True)
def global_state(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seeds all random numbers before a test, and resets the library's settings after it."""
    random.seed(SEED)
    np.random.seed(SEED)
    rewind_generators(request.module)
    taper.manual_seed(SEED)
    taper.set_default_dtype(taper.float32)
    yield
    taper.set_printoptions(profile="default")
    taper.set_default_dtype(taper.float32)
    taper.set_grad_enabled(True)


@pytest.fixture
def run_examples(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], None]]:
    """Runs the examples in a text of that name, in an empty folder and with default settings."""

    def run(name: str, text: str) -> None:
        report: list[str] = []
        flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
        test = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
        runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
        runner.run(test, out=report.append)
        assert not runner.failures, "".join(report)

    monkeypatch.chdir(tmp_path)
    taper.set_printoptions(profile="default")
    taper.manual_seed(0)
    with np.errstate(all="ignore"):
        yield run
