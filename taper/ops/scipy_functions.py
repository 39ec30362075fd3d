"""Functions of scipy.special, imported when the first one is used."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

__all__ = ["LARGE_FOR_ERF", "scipy_special"]

_FOUND: dict[str, Any] = {}
_PACKAGE = "scipy.special"
_UFUNCS = "_special_ufuncs"

LARGE_FOR_ERF = 1023
"""Elements from which on a kernel's error function beats SciPy's, which takes 15 ns for each."""


def scipy_special(name: str) -> Any:
    """The ufunc of scipy.special called `name`. They take float32 and float64 arrays."""
    found = _FOUND.get(name)
    if found is None:
        found = _ufunc_alone(name)
        if found is None:
            import scipy.special

            found = getattr(scipy.special, name)
        _FOUND[name] = found
    return found


def _ufunc_alone(name: str) -> Any:
    """The same from the extension module that has most of them, which takes a millisecond; None
    where it isn't there. To import the package takes 100, most of them for numpy.f2py."""
    module = sys.modules.get(f"{_PACKAGE}.{_UFUNCS}")
    scipy = find_spec("scipy")
    if module is None and _PACKAGE not in sys.modules and scipy is not None and scipy.origin:
        folder = Path(scipy.origin).parent / "special"
        files = [folder / (_UFUNCS + suffix) for suffix in EXTENSION_SUFFIXES]
        file = next(filter(Path.is_file, files), None)
        if file is not None:
            module = _loaded(file)
    return getattr(module, name, None)


def _loaded(file: Path) -> Any:
    """The extension module, under its own name, so that the package takes it if it is imported."""
    name = f"{_PACKAGE}.{_UFUNCS}"
    spec = spec_from_file_location(name, file, loader=ExtensionFileLoader(name, str(file)))
    assert spec is not None and spec.loader is not None
    try:
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:
        return None
    return sys.modules.setdefault(name, module)
