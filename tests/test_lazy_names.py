"""Names that are looked up on first use stay what they are, whatever was imported before."""

import importlib
import pkgutil
from types import ModuleType

import pytest

import taper

PACKAGES = ["taper"] + [
    found.name for found in pkgutil.walk_packages(taper.__path__, "taper.") if found.ispkg
]


@pytest.mark.parametrize("path", PACKAGES)
def test_a_file_does_not_hide_the_function_it_is_named_for(path):
    """Importing a/b.py sets `a.b`, which may be where the function `b` has been or will be."""
    package = importlib.import_module(path)
    public = getattr(package, "__all__", dir(package) if package is taper else ())
    for found in pkgutil.iter_modules(package.__path__):
        if found.name in public and not found.ispkg:
            importlib.import_module(f"{path}.{found.name}")
            value = getattr(package, found.name)
            if isinstance(value, ModuleType):
                assert not callable(getattr(value, found.name, None)), found.name


@pytest.mark.parametrize("name", sorted(taper._MODULES))
def test_modules_that_are_named_are_there(name):
    assert isinstance(getattr(taper, name), ModuleType)


def test_a_module_that_is_missing_is_a_missing_attribute():
    assert not hasattr(taper, "mtia") and "mtia" not in dir(taper)
    assert "nn" in dir(taper)
