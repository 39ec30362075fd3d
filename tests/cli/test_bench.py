"""The benchmark runs: taper against itself, one workload, so that it can't rot."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "taper", "bench", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_taper_against_itself(tmp_path):
    done = run("--reference", "taper", "--quick", "--filter", "tiny_add", "--filter", "tiny_view",
               "--json", str(tmp_path / "figures.json"))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures["workloads"]) == ["tiny_add", "tiny_view"]
    assert "geometric mean" in done.stdout


def test_a_module_that_is_not_there():
    done = run("--reference", "no_such_module", "--filter", "tiny_add")
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr
    assert "Traceback" not in done.stderr


def test_compiled_steps():
    done = run("--reference", "taper", "--quick", "--compile", "--filter", "train_small")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "with compiled training steps" in done.stdout


def test_no_such_workload():
    done = run("--filter", "no such workload")
    assert done.returncode == 2
    assert "no workload has such a name; there are tiny_add" in done.stderr
