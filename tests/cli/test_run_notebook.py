"""Notebooks without IPython, whose absence a process of its own makes sure of."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def notebook(folder, *cells, name="notebook.ipynb", language="python"):
    """Writes a notebook; a cell is its source, or (source, tags)."""
    made = [{"cell_type": "markdown", "metadata": {}, "source": ["# words"]}]
    for cell in cells:
        source, tags = (cell, []) if isinstance(cell, str) else cell
        made.append({
            "cell_type": "code", "metadata": {"tags": tags}, "outputs": [],
            "source": source.splitlines(keepends=True),
        })  # fmt: skip
    content = {"nbformat": 4, "metadata": {"kernelspec": {"language": language}}, "cells": made}
    (folder / name).write_text(json.dumps(content))


def run(folder, *words, cwd=None):
    hidden = folder / "hidden"
    hidden.mkdir(exist_ok=True)
    (hidden / "sitecustomize.py").write_text(
        "import sys\n"
        "sys.modules['IPython'] = None\n"
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, p=None: None if n == 'IPython' else find(n, p)\n"
    )
    path = os.pathsep.join([str(hidden), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "taper", "run", *(words or ["notebook.ipynb"])],
        cwd=cwd or folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_cells_share_a_namespace_and_echo_their_last_expression(tmp_path):
    notebook(
        tmp_path,
        "import torch, taper\nx = 3",
        "x\nx + 1",
        "x;",
        "x  # shown",
        "x;  # not shown",
        "None",
        "",
        "torch is taper, __name__",
        "'text'",
        "_",
    )
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4\n3\n(True, '__main__')\n'text'\n'text'\n"


def test_it_runs_in_its_folder_with_its_arguments(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "beside.py").write_text("here = 1\n")
    notebook(inner, "import os, sys, beside", "sys.argv[1:], os.path.basename(os.getcwd())")
    done = run(tmp_path, "inner/notebook.ipynb", "a", cwd=tmp_path)
    assert done.stdout == "(['a'], 'inner')\n"


def test_an_error_stops_the_run_and_shows_cell_and_line(tmp_path):
    notebook(tmp_path, "def f():\n    1 / 0", "print('one')\nf()", "print('two')")
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stdout == "one\n"
    assert [line for line in done.stderr.splitlines() if line.strip(" ~^")] == [
        "Traceback (most recent call last):",
        '  File "notebook.ipynb, cell 2", line 2, in <module>',
        "    f()",
        '  File "notebook.ipynb, cell 1", line 2, in f',
        "    1 / 0",
        "ZeroDivisionError: division by zero",
    ]


def test_tags(tmp_path):
    notebook(
        tmp_path,
        ("1 / 0", ["raises-exception"]),
        ("print('skipped')", ["skip-execution"]),
        "print('after')",
    )
    done = run(tmp_path)
    assert done.returncode == 0
    assert done.stdout == "after\n"
    assert "ZeroDivisionError" in done.stderr and "cell 1" in done.stderr


def test_magics_of_the_display_are_left_out_with_a_note(tmp_path):
    notebook(
        tmp_path,
        "%matplotlib inline\nx = (17\n     % 5)\nx",
        "%%time\ny = 4\ny",
        "if True:\n    %config Something = 1\n    z = 5\nz",
        "%time w = 6\nw",
        "%%html\n<b>no</b>",
        "len?",
        "text = '''\n%matplotlib inline\n!ls\n'''\nlen(text)",
    )
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n4\n5\n6\n24\n"
    assert done.stderr.count("is left out") == 5
    assert "cell 1, line 1: %matplotlib inline is left out" in done.stderr


@pytest.mark.parametrize("line", [
    "!pip install something", "files = !ls", "%pip install something", "%cd ..", "%run other.py",
    "%%bash\nls", "%%writefile x.py\n1", "here = %pwd",
])  # fmt: skip
def test_what_needs_a_shell_is_refused_before_anything_runs(tmp_path, line):
    notebook(tmp_path, "print('ran')", line)
    done = run(tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "notebook.ipynb, cell 2, line 1" in done.stderr and "install IPython" in done.stderr


def test_a_syntax_error_is_the_cells_own(tmp_path):
    notebook(tmp_path, "print('one')", "x = 1\nx = = 2")
    done = run(tmp_path)
    assert done.returncode == 1 and done.stdout == "one\n"
    assert done.stderr.startswith('  File "notebook.ipynb, cell 2", line 2\n    x = = 2\n')


def test_exit_statuses_pass(tmp_path):
    notebook(tmp_path, "import sys\nsys.exit(7)", "print('never')")
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (7, "")


def test_what_is_no_notebook(tmp_path):
    (tmp_path / "text.ipynb").write_text("no json")
    (tmp_path / "list.ipynb").write_text("[]")
    notebook(tmp_path, "1", name="other.ipynb", language="julia")
    for name, message in [
        ("text.ipynb", "is not a notebook"),
        ("list.ipynb", "is not a notebook of format 4"),
        ("other.ipynb", "a notebook in julia"),
        ("nothing.ipynb", "can't open file"),
    ]:
        done = run(tmp_path, name)
        assert done.returncode == 2 and message in done.stderr, done.stderr
