"""`taper run notebook.ipynb`: the code cells in order, in one namespace, last expressions echoed.

With IPython installed (the extra `notebook`) its shell runs the cells, and magics and
shell lines do what they do in a notebook. Without it the cells are plain Python: magics that only
set up the display are left out with a note, what would need a shell is refused before the first
cell runs.

Tags mean what they mean to Jupyter: `raises-exception` lets the run go on after the cell's error,
`skip-execution` leaves the cell out.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import re
import sys
import traceback
import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import Any

from taper.cli.main_module import ProgramMissing, become_main, begin_tracebacks_at, from_code

__all__ = ["Cell", "read_notebook", "run_notebook", "without_magics"]

# Cell magics whose body is Python: it is run. (`%%timeit` then runs it once.)
PYTHON_CELLS = {"capture", "prun", "time", "timeit"}
# Cell magics that only show something.
DISPLAY_CELLS = {"html", "javascript", "js", "latex", "markdown", "svg"}
# Line magics that start other programs, or change what the rest of the notebook sees.
SHELL_LINES = {"bash", "cd", "conda", "mamba", "pip", "run", "sc", "script", "sh", "sx", "system"}


@dataclass
class Cell:
    """A code cell: its number among the code cells, its source and its tags."""

    number: int
    source: str
    tags: set[str] = field(default_factory=set)


def run_notebook(program: str, arguments: list[str]) -> None:
    """Runs the code cells of a notebook, in its folder, as Jupyter does."""
    path = os.path.abspath(program)
    cells = [cell for cell in read_notebook(path) if "skip-execution" not in cell.tags]
    folder = os.path.dirname(path)
    has_ipython = find_spec("IPython") is not None
    if not has_ipython:
        for cell in cells:
            cell.source = without_magics(cell, os.path.basename(path))
    # Nothing here shows figures, and none should wait for a window to be closed.
    os.environ.setdefault("MPLBACKEND", "agg")
    warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
    main = become_main(argv=[path, *arguments], first_on_path=folder)
    os.chdir(folder)
    if has_ipython:
        run_in_ipython(cells, main)
    else:
        for cell in cells:
            run_cell(cell, main, f"{os.path.basename(path)}, cell {cell.number}")


def read_notebook(path: str) -> list[Cell]:
    """The code cells of a notebook file of format 4."""
    try:
        with open(path, encoding="utf-8") as file:
            notebook: Any = json.load(file)
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}"
        raise ProgramMissing(f"can't open file {path!r}: {reason}") from None
    except ValueError as error:
        raise ProgramMissing(f"{path!r} is not a notebook: {error}") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ProgramMissing(f"{path!r} is not a notebook of format 4: it has no list of cells")
    metadata = notebook.get("metadata", {})
    language = metadata.get("kernelspec", {}).get("language") or metadata.get(
        "language_info", {}
    ).get("name", "python")
    if language.lower() not in ("python", "ipython"):
        raise ProgramMissing(f"{path!r} is a notebook in {language}, not in Python")
    cells: list[Cell] = []
    for cell in notebook["cells"]:
        if cell.get("cell_type") == "code":
            source = cell.get("source", "")
            text = source if isinstance(source, str) else "".join(source)
            tags = set(cell.get("metadata", {}).get("tags", ()))
            cells.append(Cell(len(cells) + 1, text, tags))
    return cells


def without_magics(cell: Cell, notebook: str) -> str:
    """The cell as plain Python, line for line; raises ProgramMissing for what needs a shell."""
    lines = cell.source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        magic = lines[first][2:].split()[0] if len(lines[first].split()[0]) > 2 else ""
        if magic in DISPLAY_CELLS:
            _note(cell, first, f"the %%{magic} cell is left out")
            return ""
        if magic not in PYTHON_CELLS:
            raise _refusal(cell, first, notebook, lines[first])
        _note(cell, first, f"%%{magic} is left out, its cell runs")
        lines[first] = ""
    # A line is only a magic where Python can't read it: "%" also continues an expression.
    for _ in range(len(lines)):
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            position = (error.lineno or 0) - 1
            if not 0 <= position < len(lines):
                break
            line = lines[position]
            plain = _plain_line(cell, position, notebook, line)
            if plain == line:
                break  # a mistake of the cell's own: it is reported when the cell runs
            lines[position] = plain
        else:
            break
    return "\n".join(lines)


def _plain_line(cell: Cell, position: int, notebook: str, line: str) -> str:
    """What stands for a line that isn't Python; the line itself if it is no magic either."""
    text = line.strip()
    indent = line[: len(line) - len(line.lstrip())]
    if text.startswith("!") or re.match(r"[\w, .\[\]'\"]+=\s*[!%]", text):
        raise _refusal(cell, position, notebook, text)
    if text.startswith("%"):
        magic, _, rest = text[1:].partition(" ")
        if magic in SHELL_LINES:
            raise _refusal(cell, position, notebook, text)
        if magic == "time" and rest.strip():
            return indent + rest.strip()
        _note(cell, position, f"{text} is left out")
        return indent + "pass"
    if text.startswith("?") or text.endswith("?"):
        _note(cell, position, f"{text} is left out")
        return indent + "pass"
    return line


