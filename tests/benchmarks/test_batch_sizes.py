"""What the first call at a new batch size costs, as the benchmark prints it."""

from __future__ import annotations

import pytest

from taper.benchmarks import batch_sizes


def test_a_line_for_each_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = list(batch_sizes._cases())
    monkeypatch.setattr(batch_sizes, "_cases", lambda: cases[:1])
    batch_sizes.main()
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["first", "call", "later", "as", "it", "is"]
    assert line.startswith("MLP, Adam")
    assert all(float(number) > 0 for number in line.split()[2:])
