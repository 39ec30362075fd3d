"""`taper info` in this process."""

import pytest

from taper.cli import main
from taper.version import TAPER_VERSION


def test_the_environment(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert TAPER_VERSION in out
    for word in ("Python", "numpy", "BLAS", "threads", "operators"):
        assert word in out


@pytest.mark.parametrize("name", ["exp", "torch.exp", "Tensor.exp_"])
def test_an_operator(capsys, name):
    assert main(["info", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith("torch.exp, Tensor.exp, Tensor.exp_, out=\n")
    assert "exponential.py:" in out
    assert "@operator(" in out
    assert "derivative for input, in ExpBackward0: " in out
    assert "generated function: <taper operator exp: exp>" in out
    assert "    def exp(input, *, out=None):" in out
    assert "generated in-place form" in out


def test_other_public_names(capsys):
    assert main(["info", "version.TorchVersion"]) == 0
    out = capsys.readouterr().out
    assert "version.py:" in out and "compares as a version" in out


def test_unknown_names(capsys):
    assert main(["info", "expp"]) == 1
    assert "no operator and no public name 'expp'. Near it: exp" in capsys.readouterr().err


def test_classes_and_namespaces(capsys):
    assert main(["info", "Tensor", "nn.Linear", "torch"]) == 0
    out = capsys.readouterr().out
    assert "torch.Tensor: class\ndefined: " in out and "tensor.py:" in out
    assert "signature: Linear(in_features: int, out_features: int, bias: bool = True" in out
    assert "\ntorch: module\n" in out


def test_help_and_unknown_options(capsys):
    assert main(["info", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: taper info [NAME …]\n")
    assert main(["info", "--what"]) == 2
    assert "unknown option --what; usage: taper info" in capsys.readouterr().err
