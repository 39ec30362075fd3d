"""The benchmark runs: taper against itself, one workload, so that it can't rot."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_taper_against_itself(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--reference", "taper", "--quick", "--filter",
         "tiny_add", "--json", str(tmp_path / "figures.json")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures["workloads"]) == ["tiny_add"]
    assert "geometric mean" in done.stdout
