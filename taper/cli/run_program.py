"""`taper run`: a program sees `import torch` mean taper, and otherwise what python would show it.

The program is `__main__`; sys.argv, sys.path[0], exit statuses and signals are what they would be
under `python program.py`, and a traceback begins at the program's first line, not at ours.
Notebooks are in `taper.cli.run_notebook`.
"""

from __future__ import annotations

import importlib.util
import linecache
import os
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any

from taper.cli.main_module import ProgramMissing, become_main, execute
from taper.interop.torch_alias import as_torch

__all__ = ["run"]

USAGE = "usage: taper run [-m MODULE | -c CODE | PROGRAM.py | NOTEBOOK.ipynb] [arguments]"
HELP = f"""\
{USAGE}

Runs a program as `python` would, except that `import torch` means taper, in the program and in all
that it imports. The arguments after the program's name are the program's own.

  PROGRAM.py      a file
  NOTEBOOK.ipynb  the code cells of a notebook in order; with IPython its magics work too
  -m MODULE       a module or package that is found on the path
  -c CODE         Python code

The exit status is the program's; 2 if there is nothing to run, 1 if the real torch is already
imported."""


def run(arguments: list[str]) -> int:
    """Runs what the arguments name; see `taper --help`."""
    if not arguments:
        print(USAGE, file=sys.stderr)
        return 2
    if arguments[0] in ("-h", "--help"):
        print(HELP)
        return 0
    try:
        as_torch()
    except ImportError as error:
        print(f"taper: {error}", file=sys.stderr)
        return 1
    try:
        match arguments:
            case ["-m", module, *rest]:
                run_module(module, rest)
            case ["-c", code, *rest]:
                run_text(code, rest)
            case ["-m" | "-c" as option]:
                raise ProgramMissing(f"argument expected for {option}")
            case [option, *_] if option.startswith("-"):
                raise ProgramMissing(f"unknown option {option}; {USAGE}")
            case [program, *rest]:
                if program.endswith(".ipynb"):
                    # Reading notebooks takes modules (7 ms) that programs don't need.
                    from taper.cli.run_notebook import run_notebook

                    run_notebook(program, rest)
                else:
                    run_file(program, rest)
    except ProgramMissing as error:
        print(f"taper: {error}", file=sys.stderr)
        return 2
    return 0


def run_file(program: str, arguments: list[str]) -> None:
    """As `python program arguments…`."""
    path = os.path.abspath(program)
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}"
        raise ProgramMissing(f"can't open file {path!r}: {reason}") from None
    main = become_main(
        argv=[program, *arguments],
        first_on_path=os.path.dirname(os.path.realpath(path)),
        file=path,
        loader=SourceFileLoader("__main__", path),
    )
    execute(lambda: compile(source, path, "exec", dont_inherit=True), main)


def run_text(code: str, arguments: list[str]) -> None:
    """As `python -c code arguments…`."""
    name = "<string>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    main = become_main(argv=["-c", *arguments], first_on_path="")
    execute(lambda: compile(code, name, "exec", dont_inherit=True), main)


def run_module(name: str, arguments: list[str]) -> None:
    """As `python -m name arguments…`."""
    # While the module is being looked for, which may run packages, argv[0] is "-m".
    main = become_main(argv=["-m", *arguments], first_on_path=os.getcwd())
    spec = _spec_to_run(name)
    loader: Any = spec.loader
    main.__dict__.update(
        __spec__=spec, __loader__=loader, __package__=spec.parent, __cached__=spec.cached
    )
    if spec.has_location and spec.origin is not None:
        main.__file__ = sys.argv[0] = spec.origin

    def load() -> CodeType:
        code: CodeType | None = loader.get_code(spec.name)
        if code is None:
            raise ProgramMissing(f"No code object available for {spec.name}")
        return code

    execute(load, main)


def _spec_to_run(name: str) -> importlib.machinery.ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            inner = importlib.util.find_spec(f"{name}.__main__")
            if inner is None:
                raise ProgramMissing(
                    f"No module named {name}.__main__; {name!r} is a package and cannot be "
                    "directly executed"
                )
            spec = inner
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        spec = None
    if spec is None or not hasattr(spec.loader, "get_code"):
        raise ProgramMissing(f"No module named {name}")
    return spec
