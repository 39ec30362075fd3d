"""The memory of a compiled training step, as the benchmark counts it."""

from __future__ import annotations

import sys

import pytest

from taper.benchmarks import peak_memory
from taper.compiler import machine
from taper.core.settings import settings


@pytest.mark.skipif(
    settings.native == "off" or not machine.is_available(),
    reason="needs llvmlite, and TAPER_NATIVE other than 0",
)
def test_taper_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["peak_memory", "--side", "taper", "--layers", "1"])
    peak_memory.main()
    # Gradients of 64,000 parameters; activations of 512 tokens beside them.
    assert 0.25e6 < int(capsys.readouterr().out) < 4e6
