"""A program in place of the `taper` command: `__main__`, sys.argv, sys.path, tracebacks."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from types import CodeType, ModuleType, TracebackType
from typing import Any

__all__ = ["ProgramMissing", "become_main", "begin_tracebacks_at", "execute", "from_code"]


class ProgramMissing(Exception):
    """What was to be run can't be: the message says why."""


def become_main(
    argv: list[str], first_on_path: str, file: str | None = None, loader: Any = None
) -> ModuleType:
    """A new `__main__` in place of ours, with the arguments and the path that go with it."""
    main = ModuleType("__main__")
    main.__dict__.update(__annotations__={}, __builtins__=sys.modules["builtins"])
    main.__loader__ = loader
    if file is not None:
        main.__dict__.update(__file__=file, __cached__=None)
    # Ours stays alive: what it started may still use its names.
    main_before = sys.modules["__main__"]
    _kept.append(main_before)
    sys.modules["__main__"] = main
    sys.argv[:] = argv
    if not sys.flags.safe_path and sys.path:
        # Python put there where our own command lies, or for `-m taper` the current folder.
        sys.path[0] = first_on_path
    return main


_kept: list[ModuleType] = []


def execute(load: Callable[[], CodeType], main: ModuleType) -> None:
    """Compiles and runs a program as `main`."""
    code = None
    try:
        code = load()
        exec(code, main.__dict__)
    except (SystemExit, ProgramMissing):
        raise
    except BaseException:
        begin_tracebacks_at(code)
        raise


def begin_tracebacks_at(code: CodeType | None) -> None:
    """Makes the report of the exception that is about to end Python begin at this code.

    Left to Python otherwise, so that exit statuses, signals, `python -i` and a hook that the
    program has set work as they do without us.
    """
    show = sys.excepthook

    def report(
        kind: type[BaseException], error: BaseException, found: TracebackType | None
    ) -> None:
        error.__traceback__ = from_code(found, code)
        if show is sys.__excepthook__ and sys.version_info < (3, 13):
            # Before 3.13 Python's own report reads source lines from files only. Generated
            # operators and notebook cells have theirs in linecache.
            traceback.print_exception(error)
        else:
            show(kind, error, error.__traceback__)

    sys.excepthook = report


def from_code(found: TracebackType | None, code: CodeType | None) -> TracebackType | None:
    """The part of a traceback from this code on; nothing if it never ran (a SyntaxError)."""
    while found is not None and found.tb_frame.f_code is not code:
        found = found.tb_next
    return found
