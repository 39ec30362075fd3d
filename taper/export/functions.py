"""Names for the functions that a file of an exported program may call, and nothing else.

A file says "numpy.exp", "method.reshape", "kernel.convolution.convolve" …; it can't name anything
that isn't a function of arrays, so loading a file runs no code of the file's choosing.
"""

from __future__ import annotations

import importlib
import importlib.util
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.arrays.node_functions import Changed, MethodCaller, method_caller, window, write
from taper.arrays.primitive import Primitive
from taper.compilation.array_functions import scatter, scatter_add
from taper.ops.declare import OPERATORS, Operator
from taper.ops.other_arrays import WholeForward
from taper.ops.slow import call_by_signature, signature_of

__all__ = ["find_function", "find_settings", "name_of", "settings_name_of"]

_NUMPY = frozenset("""
    argmax argmin argsort array broadcast_to clip concatenate copy copyto count_nonzero cumprod
    cumsum diagonal diff dot einsum expand_dims flip full full_like hstack inner kron matmul
    moveaxis nan_to_num nonzero ones_like outer pad partition put_along_axis putmask repeat
    reshape roll searchsorted sort squeeze stack swapaxes take take_along_axis tensordot tile
    trace transpose tril triu vstack where zeros_like
    """.split())
_LINALG = frozenset("""
    cholesky cond det eig eigh eigvals eigvalsh inv lstsq matrix_power norm pinv qr slogdet solve
    svd svdvals
    """.split())
_METHODS = frozenset("""
    __getitem__ all any argmax argmin argsort astype conj conjugate copy diagonal dot flatten max
    min prod ravel repeat reshape searchsorted squeeze sum swapaxes take transpose view
    """.split())
_UFUNC_METHODS = frozenset(["reduce", "accumulate", "outer", "reduceat"])
_WRITERS = {"setitem": operator.setitem, "putmask": np.putmask, "put_along_axis":
            np.put_along_axis, "copyto": np.copyto}
_OURS = {f.__name__: f for f in (scatter, scatter_add, window, write)}
_DRAWS = "random"  # the kernels that draw are plain functions of this module


def name_of(function: Any, label: str) -> str:
    """The name of a function in files.

    Raises:
        NotImplementedError: for functions that have none, naming the operation.
    """
    name = _name(function)
    if name is None:
        raise NotImplementedError(
            f"export of the operation {label!r} is not supported: it is not made of NumPy's "
            "functions and taper's kernels"
        )
    return name


def _name(function: Any) -> str | None:
    name = getattr(function, "__name__", "")
    if isinstance(function, np.ufunc):
        return _ufunc_name(function)
    if type(function) is WholeForward:
        results = "view" if function.count is None else str(function.count)
        op = function.op
        if OPERATORS.get(op.path) is op:
            return f"operator({results}).{op.path}"
        forward = op.forward  # of an operator that only others call
        room = forward.__module__.removeprefix("taper.ops.")
        found = _hidden_operator(room, forward.__name__) is op
        return f"hidden({results}).{room}.{forward.__name__}" if found else None
    if type(function) is MethodCaller:
        return f"method.{name}" if name in _METHODS else None
    if type(function) is Changed:
        inner = function.function
        if getattr(inner, "__name__", "") == "at":
            ufunc = _ufunc_name(inner.__self__)
            return None if ufunc is None else f"changed.{ufunc}.at"
        return f"changed.{name}" if _WRITERS.get(name) is inner else None
    if isinstance(getattr(function, "__self__", None), np.ufunc):
        ufunc = _ufunc_name(function.__self__)
        return f"{ufunc}.{name}" if ufunc and name in _UFUNC_METHODS else None
    if name in _LINALG and getattr(np.linalg, name) is function:
        return f"linalg.{name}"
    if _OURS.get(name) is function:
        return f"ours.{name}"
    module = getattr(function, "__module__", None) or ""
    if module.startswith("taper.kernels."):
        kernel = _kernel(module[14:], name)
        if function in (kernel, getattr(kernel, "__wrapped__", None)):
            return f"kernel.{module[14:]}.{name}"
    return f"numpy.{name}" if name in _NUMPY and getattr(np, name) is function else None


