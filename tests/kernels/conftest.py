"""What tests of native kernels share."""

from __future__ import annotations

import pytest

from taper.core.settings import settings


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call waits for its kernel."""
    monkeypatch.setattr(settings, "_native", "now")
