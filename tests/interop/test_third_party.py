"""Libraries written for torch, through the alias. Each is tested where it is installed."""

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(program):
    done = subprocess.run(
        [sys.executable, "-m", "taper", "run", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def needs(*packages):
    missing = [name for name in packages if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@needs("torchviz", "graphviz", "setuptools")
def test_torchviz_draws_our_graph():
    out = run("""
        import torch, torchviz
        w = torch.tensor([1.0, 2.0], requires_grad=True)
        x = torch.tensor([3.0, 4.0])
        dot = torchviz.make_dot((w * x).sum(), params={"w": w})
        print(dot.source)
        """)
    for label in ("SumBackward0", "MulBackward0", "AccumulateGrad", "w\n (2)"):
        assert label in out


@needs("einops")
def test_einops():
    out = run("""
        import torch
        from einops import rearrange, reduce, repeat
        x = torch.arange(24.0).reshape(2, 3, 4)
        y = rearrange(x, "a b c -> (c a) b")
        assert isinstance(y, torch.Tensor) and y.shape == (8, 3)
        assert reduce(x, "a b c -> b", "sum").tolist() == [60.0, 92.0, 124.0]
        assert repeat(x[0], "b c -> r b c", r=2).shape == (2, 3, 4)
        print("same")
        """)
    assert out == "same\n"


@needs("array_api_compat")
def test_array_api_compat():
    out = run("""
        import torch, array_api_compat
        x = torch.tensor([1.0, 2.0, 3.0])
        assert array_api_compat.is_torch_array(x)
        assert array_api_compat.is_torch_namespace(torch)
        xp = array_api_compat.array_namespace(x)
        print(xp.__name__, float(xp.sum(x)))
        """)
    assert out == "array_api_compat.torch 6.0\n"


@needs("safetensors")
def test_safetensors_saves_and_loads(tmp_path):
    out = run(f"""
        import torch
        from safetensors import safe_open
        from safetensors.torch import load_file, load_model, save_file, save_model
        path = {str(tmp_path / "tensors.safetensors")!r}
        tensors = {{
            "a": torch.randn(2, 3), "b": torch.ones(3, dtype=torch.bfloat16),
            "c": torch.ones(2).to(torch.float8_e4m3fn), "d": torch.tensor(True),
        }}
        save_file(tensors, path, metadata={{"by": "taper"}})
        loaded = load_file(path)
        print(all(loaded[k].dtype == t.dtype and torch.equal(loaded[k].float(), t.float())
                  for k, t in tensors.items()))
        with safe_open(path, "pt") as file:
            print(file.metadata(), file.get_slice("a")[:1].shape)
        model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
        save_model(model, path)
        load_model(other, path)
        print(torch.equal(model.weight, other.weight))
        """)
    assert out.splitlines() == ["True", "{'by': 'taper'} torch.Size([1, 3])", "True"]
