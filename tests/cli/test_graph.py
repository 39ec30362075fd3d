"""`taper graph`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import torch
w = torch.nn.Parameter(torch.ones(3))
for step in range(3):
    loss = ((w * (step + 1)) ** 2).sum()
    loss.backward()
    w.data -= 0.1 * w.grad
print("the end")
"""


def taper_graph(folder: Path, *arguments: str, text: str = PROGRAM) -> tuple[int, str, str]:
    (folder / "program.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "taper", "graph", *arguments], cwd=folder, capture_output=True,
        text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout, done.stderr


def test_the_first_backward_pass(tmp_path: Path) -> None:
    status, out, err = taper_graph(tmp_path, "-o", "-", "program.py")
    assert (status, err) == (0, "")
    assert "the end" not in out
    assert out.startswith("loss")
    assert "at program.py:5" in out and "w  #0" in out


def test_a_page_of_a_later_pass(tmp_path: Path) -> None:
    status, out, _ = taper_graph(tmp_path, "-n", "3", "program.py")
    assert status == 0 and "graph.html" in out
    assert "PowBackward0" in (tmp_path / "graph.html").read_text()


def test_a_variable(tmp_path: Path) -> None:
    text = PROGRAM.replace("loss.backward()", "loss.backward(retain_graph=True)")
    status, out, _ = taper_graph(tmp_path, "--of", "loss", "-o", "-", "program.py", text=text)
    assert status == 0
    assert out.startswith("the end\nloss")


def test_what_goes_wrong(tmp_path: Path) -> None:
    for arguments, message in (
        (("-n", "9", "program.py"), "ended before its backward pass number 9"),
        (("--of", "nothing", "program.py"), "no variable 'nothing'"),
        (("-o", "x.jpeg", "program.py"), "must end in .html"),
        (("-n", "0", "program.py"), "-n needs a number from 1, not '0'"),
        (("--what", "program.py"), "unknown option --what"),
        (("-o",), "-o needs a value"),
        ((), "usage: taper graph"),
        (("missing.py",), "can't open file"),
    ):
        status, _, err = taper_graph(tmp_path, *arguments)
        assert status == 2 and message in err


COMPILED = """
import torch
w = torch.nn.Parameter(torch.ones(3))
@torch.compile
def step(x):
    w.grad = None
    loss = ((w * x) ** 2).sum()
    loss.backward()
    return loss.detach()
for i in range(5):
    step(torch.ones(3) * i)
print("the end")
"""


def test_a_compiled_function(tmp_path: Path) -> None:
    status, out, err = taper_graph(tmp_path, "--compiled", "program.py", text=COMPILED)
    assert (status, err) == (0, "")
    assert "the end" not in out and "compiled.html" in out
    page = (tmp_path / "compiled.html").read_text()
    assert "program 0" in page and "argument 0" not in page.split("made up")[-1][:200]
    status, out, _ = taper_graph(
        tmp_path, "-n", "2", "--compiled", "-o", "p.html", "program.py", text=COMPILED)
    assert status == 0 and "ended before there was program number 2" in out
    assert "program 0" in (tmp_path / "p.html").read_text()


def test_no_compiled_function(tmp_path: Path) -> None:
    status, _, err = taper_graph(tmp_path, "--compiled", "program.py")
    assert status == 2 and "has no compiled function" in err
    status, _, err = taper_graph(tmp_path, "--compiled", "-o", "-", "program.py")
    assert status == 2 and "must end in .html" in err


def test_help(tmp_path: Path) -> None:
    status, out, _ = taper_graph(tmp_path, "--help")
    assert status == 0 and "usage: taper graph" in out
