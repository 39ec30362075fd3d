"""The alias, with a toy package in taper's place: each program runs in a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lantern(tmp_path):
    """A package with the shape of torch: a subpackage, a module in it, a class, a version."""
    files = {
        "lantern/__init__.py": """
            __version__ = "2.13.0+lantern"
            from . import late
            class Tensor: __module__ = "torch"
            def __getattr__(name):
                if name == "lazy":
                    import importlib
                    return importlib.import_module("." + name, __name__)
                raise AttributeError(name)
            """,
        "lantern/late.py": "def later():\n    from .nn import functional\n    return functional\n",
        "lantern/lazy.py": "value = 7\n",
        "lantern/broken.py": "import no_such_package_at_all\n",
        "lantern/nn/__init__.py": "from . import functional\nclass Module: pass\n",
        "lantern/nn/functional.py": "def relu(x):\n    return max(x, 0)\n",
        "realtorch/torch/__init__.py": "__version__ = '1.0'\n",
        "realtorch/torch/only_there.py": "",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return tmp_path


def run(folder, program, *, real=False):
    path = [str(ROOT), str(folder), *([str(folder / "realtorch")] if real else [])]
    text = textwrap.dedent(program)
    file = folder / "program.py"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


START = """\
import lantern
from taper.interop.torch_alias import as_torch
assert as_torch(lantern) is lantern
"""


@pytest.mark.parametrize("real", [False, True])
def test_both_names_are_the_same_modules(lantern, real):
    run(
        lantern,
        START
        + """
import sys, torch, torch.nn, torch.nn.functional as F
from torch import nn
from torch.nn import functional, Module
import lantern.nn.functional
assert torch is lantern and torch.nn is lantern.nn is nn
assert F is functional is lantern.nn.functional is sys.modules["torch.nn.functional"]
assert sys.modules["torch.nn"] is sys.modules["lantern.nn"]
assert Module is lantern.nn.Module
assert torch.lazy.value == 7
assert torch.late.later() is F
""",
        real=real,
    )


def test_a_second_call_changes_nothing(lantern):
    run(
        lantern,
        START
        + """
import sys
before = list(sys.meta_path)
assert as_torch(lantern) is lantern and sys.meta_path == before
""",
    )


def test_libraries_that_look_first_find_it(lantern):
    run(
        lantern,
        START
        + """
import importlib.util, importlib.metadata, sys
spec = importlib.util.find_spec("torch")
assert spec is not None and sys.modules["torch"].__spec__ is not None
assert importlib.util.find_spec("torch.nn.functional") is not None
assert importlib.util.find_spec("torch._inductor") is None
assert importlib.util.find_spec("torch.nothing") is None
assert importlib.metadata.version("torch") == "2.13.0+lantern"
assert importlib.metadata.distribution("torch").metadata["Name"] == "torch"
assert "torch" in {d.metadata["Name"] for d in importlib.metadata.distributions()}
import torch.nn
assert torch.__name__ == "torch"
""",
    )


def test_what_is_missing_says_so_and_never_comes_from_the_real_one(lantern):
    run(
        lantern,
        START
        + """
for name in ("torch.foo", "torch.only_there", "torch.foo.bar", "torch.nn.foo"):
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        first = "torch.foo" if name == "torch.foo.bar" else name
        assert str(error).startswith(f"No module named {first!r}"), error
        assert "torch is lantern here" in str(error) and error.name == first
    else:
        raise AssertionError(name)
try:
    from torch import foo
except ImportError as error:
    assert "cannot import name 'foo' from 'torch'" in str(error), error
try:
    import torch.broken
except ModuleNotFoundError as error:
    assert error.name == "no_such_package_at_all"
""",
        real=True,
    )


def test_it_refuses_where_the_real_torch_is_imported(lantern):
    run(
        lantern,
        """
import torch, lantern, sys
from taper.interop.torch_alias import as_torch
before = list(sys.meta_path)
try:
    as_torch(lantern)
except ImportError as error:
    assert "the real torch 1.0" in str(error) and "Restart Python" in str(error)
else:
    raise AssertionError
assert sys.meta_path == before and sys.modules["torch"] is torch
""",
        real=True,
    )


def test_pickles_that_name_torch_load(lantern):
    run(
        lantern,
        START
        + """
import pickle
assert pickle.loads(pickle.dumps(lantern.Tensor)) is lantern.Tensor
assert pickle.loads(b"ctorch.nn\\nModule\\n.") is lantern.nn.Module
""",
    )


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("early", [False, True])
def test_new_processes_have_the_alias_too(lantern, method, early):
    if method == "forkserver" and sys.platform == "win32":
        pytest.skip("Windows has no fork server")
    first = "import multiprocessing.spawn\n" if early else ""
    program = (
        first
        + "if __name__ == '__main__':\n"
        + textwrap.indent(START, "    ")
        + f"""
import torch.nn

def in_the_child(queue):
    import lantern
    queue.put(torch is lantern and torch.nn.functional.relu(-2) == 0)

if __name__ == "__main__":
    import multiprocessing
    context = multiprocessing.get_context({method!r})
    queue = context.SimpleQueue()
    process = context.Process(target=in_the_child, args=(queue,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert queue.get()
"""
    )
    run(lantern, program)


def test_names_in_the_table_exist():
    from importlib.util import find_spec

    from taper.interop.torch_alias import MODULE_NAMES, taper_name

    for torch_name, name in MODULE_NAMES.items():
        assert find_spec(name) is not None, f"{torch_name} → {name}"
    assert taper_name("torch.nn.functional") == "taper.nn.functional"
    assert taper_name("torch") == "taper"
    assert taper_name("torch.torch_version") == "taper.version"
