"""Packages that say `import torch` run on taper and print what they print on PyTorch.

The programs are in packages/, one for each. They are skipped where a package isn't installed; to
install them beside PyTorch without another copy of it, ``pip install --no-deps`` each.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = sorted((Path(__file__).parent / "packages").glob("*_program.py"))
NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:e[-+]?\d+)?")


def printed(program: Path, *, on_taper: bool) -> str:
    command = [sys.executable, "-W", "ignore", *(["-m", "taper", "run"] if on_taper else [])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [*command, str(program)], env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_prints_the_same(program: Path) -> None:
    package = program.stem.removesuffix("_program")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    mine, theirs = (printed(program, on_taper=on_taper) for on_taper in (True, False))
    assert NUMBER.sub("#", mine).split() == NUMBER.sub("#", theirs).split()
    for a, b in zip(NUMBER.findall(mine), NUMBER.findall(theirs), strict=True):
        assert math.isclose(float(a), float(b), rel_tol=1e-3, abs_tol=2e-4), (a, b)
