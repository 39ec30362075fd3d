"""`taper info`: what this installation is made of; `taper info NAME`: how one operator is made.

For an operator it prints the declaration with file and line, its derivative rules, and the source
of the function that was generated from them. For other public names (`nn.Linear`) it says where
they are defined.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import pkgutil
import platform
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

__all__ = ["environment", "info", "processor"]

HELP = """\
usage: taper info [NAME …]

Without a name: versions, paths, BLAS, threads and packages; what a bug report should say.

  NAME   an operator (exp, torch.linalg.inv, Tensor.add_): its declaration with file and line, its
         derivative, and the source of the functions that are generated from them;
         or another public name (nn.Linear, utils.data): where it is defined and what it does

The exit status is 0; 1 if a name is unknown, 2 for an unknown option."""

PACKAGES = {
    "needed": ("numpy", "ml_dtypes", "scipy", "llvmlite"),
    "optional": ("matplotlib", "scikit-learn", "tqdm", "graphviz", "torchviz", "ipython", "cupy"),
    "beside": ("torch",),
}


def info(arguments: list[str]) -> int:
    """Prints the environment, or what is known of each name."""
    if not arguments:
        print("\n".join(environment()))
        return 0
    if arguments[0] in ("-h", "--help"):
        print(HELP)
        return 0
    if options := [word for word in arguments if word.startswith("-")]:
        print(f"taper: unknown option {options[0]}; {HELP.splitlines()[0]}", file=sys.stderr)
        return 2
    operators = _all_operators()
    status = 0
    for position, word in enumerate(arguments):
        name = word.removeprefix("torch.").removeprefix("taper.").removeprefix("Tensor.")
        if position:
            print()
        if name in operators:
            print("\n".join(describe_operator(name, operators)))
        elif name.endswith("_") and name[:-1] in operators:
            print("\n".join(describe_operator(name[:-1], operators)))
        elif lines := describe_name(name):
            print("\n".join(lines))
        else:
            near = ", ".join(difflib.get_close_matches(name, operators, n=5))
            hint = f" Near it: {near}." if near else ""
            print(f"taper: no operator and no public name {word!r}.{hint}", file=sys.stderr)
            status = 1
    return status


def environment() -> Iterator[str]:
    """What a bug report should say, line by line."""
    from taper.version import TAPER_VERSION, TORCH_VERSION

    yield f"taper       {TAPER_VERSION}, follows PyTorch {TORCH_VERSION}"
    yield f"            {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}"
    yield f"Python      {platform.python_version()} ({platform.python_implementation()})"
    yield f"            {sys.executable}"
    yield f"machine     {platform.platform()}"
    yield f"            {processor()}"
    yield f"BLAS        {_blas()}"
    yield f"threads     {_threads()}"
    set_here = {k: v for k, v in os.environ.items() if k.startswith(("TAPER_", "OMP_", "OPENBLAS"))}
    if set_here:
        yield "variables   " + ", ".join(f"{k}={v}" for k, v in sorted(set_here.items()))
    for kind, names in PACKAGES.items():
        heading = {"needed": "packages", "optional": "optional", "beside": "not used"}[kind]
        found = [f"{name} {_version(name) or '–'}" for name in names]
        yield f"{heading:12}" + ", ".join(found)
    yield f"operators   {len({id(op) for op in _all_operators().values()})}"


def processor() -> str:
    """The processor's name, and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        name = next((line.partition(":")[2].strip() for line in file if "model name" in line), name)
    return f"{name}, {_usable_cores()} of {os.cpu_count()} cores"


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _blas() -> str:
    import numpy as np

    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')} (NumPy's)".replace("  ", " ")


def _threads() -> str:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "not known (install threadpoolctl to see BLAS's)"
    import numpy.linalg  # noqa: F401 - loads the BLAS that is asked about

    pools = [f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpool_info()]
    return ", ".join(pools) or "no pool"


def _all_operators() -> dict[str, Any]:
    """Every operator of the table, with all families loaded."""
    from taper import ops
    from taper.ops.declare import OPERATORS

    for family in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"taper.ops.{family.name}")
    return OPERATORS


def describe_operator(name: str, operators: dict[str, Any]) -> Iterator[str]:
    """The block of an operator and what was generated from it."""
    op = operators[name]
    others = sorted(path for path, other in operators.items() if other is op and path != op.path)
    yield ", ".join([f"torch.{path}" for path in (op.path, *others)] + list(_other_forms(op)))
    yield from _block("composed of operators" if op.is_composite else "declared", op.forward)
    for rule in op.derivatives:
        names = ", ".join(rule.inputs)
        yield from _block(f"derivative for {names}, in {op.node}", rule.function)
    if not op.derivatives:
        yield ""
        if op.is_composite:
            yield "derivative: follows from the operators it is made of"
        elif op.differentiable:
            yield "derivative: none declared"
        else:
            yield "derivative: none, the result has no gradient"
    yield from _block("generated function", op.function)
    if op.has_inplace:
        yield from _block("generated in-place form", op.inplace)


def _other_forms(op: Any) -> Iterator[str]:
    from taper.core.tensor import Tensor

    if hasattr(Tensor, op.name):
        yield f"Tensor.{op.name}"
    if op.has_inplace:
        yield f"Tensor.{op.name}_"
    if op.has_out:
        yield "out="


def _block(title: str, function: Callable[..., Any]) -> Iterator[str]:
    """A heading with file and line, then the source."""
    function = inspect.unwrap(function)
    code: CodeType | None = getattr(function, "__code__", None)
    yield ""
    if code is None:
        yield f"{title}: {function!r}"
        return
    yield f"{title}: {_place(code.co_filename, code.co_firstlineno)}"
    try:
        source = inspect.getsource(function)
    except OSError:
        yield "    (no source)"
        return
    yield textwrap.indent(textwrap.dedent(source).rstrip(), "    ")


def _place(file: str, line: int) -> str:
    return f"{os.path.relpath(file)}:{line}" if os.path.isfile(file) else f"{file}, line {line}"


def _definition(found: Any) -> tuple[str, int] | None:
    """File and line of a class, function or module."""
    with contextlib.suppress(TypeError, OSError):
        file = inspect.getsourcefile(found)
        return (file, max(inspect.getsourcelines(found)[1], 1)) if file else None
    if not isinstance(found, type):
        return None
    # Classes that present themselves as torch's: their methods know where they are.
    for function in vars(found).values():
        if inspect.isfunction(function) and function.__qualname__.startswith(found.__name__ + "."):
            file = function.__code__.co_filename
            with contextlib.suppress(OSError), open(file, encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if line.startswith((f"class {found.__name__}(", f"class {found.__name__}:")):
                        return file, number
    return None


def describe_name(name: str) -> list[str]:
    """Where a public name that is no operator is defined, and what it says of itself."""
    found: Any = importlib.import_module("taper")
    for part in name.split(".") if name not in ("torch", "taper") else ():
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(f"{found.__name__}.{part}")
            except (ImportError, AttributeError):
                return []
    kind = "class" if isinstance(found, type) else type(found).__name__
    lines = [f"{'torch' if name in ('torch', 'taper') else f'torch.{name}'}: {kind}"]
    place = _definition(found)
    lines.append(f"value: {found!r}" if place is None else f"defined: {_place(*place)}")
    if callable(found):
        with contextlib.suppress(TypeError, ValueError):  # built in, or made without one
            parameters = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(found)))
            lines.append(f"signature: {name.rpartition('.')[2]}{parameters}")
    if not isinstance(found, (str, int, float)) and (text := inspect.getdoc(found)):
        lines += ["", textwrap.indent(text, "    ")]
    return lines
