"""`taper graph`: runs a program up to a backward pass, and draws what that walks through; or up to
the first program of a compiled function, and draws that."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from taper.cli.run_program import run

__all__ = ["graph"]

USAGE = "usage: taper graph [-o FILE] [-n NUMBER] [--of NAME | --compiled] PROGRAM.py [arguments]"
HELP = f"""\
{USAGE}

Runs a program as `taper run` would, and draws the history that its backward pass walks through:
each operation with its shape, where it was called, what it saved and the norm of its gradient.
The program ends there.

  -o FILE     where to: .html (a page with zoom and search; graph.html if nothing is said), .svg,
              .png or .pdf (by graphviz), .dot, .txt; - prints text
  -n NUMBER   which backward pass: 1, the first, if nothing is said
  --of NAME   runs the program to its end, and draws the history of that variable
  --compiled  runs it until a function given to torch.compile has a program (with -n, until there
              are so many programs), and writes the page of that function (compiled.html if nothing
              is said): the graph as recorded and after the passes; the kernels, sortable, with what
              was fused, bytes, time, and the share of what this machine can do; what is watched,
              and why calls ran as they are. Python: compiled.explain(html=True)

Leaves are named after the program's variables and its modules' parameters."""


class _Seen(SystemExit):
    """Ends the program when there is a graph."""


def graph(arguments: list[str]) -> int:
    """Runs the command and returns its exit status."""
    output, number, variable, of_compiled = "", 1, None, False
    words = list(arguments)
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in ("-h", "--help"):
            print(HELP)
            return 0
        if option == "--compiled":
            of_compiled = True
            continue
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
    if of_compiled:
        return _graph_compiled(words, Path(output or "compiled.html"), number)
    found: list[Any] = []
    output = output or "graph.html"
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


def _graph_compiled(words: list[str], output: Path, number: int) -> int:
    """`taper graph --compiled`, once its options are read."""
    if output.suffix.lower() != ".html":
        return _refused(f"a compiled function is drawn as a page, whose name must end in .html, "
                        f"not as {output.name!r}")
    _watch_programs(number, output)
    try:
        status = run(words)
    except _Seen:
        print(f"a compiled function: {output}")
        return 0
    if status:
        return status
    from taper.compilation.captured_function import CapturedFunction
    from taper.compiler.directives import forgetful

    functions = [f for f in forgetful if isinstance(f, CapturedFunction)]
    if not functions:
        return _refused(f"{words[0]} ended, and has no compiled function")
    function = max(functions, key=lambda f: f.calls_eager + f.calls_compiled)
    print(f"{words[0]} ended before there was program number {number} of a compiled function; "
          f"{function.explain_calls(html=output)} tells of {function.explanation.function}")
    return 0


def _watch_programs(number: int, output: Path) -> None:
    """Ends the program behind the first call that its compiled functions' program number `number`
    has carried out, with a page that is measured with that call's arguments."""
    from taper.compilation.captured_function import CapturedFunction
    from taper.compilation.reports import write_page
    from taper.compilation.variant import Variant

    run_variant = CapturedFunction.run
    seen: list[Variant] = []

    def instead(self: CapturedFunction, variant: Any, snapshot: Any) -> Any:
        result = run_variant(self, variant, snapshot)
        if isinstance(variant, Variant) and variant not in seen:
            seen.append(variant)
            if len(seen) == number:
                self.explain_calls()
                write_page(self.explanation, self.variants, output,
                           [found.tensor for found in snapshot.arguments])
                raise _Seen(0)
        return result

    CapturedFunction.run = instead  # type: ignore[method-assign]


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
