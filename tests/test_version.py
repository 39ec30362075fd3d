"""Versions compare as versions."""

import pickle

import pytest

from taper.version import TAPER_VERSION, TorchVersion, __version__


def test_it_answers_for_pytorch():
    assert __version__ == f"2.13.0+taper{TAPER_VERSION}"
    assert isinstance(__version__, str)
    assert __version__ >= "2.8" and __version__ > (2, 9) and __version__ < (3,)
    assert __version__.split("+")[0] == "2.13.0"
    assert pickle.loads(pickle.dumps(__version__)) == __version__


def test_the_order_is_that_of_packaging():
    packaging = pytest.importorskip("packaging.version")
    names = [
        "1.0", "1.0.0", "1.0a1", "1.0rc2", "1.0.post1", "1.0.dev3", "1.0a1.dev2", "1.0+cpu",
        "1.0+cu11", "1.0+1.2", "1.0.post1.dev2", "2", "v1.1", "1.0+cpu.1", "1.10", "1.9",
    ]  # fmt: skip
    for a in names:
        for b in names:
            mine, theirs = TorchVersion(a), packaging.Version(a)
            other = packaging.Version(b)
            for against in (b, other):
                assert (mine < against) == (theirs < other), (a, b)
                assert (mine == against) == (theirs == other), (a, b)
                assert (mine >= against) == (theirs >= other), (a, b)


def test_text_that_is_no_version_compares_as_text():
    assert TorchVersion("2.0") < "parrot"
    assert TorchVersion("2.0") != "parrot"
    with pytest.raises(TypeError):
        assert TorchVersion("2.0") < 3
