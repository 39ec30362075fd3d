"""Where the package onnx is missing."""

import sys

import pytest

import taper as torch


def test_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install taper\[onnx\]"):
        torch.onnx.export(torch.nn.ReLU(), (torch.ones(2),))
