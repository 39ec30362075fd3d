"""`taper run` against plain python: the same program must see and show the same."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python(folder, *words, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=120,
        check=False, env=environment, **options,
    )  # fmt: skip


def taper(folder, *words, **options):
    return python(folder, "-m", "taper", *words, **options)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "beside.py").write_text("here = 1\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    return tmp_path


def write(folder, name, text):
    (folder / name).write_text(textwrap.dedent(text))


SURROUNDINGS = """
    '''The docstring.'''
    import sys
    import {}
    print(__name__, __file__, __doc__, __spec__ and __spec__.name, __package__, sorted(globals()))
    print(sys.argv, sys.path[0], sys.modules["__main__"].__dict__ is globals())
    print(type(__loader__).__name__, {}.here if hasattr({}, "here") else "")
"""


@pytest.mark.parametrize("name", ["inner/program.py", "package/module.py"])
def test_surroundings_of_a_file(folder, name):
    write(folder, name, SURROUNDINGS.replace("{}", "beside" if "inner" in name else "sys"))
    ours, theirs = taper(folder, "run", name, "a", "-b"), python(folder, name, "a", "-b")
    assert ours.returncode == theirs.returncode == 0, ours.stderr
    assert ours.stdout == theirs.stdout


def test_surroundings_of_a_module(folder):
    write(folder, "package/module.py", SURROUNDINGS.replace("{}", "sys"))
    write(folder, "package/__main__.py", SURROUNDINGS.replace("{}", "sys"))
    for module in ("package.module", "package"):
        ours = taper(folder, "run", "-m", module, "a")
        theirs = python(folder, "-m", module, "a")
        assert ours.returncode == theirs.returncode == 0, ours.stderr
        assert ours.stdout == theirs.stdout


def test_a_line_of_code(folder):
    done = taper(folder, "run", "-c", "import sys, torch; print(sys.argv, torch.__name__)", "x")
    assert done.stdout == "['-c', 'x'] torch\n"


def test_torch_means_taper(folder):
    write(
        folder,
        "program.py",
        """
        import torch, sys
        import taper
        assert torch is taper and sys.modules["torch"] is taper
        print("same")
        """,
    )
    assert taper(folder, "run", "program.py").stdout == "same\n"
    assert taper(folder, "program.py").stdout == "same\n"


@pytest.mark.parametrize("ending", [
    "raise ValueError('no')",
    "def inner():\n    raise KeyError(1)\n\ntry:\n    0[0]\nexcept TypeError:\n    inner()",
    "import sys; sys.exit(5)",
    "import sys; sys.exit('a message')",
    "raise SystemExit",
    "x = = 2",
    "'\\N{no such name}'",
    "import no_such_module",
    "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
])  # fmt: skip
def test_endings(folder, ending):
    write(folder, "program.py", f"print('before', flush=True)\n{ending}\n")
    ours, theirs = taper(folder, "run", "program.py"), python(folder, "program.py")
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    assert ours.stderr == theirs.stderr


def test_an_error_in_a_module_shows_no_frame_above_it(folder):
    write(folder, "package/module.py", "def fail():\n    1 / 0\n\nfail()\n")
    done = taper(folder, "run", "-m", "package.module")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[1].endswith('module.py", line 4, in <module>')


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_an_interrupt_ends_as_python_does(folder):
    write(folder, "program.py", "raise KeyboardInterrupt\n")
    ours, theirs = taper(folder, "run", "program.py"), python(folder, "program.py")
    assert ours.returncode == theirs.returncode == -signal.SIGINT
    assert ours.stderr == theirs.stderr


def test_a_hook_of_the_program_is_called_with_its_own_frames(folder):
    write(
        folder,
        "program.py",
        """
        import sys, traceback
        def hook(kind, error, found):
            print(kind.__name__, [frame.name for frame in traceback.extract_tb(found)])
        sys.excepthook = hook
        def fail():
            raise ValueError
        fail()
        """,
    )
    done = taper(folder, "run", "program.py")
    assert done.stdout == "ValueError ['<module>', 'fail']\n"
    assert done.returncode == 1


@pytest.mark.parametrize(("words", "message"), [
    (["nothing.py"], "can't open file"),
    (["-m", "no_such_module"], "No module named no_such_module"),
    (["-m", "package"], "'package' is a package and cannot be directly executed"),
    (["-m"], "argument expected"),
    (["--what", "x.py"], "unknown option --what"),
    ([], "usage: taper run"),
])  # fmt: skip
def test_what_cannot_be_run(folder, words, message):
    done = taper(folder, "run", *words)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_it_refuses_where_the_real_torch_was_imported_at_start(folder):
    write(folder, "torch.py", "__version__ = '1.0'\n")
    write(folder, "sitecustomize.py", "import torch\n")
    path = os.pathsep.join([str(ROOT), str(folder)])
    done = taper(folder, "run", "-c", "print(1)", env={"PYTHONPATH": path})
    assert done.returncode == 1
    assert "the real torch 1.0" in done.stderr and done.stdout == ""


def test_unknown_commands_and_help(folder):
    done = taper(folder, "fly")
    assert done.returncode == 2 and "no command 'fly'" in done.stderr
    assert "usage: taper run" in taper(folder, "--help").stdout
    assert "-m MODULE       a module" in taper(folder, "run", "--help").stdout
    assert taper(folder, "--version").stdout.startswith("taper ")
