"""`taper graph`: runs a program up to a backward pass, and draws what that walks through."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from taper.cli.run_program import run

__all__ = ["graph"]

USAGE = "usage: taper graph [-o FILE] [-n NUMBER] [--of NAME] PROGRAM.py [arguments]"
HELP = f"""\
{USAGE}

Runs a program as `taper run` would, and draws the history that its backward pass walks through:
each operation with its shape, where it was called, what it saved and the norm of its gradient.
The program ends there.

  -o FILE     where to: .html (a page with zoom and search; graph.html if nothing is said), .svg,
              .png or .pdf (by graphviz), .dot, .txt; - prints text
  -n NUMBER   which backward pass: 1, the first, if nothing is said
  --of NAME   runs the program to its end, and draws the history of that variable

Leaves are named after the program's variables and its modules' parameters."""


class _Seen(SystemExit):
    """Ends the program when there is a graph."""


def graph(arguments: list[str]) -> int:
    """Runs the command and returns its exit status."""
    output, number, variable = "graph.html", 1, None
    words = list(arguments)
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in ("-h", "--help"):
            print(HELP)
            return 0
        if option not in ("-o", "-n", "--of") or not words:
            return _refused(f"unknown option {option}" if words else f"{option} needs a value")
        value = words.pop(0)
        if option == "-o":
            output = value
        elif option == "--of":
            variable = value
        elif value.isdigit() and int(value) > 0:
            number = int(value)
        else:
            return _refused(f"-n needs a number from 1, not {value!r}")
    if not words:
        print(USAGE, file=sys.stderr)
        return 2
    found: list[Any] = []
    if variable is None:
        _watch_backward(number, found)
    try:
        status = run(words)
    except _Seen:
        status = 0
    if status:
        return status
    if variable is not None:
        main = vars(sys.modules["__main__"])
        if variable not in main:
            return _refused(f"the program has no variable {variable!r}")
        found.append(_graph_of(main[variable], words[0]))
    if not found:
        return _refused(f"{words[0]} ended before its backward pass number {number}; --of NAME "
                        "draws the history of a variable")
    if output == "-":
        print(found[0])
        return 0
    try:
        print(f"{found[0]!r}: {found[0].save(Path(output))}")
    except (OSError, RuntimeError, ValueError) as error:
        return _refused(str(error))
    return 0


def _refused(message: str) -> int:
    print(f"taper: {message}", file=sys.stderr)
    return 2


def _graph_of(tensor: Any, title: str) -> Any:
    from taper.viewer.graph import graph as picture

    return picture(tensor, names=_names(), title=title)


def _names() -> dict[str, Any]:
    """The program's variables; those it uses itself win over those of its own."""
    return {k: v for k, v in vars(sys.modules["__main__"]).items() if not k.startswith("__")}


def _watch_backward(number: int, found: list[Any]) -> None:
    """Draws the graph of a backward pass in its place, and ends the program."""
    from taper import Tensor

    # Asked of `taper.autograd`, this name is the function.
    passes: Any = importlib.import_module("taper.autograd.backward")
    calls = 0
    run_pass = passes._run

    def instead(outputs: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < number:
            return run_pass(outputs, *arguments, **named)
        passes._run = run_pass
        tensors = [t for t in outputs if isinstance(t, Tensor)]
        found.append(_graph_of(tensors[0], Path(sys.argv[0]).name))
        raise _Seen(0)

    passes._run = instead
