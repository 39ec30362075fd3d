"""Lets the tests of this folder import the samples of operators, which stand in tests/ops."""

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "ops"):
    sys.path.insert(0, str(folder))
