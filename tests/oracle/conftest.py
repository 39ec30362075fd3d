"""Tests in this folder compare with PyTorch, and are skipped where it isn't installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The modules beside the tests (random_programs, program_comparison) are imported by their names.
sys.path.insert(0, str(Path(__file__).parent))

SEED = 20260


@pytest.fixture(autouse=True)
def oracle_state() -> Iterator[None]:
    """What `global_state` does for taper, for PyTorch."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(SEED)
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_printoptions(profile="default")
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