def _ufunc_name(function: Any) -> str | None:
    name = function.__name__
    if getattr(np, name, None) is function:
        return f"numpy.{name}"
    import scipy.special

    return f"scipy.{name}" if getattr(scipy.special, name, None) is function else None


def find_function(name: str) -> Callable[..., Any]:
    """The function of a name from a file.

    Raises:
        ValueError: for names that `name_of` doesn't give.
    """
    whole = re.fullmatch(r"(operator|hidden)\((view|\d+)\)\.([\w.]+)", name)
    if whole is None:
        found = _find(*name.split("."))
    else:
        op = OPERATORS.get(whole[3]) if whole[1] == "operator" else _hidden_operator(
            *whole[3].rpartition(".")[::2])
        found = None if op is None else _whole_forward(op, whole[2])
    if found is None:
        raise ValueError(f"an exported program can't call {name!r}")
    return found


def _hidden_operator(module: str, name: str) -> Operator | None:
    """An operator without a public name."""
    room = _module("taper.ops", module)
    found = getattr(room, name, None)
    return found if isinstance(found, Operator) else None


def _whole_forward(op: Operator, results: str) -> WholeForward:
    """An operator's forward, which was recorded as one call."""
    signature = signature_of(op)
    return WholeForward(op, lambda values: call_by_signature(op.forward, signature, values),
                        None if results == "view" else int(results))


def _find(room: str = "", name: str = "", *rest: str) -> Callable[..., Any] | None:
    if room in ("numpy", "scipy"):
        return _find_library_function(room, name, *rest)
    if room == "linalg" and name in _LINALG and not rest:
        return getattr(np.linalg, name)
    if room == "method" and name in _METHODS and not rest:
        return method_caller(name)
    if room == "changed" and not rest and name in _WRITERS:
        return Changed(_WRITERS[name])
    if room == "changed" and len(rest) == 2 and rest[1] == "at":
        ufunc = _find_library_function(name, rest[0])
        return Changed(ufunc.at) if isinstance(ufunc, np.ufunc) else None
    if room == "kernel" and len(rest) == 1:
        return _kernel(name, rest[0])
    return _OURS.get(name) if room == "ours" and not rest else None


def _find_library_function(room: str, name: str, *method: str) -> Any:
    if room == "scipy":
        import scipy.special as library
    else:
        library = np
    found = getattr(library, name, None)
    if isinstance(found, np.ufunc):
        if not method:
            return found
        is_known = len(method) == 1 and method[0] in _UFUNC_METHODS
        return getattr(found, method[0]) if is_known else None
    return found if room == "numpy" and name in _NUMPY and not method else None


def _kernel(module: str, name: str) -> Any:
    """A primitive, or a kernel that draws."""
    room = _module("taper.kernels", module)
    found = getattr(room, name, None)
    if isinstance(found, Primitive) or (module == _DRAWS and name in room.__all__):
        return found
    return None


def _module(package: str, module: str) -> Any:
    """A module of one of our packages."""
    if not module.isidentifier() or importlib.util.find_spec(f"{package}.{module}") is None:
        return None
    return importlib.import_module(f"{package}.{module}")


def settings_name_of(cls: type) -> tuple[str, str] | None:
    """Module and name of a named tuple in which kernels take settings."""
    module = cls.__module__
    if module.startswith("taper.kernels.") and _settings(module[14:], cls.__name__) is cls:
        return module[14:], cls.__name__
    return None


def find_settings(module: str, name: str) -> Any:
    """The class of a name from a file.

    Raises:
        ValueError: for names that `settings_name_of` doesn't give.
    """
    found = _settings(module, name)
    if found is None:
        raise ValueError(f"an exported program can't hold a {module}.{name}")
    return found


def _settings(module: str, name: str) -> Any:
    found = getattr(_module("taper.kernels", module), name, None)
    is_named = isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")
    return found if is_named else None