def _note(cell: Cell, position: int, text: str) -> None:
    print(f"taper: cell {cell.number}, line {position + 1}: {text}", file=sys.stderr)


def _refusal(cell: Cell, position: int, notebook: str, text: str) -> ProgramMissing:
    return ProgramMissing(
        f"{notebook}, cell {cell.number}, line {position + 1}: {text.strip()!r} starts other "
        "programs or changes this one's surroundings, which plain Python doesn't. Do that before, "
        "and remove the line (or tag the cell skip-execution); or install IPython, whose shell "
        "runs it as a notebook does."
    )


def run_cell(cell: Cell, main: ModuleType, name: str) -> None:
    """Runs a cell as plain Python; a last expression without a semicolon is echoed."""
    source = cell.source
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    code: CodeType | None = None
    try:
        tree = ast.parse(source, name)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr) and not _is_silenced(source):
            tree.body.pop()
        else:
            last = None
        code = compile(tree, name, "exec", dont_inherit=True)
        exec(code, main.__dict__)
        if isinstance(last, ast.Expr):
            code = compile(ast.Expression(last.value), name, "eval", dont_inherit=True)
            sys.displayhook(eval(code, main.__dict__))
    except SystemExit:
        raise
    except BaseException as error:
        if "raises-exception" not in cell.tags or not isinstance(error, Exception):
            begin_tracebacks_at(code)
            raise
        error.__traceback__ = from_code(error.__traceback__, code)
        traceback.print_exception(error)


def _is_silenced(source: str) -> bool:
    """Whether the last statement ends in a semicolon, a comment behind it aside."""
    last = source.rstrip().rsplit("\n", 1)[-1]
    return last.partition("#")[0].rstrip().endswith(";")


def run_in_ipython(cells: list[Cell], main: ModuleType) -> None:
    """Runs the cells in IPython's shell, without its prompts."""
    from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):  # type: ignore[misc, unused-ignore]
        """The shell without a terminal or a window system to look after."""

        def enable_gui(self, gui: Any = None) -> None:
            pass

    shell: Any = Shell.instance(user_module=main)
    if not sys.stdout.isatty():
        # IPython 9 has themes, 8 a fixed list of names.
        known = getattr(type(shell).colors, "values", None)
        shell.run_line_magic("colors", "NoColor" if known else "nocolor")
    shell.displayhook.write_output_prompt = lambda: None
    for cell in cells:
        result = shell.run_cell(cell.source, store_history=True)
        error = result.error_before_exec or result.error_in_exec
        if isinstance(error, SystemExit):
            raise error
        if error is not None and "raises-exception" not in cell.tags:
            raise SystemExit(1)  # the shell has shown the traceback
