"""Kernels give the same numbers on a 64-bit ARM processor, and touch nothing beyond their operands.

The tests of kernels run once more, with kernels made for NEON, on an emulated processor
(aarch64_machine.py). Machine code that calls the process runs on a whole emulated system:
script/test_on_aarch64.sh.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from taper.compiler import machine
from taper.runtime import worker_loop

pytestmark = pytest.mark.skipif(not machine.is_available(), reason="needs llvmlite")

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KERNELS = "tests/kernels"
# The emulated sums of NaN have another sign than those of the host's NumPy.
LEFT_OUT = [f"{KERNELS}/test_small_calls.py", f"{KERNELS}/test_native_concurrency.py"]
# What they are about is the host's.
NOT_HERE = "not number_of_threads and not launched_again and not large_tensors_of_one_value"
# Left to BLAS where vectors have 16 bytes, so they are asked for as for pairs of registers.
PRODUCTS = [f"{KERNELS}/test_native_matrix_product.py", f"{KERNELS}/test_winograd.py"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")
@pytest.mark.parametrize(("width", "least", "files"), [
    pytest.param(16, 150, ["tests/compiler/test_math_library.py", KERNELS], id="all"),
    pytest.param(32, 10, PRODUCTS, id="products"),
])
def test_kernels(width: int, least: int, files: list[str]) -> None:
    pytest.importorskip("unicorn", reason="needs the emulator unicorn: pip install unicorn")
    path = [str(HERE), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "aarch64_machine",
         f"--vector-bytes={width}", "--parameter-sets=1", "-k", NOT_HERE,
         *(f"--ignore={name}" for name in LEFT_OUT), *files],
        env={**os.environ, "TAPER_NATIVE": "now", "PYTHONPATH": os.pathsep.join(path)},
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found = re.search(r"^\d+ runs of (\d+) kernels on an emulated", done.stdout, re.MULTILINE)
    assert found is not None and int(found[1]) >= least


PROCESSORS = {
    "cortex-a72": ("aarch64-unknown-linux-gnu", "+neon"),
    "neoverse-n1": ("aarch64-unknown-linux-gnu", "+neon,+lse"),
    "neoverse-v1": ("aarch64-unknown-linux-gnu", "+neon,+lse,+sve"),
    "apple-m1": ("arm64-apple-macosx14.0", ""),
    "generic": ("aarch64-pc-windows-msvc", ""),
}


def assembly(text: str, cpu: str) -> str:
    """The machine code of a module for a processor, in words."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple, features = PROCESSORS[cpu]
    target = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel="small")
    with machine.lock:
        return str(target.emit_assembly(llvm.parse_assembly(text)))


def names_from_outside(code: str) -> set[str]:
    """The functions that are called by name and not there."""
    return set(re.findall(r"^\s+bl?\s+(?!\.?L)([\w.$]+)", code, re.MULTILINE)) - set(
        re.findall(r"^([\w.$]+):", code, re.MULTILINE))


@pytest.mark.parametrize("cpu", PROCESSORS)
@pytest.mark.parametrize("name", [worker_loop.WORK, worker_loop.RUN, worker_loop.PAUSES])
def test_the_pool(name: str, cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads hand work over by instructions that order memory, and wait by ones that take time."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    code = assembly(worker_loop.text(name), cpu)
    assert not names_from_outside(code)
    assert re.search(r"\bisb\b", code)
    if name != worker_loop.PAUSES:
        assert re.search(r"\b(ldaddal|stlxr)\b", code)  # what counts who is inside
        assert re.search(r"\b(ldar|ldapr)\b", code) and re.search(r"\bstlr\b", code)


def test_processors_that_llvm_knows_too_little_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """On them LLVM would end the process."""
    import llvmlite.binding as llvm

    monkeypatch.setattr(llvm, "get_host_cpu_name", lambda: "oryon-1")
    assert machine.host.__wrapped__().cpu == "generic"
